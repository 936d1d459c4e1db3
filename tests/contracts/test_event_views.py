"""Every row of every built table is the event that the contract promises."""

import json

import polars as pl
import pytest

from contracts.catalog import BUILT
from contracts.codec import from_json, to_json
from contracts.errors import ContractError
from contracts.schema_export import SCHEMAS, event_types
from domain.event_views import ViewContext, events_of
from domain.instrument_analysis.indicator_catalogue import OUTPUTS
from io_managers.lake import Lake
from tests.contracts.schema_check import violations

BY_EVENT = {entry.event: entry for entry in BUILT}
# The check in plain Python is slow: the decoder sees every event, the committed schema one in so
# many of the large tables; a row of indicators is 74 events.
SCHEMA_EVERY, SCHEMA_EVERY_INDICATOR = 23, 997


def context_of(settings):
    closes = {entry.session: entry.close_ns for entry in settings.session_times()}
    return ViewContext(run_id="run-1", closes_ns=closes)


# A book that only backtests has none of these; see the tests of the hand-off.
LIVE_ONLY = {"CashReconciledEvent"}


@pytest.mark.parametrize("event", sorted(BY_EVENT.keys() - LIVE_ONLY))
def test_every_row_is_a_valid_event(small_run, event):
    entry, kind = BY_EVENT[event], event_types()[event]
    frame = Lake(small_run.lake_root).read(entry.table)
    schema = json.loads((SCHEMAS / f"{event}.json").read_text(encoding="utf-8"))
    assert frame.height > 0
    every = SCHEMA_EVERY_INDICATOR if event == "TechnicalIndicatorComputedEvent" else SCHEMA_EVERY
    ids = set()
    for index, found in enumerate(events_of(event, frame, context_of(small_run))):
        data = to_json(found)
        assert from_json(data, kind) == found
        if index % every == 0:
            assert violations(json.loads(data), schema) == []
        assert found.envelope.knowledge_time_ns <= int(small_run.now.timestamp()) * 10**9
        ids.add(found.envelope.event_id)
    assert len(ids) == index + 1
    assert {identity.partition("/")[0] for identity in ids} == set(frame["event_id"])


def test_the_envelope_says_where_the_event_came_from(small_run):
    frame = Lake(small_run.lake_root).read(("trading_decision", "signals"))
    found = next(events_of("TradingSignalEvent", frame, context_of(small_run)))
    assert found.envelope.asset_key == "trading_decision/signals"
    assert found.envelope.partition == frame["month"][0]
    assert found.envelope.run_id == "run-1"
    assert found.envelope.mode == "backtest"
    assert found.envelope.inputs == found.evaluation_ids == (frame["evaluation_id"][0],)
    assert found.timeframe_votes == {"1d": {"long": 1, "neutral": 0, "short": -1}[found.side]}


def test_an_indicator_says_how_long_it_warmed_up(small_run):
    frame = Lake(small_run.lake_root).read(("instrument_analysis", "indicators"))
    of_one = frame.filter(pl.col("instrument_id") == "US.C")
    events = list(events_of("TechnicalIndicatorComputedEvent", of_one, context_of(small_run)))
    needed = {found.name: found.warm_up_needed_bars for found in events}
    assert set(needed) == set(OUTPUTS)
    assert {name: needed[name] for name in ("rsi_14", "macd_signal", "adx_14", "sma_200", "obv")} \
        == {"rsi_14": 14, "macd_signal": 33, "adx_14": 27, "sma_200": 199, "obv": 0}  # fmt: skip
    for found in events:
        if found.warm_up_used_bars < found.warm_up_needed_bars:
            assert found.value is None
    # In this instrument's year no formula is without a value: null is the warm-up alone.
    assert all(e.value is not None for e in events if e.warm_up_used_bars == needed[e.name])


def test_indicators_from_a_later_month_only_are_refused(small_run):
    frame = Lake(small_run.lake_root).read(("instrument_analysis", "indicators"))
    late = frame.filter(pl.col("month") == "2010-03-01")
    with pytest.raises(ContractError, match="from each instrument's first bar"):
        list(events_of("TechnicalIndicatorComputedEvent", late, context_of(small_run)))


def test_an_event_that_is_not_built_is_refused(small_run):
    with pytest.raises(ContractError, match="No table holds 'NewsSentimentAnalyzedEvent'"):
        next(events_of("NewsSentimentAnalyzedEvent", pl.DataFrame(), context_of(small_run)))


def test_a_session_off_the_calendar_is_refused(small_run):
    frame = Lake(small_run.lake_root).read(("trading_decision", "signals"))
    blind = ViewContext(run_id="r", closes_ns={})
    with pytest.raises(ContractError, match="not a session of the calendar"):
        next(events_of("TradingSignalEvent", frame, blind))


def test_the_schema_check_sees_what_does_not_fit():
    schema = json.loads((SCHEMAS / "Envelope.json").read_text(encoding="utf-8"))
    good = {
        "event_id": "1", "event_type": "T", "event_time_ns": 1, "knowledge_time_ns": 1,
        "mode": "paper", "asset_key": "a/b", "partition": "p", "run_id": "r",
    }  # fmt: skip
    assert violations(good, schema) == []
    for bad in ({"mode": "demo"}, {"event_time_ns": "1"}, {"colour": "red"}, {"inputs": [1]}):
        assert len(violations(good | bad, schema)) == 1
    assert violations({k: v for k, v in good.items() if k != "mode"}, schema) == ["$: lacks mode"]
