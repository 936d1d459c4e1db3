"""Compaction: the same state from less, whenever the process is killed meanwhile."""

from pathlib import Path
from typing import Any

import pytest

from execution.compact import ARCHIVE, Compacted, compact, journal_bytes, tidy
from execution.errors import JournalCorruptError
from execution.journal import Journal
from execution.messages import DecisionReceived, ResumeInstrument
from execution.records import Decision, Received, decode, encode
from execution.recovery import recover
from execution.reports import Origin, Projection
from execution.segments import base_of, read, segments
from execution.state import State, apply
from tests.unit.execution_builders import DAY_NS, NOW_NS
from tests.unit.execution_engine_driver import Driver, received, snapshot

ORIGIN = Origin(mode="paper", broker="b", mic="XNYS", currency="USD")
EVERYTHING = {"copied_up_to": (10**6, 0), "acknowledged": 10**6}
LATER_NS = NOW_NS + 9 * DAY_NS


def traded() -> Driver:
    """Three days of a replaced, a refused, a busted and a halted past, with nothing open."""
    driver = Driver().ready()
    for day, exec_id in (("20100818", "E1"), ("20100819", "E1"), ("20100820", "E1")):
        order = driver.decide(int(day[-2:]))
        driver.report(order, "0")
        driver.fill(order, 60, exec_id=exec_id, t75=day)
        driver.fill(order, 40, exec_id=f"{exec_id}b", t75=day)
    driver.handle(DecisionReceived(received(30, qty=0)))
    sold = driver.decide(31, "US.IBM", -50)
    driver.report(sold, "0")
    driver.fill(sold, 50, exec_id="S9", t75="20100820", t55="IBM")
    driver.report(sold, "H", t17="B1", t19="S9", t32="1", t31="1", t75="20100820", t55="IBM")
    return driver


def write(directory: Path, driver: Driver, start: int = 0, *, size: int = 2_000) -> None:
    with Journal(directory, recover(directory).end, segment_bytes_max=size) as journal:
        for record in driver.records[start:]:
            journal.append([encode(record)])


def run(directory: Path, *, now_ns: int = NOW_NS, **changes: Any) -> Compacted:
    options = EVERYTHING | changes
    return compact(directory, recover(directory), origin=ORIGIN, now_ns=now_ns, **options)


def content(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.glob("*.journal")}


def views(state: State) -> dict[str, Any]:
    """The state without what a snapshot may leave out."""
    found = snapshot(state)
    for name in ("executions", "orders", "keys", "key_valid_until_ns", "request_of"):
        del found[name]
    return found


def test_a_compacted_journal_gives_the_same_state_and_goes_on(tmp_path: Path) -> None:
    driver = traded()
    write(tmp_path, driver)
    before = content(tmp_path)
    assert len(before) > 3
    done = run(tmp_path)
    assert (done.refusal, done.bytes_before > done.bytes_after > 0) == ("", True)
    assert content(tmp_path / ARCHIVE) == before, "nothing is lost for an audit"
    (segment,) = segments(tmp_path)
    assert segment == len(before) + 1
    recovered = recover(tmp_path)
    assert recovered.records == 1
    assert views(recovered.state) == views(driver.engine.state)
    # Two trade dates recognise repeats; the third is archived. All decisions are still valid.
    assert {date for date, _ in recovered.state.executions} == {"2010-08-19", "2010-08-20"}
    assert recovered.state.keys == driver.engine.state.keys
    assert len(recovered.state.orders) == len(driver.engine.state.orders)
    # What comes next is added to it, and rotates, and is compacted again.
    count = len(driver.records)
    driver.handle(ResumeInstrument("US.IBM", "explained"))
    order = driver.decide(40, "US.IBM", 10)
    driver.fill(order, 10, exec_id="N1", t75="20100823", t55="IBM")
    write(tmp_path, driver, count)
    assert views(recover(tmp_path).state) == views(driver.engine.state)
    assert run(tmp_path).refusal == ""
    assert views(recover(tmp_path).state) == views(driver.engine.state)


def test_what_is_past_its_validity_is_dropped_and_repeats_are_still_recognised(
    tmp_path: Path,
) -> None:
    driver = traded()
    write(tmp_path, driver)
    assert run(tmp_path, now_ns=LATER_NS).refusal == ""
    state = recover(tmp_path).state
    assert state.keys == {}
    # Orders whose executions are kept stay, so that a bust finds them.
    assert len(state.orders) == 3
    assert state.last_sequence == driver.engine.state.last_sequence
    assert state.positions == driver.engine.state.positions
    fresh = Driver()
    fresh.engine.state.__dict__.update(state.__dict__)
    fresh.seq = driver.seq
    order = next(one for one in state.orders.values() if one.instrument_id == "US.AAPL")
    fresh.fill(order, 60, exec_id="E1", t75="20100820", t14="100", t151="0")
    assert fresh.engine.state.duplicate_count == driver.engine.state.duplicate_count + 1
    fresh.report(order, "H", t17="B2", t19="E1", t32="1", t31="1", t75="20100820")
    assert fresh.engine.state.positions["US.AAPL"].lots == 300 - 60


@pytest.mark.parametrize(
    ("what", "why"),
    [
        ("open", "orders are not terminal"),
        ("pending", "decisions are not judged"),
        ("copied", "is not in the operations store"),
        ("acknowledged", "is not acknowledged"),
    ],
)
def test_a_journal_that_somebody_still_needs_is_left_alone(
    tmp_path: Path, what: str, why: str
) -> None:
    driver = traded()
    if what == "open":
        driver.handle(ResumeInstrument("US.IBM", "explained"))
        driver.decide(50, "US.IBM")
    write(tmp_path, driver)
    if what == "pending":
        waiting: Decision = received(60)
        with Journal(tmp_path, recover(tmp_path).end) as journal:
            journal.append([encode(Received(NOW_NS, waiting))])
    changes: dict[str, Any] = {}
    if what == "copied":
        changes = {"copied_up_to": (1, 20)}
    if what == "acknowledged":
        changes = {"acknowledged": 3}
    before = content(tmp_path)
    done = run(tmp_path, **changes)
    assert why in done.refusal
    assert content(tmp_path) == before
    assert journal_bytes(tmp_path) == done.bytes_before == done.bytes_after


class Killed(Exception):  # noqa: N818 - a kill is no error
    """The process ended here."""


def points(directory: Path) -> list[str]:
    visited: list[str] = []
    run(directory, crash=visited.append)
    return visited


def test_a_kill_at_any_point_loses_nothing(tmp_path: Path) -> None:
    driver = traded()
    write(tmp_path / "probe", driver)
    visited = points(tmp_path / "probe")
    assert visited[:2] == ["snapshot_written", "snapshot_renamed"]
    assert len(visited) > 4
    for point in visited:
        directory = tmp_path / point.replace(":", "-")
        write(directory, driver)
        before = content(directory)

        def crash(reached: str, at: str = point) -> None:
            if reached == at:
                raise Killed

        with pytest.raises(Killed):
            run(directory, crash=crash)
        assert views(recover(directory).state) == views(driver.engine.state), point
        tidy(directory)
        assert not list(directory.glob("*.draft"))
        assert views(recover(directory).state) == views(driver.engine.state), point
        kept = content(directory) | content(directory / ARCHIVE)
        assert kept.items() >= before.items(), point
        assert run(directory).refusal == ""
        assert views(recover(directory).state) == views(driver.engine.state), point


def test_reports_after_a_compaction_are_those_of_the_whole_journal(tmp_path: Path) -> None:
    driver = traded()
    write(tmp_path, driver)
    run(tmp_path)
    count = len(driver.records)
    driver.handle(ResumeInstrument("US.IBM", "explained"))
    order = driver.decide(40, "US.IBM", 10)
    driver.fill(order, 10, exec_id="N1", t75="20100823", t55="IBM")
    write(tmp_path, driver, count)
    whole, after = Projection(ORIGIN), Projection(ORIGIN)
    expected = [row for n, one in enumerate(driver.records) for row in whole.fold((1, n), one)]
    recovered = recover(tmp_path)
    found = []
    for position, payload in read(tmp_path, (base_of(tmp_path), 0), recovered.end):
        found += after.fold(position, decode(payload))
    assert [row.payload for row in found] == [row.payload for row in expected[-len(found) :]]
    assert [row.kind for row in found] == ["sent", "fill"]


def test_a_large_state_takes_several_records_and_a_torn_one_is_refused(tmp_path: Path) -> None:
    driver = Driver().ready()
    for number in range(1, 900):
        driver.decide(number, "US.AAPL", 1)
        order = driver.sent()[-1].order
        driver.fill(order, 1, exec_id=f"E{number}", t75="20100820")
    write(tmp_path, driver, size=10**6)
    assert run(tmp_path).refusal == ""
    recovered = recover(tmp_path)
    assert recovered.records > 1
    assert snapshot(recovered.state) == snapshot(driver.engine.state)
    state = State()
    records = [decode(p) for _, p in read(tmp_path, (base_of(tmp_path), 0), recovered.end)]
    with pytest.raises(JournalCorruptError, match="cannot be put together"):
        apply(state, records[-1])
