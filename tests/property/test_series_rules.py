"""What is found of a bar depends on no later bar, on no other name, and loses no line."""

import datetime as dt
import itertools

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.market_data.normalise import HEADER, normalise, read_rows, texts_in
from domain.market_data.reference import CorporateAction
from domain.market_data.series_rules import series_findings, with_series_rules
from domain.market_data.vendor_reconciliation import prefer, reconcile_vendors, switches

DAYS = [dt.date(2010, 1, 4) + dt.timedelta(days=7 * (n // 5) + n % 5) for n in range(20)]
SESSIONS = pl.Series(DAYS, dtype=pl.Date)
ACTIONS = (
    CorporateAction("US.A", DAYS[6], "split", 2.0, None, None, "a test"),
    CorporateAction("US.B", DAYS[9], "split", 0.01, None, None, "a test"),
)
PRICES = st.sampled_from([1.0, 2.0, 4.0, 5.0, 10.0, 10.2, 100.0, 500.0, 1_000.0])
# By symbol and day: a price and a volume, or no row.
MARKETS = st.dictionaries(
    st.tuples(st.sampled_from("AB"), st.integers(0, len(DAYS) - 1)),
    st.tuples(PRICES, st.integers(0, 2)),
    min_size=1,
    max_size=40,
)


def lines(market):
    return [
        f"{DAYS[day]:%Y%m%d},{symbol},{price},{price},{price},{price},{volume}"
        for (symbol, day), (price, volume) in sorted(market.items())
    ]


def judged(market):
    rows = read_rows("\n".join([",".join(HEADER), *lines(market)]).encode())
    known = normalise(rows, source="a", sha256="0" * 64, sessions=SESSIONS)
    return rows, known, with_series_rules(known, texts_in(rows), SESSIONS, ACTIONS)


@given(market=MARKETS, last=st.integers(0, len(DAYS) - 1))
@settings(max_examples=150, deadline=None)
def test_a_later_bar_changes_nothing_that_was_found(market, last):
    early = {key: bar for key, bar in market.items() if key[1] <= last}
    if not early:
        return
    columns = ["instrument_id", "session", "close", "quality_flags"]
    (_, known, whole), (_, known_then, then) = judged(market), judged(early)
    until = pl.col("session") <= DAYS[last]
    assert whole.bars.filter(until).select(columns).equals(then.bars.select(columns))
    findings = [
        series_findings(n.bars, SESSIONS, ACTIONS).filter(until).drop("source_seq")
        for n in (known, known_then)
    ]
    # The file's rows have other lines and the same order.
    assert findings[0].equals(findings[1])


@given(market=MARKETS)
@settings(max_examples=100, deadline=None)
def test_every_line_is_a_bar_or_in_the_quarantine_with_its_text(market):
    rows, known, found = judged(market)
    kept = found.bars["source_seq"].to_list() + found.quarantine["source_seq"].to_list()
    assert sorted(kept) == rows["line"].to_list()
    texts = dict(rows.select("line", "raw").iter_rows())
    assert all(texts[n] == raw for n, raw in found.quarantine.select("source_seq", "raw").rows())
    # What the table says and what is done are the same.
    refused = series_findings(known.bars, SESSIONS, ACTIONS).filter(severity="error")
    assert sorted(refused["source_seq"]) == found.quarantine["source_seq"].to_list()


@given(market=MARKETS)
@settings(max_examples=60, deadline=None)
def test_a_name_is_judged_by_its_own_past_only(market):
    alone = {key: bar for key, bar in market.items() if key[0] == "A"}
    if not alone:
        return
    columns = ["session", "close", "quality_flags"]
    both = judged(market)[2].bars.filter(instrument_id="US.A").select(columns)
    assert both.equals(judged(alone)[2].bars.select(columns))


@given(market=MARKETS)
@settings(max_examples=60, deadline=None)
def test_no_accepted_close_is_a_hundred_times_the_one_before(market):
    splits = {(a.instrument_id, a.ex_session) for a in ACTIONS}
    bars = judged(market)[2].bars.rows(named=True)
    for before, bar in itertools.pairwise(bars):
        name = bar["instrument_id"]
        acted = any(i == name and before["session"] < s <= bar["session"] for i, s in splits)
        if before["instrument_id"] == name and not acted:
            assert (
                not 75 <= max(bar["close"] / before["close"], before["close"] / bar["close"]) <= 133
            )


@given(one=MARKETS, two=MARKETS)
@settings(max_examples=80, deadline=None)
def test_two_vendors_are_compared_on_what_both_have_and_both_ways_alike(one, two):
    first, second = judged(one)[2].bars, judged(two)[2].bars
    found, back = reconcile_vendors(first, second), reconcile_vendors(second, first)
    counts = {name: int(found.counts[name].sum()) for name in found.counts.columns[1:]}
    assert counts["n_common"] + counts["n_only_primary"] == first.height
    assert counts["n_common"] + counts["n_only_second"] == second.height
    assert counts["n_compared"] <= counts["n_common"]
    returns = pl.col("field") == "return"
    there = found.discrepancies.filter(returns).select("instrument_id", "session", "severity")
    assert there.equals(back.discrepancies.filter(returns).select(there.columns))
    assert reconcile_vendors(first, first).discrepancies.is_empty()


@given(one=MARKETS, two=MARKETS, last=st.integers(0, len(DAYS) - 1))
@settings(max_examples=80, deadline=None)
def test_a_series_is_never_spliced_where_levels_differ_and_later_bars_change_no_choice(
    one, two, last
):
    frames = {name: judged(market)[2].bars for name, market in (("one", one), ("two", two))}
    picked = prefer(frames, ["one", "two"])
    assert picked.select("instrument_id", "session").n_unique() == picked.height
    closes = {
        (name, *key[:2]): key[2]
        for name, bars in frames.items()
        for key in bars.select("instrument_id", "session", "close").iter_rows()
    }
    for instrument, session in switches(picked).select("instrument_id", "session").iter_rows():
        shared = [
            s for n, i, s in closes
            if n == "one" and i == instrument and s < session and ("two", i, s) in closes
        ]  # fmt: skip
        newest = max(shared)
        assert closes["one", instrument, newest] == closes["two", instrument, newest]
    early = {n: bars.filter(pl.col("session") <= DAYS[last]) for n, bars in frames.items()}
    until = picked.filter(pl.col("session") <= DAYS[last])
    assert prefer(early, ["one", "two"]).equals(until)
