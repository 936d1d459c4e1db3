"""Bars built from trades."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from contracts.errors import SourceError
from domain.market_data.intraday.sale_conditions import Role, SaleConditions

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
SCHEMA = {
    "symbol": pl.String, "session": pl.Date, "start_ns": pl.Int64, "end_ns": pl.Int64,
    **dict.fromkeys(("open", "high", "low", "close", "volume", "vwap"), pl.Float64),
    "trades": pl.Int64,
}  # fmt: skip


class _Runs(NamedTuple):
    """Neighbouring rows that belong together: where each run begins, and each row's run."""

    starts: Ints
    of_row: Ints


def bars_from_trades(
    trades: pl.DataFrame, period_ns: int, conditions: SaleConditions
) -> pl.DataFrame:
    """Return open, high, low, close, volume, VWAP and number of trades per period.

    Trades that are suspicious, or by their conditions no trades, are left out; of the others, the
    volume is in exactly one bar. Sums are taken in the order of the trades, so the same trades
    give the same bits.

    Parameters
    ----------
    trades : pl.DataFrame
        ``symbol``, ``session``, ``time_ns``, ``price``, ``size``, ``conditions``, ``suspicious``
        and ``line``, which orders trades of the same instant; of any number of instruments.
    period_ns : int
        Length of a bar; bars begin at its multiples since the epoch, UTC.
    conditions : SaleConditions
        Which trades count for what.

    Returns
    -------
    pl.DataFrame
        One row per instrument, session and period with a counted trade, in that order. ``open``
        and ``close`` are of trades that make a price, or of those that make a range where there
        are no others; a bar of trades that have only volume has null prices. ``vwap`` is the mean
        price of the trades that make a price or a range, weighted by size; null where they have no
        size. ``trades`` counts all of the bar's trades.

    Raises
    ------
    SourceError
        When the period is not positive.
    """
    if period_ns <= 0:
        raise SourceError(f"A bar of {period_ns} ns is none.", remedy="pass a positive period")
    roles = pl.Series("role", conditions.roles(trades["conditions"]), dtype=pl.Int8)
    counted = (
        trades.with_columns(roles)
        .filter(~pl.col("suspicious") & (pl.col("role") > int(Role.NOTHING)))
        .sort("symbol", "session", "time_ns", "line")
    )
    if counted.is_empty():
        return pl.DataFrame(schema=SCHEMA)
    role = counted["role"].to_numpy()
    group = (
        counted.select(pl.struct("symbol", "session").rle_id())["symbol"]
        .to_numpy()
        .astype(np.int64)
    )
    period = counted["time_ns"].to_numpy() // period_ns
    runs = _runs((group, period))
    if conditions.carries:
        period = _carried(period, role, group, runs)
        runs = _runs((group, period))
    first = counted[runs.starts].select("symbol", "session")
    start_ns = period[runs.starts] * period_ns
    price, size = counted["price"].to_numpy(), counted["size"].to_numpy()
    return first.with_columns(
        pl.Series("start_ns", start_ns, dtype=pl.Int64),
        pl.Series("end_ns", start_ns + period_ns, dtype=pl.Int64),
        *_prices(runs, role, price),
        pl.Series("volume", np.add.reduceat(size, runs.starts)),
        _vwap(runs, role >= Role.RANGE, price, size),
        pl.Series("trades", np.diff(runs.starts, append=len(role)), dtype=pl.Int64),
    ).select(*SCHEMA)


def _runs(keys: tuple[Ints, ...]) -> _Runs:
    changes = np.zeros(len(keys[0]), dtype=bool)
    changes[0] = True
    for key in keys:
        changes[1:] |= key[1:] != key[:-1]
    return _Runs(np.flatnonzero(changes), np.cumsum(changes) - 1)


def _carried(period: Ints, role: npt.NDArray[np.int8], group: Ints, runs: _Runs) -> Ints:
    """Return each trade's period; where it has no price, the last of the group that has one.

    Before the first price of the group it is the first that has one, and its own where none has.
    """
    makes = np.maximum.reduceat(role, runs.starts) == Role.PRICE
    of, n = group[runs.starts], len(runs.starts)
    each = np.arange(n)
    last = np.maximum.accumulate(np.where(makes, each, -1))
    following = np.minimum.accumulate(np.where(makes, each, n)[::-1])[::-1]
    before = (last >= 0) & (of[last] == of)
    after = (following < n) & (of[np.minimum(following, n - 1)] == of)
    taken = np.where(before, last, np.where(after, following, each))
    return period[runs.starts][taken][runs.of_row]


def _prices(runs: _Runs, role: npt.NDArray[np.int8], price: Floats) -> list[pl.Series]:
    """Return open, high, low and close of each run, null where no trade makes a price."""
    bars = len(runs.starts)
    found = {name: np.full(bars, np.nan) for name in ("open", "high", "low", "close")}
    # The higher role last: it overwrites the open and close of the lower.
    for least in (Role.RANGE, Role.PRICE):
        rows = np.flatnonzero(role >= least)
        if not len(rows):
            continue
        part = _runs((runs.of_row[rows],))
        bar, ends = runs.of_row[rows][part.starts], np.append(part.starts[1:], len(rows)) - 1
        found["open"][bar], found["close"][bar] = price[rows][part.starts], price[rows][ends]
        if least == Role.RANGE:
            found["high"][bar] = np.maximum.reduceat(price[rows], part.starts)
            found["low"][bar] = np.minimum.reduceat(price[rows], part.starts)
    return [pl.Series(name, values, nan_to_null=True) for name, values in found.items()]


def _vwap(runs: _Runs, counts: npt.NDArray[np.bool_], price: Floats, size: Floats) -> pl.Series:
    weight = np.where(counts, size, 0.0)
    shares = np.add.reduceat(weight, runs.starts)
    value = np.add.reduceat(price * weight, runs.starts)
    mean = np.divide(value, shares, out=np.full(len(shares), np.nan), where=shares > 0)
    return pl.Series("vwap", mean, nan_to_null=True)
