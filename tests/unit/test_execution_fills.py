"""Executions: each counted once per trade date and ExecID, taken back by busts."""

import pytest

from execution.reports import Origin, Projection
from tests.unit.execution_engine_driver import Driver, incidents


def sessions_of(driver: Driver, kind: str) -> list[str]:
    projection = Projection(Origin(mode="paper", broker="b", mic="XNYS", currency="USD"))
    rows = []
    for offset, record in enumerate(driver.records):
        rows += projection.fold((1, offset), record)
    return [row.session for row in rows if row.kind == kind]


def test_a_bust_takes_a_fill_back() -> None:
    driver = Driver().ready()
    order = driver.decide(1)
    driver.fill(order, 100, exec_id="E1")
    for _ in range(2):
        driver.report(order, "H", t17="E2", t19="E1", t32="100", t31="100")
    position = driver.engine.state.positions["US.AAPL"]
    assert (position.lots, position.cash_ticks, position.fee_ticks) == (0, 0, 0)
    driver.report(order, "H", t17="E3", t19="E1", t32="100", t31="100")
    assert incidents(driver) == ["trade_busted", "bust_of_unknown_execution"]


def test_an_exec_id_is_unique_for_its_trade_date_only() -> None:
    driver = Driver().ready()
    order = driver.decide(1)
    driver.fill(order, 10, exec_id="E1", t75="20100820")
    driver.fill(order, 10, exec_id="E1", t75="20100820")
    driver.fill(order, 20, exec_id="E1", t75="20100823")
    # Without TradeDate the day is that of TransactTime, or of when it was first sent.
    driver.fill(order, 30, exec_id="E1", t60="20100824-13:30:00.000")
    driver.fill(order, 20, exec_id="E1", t52="20100826-13:30:00", t122="20100825-13:30:00")
    driver.fill(order, 20, exec_id="E1", t52="20100827-13:30:00", t122="20100825-13:30:00")
    assert driver.order(order).cum_lots == 80
    assert driver.engine.state.duplicate_count == 2
    assert incidents(driver) == []
    sessions = sessions_of(driver, "fill")
    assert sessions[:3] == ["2010-08-20", "2010-08-23", "2010-08-24"]
    assert len(sessions) == 4


@pytest.mark.parametrize(
    ("dated", "left", "session"),
    [
        ({"t75": "20100820"}, 20, "2010-08-20"),
        ({"t75": "20100823"}, 10, "2010-08-23"),
        # Dated by when it was sent: the newest execution of that id before then.
        ({"t60": "20100824-12:00:00"}, 10, "2010-08-23"),
    ],
)
def test_a_bust_takes_back_the_execution_of_its_trade_date(
    dated: dict[str, str], left: int, session: str
) -> None:
    driver = Driver().ready()
    order = driver.decide(1)
    driver.fill(order, 10, exec_id="E1", t75="20100820")
    driver.fill(order, 20, exec_id="E1", t75="20100823")
    for _ in range(2):
        driver.report(order, "H", t17="B1", t19="E1", t32="1", t31="1", **dated)
    assert driver.engine.state.positions["US.AAPL"].lots == left
    assert sessions_of(driver, "bust") == [session]


def test_a_bust_of_what_was_never_seen_halts_its_instrument() -> None:
    driver = Driver().ready()
    order = driver.decide(1)
    driver.fill(order, 10, exec_id="E1", t75="20100820")
    driver.report(order, "H", t17="B1", t19="E1", t32="1", t31="1", t75="20100823")
    assert driver.engine.state.positions["US.AAPL"].lots == 10
    assert incidents(driver) == ["bust_of_unknown_execution"]
    assert "2010-08-23" in driver.engine.state.halted["US.AAPL"]


def test_an_exec_id_that_comes_with_other_numbers_is_not_believed() -> None:
    driver = Driver().ready()
    order = driver.decide(1)
    driver.fill(order, 10, exec_id="E1")
    driver.fill(order, 20, exec_id="E1")
    assert driver.order(order).cum_lots == 10
    assert incidents(driver) == ["exec_id_reused"]
