"""The demo's instrument identities and corporate actions: small, sourced, written down as data.

A rename keeps the permanent id of the first symbol. An action takes effect before the open of its
``ex_session``, which is the first session that *this vendor's* prices show on the new basis.
"""

from __future__ import annotations

import datetime as dt
from typing import Literal

import msgspec
import polars as pl

ActionKind = Literal["split", "special_dividend", "spin_off"]

# An overnight ratio outside these bounds that no action explains blocks trading in the name.
OVERNIGHT_RATIO_MIN = 0.6
OVERNIGHT_RATIO_MAX = 1.7


class SymbolSpell(msgspec.Struct, frozen=True):
    """From ``first`` to ``last`` inclusive, ``symbol`` meant ``instrument_id``."""

    symbol: str
    instrument_id: str
    first: dt.date
    last: dt.date
    source: str


class CorporateAction(msgspec.Struct, frozen=True):
    """One action on one instrument.

    ``ratio`` is new shares per old share of a split, or new company's shares per parent share of a
    spin-off. ``cash_usd`` is a special dividend per share. A spin-off names the security received;
    where the vendor has no price for it, its value is unknown and the overnight return with it.
    """

    instrument_id: str
    ex_session: dt.date
    kind: ActionKind
    ratio: float | None
    cash_usd: float | None
    received: str | None
    source: str


RENAMES = (
    SymbolSpell(
        "ETFCD",
        "US.ETFC",
        dt.date(2010, 6, 2),
        dt.date(2010, 6, 29),
        "Nasdaq appends D for 20 sessions after a reverse split; the spell is the vendor's",
    ),
    SymbolSpell(
        "NEE",
        "US.FPL",
        dt.date(2010, 6, 23),
        dt.date(9999, 12, 31),
        "FPL Group renamed NextEra Energy; first session as NEE in the vendor's file",
    ),
)

ACTIONS = (
    CorporateAction(
        "US.CAH",
        dt.date(2009, 9, 1),
        "spin_off",
        0.5,
        None,
        "US.CFN",
        "Cardinal Health, Form 8-K of 2009-09-01: 0.5 CareFusion per share",
    ),
    CorporateAction(
        "US.ETFC",
        dt.date(2010, 6, 2),
        "split",
        0.1,
        None,
        None,
        "E*TRADE Financial: 1-for-10 reverse split, effective 2010-06-02",
    ),
    CorporateAction(
        "US.ESRX", dt.date(2010, 6, 8), "split", 2.0, None, None, "Express Scripts: 2-for-1"
    ),
    CorporateAction(
        "US.GIS", dt.date(2010, 6, 9), "split", 2.0, None, None, "General Mills: 2-for-1"
    ),
    CorporateAction("US.DHR", dt.date(2010, 6, 14), "split", 2.0, None, None, "Danaher: 2-for-1"),
    CorporateAction(
        "US.STR",
        dt.date(2010, 7, 1),
        "spin_off",
        1.0,
        None,
        "US.QEP",
        "Questar: 1 QEP Resources per share, distributed 2010-06-30",
    ),
    CorporateAction(
        "US.WY",
        dt.date(2010, 7, 20),
        "special_dividend",
        None,
        26.46,
        None,
        "Weyerhaeuser: special dividend of 5.6 billion USD, 26.46 per share, in stock and cash",
    ),
)


def with_permanent_ids(bars: pl.DataFrame) -> pl.DataFrame:
    """Replace the id of a renamed symbol, within its spell, by its instrument's permanent id."""
    permanent = pl.col("instrument_id")
    for spell in RENAMES:
        inside = (pl.col("symbol") == spell.symbol) & pl.col("session").is_between(
            spell.first, spell.last
        )
        permanent = pl.when(inside).then(pl.lit(spell.instrument_id)).otherwise(permanent)
    return bars.with_columns(permanent.alias("instrument_id")).sort("instrument_id", "session")
