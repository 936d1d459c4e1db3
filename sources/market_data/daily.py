"""What one source has said of daily bars, drop by drop, in the order in which they came."""

from __future__ import annotations

import contextlib
import datetime as dt
import shutil
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec
import polars as pl

from contracts.clock import utc_datetime
from contracts.envelope import digest
from contracts.errors import SourceError
from domain.market_data.deliveries import require_delivery, require_version
from domain.market_data.normalise import Normalised, coverage_of, normalise
from domain.market_data.reference import with_permanent_ids
from domain.market_data.revisions import (
    BarHistory,
    Delivery,
    as_of,
    nothing_known,
    revise,
    without_history,
)
from domain.market_data.sessions import SessionTimes
from domain.market_data.vendor_reconciliation import prefer
from sources.file_drops import DropStore, RawDrop, make_drop
from sources.market_data.acceptances import (
    Acceptance,
    Arrival,
    arrivals,
    as_allowed,
    how_to_accept,
)
from sources.market_data.frames import DAILY, QUARANTINE
from sources.market_data.protocol import MarketDataSource, Reading
from sources.market_data.receipts import Receipt

# What a kept history rests on apart from the drops: other logic reads them all again.
LOGIC_VERSION = "daily-1"
UNFINISHED = "new-"
# A year of the calendar tells it from another one.
PROBE = (dt.date(2010, 1, 1), dt.date(2010, 12, 31))
# The line of a row that is about the file as a whole.
WHOLE_FILE = 0
# Rows outside are no prices of a stock exchange, and the calendars know no more.
FIRST_DAY, LAST_DAY = dt.date(1900, 1, 1), dt.date(2099, 12, 31)

# The sessions of a span of days.
Calendar = Callable[[dt.date, dt.date], Sequence[SessionTimes]]


class DailyHistory(NamedTuple):
    """All revisions of a source, and the lines of its files that no computation may use.

    ``quarantine`` has the lines of each file's
    newest version, with ``drop_name``; a drop that is refused as a whole is one row of it, line 0.
    """

    revisions: pl.DataFrame
    quarantine: pl.DataFrame


def daily_history(
    source: MarketDataSource,
    receipts: Sequence[Receipt],
    store: DropStore,
    calendar: Calendar,
    kept: Path,
    acceptances: Sequence[Acceptance] = (),
) -> DailyHistory | None:
    """Read the daily drops of a source; None where it has sent none.

    Parameters
    ----------
    receipts : sequence of Receipt
        Of all its drops, the oldest first.
    calendar : callable
        Gives the sessions of a span of days. Which of them have closed is not asked here: rows of
        later sessions are left out by whoever reads the history.
    kept : Path
        Directory in which the history up to the last drop is kept, so that only new drops are read.
        It may be deleted at any time.
    acceptances : sequence of Acceptance
        Of files that had been refused, the oldest first.
    """
    daily = [one for one in arrivals(receipts, acceptances) if source.is_daily(one.receipt.name)]
    if not daily:
        return None
    states = _states(source, daily, calendar)
    n_read, history, quarantine = _resumed(kept, states)
    refused = set(quarantine.filter(source_seq=WHOLE_FILE)["raw_sha256"])
    for number in range(n_read, len(daily)):
        receipt = daily[number].receipt
        usable = [one for one in daily[:number] if one.receipt.sha256 not in refused]
        found = _read(source, daily[number], usable, store, calendar)
        lines = found.quarantine.with_columns(pl.lit(receipt.name).alias("drop_name"))
        # Of a file that comes again with a person's acceptance, what was said before is settled.
        whole = (pl.col("raw_sha256") == receipt.sha256) & (pl.col("source_seq") == WHOLE_FILE)
        quarantine = quarantine.filter(~whole)
        refused.discard(receipt.sha256)
        if found.bars is None:
            # What it may have meant to change stays as it was.
            refused.add(receipt.sha256)
        else:
            earlier = [one.receipt for one in daily[:number]]
            history = revise(
                history, found.bars, _delivery(source, receipt, earlier),
                _closes_ns(calendar, found.bars, history.newest),
                repeated=found.repeated, unread=_keys(found.quarantine),
            )  # fmt: skip
            quarantine = quarantine.filter(
                (pl.col("drop_name") != receipt.name) | (pl.col("source_seq") == WHOLE_FILE)
            )
        quarantine = pl.concat([quarantine, lines])
    if n_read < len(daily):
        _keep(kept, states[-1], history, quarantine)
    return DailyHistory(history.revisions, quarantine)


def known_at(
    histories: Mapping[str, DailyHistory], instant: dt.datetime, sessions: pl.Series
) -> tuple[Normalised, pl.DataFrame]:
    """Return what all sources together said until an instant, and all their revisions.

    Parameters
    ----------
    histories : mapping of str to DailyHistory
        By source, the preferred one first.
    sessions : pl.Series
        The sessions that have closed; rows of others are left out.

    Raises
    ------
    SourceError
        When no source has sent anything.
    """
    if not histories:
        raise SourceError(
            "No daily file has come from any source.",
            remedy="run `quantivista sources fetch`, or materialise the source's drops",
        )
    closed = pl.col("session") <= sessions.max()
    revisions = pl.concat(one.revisions for one in histories.values()).filter(
        closed, pl.col("knowledge_time") <= instant
    )
    # The same bytes under two names have the same lines.
    quarantine = pl.concat(
        one.quarantine.filter(closed.fill_null(value=True)).drop("drop_name")
        for one in histories.values()
    ).unique(["raw_sha256", "source_seq"], keep="first", maintain_order=True)
    bars = prefer(_said(revisions, instant, histories), list(histories))
    return Normalised(bars, quarantine, coverage_of(bars, quarantine, sessions)), revisions


def bars_by_source(
    histories: Mapping[str, DailyHistory],
    instant: dt.datetime,
    sessions: pl.Series,
    spells: pl.DataFrame,
) -> dict[str, pl.DataFrame]:
    """Return what each source said until an instant, by permanent ids; see ``known_at``."""
    closed = pl.col("session") <= sessions.max()
    revisions = pl.concat(one.revisions for one in histories.values()).filter(closed)
    said = _said(revisions, instant, histories)
    return {name: with_permanent_ids(bars, spells) for name, bars in said.items()}


def _said(
    revisions: pl.DataFrame, instant: dt.datetime, names: Iterable[str]
) -> dict[str, pl.DataFrame]:
    known = without_history(as_of(revisions, instant))
    return {name: known.filter(pl.col("source") == name) for name in names}


class _Read(NamedTuple):
    """A drop's usable bars, None where it is refused; its other lines; what it had said before."""

    bars: pl.DataFrame | None
    quarantine: pl.DataFrame
    repeated: pl.DataFrame | None = None


def _read(
    source: MarketDataSource, arrival: Arrival, usable: Sequence[Arrival], store: DropStore,
    calendar: Calendar,
) -> _Read:  # fmt: skip
    """Read a drop and judge it beside its last version, or beside the day before it."""
    receipt = arrival.receipt
    drop = _drop(arrival, store)
    dated = source.written_ns(receipt.name) is not None
    versions = [one for one in usable if one.receipt.name == receipt.name]
    before = (usable if dated else versions)[-1:]
    try:
        reading = source.read(drop)
        for other in before:
            rows_before = source.read(_drop(other, store)).rows
            _require_whole(reading.rows, rows_before, arrival.allowed.rules, dated=dated)
        bars, lines = _judged(source, drop, reading, receipt, calendar)
        repeated = None
        for other in versions[-1:]:
            earlier = _drop(other, store)
            repeated, _ = _judged(source, earlier, source.read(earlier), other.receipt, calendar)
    except SourceError as error:
        return _refused(drop, rule_of(error), error.message)
    except pl.exceptions.PolarsError as error:
        # One file that nobody foresaw may not stop all others.
        return _refused(drop, rule_of(None), str(error)[:500])
    return _Read(bars, lines, repeated)


def _refused(drop: RawDrop, rule: str, why: str) -> _Read:
    why += how_to_accept(rule, drop.source, drop.sha256)
    whole = {"source_seq": WHOLE_FILE, "reason": rule, "raw": why, "source": drop.source,
             "raw_sha256": drop.sha256}  # fmt: skip
    return _Read(None, pl.DataFrame([whole], schema=QUARANTINE))


def _require_whole(
    rows: pl.DataFrame, before: pl.DataFrame, accepted: frozenset[str], *, dated: bool
) -> None:
    """Refuse a part of a file. Archives of single days are compared by their fullest session."""
    if dated:
        fullest = [_fullest(frame) for frame in (rows, before)]
        require_delivery(None, *fullest, accepted=accepted)
        return
    require_version(None, rows, before, accepted=accepted)


def _fullest(rows: pl.DataFrame) -> pl.DataFrame:
    days = rows["date"].value_counts(sort=True).head(1)["date"]
    return rows.filter(pl.col("date").is_in(days.implode()))


def _judged(
    source: MarketDataSource, drop: RawDrop, reading: Reading, receipt: Receipt, calendar: Calendar
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return a drop's usable bars, and all its other lines."""
    times = _sessions_around(reading.rows, calendar)
    judged = normalise(
        reading.rows, source=drop.source, sha256=drop.sha256,
        sessions=pl.Series("session", [entry.session for entry in times], dtype=pl.Date),
        volume_unit_shares=source.volume_unit_shares, price_basis=source.price_basis,
        received=_written_day(source, receipt),
    )  # fmt: skip
    lines = judged.quarantine.select(list(QUARANTINE))
    return judged.bars, pl.concat([reading.quarantine, lines])


def _keys(lines: pl.DataFrame) -> pl.DataFrame:
    """Return the bars that a drop's unusable lines speak of, as far as they say."""
    symbol = pl.col("symbol").str.replace_all("-", ".", literal=True)
    return lines.select((pl.lit("US.") + symbol).alias("instrument_id"), "session").drop_nulls()


def _closes_ns(calendar: Calendar, *frames: pl.DataFrame) -> dict[dt.date, int]:
    """Return the closes of all sessions of some bars: a file may withdraw what it said long ago."""
    days = pl.concat(frame["session"] for frame in frames)
    first, last = days.min(), days.max()
    if not isinstance(first, dt.date) or not isinstance(last, dt.date):
        return {}
    times = calendar(first.replace(month=1, day=1), dt.date(last.year + 1, 1, 31))
    return {entry.session: entry.close_ns for entry in times}


def rule_of(error: SourceError | None) -> str:
    """Return the rule that a whole file breaks: one of its own, or that it cannot be read."""
    return (error.rule if error else None) or "unreadable_file"


def _drop(arrival: Arrival, store: DropStore) -> RawDrop:
    receipt = arrival.receipt
    drop = make_drop(receipt.source, receipt.name, store.get(receipt.sha256))
    return as_allowed(drop, arrival.allowed)


def _delivery(source: MarketDataSource, receipt: Receipt, earlier: Sequence[Receipt]) -> Delivery:
    """Return when a drop's rows were known.

    A source begins with a history: of its first fetch, each row counts as known at its session's
    close, or when the vendor wrote it. A version that comes again was known when it came.
    """
    written_ns = source.written_ns(receipt.name)
    begins = all(row.received_ns == receipt.received_ns for row in earlier[:1])
    initial = begins and all(row.name != receipt.name for row in earlier)
    known_ns = receipt.received_ns
    if written_ns is not None:
        known_ns = written_ns if initial else max(written_ns, receipt.received_ns)
    return Delivery(
        number=len(earlier) + 1, name=receipt.name, known_ns=known_ns, written_ns=written_ns,
        is_initial=initial and written_ns is None,
    )  # fmt: skip


def _written_day(source: MarketDataSource, receipt: Receipt) -> dt.date | None:
    """Return the day of writing. The one of receipt is the platform's, which may be in a replay."""
    written_ns = source.written_ns(receipt.name)
    # An instant that ends a day is midnight of the next one.
    return None if written_ns is None else utc_datetime(written_ns - 1).date()


def _sessions_around(rows: pl.DataFrame, calendar: Calendar) -> Sequence[SessionTimes]:
    """Return the sessions of the rows' years and of the month after them.

    A row of a day after the last session that is asked for would be taken for one that is not known
    yet. Whole years, because a calendar is made once for each span.
    """
    days = rows["date"].str.to_date("%Y%m%d", strict=False).drop_nulls()
    inside = days.filter(days.is_between(FIRST_DAY, LAST_DAY))
    first, last = inside.min(), inside.max()
    if not isinstance(first, dt.date) or not isinstance(last, dt.date):
        return ()
    return calendar(first.replace(month=1, day=1), dt.date(last.year + 1, 1, 31))


def _states(source: MarketDataSource, daily: Sequence[Arrival], calendar: Calendar) -> list[str]:
    """Return after each drop what the history up to it rests on, chained from the first drop on.

    How the source is read counts too: a mended mapping of columns reads all drops again.
    """
    config = getattr(source, "config", None)
    settings = {} if config is None else msgspec.structs.asdict(config)
    how = sorted((name, repr(value)) for name, value in settings.items() if name != "path")
    year = [entry.session.isoformat() for entry in calendar(*PROBE)]
    chain = digest(
        (LOGIC_VERSION, type(source).__name__, source.price_basis, source.volume_unit_shares, how,
         year)
    )  # fmt: skip
    states = []
    for receipt, allowed in daily:
        chain = digest((chain, receipt.name, receipt.sha256, receipt.received_ns))
        if allowed.rules:
            chain = digest((chain, sorted(allowed.rules), allowed.header))
        states.append(chain)
    return states


def _resumed(kept: Path, states: Sequence[str]) -> tuple[int, BarHistory, pl.DataFrame]:
    """Return how many drops the newest kept history that fits has read, and that history."""
    for number in range(len(states), 0, -1):
        place = kept / states[number - 1]
        if not place.is_dir():
            continue
        try:
            frames = {path.stem: pl.read_parquet(path) for path in place.glob("*.parquet")}
            quarantine = frames.pop("quarantine")
            return number, BarHistory(**frames), quarantine
        except (OSError, KeyError, TypeError, pl.exceptions.PolarsError):
            # Forgotten by another process, or damaged: it is read again from the drops.
            continue
    nothing = normalise(
        pl.DataFrame(schema=DAILY), source="", sha256="", sessions=pl.Series(dtype=pl.Date)
    ).bars
    return 0, nothing_known(nothing), pl.DataFrame(schema=QUARANTINE | {"drop_name": pl.String})


def _keep(kept: Path, state: str, history: BarHistory, quarantine: pl.DataFrame) -> None:
    """Keep a history under its state, whole or not at all, and forget those before it.

    It only saves time: what another process does here at the same moment may make it fail.
    """
    with contextlib.suppress(OSError):
        kept.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=kept, prefix=UNFINISHED))
        for name, frame in ({"quarantine": quarantine} | history._asdict()).items():
            frame.write_parquet(temporary / f"{name}.parquet")
        with contextlib.suppress(OSError):
            # There already: the same inputs give the same history.
            temporary.rename(kept / state)
        shutil.rmtree(temporary, ignore_errors=True)
        for place in kept.iterdir():
            if place.name != state and not place.name.startswith(UNFINISHED):
                shutil.rmtree(place, ignore_errors=True)
