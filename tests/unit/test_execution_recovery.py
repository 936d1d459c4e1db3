"""From journal files to state, and from which number on the broker has to repeat."""

from pathlib import Path

import pytest

from execution.errors import JournalCorruptError
from execution.journal import Journal
from execution.records import encode
from execution.recovery import recover
from execution.segments import segment_path
from tests.unit.execution_engine_driver import Driver, snapshot


def traded() -> Driver:
    driver = Driver().ready()
    order = driver.decide(1)
    driver.report(order, "0")
    driver.fill(order, 40, exec_id="E1")
    driver.fill(order, 60, exec_id="E2")
    return driver


def write(root: Path, driver: Driver) -> None:
    with Journal(root, recover(root).end, segment_bytes_max=512) as journal:
        for record in driver.records:
            journal.append([encode(record)])


def test_a_journal_on_disk_gives_the_engine_s_state(tmp_path: Path) -> None:
    driver = traded()
    write(tmp_path, driver)
    recovered = recover(tmp_path)
    assert recovered.records == len(driver.records)
    assert snapshot(recovered.state) == snapshot(driver.engine.state)
    assert recovered.end[0] > 1, "several segments were read"


def test_a_fill_that_was_torn_off_is_asked_for_again(tmp_path: Path) -> None:
    driver = traded()
    write(tmp_path, driver)
    last = max(tmp_path.glob("*.journal"))
    last.write_bytes(last.read_bytes()[:-5])
    recovered = recover(tmp_path)
    assert recovered.torn_bytes > 0
    assert recovered.state.next_inbound_seq == driver.engine.state.next_inbound_seq - 1
    assert set(recovered.state.executions) == {("", "E1")}


def test_a_damaged_journal_is_not_traded_from(tmp_path: Path) -> None:
    write(tmp_path, traded())
    path = segment_path(tmp_path, 1)
    data = bytearray(path.read_bytes())
    data[60] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(JournalCorruptError, match="do not trade"):
        recover(tmp_path)


def test_repeats_do_not_rewind_the_session_and_a_reset_does() -> None:
    driver = traded()
    state = driver.engine.state
    reached = state.next_inbound_seq
    driver.seq = 1
    driver.inbound({43: "Y", 150: "0"})
    assert state.next_inbound_seq == reached
    driver.inbound({}, kind="3")
    assert state.next_inbound_seq == driver.seq + 1 < reached


def test_positions_from_before_the_journal_count_for_limits_only(tmp_path: Path) -> None:
    write(tmp_path, traded())
    state = recover(tmp_path, {"US.AAPL": 500}).state
    assert state.positions["US.AAPL"].lots == 100
    assert state.gross_ticks == 600 * 1_000_000
