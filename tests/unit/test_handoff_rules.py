"""What a decision rests on must still be there, and nothing earlier may still be open."""

import datetime as dt

import polars as pl
import pytest

from contracts.errors import HandoffRefusedError
from domain.market_data.reference import CorporateAction
from domain.trade_execution.handoff import require_inputs, require_no_action, require_settled

CHOSEN = pl.DataFrame({"bar_id": ["b1", "b2"], "signal_id": ["s1", None]})
TABLES = {
    "bars": pl.DataFrame({"event_id": ["b1", "b2"]}),
    "signals": pl.DataFrame({"event_id": ["s1"], "evaluation_id": ["e1"]}),
    "evaluations": pl.DataFrame({"event_id": ["e1"]}),
}


def test_decisions_on_what_is_there_pass():
    require_inputs(CHOSEN, **TABLES)


@pytest.mark.parametrize("name", ["bars", "signals", "evaluations"])
def test_a_table_rewritten_since_is_named(name):
    with pytest.raises(HandoffRefusedError, match=name):
        require_inputs(CHOSEN, **TABLES | {name: TABLES[name].clear()})


def test_an_earlier_decision_without_a_final_report_stops_the_hand_off():
    reports = [("d1", "fill", 5), ("d2", "fill", 0), ("d3", "expired", None)]
    require_settled(["d2", "d3"], reports)
    with pytest.raises(HandoffRefusedError, match="d1"):
        require_settled(["d1", "d2"], reports)


@pytest.mark.parametrize(("day", "refused"), [(19, False), (20, True), (21, True), (24, False)])
def test_no_order_is_handed_off_over_an_ex_date(day, refused):
    chosen = pl.DataFrame({"session": [dt.date(2010, 8, 19)], "instrument_id": ["US.A"]})
    action = CorporateAction("US.A", dt.date(2010, 8, day), "split", 2.0, None, None, "test")
    if not refused:
        require_no_action(chosen, [action], dt.date(2010, 8, 23))
        return
    with pytest.raises(HandoffRefusedError, match=r"US\.A takes effect"):
        require_no_action(chosen, [action], dt.date(2010, 8, 23))
