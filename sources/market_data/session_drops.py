"""What came for one session from all configured vendors: the newest drop of each name, read."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import msgspec
import polars as pl

from contracts.errors import QuantiVistaError
from domain.market_data.intraday.clock import TimeZoneShift, time_zone_shift
from domain.market_data.intraday.rules import judge, rules_for
from domain.market_data.sessions import SessionTimes
from sources.file_drops import DropStore, RawDrop
from sources.market_data.configuration import SessionConfig, SourceConfig
from sources.market_data.frames import QUARANTINE
from sources.market_data.protocol import Kind, Reading, SessionSource
from sources.market_data.receipts import Receipt, Receipts

# Sessions of a calendar, None for the desk's, from one day to another.
Calendar = Callable[[str | None, dt.date, dt.date], Sequence[SessionTimes]]
# What one drop's bytes can cause; it must not stop the others.
_ONE_DAY = dt.timedelta(days=1)
_FAILURES = (QuantiVistaError, pl.exceptions.PolarsError, pl.exceptions.PanicException)


class Came(NamedTuple):
    """Rows of one kind from one drop, or what of it is refused."""

    source: SessionSource
    receipt: Receipt
    kind: Kind | None
    rows: pl.DataFrame
    quarantine: pl.DataFrame


class _Kept(Mapping[str, RawDrop]):
    """A source's drops by name; their bytes are read when one is asked for, and not kept."""

    def __init__(self, store: DropStore, source: str, receipts: Mapping[str, Receipt]) -> None:
        self._store, self._source, self._receipts = store, source, receipts

    def __getitem__(self, name: str) -> RawDrop:
        sha256 = self._receipts[name].sha256
        return RawDrop(self._source, name, sha256, self._store.get(sha256))

    def __contains__(self, name: object) -> bool:
        return name in self._receipts

    def __iter__(self) -> Iterator[str]:
        return iter(self._receipts)

    def __len__(self) -> int:
        return len(self._receipts)


def session_sources(
    configs: Mapping[str, SourceConfig], environ: Mapping[str, str]
) -> dict[str, SessionSource]:
    """Return the opened sources whose drops hold single sessions, by name."""
    return {
        name: config.open(name, environ)
        for name, config in sorted(configs.items())
        if isinstance(config, SessionConfig)
    }


def newest_receipts(store: DropStore, name: str) -> dict[str, Receipt]:
    """Return a source's last receipt of each drop name, by name: a second one corrects the first.

    What came twice with the same bytes has one receipt, the first: bytes that come back after a
    correction do not replace it.
    """
    return {row.name: row for row in Receipts(store, name).rows()}


def session_drops(
    sources: Mapping[str, SessionSource],
    store: DropStore,
    day: dt.date,
    calendar: Calendar,
) -> Iterator[Came]:
    """Yield what the kept drops say of a day, drop by drop in the order of source and name.

    Rows that break a rule of ``domain.market_data.intraday.rules`` are in the quarantine, as are
    lines that the reader refused, and drops that cannot be read at all or whose times are another
    zone's (as line 0). Of a drop that
    is named for the day alone, everything is taken, and rows of other days are refused. Of others,
    the day's rows are taken, and what has no day of its own is of the day that the drop's first row
    has; without rows, of the middle of the days that its name can mean, or on which it came.

    Parameters
    ----------
    sources : mapping of str to SessionSource
        By the names under which their drops are kept.
    store : DropStore
        Where they are kept.
    day : date
        The session.
    calendar : callable
        Gives the sessions of a calendar from one day to another, both included.
    """
    for name, source in sources.items():
        receipts = {
            key: row
            for key, row in sorted(newest_receipts(store, name).items())
            if (days := source.days_of(key)) is None or day in days
        }
        drops = _Kept(store, name, receipts)
        # The night of another zone's day is in the day beside it.
        around = calendar(source.calendar, day - _ONE_DAY, day + _ONE_DAY)
        for receipt in receipts.values():
            yield from _from_drop(source, receipt, drops, day, around)


def _from_drop(
    source: SessionSource,
    receipt: Receipt,
    drops: Mapping[str, RawDrop],
    day: dt.date,
    around: Sequence[SessionTimes],
) -> Iterator[Came]:
    days = source.days_of(receipt.name)
    named, home = days == (day,), days[len(days) // 2] if days else _came_on(receipt)
    try:
        readings = source.read_session(drops[receipt.name], drops)
    except _FAILURES as error:
        if home == day:
            yield _unreadable(source, receipt, day, error)
        return
    try:
        found = list(_judged(source, receipt, readings, day, around, None if named else home))
    except _FAILURES as error:
        found = [_unreadable(source, receipt, day, error)]
    yield from found


def _judged(
    source: SessionSource,
    receipt: Receipt,
    readings: list[Reading],
    day: dt.date,
    around: Sequence[SessionTimes],
    home: dt.date | None,
) -> Iterator[Came]:
    """Yield the day's rows and what of them is refused; all rows where there is no ``home``."""
    hours = next((times for times in around if times.session == day), None)
    taken, shift = [], None
    first = min(
        (found for reading in readings if (found := _first_session(reading)) is not None),
        default=home,
    )
    for kind, rows, lost in readings:
        if home is not None:
            rows = rows.filter(pl.col("session") == day)
            lost = lost.filter(pl.col("session").fill_null(first) == day)
        taken.append(Reading(kind, rows, lost))
        shift = shift or time_zone_shift(rows, around)
    if shift is not None:
        yield _shifted(source, receipt, day, shift)
        return
    for kind, rows, lost in taken:
        rules = rules_for(
            kind, day, hours=hours, known_ns=receipt.received_ns,
            regular_hours_only=source.regular_hours_only,
        )  # fmt: skip
        judged = judge(rows, rules)
        quarantine = pl.concat([lost, _refused(receipt, judged.refused)])
        yield Came(source, receipt, kind, judged.usable, quarantine)


def _came_on(receipt: Receipt) -> dt.date:
    return dt.datetime.fromtimestamp(receipt.received_ns // 10**9, dt.UTC).date()


def _first_session(reading: Reading) -> dt.date | None:
    found = reading.rows["session"].min()
    return found if isinstance(found, dt.date) else None


def _unreadable(
    source: SessionSource, receipt: Receipt, day: dt.date, error: BaseException
) -> Came:
    why = error.message if isinstance(error, QuantiVistaError) else str(error)
    return _whole(source, receipt, day, "unreadable_drop", why)


def _shifted(source: SessionSource, receipt: Receipt, day: dt.date, shift: TimeZoneShift) -> Came:
    way = "after" if shift.hours > 0 else "before"
    why = (
        f"the times lie {abs(shift.hours)} h {way} the exchange's: {shift.share_as_stamped:.0%} of "
        f"the volume is within the session, without that {shift.share_shifted:.0%}"
    )
    return _whole(source, receipt, day, "changed_time_zone", why)


def _whole(source: SessionSource, receipt: Receipt, day: dt.date, rule: str, why: str) -> Came:
    """Refuse a whole drop: line 0 says why."""
    row = (0, None, day, rule, why, receipt.source, receipt.sha256)
    refused = pl.DataFrame([row], schema=QUARANTINE, orient="row")
    return Came(source, receipt, None, pl.DataFrame(), refused)


def _refused(receipt: Receipt, rows: pl.DataFrame) -> pl.DataFrame:
    """Return refused rows as the quarantine has them: ``raw`` is what was understood, as JSON."""
    raw = [
        msgspec.json.encode({name: _shown(value) for name, value in row.items()}).decode()
        for row in rows.drop("reason").iter_rows(named=True)
    ]
    return rows.select(
        pl.col("line").alias("source_seq"), "symbol", "session", "reason",
        pl.Series("raw", raw, dtype=pl.String), pl.lit(receipt.source).alias("source"),
        pl.lit(receipt.sha256).alias("raw_sha256"),
    )  # fmt: skip


def _shown(value: object) -> object:
    # JSON has no infinity: it would be written as null.
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
