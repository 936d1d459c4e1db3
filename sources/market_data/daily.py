"""What one source has said of daily bars, drop by drop, in the order in which they came."""

from __future__ import annotations

import contextlib
import datetime as dt
import shutil
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import polars as pl

from contracts.clock import utc_datetime
from contracts.envelope import digest
from contracts.errors import SourceError
from domain.market_data.deliveries import require_delivery
from domain.market_data.normalise import Normalised, coverage_of, normalise
from domain.market_data.reference import with_permanent_ids
from domain.market_data.revisions import BarHistory, Delivery, as_of, nothing_known, revise
from domain.market_data.sessions import SessionTimes
from domain.market_data.vendor_reconciliation import prefer
from sources.file_drops import DropStore, RawDrop, make_drop
from sources.market_data.frames import DAILY, QUARANTINE
from sources.market_data.protocol import MarketDataSource
from sources.market_data.receipts import Receipt

# What a kept history rests on apart from the drops: other logic reads them all again.
LOGIC_VERSION = "daily-1"
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
    """
    daily = [receipt for receipt in receipts if source.is_daily(receipt.name)]
    if not daily:
        return None
    states = _states(source, daily)
    n_read, history, quarantine = _resumed(kept, states)
    refused = set(quarantine.filter(source_seq=WHOLE_FILE)["raw_sha256"])
    for number in range(n_read, len(daily)):
        receipt = daily[number]
        accepted = [row for row in daily[:number] if row.sha256 not in refused]
        found = _read(source, receipt, _before(source, receipt, accepted), store, calendar)
        lines = found.quarantine.with_columns(pl.lit(receipt.name).alias("drop_name"))
        if found.bars is None:
            # What it may have meant to change stays as it was.
            refused.add(receipt.sha256)
        else:
            history = revise(
                history, found.bars,
                _delivery(source, receipt, number + 1, daily[0]), found.closes_ns,
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
    revisions = pl.concat(one.revisions for one in histories.values()).filter(closed)
    quarantine = pl.concat(
        one.quarantine.filter(closed.fill_null(value=True)).drop("drop_name")
        for one in histories.values()
    )
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
    known = as_of(revisions, instant).drop("revision", "withdrawn", "delivery", "drop_name")
    return {name: known.filter(pl.col("source") == name) for name in names}


class _Read(NamedTuple):
    """A drop's usable bars, None where it is refused; its other lines; its sessions' closes."""

    bars: pl.DataFrame | None
    quarantine: pl.DataFrame
    closes_ns: dict[dt.date, int]


def _read(
    source: MarketDataSource, receipt: Receipt, before: Receipt | None, store: DropStore,
    calendar: Calendar,
) -> _Read:  # fmt: skip
    drop = _drop(receipt, store)
    try:
        _, rows, unreadable = source.read(drop)
        if before is not None:
            require_delivery(None, rows, source.read(_drop(before, store)).rows)
    except SourceError as error:
        whole = {"source_seq": WHOLE_FILE, "reason": rule_of(error), "raw": error.message,
                 "source": drop.source, "raw_sha256": drop.sha256}  # fmt: skip
        return _Read(None, pl.DataFrame([whole], schema=QUARANTINE), {})
    times = _sessions_around(rows, calendar)
    judged = normalise(
        rows, source=drop.source, sha256=drop.sha256,
        sessions=pl.Series("session", [entry.session for entry in times], dtype=pl.Date),
        volume_unit_shares=source.volume_unit_shares, price_basis=source.price_basis,
        received=_written_day(source, receipt),
    )  # fmt: skip
    refused = pl.concat([unreadable, judged.quarantine.select(list(QUARANTINE))])
    return _Read(judged.bars, refused, {entry.session: entry.close_ns for entry in times})


def rule_of(error: SourceError) -> str:
    """Return the rule that a whole file breaks: one of its own, or that it cannot be read."""
    return error.rule or "unreadable_file"


def _drop(receipt: Receipt, store: DropStore) -> RawDrop:
    return make_drop(receipt.source, receipt.name, store.get(receipt.sha256))


def _before(
    source: MarketDataSource, receipt: Receipt, accepted: Sequence[Receipt]
) -> Receipt | None:
    """Return the drop with which this one is to be compared: its last version, or the day before.

    Files that only share a source may be of any size.
    """
    dated = source.written_ns(receipt.name) is not None
    alike = [row for row in accepted if dated or row.name == receipt.name]
    return alike[-1] if alike else None


def _delivery(source: MarketDataSource, receipt: Receipt, number: int, first: Receipt) -> Delivery:
    written_ns = source.written_ns(receipt.name)
    return Delivery(
        number=number,
        name=receipt.name,
        known_ns=receipt.received_ns if written_ns is None else written_ns,
        # What the vendor dated itself was known then, also of its first drop.
        is_initial=written_ns is None and receipt.received_ns == first.received_ns,
    )


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


def _states(source: MarketDataSource, receipts: Sequence[Receipt]) -> list[str]:
    """Return after each drop what the history up to it rests on, chained from the first drop on."""
    chain = digest((LOGIC_VERSION, source.price_basis, source.volume_unit_shares))
    states = []
    for receipt in receipts:
        chain = digest((chain, receipt.name, receipt.sha256, receipt.received_ns))
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
    """Keep a history under its state, whole or not at all, and forget those before it."""
    kept.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=kept, prefix="new-"))
    frames = {"quarantine": quarantine} | history._asdict()
    for name, frame in frames.items():
        frame.write_parquet(temporary / f"{name}.parquet")
    with contextlib.suppress(OSError):
        # Another process kept the same: the same inputs give the same history.
        temporary.rename(kept / state)
    for place in kept.iterdir():
        if place.name != state:
            shutil.rmtree(place, ignore_errors=True)
