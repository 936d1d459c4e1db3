"""Corporate actions on the forward-adjusted series, by hand-made cases and on the embedded file."""

import datetime as dt

import exchange_calendars as xcals
import msgspec
import polars as pl
import pytest

from contracts.clock import datetime_ns
from contracts.errors import ContractError
from domain.market_data.adjust import forward_adjusted
from domain.market_data.normalise import normalise, read_rows
from domain.market_data.reference import ACTIONS, CorporateAction, with_permanent_ids
from sources.file_drops import embedded_drop

DAY = dt.date(2010, 1, 4)


def bars(*opens_and_closes, instrument="US.A", basis="raw"):
    return pl.DataFrame(
        {
            "instrument_id": instrument,
            "session": [DAY + dt.timedelta(days=i) for i in range(len(opens_and_closes))],
            "open": [float(o) for o, _ in opens_and_closes],
            "high": [float(max(pair)) for pair in opens_and_closes],
            "low": [float(min(pair)) for pair in opens_and_closes],
            "close": [float(c) for _, c in opens_and_closes],
            "price_basis": basis,
        }
    )


def action(kind, day=1, ratio=None, cash=None, received=None):
    return CorporateAction("US.A", DAY + dt.timedelta(days=day), kind, ratio, cash, received, "t")


def test_a_split_leaves_the_series_continuous():
    adjusted = forward_adjusted(bars((100, 100), (50, 55)), [action("split", ratio=2.0)])
    assert adjusted["factor"].to_list() == [1.0, 2.0]
    assert adjusted["adj_close"].to_list() == [100.0, 110.0]


def test_a_special_dividend_counts_as_reinvested():
    adjusted = forward_adjusted(bars((40, 40), (30, 30)), [action("special_dividend", cash=10.0)])
    assert adjusted["adj_open"].to_list() == pytest.approx([40.0, 40.0])


def test_a_spin_off_is_worth_what_the_received_shares_open_at():
    both = pl.concat([bars((45, 45), (15, 15)), bars((9, 9), (30, 31), instrument="US.N")])
    adjusted = forward_adjusted(both, [action("spin_off", ratio=1.0, received="US.N")])
    parent = adjusted.filter(instrument_id="US.A")
    assert parent["adj_open"].to_list() == pytest.approx([45.0, 45.0])
    assert parent["factor_basis"].to_list() == [None, "spin_off"]


def test_an_unpriced_spin_off_gives_no_overnight_return_and_says_so():
    adjusted = forward_adjusted(
        bars((45, 45), (20, 22)), [action("spin_off", ratio=0.5, received="US.N")]
    )
    assert adjusted["overnight_ratio"][1] == pytest.approx(1.0)
    assert adjusted["factor_basis"][1] == "implied_by_open"


def test_an_action_on_a_missing_session_applies_on_the_next_bar():
    gapped = bars((100, 100), (0.1, 0.1), (50, 50)).filter(pl.col("open") > 1)
    assert forward_adjusted(gapped, [action("split", ratio=2.0)])["factor"][1] == 2.0


def test_a_distribution_after_a_split_of_the_same_gap_is_of_the_new_shares():
    gapped = bars((100, 100), (1, 1), (1, 1), (49, 49)).filter(pl.col("open") > 1)
    acted = [action("cash_dividend", day=2, cash=1.0), action("split", day=1, ratio=2.0)]
    found = forward_adjusted(gapped, acted, total_return=True)
    assert found["factor"][1] == pytest.approx(2 * 100 / 98)
    assert found["adj_close"].to_list() == pytest.approx([100.0, 100.0])
    # Of the same day, or earlier, it is of the old ones.
    for day in (1, 0):
        acted = [action("cash_dividend", day=1, cash=1.0), action("split", day=2 - day, ratio=2.0)]
        found = forward_adjusted(gapped, acted, total_return=True)
        assert found["factor"][1] == pytest.approx(2 * 100 / 99)


def test_a_later_action_never_changes_a_past_value():
    series = bars((100, 100), (101, 102), (51, 52))
    before = forward_adjusted(series, [])
    after = forward_adjusted(series, [action("split", day=2, ratio=2.0)])
    assert after["adj_close"][:2].to_list() == before["adj_close"][:2].to_list()


def test_an_unexplained_jump_is_flagged_and_not_adjusted():
    adjusted = forward_adjusted(bars((100, 100), (50, 50)), [])
    assert adjusted["unexplained_jump"].to_list() == [False, True]
    assert adjusted["factor"].to_list() == [1.0, 1.0]


@pytest.mark.parametrize(
    ("basis", "kind", "refused"),
    [
        ("raw", "split", False),
        ("split_adjusted", "split", True),
        ("split_adjusted", "special_dividend", False),
        ("split_adjusted", "spin_off", False),
        ("total_return", "split", True),
        ("total_return", "special_dividend", True),
    ],
)
def test_what_the_prices_hold_already_is_refused(basis, kind, refused):
    series = bars((10, 10), (9, 9), basis=basis)
    ratio, cash = (None, 1.0) if kind == "special_dividend" else (2.0, None)
    acted = [action(kind, ratio=ratio, cash=cash)]
    if refused:
        with pytest.raises(ContractError, match=f"{basis}.*{kind}"):
            forward_adjusted(series, acted)
    else:
        assert forward_adjusted(series, acted)["factor"][1] > 1
    # An action of somebody else's is no reason.
    other = [CorporateAction("US.B", DAY, kind, ratio, cash, None, "t")]
    assert forward_adjusted(series, other)["factor"].to_list() == [1.0, 1.0]


def test_the_embedded_year_has_no_unexplained_jump():
    drop = embedded_drop()
    calendar = xcals.get_calendar("XNYS", start="2009-01-01", end="2010-12-31")
    sessions = pl.Series([s.date() for s in calendar.sessions])
    result = normalise(
        read_rows(drop.data), source=drop.source, sha256=drop.sha256, sessions=sessions
    )
    identified = with_permanent_ids(result.bars)
    assert forward_adjusted(identified, [])["unexplained_jump"].sum() == 6
    adjusted = forward_adjusted(identified, ACTIONS)
    assert adjusted["unexplained_jump"].sum() == 0
    renamed = adjusted.filter(instrument_id="US.ETFC")
    assert renamed.height == 240
    assert renamed["symbol"].unique().sort().to_list() == ["ETFC", "ETFCD"]
    assert adjusted.filter(instrument_id="US.FPL").height == 245
    mcafee = adjusted.filter(instrument_id="US.MFE", session=dt.date(2010, 8, 19))
    assert mcafee["overnight_ratio"].item() == pytest.approx(1.58, abs=0.01)


# 16:00 in New York on the ex-session.
CLOSE_NS = datetime_ns(dt.datetime(2010, 1, 5, 21, tzinfo=dt.UTC))
HOUR_NS = 3_600 * 10**9


def known(at_ns, kind="split", **changes):
    return msgspec.structs.replace(action(kind, **changes), knowledge_ns=at_ns)


@pytest.mark.parametrize(
    ("at_ns", "flagged"),
    [(None, False), (CLOSE_NS - HOUR_NS, False), (CLOSE_NS, False), (CLOSE_NS + 1, True),
     (CLOSE_NS + 99 * HOUR_NS, True)],
)  # fmt: skip
def test_a_split_that_was_known_too_late_is_the_jump_that_it_was_then(at_ns, flagged):
    series = bars((100, 100), (50, 50), (51, 52), (53, 53))
    adjusted = forward_adjusted(series, [known(at_ns, ratio=2.0)])
    assert adjusted["unexplained_jump"].to_list() == [False, flagged, False, False]
    # No value is another: the series is that of an action known in time.
    timely = forward_adjusted(series, [action("split", ratio=2.0)])
    assert adjusted.drop("unexplained_jump").equals(timely.drop("unexplained_jump"))


def test_the_close_that_counts_is_the_exchanges_own():
    series, split = bars((100, 100), (50, 50)), known(CLOSE_NS - HOUR_NS, ratio=2.0)
    half_day = {DAY + dt.timedelta(days=1): CLOSE_NS - 3 * HOUR_NS}
    assert not forward_adjusted(series, [split])["unexplained_jump"].any()
    assert forward_adjusted(series, [split], closes_ns=half_day)["unexplained_jump"][1]


def test_a_small_dividend_that_was_known_late_is_no_jump():
    series = bars((100, 100), (99, 99))
    late = [known(CLOSE_NS + HOUR_NS, "special_dividend", cash=1.0)]
    assert not forward_adjusted(series, late)["unexplained_jump"].any()
    assert forward_adjusted(series, late)["factor"][1] == pytest.approx(100 / 99)


def test_only_the_late_one_of_two_actions_of_a_bar_is_left_out():
    # 2:1 in time, and half of the rest paid out, of which nobody knew.
    series = bars((100, 100), (25, 25))
    acted = [action("split", ratio=2.0), known(CLOSE_NS + 1, "special_dividend", cash=50.0)]
    adjusted = forward_adjusted(series, acted)
    assert adjusted["overnight_ratio"][1] == pytest.approx(1.0)
    assert adjusted["unexplained_jump"].to_list() == [False, True]


def test_an_action_on_a_missing_session_is_late_by_the_close_of_the_next_bar():
    gapped = bars((100, 100), (0.1, 0.1), (50, 50)).filter(pl.col("open") > 1)
    next_close_ns = CLOSE_NS + 24 * HOUR_NS
    for at_ns, flagged in ((next_close_ns, False), (next_close_ns + 1, True)):
        adjusted = forward_adjusted(gapped, [known(at_ns, ratio=2.0)])
        assert adjusted["unexplained_jump"].to_list() == [False, flagged]


def test_a_row_is_known_when_the_last_of_its_inputs_was():
    rows = bars((100, 100), (50, 50), (51, 51), (52, 52))
    closes = [dt.datetime(2010, 1, 4 + day, 21, tzinfo=dt.UTC) for day in range(4)]
    at = pl.Series("knowledge_time", closes, dtype=pl.Datetime("us", "UTC"))
    late_ns = CLOSE_NS + 36 * HOUR_NS
    adjusted = forward_adjusted(rows.with_columns(at), [known(late_ns, ratio=2.0)])
    late = dt.datetime(2010, 1, 7, 9, tzinfo=dt.UTC)
    assert adjusted["knowledge_time"].to_list() == [closes[0], late, late, closes[3]]
    assert adjusted["knowledge_time"].dtype == at.dtype


def test_the_demos_own_actions_were_all_known_in_time():
    assert {one.knowledge_ns for one in ACTIONS} == {None}
