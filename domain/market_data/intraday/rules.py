"""Which rows of a session nothing may be computed from, and why."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import NamedTuple

import polars as pl

# A rule's name, and where it is broken; null is not broken.
Rules = Sequence[tuple[str, pl.Expr]]
_OHLC = ("open", "high", "low", "close")


class Judged(NamedTuple):
    """Usable rows, and the others with the first rule that each breaks as ``reason``."""

    usable: pl.DataFrame
    refused: pl.DataFrame


def rules_for(kind: str, day: dt.date, *, is_session: bool, known_ns: int) -> Rules:
    """Return the rules of a kind of rows.

    Parameters
    ----------
    kind : str
        Of the rows: ``trade``, ``quote``, ``depth``, a bar or a quote bar.
    day : date
        The session that the rows are taken for.
    is_session : bool
        Whether the exchange trades on that day.
    known_ns : int
        When the rows came: nothing can have happened later.
    """
    at = "end_ns" if "bar" in kind else "time_ns"
    common = (
        ("no_symbol", pl.col("symbol").is_null()),
        ("unreadable_date", pl.col(at).is_null()),
        ("wrong_session", pl.lit(not is_session) | pl.col("session").ne_missing(pl.lit(day))),
        ("future_time", pl.col(at) > known_ns),
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
