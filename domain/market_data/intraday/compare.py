"""Bars that we built beside the vendor's own: what differs, and why, in numbers."""

from __future__ import annotations

from typing import Any

import polars as pl

from domain.market_data.intraday.sale_conditions import CLOSING, OPENING

PRICES = ("open", "high", "low", "close")
FIELDS = (*PRICES, "volume")
CAUSES = ("equal", "opening_auction", "closing_auction", "only_vendor", "only_built", "unexplained")


def compare_bars(built: pl.DataFrame, vendor: pl.DataFrame, trades: pl.DataFrame) -> pl.DataFrame:
    """Return each bar that either has, with the ``cause`` of what differs.

    A vendor may put the print of the primary exchange's auction into the bar that it opens or
    closes, although it is reported later, and leave out the others'. So a bar is explained by an
    auction when its volume differs by exactly the prints of one exchange's auction, or by one of
    them, and its prices, widened by that print's, are the vendor's; or when only the open, or the
    close, is that print's price.

    Parameters
    ----------
    built, vendor : pl.DataFrame
        ``symbol``, ``start_ns``, ``open``, ``high``, ``low``, ``close``, ``volume``. Bars without
        prices do not count as bars.
    trades : pl.DataFrame
        The trades that ``built`` is of, with ``symbol``, ``price``, ``size``, ``exchange`` and
        ``conditions``, flags as AlgoSeek's.

    Returns
    -------
    pl.DataFrame
        ``symbol``, ``start_ns``, the fields of both (``_vendor``) and ``cause``, one of
        ``CAUSES``, sorted by instrument and start.
    """
    with_prices = built.filter(pl.col("open").is_not_null())
    columns = ["symbol", "start_ns", *FIELDS]
    both = (
        with_prices.select(columns)
        .join(
            vendor.select(columns),
            on=["symbol", "start_ns"],
            how="full",
            coalesce=True,
            suffix="_vendor",
        )
        .sort("symbol", "start_ns")
    )
    prints = {kind: _prints(trades, flag) for kind, flag in
              (("opening_auction", OPENING), ("closing_auction", CLOSING))}  # fmt: skip
    equal = pl.all_horizontal(pl.col(name).eq_missing(pl.col(f"{name}_vendor")) for name in FIELDS)
    judged = both.with_columns(pl.when(equal).then(pl.lit("equal")).alias("cause"))
    causes = [row["cause"] or _cause(row, prints) for row in judged.iter_rows(named=True)]
    return judged.with_columns(pl.Series("cause", causes, dtype=pl.String))


def counts_by_cause(compared: pl.DataFrame) -> dict[str, int]:
    """Return how many bars each cause has, all causes named."""
    found = dict(compared["cause"].value_counts().iter_rows())
    return {cause: int(found.get(cause, 0)) for cause in CAUSES}


# The price of an auction's print and the shares that a bar may lack of it, by instrument.
_Prints = dict[str, list[tuple[float, float]]]


def _prints(trades: pl.DataFrame, flag: int) -> _Prints:
    flags = trades["conditions"].str.to_integer(base=16, strict=False).fill_null(0)
    auction = trades.filter(pl.Series((flags.to_numpy() & flag) != 0))
    whole = auction.group_by("symbol", "exchange", "price", maintain_order=True).agg(
        pl.col("size").sum()
    )
    found: _Prints = {}
    both = pl.concat([frame.select("symbol", "price", "size") for frame in (whole, auction)])
    for symbol, price, size in both.unique(maintain_order=True).iter_rows():
        found.setdefault(symbol, []).append((price, size))
    return found


def _cause(row: dict[str, Any], prints: dict[str, _Prints]) -> str:
    ours = [row[name] for name in FIELDS]
    theirs = [row[f"{name}_vendor"] for name in FIELDS]
    if None in theirs:
        return "only_built"
    for kind, by_symbol in prints.items():
        for price, size in by_symbol.get(row["symbol"], ()):
            if None in ours:
                # The print alone makes the bar; volume that has no price may come with it.
                if theirs[:4] == [price] * 4 and theirs[4] >= size:
                    return kind
            elif theirs[4] - ours[4] in (0, size) and theirs[:4] in _with_print(
                ours, price, opens=kind == "opening_auction"
            ):
                return kind
    return "only_vendor" if None in ours else "unexplained"


def _with_print(bar: list[float], price: float, *, opens: bool) -> list[list[float]]:
    """Return the bar's prices with the print as its first or last trade, or somewhere within."""
    first, high, low, last, _ = bar
    high, low = max(high, price), min(low, price)
    edge = [price, high, low, last] if opens else [first, high, low, price]
    return [edge, [first, high, low, last]]
