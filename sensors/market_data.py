"""New files of the desk's own sources start a run of what they change, and of nothing else."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

import dagster as dg
import msgspec
import polars as pl

from contracts.clock import datetime_ns
from contracts.envelope import digest
from contracts.errors import SourceError
from domain.market_data.revisions import first_revised_month
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
from sources.market_data.daily import WHOLE_FILE
from sources.market_data.desk import Desk
from sources.market_data.protocol import Refusal, Window
from sources.market_data.reception import receive

KIND = "source_refused"


class Cursor(msgspec.Struct, frozen=True):
    """What the sensor has seen of each source's directory, and what it asked for last."""

    looked: dict[str, str] = {}
    handled: dict[str, str] = {}
    # Daily drops of each source that a run was asked for.
    deliveries: dict[str, int] = {}
    content: str = ""
    first_month: str = ""
    arrivals: int = 0


def market_data(settings: Settings) -> dg.SensorDefinition:
    """Return the sensor; its cursor holds all that it knows of the files."""

    @arrival_sensor(
        "market_data",
        "Takes in new files of the sources that the daily bars are made of: `daily` "
        "when they only add to the newest month, `restate` from the first month that they change.",
    )
    def sensor(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        desk = desk_of(settings)
        watched = {} if desk.reads_vendor_files else watched_directories(desk)
        if not watched:
            return dg.SkipReason("No source of the daily bars is a directory: see `[bars] daily`.")
        cursor = read_cursor(context, Cursor)
        looks, newest_ns = look_at(watched, desk)
        if looks == cursor.handled:
            return dg.SkipReason("No new file.")
        if looks != cursor.looked or 0 <= time.time() - newest_ns / 1e9 < SETTLED_S:
            return skip(WAITING, cursor, looked=looks)
        refused = _take_in(settings, desk, watched)
        if look_at(watched, desk)[0] != looks:
            return skip(CHANGED, cursor)
        _tell(settings, refused)
        return _asked(context, settings, desk, msgspec.structs.replace(cursor, handled=looks))

    return sensor


def watched_directories(desk: Desk) -> dict[str, Path]:
    """Return the directories of the daily bars' sources, by source."""
    paths = {name: getattr(desk.configured[name], "path", None) for name in desk.daily_order}
    return {name: path for name, path in paths.items() if path is not None}


def look_at(watched: Mapping[str, Path], desk: Desk) -> tuple[dict[str, str], int]:
    """Return what can be known of each directory without reading a file, and its last change.

    A refused file that a person has accepted since is a change, too.
    """
    looks, newest_ns = {}, 0
    for name, root in watched.items():
        seen = []
        for path in sorted(root.rglob("*")):
            try:
                status = path.stat()
            except FileNotFoundError:
                continue
            if path.is_file():
                seen.append((str(path.relative_to(root)), status.st_size, status.st_mtime_ns))
                newest_ns = max(newest_ns, status.st_mtime_ns)
        accepted = len(desk.acceptances(name).rows())
        looks[name] = digest((seen, accepted) if accepted else seen)
    return looks, newest_ns


def _take_in(settings: Settings, desk: Desk, watched: Mapping[str, Path]) -> list[str]:
    """Keep the bytes of all files, and return what was refused."""
    window = Window(settings.history_start, settings.last_session())
    refused, now_ns = [], datetime_ns(settings.instant())
    for name in watched:
        try:
            found = receive(desk.source(name), desk.receipts(name), window, [], now_ns=now_ns)
            refused += [
                f"{name}: {row.name} {row.reason}" for row in found if isinstance(row, Refusal)
            ]
        except SourceError as error:
            refused.append(f"{name}: {error.message} {error.remedy}")
    return refused


def _tell(settings: Settings, refused: list[str]) -> None:
    if refused:
        open_incident(
            settings, kind=KIND, subject=f"{len(refused)} files of the desk's sources",
            detail="\n".join(refused),
        )  # fmt: skip


def _asked(
    context: dg.SensorEvaluationContext, settings: Settings, desk: Desk, cursor: Cursor
) -> dg.SensorResult:
    """Return the run that takes the files in, or why none is needed."""
    months = monthly(settings).get_partition_keys()
    histories = desk.daily(settings.times_between)
    changed = [
        first_revised_month(
            history.revisions.filter(pl.col("session") <= settings.last_session()),
            after=cursor.deliveries.get(name, 0), months=months,
        )
        for name, history in histories.items()
    ]  # fmt: skip
    deliveries = {
        name: int(str(history.revisions["delivery"].max() or 0))
        for name, history in histories.items()
    }
    _tell(settings, [
        f"{name}: {row['drop_name']} breaks {row['reason']}: {row['raw']}"
        for name, history in histories.items()
        for row in history.quarantine.filter(source_seq=WHOLE_FILE).iter_rows(named=True)
    ])  # fmt: skip
    first = min((month for month in changed if month is not None), default=None)
    if first is None:
        return skip("The files change no bar of the months until now.", cursor)
    content = digest(deliveries | cursor.handled)
    request, start = run_request(
        context, settings, changed=first, months=months, sha256=content,
        run_key=f"{content}-{cursor.arrivals + 1}",
        asked_before=(cursor.content, cursor.first_month) if cursor.content else None,
    )  # fmt: skip
    asked = msgspec.structs.replace(
        cursor, deliveries=deliveries, content=content, first_month=start,
        arrivals=cursor.arrivals + 1,
    )  # fmt: skip
    return dg.SensorResult(run_requests=[request], cursor=cursor_text(asked))
