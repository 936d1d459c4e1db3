import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from contracts.errors import ContractError
from execution.errors import (
    FencedOutError,
    JournalCorruptError,
    JournalWriteError,
    LockHeldError,
)
from execution.journal import Journal
from execution.kill_switch import KillFile
from execution.lock import InstanceLock
from execution.records import RECORD_BYTES_MAX, decode
from execution.segments import HEADER_BYTES, Position, read, repair, segment_path


def written(root: Path, count: int = 5, **options: int) -> list[Position]:
    positions = []
    with Journal(root, repair(root).end, **options) as journal:
        for number in range(count):
            positions += journal.append([f"record {number}".encode()])
        journal.wait_durable(journal.end)
        assert journal.durable == journal.end
    return positions


def contents(root: Path) -> list[bytes]:
    end = repair(root).end
    return [payload for _, payload in read(root, (1, 0), end)]


def test_what_is_written_is_read_back_in_order(tmp_path: Path) -> None:
    positions = written(tmp_path)
    assert contents(tmp_path) == [f"record {number}".encode() for number in range(5)]
    end = repair(tmp_path).end
    assert [place for place, _ in read(tmp_path, (1, 0), end)] == positions
    assert [payload for _, payload in read(tmp_path, positions[3], end)] == [
        b"record 3",
        b"record 4",
    ]
    assert written(tmp_path, 1)[0] == end


def test_segments_rotate_and_read_as_one(tmp_path: Path) -> None:
    positions = written(tmp_path, 20, segment_bytes_max=64)
    assert positions == sorted(positions)
    assert positions[-1][0] > 5
    assert len(contents(tmp_path)) == 20


@pytest.mark.parametrize("keep", [1, 7, 8, 12])
def test_a_torn_tail_is_cut_off(tmp_path: Path, keep: int) -> None:
    positions = written(tmp_path)
    path = segment_path(tmp_path, 1)
    path.write_bytes(path.read_bytes()[: positions[-1][1] + keep])
    repaired = repair(tmp_path)
    assert (repaired.end, repaired.torn_bytes) == (positions[-1], keep)
    assert len(contents(tmp_path)) == 4
    assert written(tmp_path, 1) == [positions[-1]]


@pytest.mark.parametrize(
    "tail", [b"\0" * 4096, b"\xff" * 300, bytes(range(100))], ids=["zeros", "ones", "junk"]
)
def test_a_tail_of_garbage_is_cut_off(tmp_path: Path, tail: bytes) -> None:
    written(tmp_path)
    with segment_path(tmp_path, 1).open("ab") as file:
        file.write(tail)
    assert repair(tmp_path).torn_bytes == len(tail)
    assert len(contents(tmp_path)) == 5


@pytest.mark.parametrize("size", [0, 1, HEADER_BYTES - 1])
def test_a_segment_whose_creation_was_torn_is_begun_again(tmp_path: Path, size: int) -> None:
    written(tmp_path)
    segment_path(tmp_path, 2).write_bytes(b"Q" * size)
    assert repair(tmp_path).end == (2, 0)
    assert written(tmp_path, 1) == [(2, HEADER_BYTES)]
    assert len(contents(tmp_path)) == 6


def test_damage_in_the_middle_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    positions = written(tmp_path)
    path = segment_path(tmp_path, 1)
    data = bytearray(path.read_bytes())
    data[positions[2][1] + 10] ^= 1
    path.write_bytes(data)
    with pytest.raises(JournalCorruptError, match=f"offset {positions[2][1]}"):
        repair(tmp_path)
    assert path.read_bytes() == bytes(data)


def test_damage_in_an_earlier_segment_and_a_missing_one_are_refused(tmp_path: Path) -> None:
    written(tmp_path, 20, segment_bytes_max=64)
    first = segment_path(tmp_path, 1)
    whole = first.read_bytes()
    first.write_bytes(whole[:-1])
    with pytest.raises(JournalCorruptError):
        repair(tmp_path)
    first.write_bytes(whole)
    segment_path(tmp_path, 3).unlink()
    with pytest.raises(JournalCorruptError, match="missing"):
        repair(tmp_path)


def test_a_record_that_moved_is_no_record(tmp_path: Path) -> None:
    positions = written(tmp_path, 3)
    path = segment_path(tmp_path, 1)
    data = path.read_bytes()
    swapped = data[: positions[1][1]] + data[positions[2][1] :]
    path.write_bytes(swapped)
    assert repair(tmp_path).end == positions[1]


def test_a_full_disk_refuses_the_record_and_everything_after_it(tmp_path: Path) -> None:
    room = 60

    def full(fd: int, data: bytes) -> int:
        nonlocal room
        if room <= 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        count = os.write(fd, data[:room])
        room -= count
        return count

    journal = Journal(tmp_path, repair(tmp_path).end, write=full)
    journal.append([b"fits"])
    for _ in range(2):
        with pytest.raises(JournalWriteError, match=r"ENOSPC.*nothing is sent"):
            journal.append([b"does not fit" * 10])
    assert journal.failure is not None
    journal.close()
    assert contents(tmp_path) == [b"fits"], "the half-written record was cut off"


@pytest.mark.parametrize("size", [0, RECORD_BYTES_MAX + 1])
def test_records_have_a_limit(tmp_path: Path, size: int) -> None:
    with (
        Journal(tmp_path, repair(tmp_path).end) as journal,
        pytest.raises(JournalWriteError, match="limit"),
    ):
        journal.append([b"x" * size])


def test_a_record_of_another_release_is_named() -> None:
    with pytest.raises(ContractError, match="release"):
        decode(b"\x93\xcc\xff\x01\x02")


def test_a_second_instance_is_refused_and_tokens_grow(tmp_path: Path) -> None:
    with InstanceLock(tmp_path) as lock:
        assert lock.token == 1
        code = (
            "import sys; from pathlib import Path; from execution.lock import InstanceLock\n"
            "try: InstanceLock(Path(sys.argv[1]))\n"
            "except Exception as e: print(type(e).__name__)"
        )
        output = subprocess.run(
            [sys.executable, "-c", code, str(tmp_path)], capture_output=True, check=True
        ).stdout
        assert output.strip() == b"LockHeldError"
        with pytest.raises(LockHeldError, match="twice"):
            InstanceLock(tmp_path)
        lock.require_current()
        (tmp_path / "token").write_text("2")
        with pytest.raises(FencedOutError, match="replaced by instance 2"):
            lock.require_current()
    with InstanceLock(tmp_path) as lock:
        assert lock.token == 3


def test_the_kill_file_is_closed_by_default(tmp_path: Path) -> None:
    switch = KillFile(tmp_path)
    assert not switch.is_engaged()
    switch.engage("because")
    assert (KillFile(tmp_path).is_engaged(), switch.reason()) == (True, "because")
    switch.release()
    switch.release()
    assert not switch.is_engaged()
    not_a_directory = tmp_path / "file"
    not_a_directory.touch()
    assert KillFile(not_a_directory).is_engaged(), "what cannot be looked at counts as engaged"
