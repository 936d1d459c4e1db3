"""A vendor's new file starts a run of what it changes, and of nothing else."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from pathlib import Path

import dagster as dg
import msgspec

from contracts.envelope import digest
from contracts.errors import SourceError
from domain.market_data.changes import first_changed_month
from domain.market_data.instruments import read_symbols
from domain.market_data.normalise import read_lines, read_rows
from orchestration.base.market import desk_of
from orchestration.base.partitions import monthly
from orchestration.base.settings import Settings
from sensors.cursors import (
    CHANGED,
    SETTLED_S,
    WAITING,
    arrival_sensor,
    cursor_text,
    read_cursor,
    skip,
)
from sensors.incidents import open_incident
from sensors.restatements import run_request
from sources.file_drops import EMBEDDED_BARS, EMBEDDED_SYMBOLS, RawDrop, vendor_drops
from sources.market_data.acceptances import as_allowed, how_to_accept
from sources.market_data.desk import Desk
from sources.market_data.refusals import require_vendor_bars

KIND = "vendor_file_unusable"
ACCEPTED = "accepted by a person"
NAMES = (EMBEDDED_BARS, EMBEDDED_SYMBOLS)

# Size and time of last change of each file: what can be known of it without reading it.
Look = dict[str, tuple[int, int]]


class Cursor(msgspec.Struct, frozen=True):
    """What the sensor has seen: files only looked at, files handled, and what it asked for last."""

    looked: Look = {}
    handled: Look = {}
    # SHA-256 by file name of the last files that a run was asked for.
    sha256: dict[str, str] = {}
    arrivals: int = 0
    first_month: str | None = None


def arrivals(settings: Settings) -> dg.SensorDefinition:
    """Return the sensor; its cursor holds all that it knows of the files."""

    @arrival_sensor(
        "arrivals",
        "Takes in the vendor's new file: `daily` when it only adds to the newest "
        "month, `restate` from the first month that it changes otherwise.",
    )
    def sensor(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        if not desk_of(settings).reads_vendor_files:
            return dg.SkipReason("The bars are those of the sources of sources.toml.")
        if settings.vendor_dir is None:
            return dg.SkipReason(
                "The embedded data never arrives: QUANTIVISTA_VENDOR_DIR is unset."
            )
        cursor = read_cursor(context, Cursor)
        look = _look(settings, settings.vendor_dir)
        absent = [name for name in NAMES if name not in look]
        if absent:
            return dg.SkipReason(f"{settings.vendor_dir} has no {', no '.join(absent)}.")
        if look == cursor.handled:
            return dg.SkipReason("No new file.")
        if look != cursor.looked or is_young(look):
            return skip(WAITING, cursor, looked=look)
        try:
            drops = vendor_drops(settings.vendor_dir)
            if _look(settings, settings.vendor_dir) != look:
                return skip(CHANGED, cursor)
            return _asked(context, settings, msgspec.structs.replace(cursor, handled=look), drops)
        except SourceError as error:
            if _look(settings, settings.vendor_dir) != look:
                return skip(CHANGED, cursor)
            return skip(refused(settings, error), cursor, handled=look)

    return sensor


def _look(settings: Settings, directory: Path) -> Look:
    """Return the files' look; a refused file that a person has accepted since looks different."""
    desk = desk_of(settings)
    accepted = len(desk.acceptances(desk.vendor.name).rows())
    return look_at(directory) | ({ACCEPTED: (accepted, 0)} if accepted else {})


def look_at(directory: Path) -> Look:
    """Return size in bytes and time of last change in nanoseconds of the files that are there."""
    found = {}
    for name in NAMES:
        try:
            status = (directory / name).stat()
        except FileNotFoundError:
            continue
        found[name] = (status.st_size, status.st_mtime_ns)
    return found


def is_young(look: Look) -> bool:
    """Tell whether a file changed within the last seconds, by the machine's clock as files are."""
    return any(0 <= time.time() - changed_ns / 1e9 < SETTLED_S for _, changed_ns in look.values())


def refused(settings: Settings, error: SourceError) -> str:
    """Open an incident for files that cannot be used, and return why no run starts."""
    directory = Path(str(settings.vendor_dir))
    hashes = [f"{name} {_sha256(directory / name)}" for name in NAMES]
    how = how_to_accept(error.rule, directory.name, _sha256(directory / EMBEDDED_BARS))
    incident = open_incident(
        settings, kind=KIND, subject=str(settings.vendor_dir),
        detail=f"{error.message}\n{error.remedy}\n" + "\n".join([*hashes, how.strip()]),
    )  # fmt: skip
    return (
        f"Incident {incident.incident_id[:12]}: {error.message} No run starts until it is mended."
        f"{how}"
    )


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        return f"cannot be read: {error.strerror}"


def _asked(
    context: dg.SensorEvaluationContext, settings: Settings, cursor: Cursor, drops: list[RawDrop]
) -> dg.SensorResult:
    """Return the run that takes the files in, or why none is needed."""
    bars, symbols = drops
    found = {drop.name: drop.sha256 for drop in drops}
    months = monthly(settings).get_partition_keys()
    before = cursor.sha256 or _ingested(settings)
    if found == before:
        return skip("The files are those that were taken in last.", cursor, sha256=found)
    read_symbols(symbols.data)
    desk = desk_of(settings)
    store = desk.store
    changed = _first_changed(bars, before.get(EMBEDDED_BARS), desk, months)
    if changed is None and before.get(EMBEDDED_SYMBOLS) == symbols.sha256:
        return skip("What changed lies outside the months until now.", cursor)
    # Kept now, so that the next file can be compared even if this one's run never reads it.
    for drop in drops:
        store.put(drop)
    content = digest(tuple(sorted(found.items())))
    before_it = (cursor.sha256.get(EMBEDDED_BARS, ""), cursor.first_month)
    request, start = run_request(
        context, settings, changed=changed or months[-1], months=months, sha256=bars.sha256,
        # Numbered, because a vendor that takes a file back sends the same content a second time.
        run_key=f"{content}-{cursor.arrivals + 1}",
        asked_before=None if before_it[1] is None else (before_it[0], before_it[1]),
    )  # fmt: skip
    asked = msgspec.structs.replace(
        cursor, sha256=found, arrivals=cursor.arrivals + 1, first_month=start
    )
    return dg.SensorResult(run_requests=[request], cursor=cursor_text(asked))


def _first_changed(
    bars: RawDrop, before: str | None, desk: Desk, months: Sequence[str]
) -> str | None:
    if before == bars.sha256:
        return None
    kept, source = None, desk.vendor.name
    if before is not None and desk.store.path_of(before).exists():
        kept = desk.kept(source, bars.name, before).data
    allowed = desk.acceptances(source).allowed(bars.sha256)
    old = None if kept is None else read_lines(kept)
    changed = first_changed_month(read_lines(as_allowed(bars, allowed).data), old, months)
    require_vendor_bars(bars, allowed, None if kept is None else read_rows(kept))
    return changed


def _ingested(settings: Settings) -> dict[str, str]:
    desk = desk_of(settings)
    return {row.name: row.sha256 for row in desk.receipts(desk.vendor.name).rows()}
