"""Whatever vendors send, the state known at any instant is what a plain replay of it says."""

import datetime as dt

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.market_data.revisions import Delivery, as_of, nothing_known, revise

DAY_NS = 86_400_000_000_000
SESSIONS = [dt.date(2020, 1, day) for day in (2, 3, 6)]
CLOSES = {day: (day - dt.date(1970, 1, 1)).days * DAY_NS + 21 * DAY_NS // 24 for day in SESSIONS}
FIRST_NS = CLOSES[SESSIONS[0]]
NAMES = ("US.A", "US.B")
COLUMNS = {
    "instrument_id": pl.String, "session": pl.Date, "source": pl.String,
    **dict.fromkeys(("open", "high", "low", "close"), pl.Float64), "volume_shares": pl.Int64,
    "currency": pl.String, "price_basis": pl.String, "raw_sha256": pl.String,
}  # fmt: skip

statements = st.dictionaries(
    st.tuples(st.sampled_from(NAMES), st.sampled_from(SESSIONS)), st.integers(1, 3), max_size=6
)
deliveries = st.lists(
    st.tuples(st.sampled_from(["a.csv", "b.csv"]), st.integers(0, 3), statements), max_size=8
)


def frame(stated, number):
    rows = [
        (name, day, "vendor", *([float(price)] * 4), 100, "USD", "raw", f"{number}")
        for (name, day), price in sorted(stated.items())
    ]
    return pl.DataFrame(rows, schema=COLUMNS, orient="row")


def told(came):
    """The drops in order; each is known some whole days after the first session's close."""
    known, numbered = 0, []
    for number, (name, later, stated) in enumerate(came, start=1):
        known += later
        numbered.append((Delivery(number, name, FIRST_NS + known * DAY_NS, number == 1), stated))
    return numbered


def revised(numbered):
    history, versions = nothing_known(frame({}, 0)), {}
    for delivery, stated in numbered:
        bars = frame(stated, delivery.number)
        history = revise(history, bars, delivery, CLOSES, repeated=versions.get(delivery.name))
        versions[delivery.name] = bars
    return history


def replayed(numbered, instant_ns):
    """Who says what, kept by hand: the last to state a bar is its author until it drops it."""
    state, versions = {}, {}
    for delivery, stated in numbered:
        mine = versions.get(delivery.name, {})
        for key, (price, author, log) in list(state.items()):
            if price is not None and author == delivery.name and key not in stated:
                known = max(CLOSES[key[1]], delivery.known_ns, log[-1][0])
                state[key] = (None, author, [*log, (known, None)])
        for key, price in stated.items():
            before, author, log = state.get(key, (None, "", []))
            if before == price:
                # Who says the same is its author from then on.
                state[key] = (price, delivery.name, log)
            elif before is None or mine.get(key) != price:
                close = CLOSES[key[1]]
                known = close if delivery.is_initial else max(close, delivery.known_ns)
                known = max([known, *(at for at, _ in log[-1:])])
                state[key] = (price, delivery.name, [*log, (known, price)])
        versions[delivery.name] = stated
    found = {}
    for key, (_, _, log) in state.items():
        for at, price in log:
            if at <= instant_ns:
                found[key] = price
    return {key: price for key, price in found.items() if price is not None}


@settings(max_examples=150, deadline=None)
@given(came=deliveries, day=st.integers(-2, 12))
def test_the_state_at_an_instant_is_what_a_plain_replay_says(came, day):
    numbered = told(came)
    instant_ns = FIRST_NS + day * DAY_NS + 1
    instant = dt.datetime(1970, 1, 1, tzinfo=dt.UTC) + dt.timedelta(microseconds=instant_ns // 1000)
    known = as_of(revised(numbered).revisions, instant)
    found = {
        (name, session): int(price)
        for name, session, price in known.select("instrument_id", "session", "close").iter_rows()
    }
    assert found == replayed(numbered, instant_ns)


@settings(max_examples=60, deadline=None)
@given(came=deliveries)
def test_a_revision_is_never_changed_and_never_known_too_early(came):
    numbered = told(came)
    before = pl.DataFrame()
    for upto in range(len(numbered) + 1):
        revisions = revised(numbered[:upto]).revisions
        assert revisions.head(before.height).equals(before) or not before.height
        before = revisions
    keyed = before.sort("instrument_id", "session", "revision")
    for _, rows in keyed.group_by("instrument_id", "session"):
        assert rows["revision"].to_list() == list(range(1, rows.height + 1))
        assert rows["knowledge_time"].is_sorted()
        close_ns = CLOSES[rows["session"][0]]
        assert rows["knowledge_time"].dt.epoch("ns").min() >= close_ns


@given(stated=statements, again=st.sampled_from(["a.csv", "b.csv"]))
def test_what_is_repeated_is_no_revision(stated, again):
    numbered = told([("a.csv", 0, stated), (again, 1, stated)])
    assert revised(numbered).revisions.height == len(stated)


def one(price, name, number, *, known=0, written=None, initial=False):
    delivery = Delivery(number, name, FIRST_NS + known * DAY_NS, initial, written)
    return delivery, {(NAMES[0], SESSIONS[0]): price}


def closes(numbered):
    known = as_of(revised(numbered).revisions, dt.datetime(2100, 1, 1, tzinfo=dt.UTC))
    return known["close"].to_list()


def test_what_a_file_goes_on_saying_takes_no_correction_back():
    first, fix = one(1, "a.csv", 1, initial=True), one(2, "fix.csv", 2, known=1)
    again, anew = one(1, "a.csv", 3, known=2), one(3, "a.csv", 4, known=3)
    assert closes([first, fix, again]) == [2.0]
    assert closes([first, fix, again, anew]) == [3.0]


def test_what_was_written_earlier_takes_nothing_back_however_late_it_comes():
    newer, older = one(2, "2.gz", 1, known=1, written=20), one(1, "1.gz", 2, known=5, written=10)
    assert closes([newer, older]) == [2.0]
    assert closes([older, newer]) == [2.0]


def test_a_line_that_cannot_be_used_withdraws_nothing_and_years_long_past_can_be_withdrawn():
    history = nothing_known(frame({}, 0))
    for delivery, stated in (one(1, "a.csv", 1, initial=True),):
        history = revise(history, frame(stated, 1), delivery, CLOSES)
    empty, key = (
        frame({}, 2),
        frame({(NAMES[0], SESSIONS[0]): 1}, 1).select("instrument_id", "session"),
    )
    later = Delivery(2, "a.csv", FIRST_NS + DAY_NS, is_initial=False)
    assert revise(history, empty, later, CLOSES, unread=key).revisions.height == 1
    assert revise(history, empty, later, CLOSES).revisions["withdrawn"].to_list() == [False, True]
    # A file without any row, before all others.
    assert revise(nothing_known(empty), empty, later, {}).revisions.is_empty()
