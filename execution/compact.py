"""Compaction: one snapshot segment takes the place of the segments before it.

The order of steps is what makes it safe to be killed between any two. The snapshot is written
beside the journal, synced, and renamed into it; from then on it is where reading begins. Only then
are the older segments moved to ``archive``, oldest first; a later start moves what is left. Nothing
is deleted: the archive is the audit trail.
"""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from execution.config import ServiceConfig, clock_of
from execution.fix.session import Crash, no_crash
from execution.journal import encoded_frames
from execution.lock import InstanceLock
from execution.outbox import CONSUMER
from execution.records import decode, encode
from execution.recovery import Recovered, recover
from execution.reports import Origin, Projection, origin_of
from execution.segments import (
    HEADER_BYTES,
    Position,
    base_of,
    header_of,
    read,
    segment_path,
    segments,
    sync_directory,
)
from execution.snapshot import records_of
from ops_store.store import OpsStore

ARCHIVE = "archive"


class Compacted(msgspec.Struct, frozen=True):
    """What became of the journal; ``refusal`` says why it was left as it is."""

    bytes_before: int
    bytes_after: int
    refusal: str = ""


def journal_bytes(directory: Path) -> int:
    """Return the size of the segments that a start reads."""
    return sum(segment_path(directory, one).stat().st_size for one in segments(directory))


def compact(
    directory: Path,
    recovered: Recovered,
    *,
    origin: Origin,
    copied_up_to: Position,
    acknowledged: int,
    now_ns: int,
    crash: Crash = no_crash,
) -> Compacted:
    """Replace the journal by a snapshot of its state, or say why not.

    Parameters
    ----------
    directory : Path
        The journal; the caller holds the instance lock.
    recovered : Recovered
        Its state and its end.
    origin : Origin
        What the service writes into reports.
    copied_up_to : Position
        The last report that the operations store holds.
    acknowledged : int
        The last sequence that the operations store knows to be received.
    now_ns : int
        The platform's instant: keys and orders of decisions still valid then are kept.
    """
    before = journal_bytes(directory)
    refusal = _refusal(directory, recovered, origin, copied_up_to, acknowledged)
    if refusal:
        return Compacted(before, before, refusal)
    fresh = recovered.end[0] + 1
    payloads = [encode(record) for record in records_of(recovered.state, now_ns)]
    frames, _ = encoded_frames(fresh, HEADER_BYTES, payloads)
    draft = segment_path(directory, fresh).with_suffix(".draft")
    with draft.open("wb") as file:
        file.write(header_of(fresh) + frames)
        file.flush()
        os.fsync(file.fileno())
    crash("snapshot_written")
    draft.rename(segment_path(directory, fresh))
    sync_directory(directory)
    crash("snapshot_renamed")
    archive_old(directory, crash)
    return Compacted(before, journal_bytes(directory))


def _refusal(
    directory: Path,
    recovered: Recovered,
    origin: Origin,
    copied_up_to: Position,
    acknowledged: int,
) -> str:
    state = recovered.state
    if state.open:
        return f"{len(state.open)} orders are not terminal"
    if state.pending:
        return f"{len(state.pending)} decisions are not judged yet"
    if acknowledged < state.last_sequence:
        return f"sequence {state.last_sequence} is not acknowledged"
    projection, last = Projection(origin), (0, 0)
    for position, payload in read(directory, (base_of(directory), 0), recovered.end):
        if projection.fold(position, decode(payload)):
            last = position
    if copied_up_to < last:
        return f"report {last[0]}-{last[1]} is not in the operations store"
    return ""


def archive_old(directory: Path, crash: Crash = no_crash) -> int:
    """Move what lies before the newest snapshot to the archive; return how many segments."""
    old = [one for one in segments(directory) if one < base_of(directory)]
    if not old:
        return 0
    archive = directory / ARCHIVE
    archive.mkdir(mode=0o700, exist_ok=True)
    for segment in old:
        path = segment_path(directory, segment)
        path.rename(archive / path.name)
        crash(f"archived:{segment}")
    sync_directory(archive)
    sync_directory(directory)
    return len(old)


def tidy(directory: Path) -> None:
    """Finish what a crash interrupted: drop unfinished snapshots, archive what one replaced."""
    directory.mkdir(parents=True, exist_ok=True)
    for draft in directory.glob("*.draft"):
        draft.unlink()
    archive_old(directory)


def compact_stopped(config: ServiceConfig) -> Compacted:
    """Compact the journal of a service that does not run, whatever its size.

    Raises
    ------
    LockHeldError
        When the service runs.
    """
    directory = Path(config.state_dir) / "journal"
    clock = clock_of(config)
    with InstanceLock(Path(config.state_dir)):
        tidy(directory)
        recovered = recover(directory, config.opening_lots)
        store = OpsStore.open(config.ops_store_url, clock)
        try:
            return compact_with(store, config, directory, recovered, clock.now_ns())
        finally:
            store.close()


def compact_with(
    store: OpsStore,
    config: ServiceConfig,
    directory: Path,
    recovered: Recovered,
    now_ns: int,
    crash: Crash = no_crash,
) -> Compacted:
    """Compact a journal as far as its operations store allows it."""
    return compact(
        directory,
        recovered,
        origin=origin_of(config),
        copied_up_to=store.last_report_position(),
        acknowledged=store.cursor(CONSUMER),
        now_ns=now_ns,
        crash=crash,
    )
