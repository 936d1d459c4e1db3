"""What one source has said of daily bars, drop by drop, in the order in which they came."""

from __future__ import annotations

import contextlib
import datetime as dt
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import polars as pl

from contracts.envelope import digest
from contracts.errors import SourceError
from domain.market_data.normalise import Normalised, coverage_of, normalise
from domain.market_data.revisions import BarHistory, Delivery, as_of, nothing_known, revise
from domain.market_data.sessions import SessionTimes
from sources.file_drops import DropStore, make_drop
from sources.market_data.frames import DAILY, QUARANTINE
from sources.market_data.protocol import MarketDataSource
from sources.market_data.receipts import Receipt

# What a kept history rests on apart from the drops: other logic reads them all again.
LOGIC_VERSION = "daily-1"
# Rows outside are no prices of a stock exchange, and the calendars know no more.
FIRST_DAY, LAST_DAY = dt.date(1900, 1, 1), dt.date(2099, 12, 31)

# The sessions of a span of days.
Calendar = Callable[[dt.date, dt.date], Sequence[SessionTimes]]


class DailyHistory(NamedTuple):
    """All revisions of a source, and the lines of its files that no computation may use.

    ``quarantine`` has the lines of each file's newest version, with ``drop_name``; a drop that
    cannot be read at all is one row of it, line 0.
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
    for number in range(n_read, len(daily)):
        receipt = daily[number]
        written_ns = source.written_ns(receipt.name)
        delivery = Delivery(
            number=number + 1,
            name=receipt.name,
            known_ns=receipt.received_ns if written_ns is None else written_ns,
            # What the vendor dated itself was known then, also of its first drop.
            is_initial=written_ns is None and receipt.received_ns == daily[0].received_ns,
        )
        bars, refused, closes_ns = _read(source, receipt, store, calendar)
        history = revise(history or nothing_known(bars), bars, delivery, closes_ns)
        refused = refused.with_columns(pl.lit(receipt.name).alias("drop_name"))
        if quarantine is not None:
            refused = pl.concat([quarantine.filter(pl.col("drop_name") != receipt.name), refused])
        quarantine = refused
    if history is None or quarantine is None:
        raise SourceError("A history was kept in part.", remedy=f"delete {kept}")
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
    bars = as_of(revisions, instant).drop("revision", "withdrawn", "delivery", "drop_name")
    return Normalised(bars, quarantine, coverage_of(bars, quarantine, sessions)), revisions


def _read(
    source: MarketDataSource, receipt: Receipt, store: DropStore, calendar: Calendar
) -> tuple[pl.DataFrame, pl.DataFrame, dict[dt.date, int]]:
    """Return a drop's usable bars, its other lines, and the closes of its sessions."""
    drop = make_drop(receipt.source, receipt.name, store.get(receipt.sha256))
    rows, unreadable = pl.DataFrame(schema=DAILY), pl.DataFrame(schema=QUARANTINE)
    try:
        _, rows, unreadable = source.read(drop)
    except SourceError as error:
        unreadable = pl.DataFrame(
            [{
                "source_seq": 0, "reason": "unreadable_file", "raw": error.message,
                "source": drop.source, "raw_sha256": drop.sha256,
            }],
            schema=QUARANTINE,
        )  # fmt: skip
    times = _sessions_around(rows, calendar)
    judged = normalise(
        rows, source=drop.source, sha256=drop.sha256,
        sessions=pl.Series("session", [entry.session for entry in times], dtype=pl.Date),
        volume_unit_shares=source.volume_unit_shares, price_basis=source.price_basis,
    )  # fmt: skip
    refused = pl.concat([unreadable, judged.quarantine.select(list(QUARANTINE))])
    return judged.bars, refused, {entry.session: entry.close_ns for entry in times}


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


def _resumed(
    kept: Path, states: Sequence[str]
) -> tuple[int, BarHistory | None, pl.DataFrame | None]:
    """Return how many drops the newest kept history that fits has read, and that history."""
    for number in range(len(states), 0, -1):
        place = kept / states[number - 1]
        if not place.is_dir():
            continue
        try:
            frames = [pl.read_parquet(place / f"{name}.parquet") for name in _FILES]
        except (OSError, pl.exceptions.PolarsError):
            # Forgotten by another process, or damaged: it is read again from the drops.
            continue
        return number, BarHistory(frames[0], frames[1]), frames[2]
    return 0, None, None


_FILES = ("revisions", "newest", "quarantine")


def _keep(kept: Path, state: str, history: BarHistory, quarantine: pl.DataFrame) -> None:
    """Keep a history under its state, whole or not at all, and forget those before it."""
    kept.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=kept, prefix="new-"))
    for name, frame in zip(_FILES, (*history, quarantine), strict=True):
        frame.write_parquet(temporary / f"{name}.parquet")
    with contextlib.suppress(OSError):
        # Another process kept the same: the same inputs give the same history.
        temporary.rename(kept / state)
    for place in kept.iterdir():
        if place.name != state:
            shutil.rmtree(place, ignore_errors=True)
