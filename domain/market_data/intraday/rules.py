"""Which rows of a session nothing may be computed from, and why."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import NamedTuple

import polars as pl

from contracts.clock import NS_PER_S
from domain.market_data.sessions import SessionTimes

# A rule's name, and where it is broken; null is not broken.
Rules = Sequence[tuple[str, pl.Expr]]
_OHLC = ("open", "high", "low", "close")
# Exchanges report a closing auction's print up to a minute and a half late: see docs/intraday.md.
CLOSING_PRINT_NS = 120 * NS_PER_S


class Judged(NamedTuple):
    """Usable rows, and the others with the first rule that each breaks as ``reason``."""

    usable: pl.DataFrame
    refused: pl.DataFrame


def rules_for(
    kind: str,
    day: dt.date,
    *,
    hours: SessionTimes | None,
    known_ns: int,
    regular_hours_only: bool = False,
) -> Rules:
    """Return the rules of a kind of rows.

    Parameters
    ----------
    kind : str
        Of the rows: ``trade``, ``quote``, ``depth``, a bar or a quote bar.
    day : date
        The session that the rows are taken for.
    hours : SessionTimes or None
        When the exchange opens and closes on that day, on a half-day early; None where it does not
        trade.
    known_ns : int
        When the rows came: nothing can have happened later.
    regular_hours_only : bool
        Whether the source promises regular trading only. Feeds with early and late trading have
        rows outside the hours, rightly.
    """
    at = "end_ns" if "bar" in kind else "time_ns"
    common = (
        ("no_symbol", pl.col("symbol").is_null()),
        ("unreadable_date", pl.col(at).is_null()),
        ("wrong_session", pl.lit(hours is None) | pl.col("session").ne_missing(pl.lit(day))),
        ("future_time", pl.col(at) > known_ns),
        *(_hours(kind, hours) if hours is not None and regular_hours_only else ()),
    )
    if kind == "trade":
        return (*common, *_numbers("price", "size", needed=("price",)), _positive("price"),
                _not_negative("size"))  # fmt: skip
    if kind in ("quote", "depth"):
        sides = ("bid_price", "ask_price"), ("bid_size", "ask_size")
        every = (*sides[0], *sides[1])
        return (*common, *_numbers(*every), _not_negative(*every))
    if kind.startswith("quote_bar"):
        bid, ask = ([f"{side}_{name}" for name in _OHLC] for side in ("bid", "ask"))
        return (
            *common, *_numbers(*bid, *ask, "bid_size", "ask_size"), _positive(*bid, *ask),
            _not_negative("bid_size", "ask_size"),
            ("high_below_low", _disordered(*bid) | _disordered(*ask)),
        )  # fmt: skip
    return (*common, *_numbers(*_OHLC, "volume", needed=_OHLC), _positive(*_OHLC),
            _not_negative("volume"), ("high_below_low", _disordered(*_OHLC)))  # fmt: skip


def judge(rows: pl.DataFrame, rules: Rules) -> Judged:
    """Part usable rows from those that break a rule; the first rule broken is the reason."""
    reason = pl.coalesce(
        *(pl.when(broken.fill_null(value=False)).then(pl.lit(name)) for name, broken in rules),
        pl.lit(None, pl.String),
    )
    judged = rows.with_columns(reason.alias("reason"))
    good = pl.col("reason").is_null()
    return Judged(judged.filter(good).drop("reason"), judged.filter(~good))


def crossed_book(columns: Sequence[str]) -> Rules:
    """Return the rule on quotes that have both sides, for rows with these columns.

    A quote of one side crosses nothing. A bar's sides are compared at its close, where both are of
    one instant; its highs and lows are not.
    """
    for bid, ask in (("bid_price", "ask_price"), ("bid_close", "ask_close")):
        if bid in columns and ask in columns:
            return (("crossed_book", (pl.col(bid) > pl.col(ask)).fill_null(value=False)),)
    return ()


def _hours(kind: str, hours: SessionTimes) -> Rules:
    if "bar" in kind:
        outside = (pl.col("start_ns") < hours.open_ns) | (pl.col("end_ns") > hours.close_ns)
    else:
        last_ns = hours.close_ns + CLOSING_PRINT_NS
        outside = ~pl.col("time_ns").is_between(hours.open_ns, last_ns)
    return (("outside_session_hours", outside),)


def _numbers(*names: str, needed: Sequence[str] = ()) -> Rules:
    """Return the rules on values that no comparison refuses; a side left out of a quote is null."""
    # Without a start, `any` of no column would not be allowed.
    absent = pl.any_horizontal(pl.lit(value=False), *(pl.col(name).is_null() for name in needed))
    nan = pl.any_horizontal(pl.col(*names).is_nan().fill_null(value=False))
    return (
        ("infinite", pl.any_horizontal(pl.col(*names).is_infinite().fill_null(value=False))),
        ("not_a_number", absent | nan),
    )


def _positive(*names: str) -> tuple[str, pl.Expr]:
    return "non_positive_price", pl.any_horizontal((pl.col(*names) <= 0).fill_null(value=False))


def _not_negative(*names: str) -> tuple[str, pl.Expr]:
    return "negative", pl.any_horizontal((pl.col(*names) < 0).fill_null(value=False))


def _disordered(open_: str, high: str, low: str, close: str) -> pl.Expr:
    inside = [pl.col(name).is_between(pl.col(low), pl.col(high)) for name in (open_, close)]
    return ((pl.col(high) < pl.col(low)) | ~pl.all_horizontal(inside)).fill_null(value=False)
