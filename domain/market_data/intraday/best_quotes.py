"""The consolidated best bid and offer, from the quotes of the exchanges."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

# What one quote speaks for: its exchange, or already the best of all exchanges.
Scope = Literal["exchange", "national_best"]
Floats = npt.NDArray[np.float64]
SIDES = ("bid", "ask")
SCHEMA = {
    "symbol": pl.String, "session": pl.Date, "time_ns": pl.Int64, "line": pl.Int64,
    "bid_price": pl.Float64, "bid_size": pl.Float64, "bid_exchange": pl.String,
    "ask_price": pl.Float64, "ask_size": pl.Float64, "ask_exchange": pl.String,
    "locked": pl.Boolean, "crossed": pl.Boolean,
}  # fmt: skip


class _Best(NamedTuple):
    """The best of one side after each quote: NaN, 0 and -1 where no exchange has one."""

    price: Floats
    size: Floats
    exchange: npt.NDArray[np.int64]


def consolidate(quotes: pl.DataFrame, scope: Scope = "exchange") -> pl.DataFrame:
    """Return each change of the best bid and offer.

    Parameters
    ----------
    quotes : pl.DataFrame
        ``symbol``, ``session``, ``time_ns``, ``line`` (orders quotes of one instant),
        ``exchange``, ``suspicious``, and price and size of ``bid`` and ``ask``. A side whose size
        is null is not spoken of and stays; a size of 0, or no price, takes the side away.
        Suspicious quotes are left out. A session begins without quotes.
    scope : str
        With ``national_best``, a quote replaces the best of all exchanges, whichever it names.

    Returns
    -------
    pl.DataFrame
        One row per change in price, size or exchange of a side, sorted by instrument, session,
        instant and line. The size is the sum over the exchanges at the best price, the exchange
        the one with the most there, by letter among equals. A side that nobody quotes is null, of
        size 0. ``locked``: bid equals ask; ``crossed``: it is above.
    """
    ordered = quotes.filter(~pl.col("suspicious")).sort("symbol", "session", "time_ns", "line")
    if ordered.is_empty():
        return pl.DataFrame(schema=SCHEMA)
    parts = ordered.partition_by("symbol", "session", maintain_order=True)
    return pl.concat([_consolidated(part, scope) for part in parts])


def _consolidated(quotes: pl.DataFrame, scope: Scope) -> pl.DataFrame:
    names = quotes["exchange"].unique().sort()
    code = quotes["exchange"].replace_strict(names, np.arange(len(names))).to_numpy()
    book = code if scope == "exchange" else np.zeros(len(code), dtype=np.int64)
    best = {side: _best(quotes, side, book, code) for side in SIDES}
    changes = np.zeros(quotes.height, dtype=bool)
    columns: dict[str, pl.Series] = {}
    for side, found in best.items():
        # A session begins with nobody quoting.
        for values, before in ((found.price, np.nan), (found.size, 0), (found.exchange, -1)):
            earlier = np.append(before, values[:-1])
            changes |= (values != earlier) & ~(np.isnan(values) & np.isnan(earlier))
        columns[f"{side}_price"] = pl.Series(found.price, nan_to_null=True)
        columns[f"{side}_size"] = pl.Series(found.size)
        letters = names.gather(np.maximum(found.exchange, 0))
        columns[f"{side}_exchange"] = letters.set(pl.Series(found.exchange < 0), None)
    bid, ask = best["bid"].price, best["ask"].price
    columns["locked"] = pl.Series(bid == ask, dtype=pl.Boolean)
    columns["crossed"] = pl.Series(bid > ask, dtype=pl.Boolean)
    kept = quotes.select("symbol", "session", "time_ns", "line").with_columns(
        series.alias(name) for name, series in columns.items()
    )
    return kept.filter(pl.Series(changes)).select(*SCHEMA)


def _best(
    quotes: pl.DataFrame,
    side: str,
    book: npt.NDArray[np.int64],
    code: npt.NDArray[np.int64],
) -> _Best:
    """Return a side's best after each quote, over the latest quote of each book."""
    said = quotes[f"{side}_size"].is_not_null().to_numpy()
    price = quotes[f"{side}_price"].fill_null(np.nan).to_numpy()
    size = quotes[f"{side}_size"].fill_null(0).to_numpy()
    price = np.where(size > 0, price, np.nan)
    sign = 1.0 if side == "bid" else -1.0
    rows, n = np.arange(quotes.height), quotes.height
    best = _Best(np.full(n, np.nan), np.zeros(n), np.full(n, -1, dtype=np.int64))
    most = np.zeros(n)
    for one in np.unique(book[said]):
        at = np.maximum.accumulate(np.where(said & (book == one), rows, -1))
        here = np.where(at >= 0, price[at], np.nan)
        there = ~np.isnan(here)
        shares = np.where(there, size[at], 0.0)
        better = there & (np.isnan(best.price) | (sign * here > sign * best.price))
        equal = there & ~better & (here == best.price)
        leads = better | (equal & (shares > most))
        best.size[:] = np.where(better, shares, best.size + np.where(equal, shares, 0.0))
        best.price[:] = np.where(better, here, best.price)
        best.exchange[:] = np.where(leads, code[at], best.exchange)
        most = np.where(leads, shares, most)
    return best
