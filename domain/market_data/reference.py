"""Instrument identities and corporate actions: what they are, and those of the embedded demo data.

A rename keeps the permanent id of the first symbol. An action takes effect before the open of its
``ex_session``. What the demo's vendor needs of both is small, sourced and written down here; a desk
brings its own by files (``sources.reference_data``).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Any, Literal

import msgspec
import polars as pl

from contracts.errors import SourceError

ActionKind = Literal["split", "special_dividend", "spin_off", "cash_dividend"]

# An overnight ratio outside these bounds that no action explains blocks trading in the name.
OVERNIGHT_RATIO_MIN = 0.6
OVERNIGHT_RATIO_MAX = 1.7
# The last day of what has no end yet.
NO_END = dt.date(9999, 12, 31)
# Added to the id of a symbol that meant a known instrument once, and not on this session.
OTHER = ".OTHER"

Schema = dict[str, type[pl.DataType]]
SPELLS_SCHEMA: Schema = {
    "symbol": pl.String, "instrument_id": pl.String, "first": pl.Date, "last": pl.Date,
    "mic": pl.String, "end_reason": pl.String, "final_price": pl.Float64, "source": pl.String,
    "raw_sha256": pl.String, "source_seq": pl.Int64,
}  # fmt: skip
ACTIONS_SCHEMA: Schema = {
    "instrument_id": pl.String, "ex_session": pl.Date, "kind": pl.String, "ratio": pl.Float64,
    "cash_usd": pl.Float64, "received": pl.String, "announced_ns": pl.Int64,
    "knowledge_ns": pl.Int64, "source": pl.String, "raw_sha256": pl.String,
    "source_seq": pl.Int64,
}  # fmt: skip


class SymbolSpell(msgspec.Struct, frozen=True):
    """From ``first`` to ``last`` inclusive, ``symbol`` meant ``instrument_id``."""

    symbol: str
    instrument_id: str
    first: dt.date
    last: dt.date
    source: str
    end_reason: str | None = None
    """Why the instrument ended with this spell, where it did."""


class CorporateAction(msgspec.Struct, frozen=True):
    """One action on one instrument.

    ``ratio`` is new shares per old share of a split, or new company's shares per parent share of a
    spin-off. ``cash_usd`` is a dividend per share that was held at the close before ``ex_session``,
    i.e. per old share where a split goes ex on the same day. A spin-off names the security
    received; where the vendor has no price for it, its value is unknown and the overnight return
    with it. ``knowledge_ns`` is when we knew of the action, ``announced_ns`` when the company told
    of it; a null ``knowledge_ns`` means that we knew at the open of ``ex_session``.
    """

    instrument_id: str
    ex_session: dt.date
    kind: ActionKind
    ratio: float | None
    cash_usd: float | None
    received: str | None
    source: str
    announced_ns: int | None = None
    knowledge_ns: int | None = None


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


def spells_frame(spells: Sequence[SymbolSpell]) -> pl.DataFrame:
    """Return spells as rows of ``SPELLS_SCHEMA``; what they do not say is null."""
    rows = [msgspec.structs.asdict(spell) for spell in spells]
    return pl.DataFrame(rows, schema=SPELLS_SCHEMA)


def actions_frame(actions: Sequence[CorporateAction]) -> pl.DataFrame:
    """Return actions as rows of ``ACTIONS_SCHEMA``; what they do not say is null."""
    rows = [msgspec.structs.asdict(action) for action in actions]
    return pl.DataFrame(rows, schema=ACTIONS_SCHEMA)


def actions_of(table: pl.DataFrame) -> tuple[CorporateAction, ...]:
    """Return the actions of a table of ``ACTIONS_SCHEMA``, in its order."""
    fields = CorporateAction.__struct_fields__
    return tuple(CorporateAction(**row) for row in table.select(fields).iter_rows(named=True))


def require_disjoint(spells: pl.DataFrame) -> None:
    """Refuse spells of one symbol that overlap: which instrument it meant cannot be known.

    Raises
    ------
    SourceError
        Naming the symbol, both instruments and the days, or a spell that ends before it begins.
    """
    backwards = spells.filter(pl.col("first") > pl.col("last"))
    if backwards.height:
        row = backwards.row(0, named=True)
        raise SourceError(
            f"The spell of {row['symbol']} ends on {row['last']}, before it begins on "
            f"{row['first']}.",
            remedy="correct the spell in the reference data",
        )
    overlap = first_overlap(spells, "symbol")
    if overlap is not None:
        raise SourceError(
            f"Two spells of {overlap['symbol']} overlap: it means "
            f"{overlap['instrument_id_before']} until {overlap['last_before']} and "
            f"{overlap['instrument_id']} from {overlap['first']}.",
            remedy="end the earlier spell before the later one begins",
        )


def first_overlap(spells: pl.DataFrame, *of: str) -> dict[str, Any] | None:
    """Return the first spell that begins before the one before it has ended, None without one.

    Parameters
    ----------
    spells : pl.DataFrame
        ``first`` and ``last``, both days included.
    of : str
        The columns whose spells may not overlap.

    Returns
    -------
    dict or None
        The row, with the one before it as ``<column>_before``.
    """
    before = pl.all().exclude(of).shift(1).over(of).name.suffix("_before")
    ordered = spells.sort(*of, "first", "last").with_columns(before)
    overlapping = ordered.filter(pl.col("first") <= pl.col("last_before"))
    return overlapping.row(0, named=True) if overlapping.height else None


def with_permanent_ids(
    bars: pl.DataFrame, spells: Sequence[SymbolSpell] | pl.DataFrame = RENAMES
) -> pl.DataFrame:
    """Give each row the permanent id of the instrument that its symbol meant on its session.

    Parameters
    ----------
    bars : pl.DataFrame
        ``symbol``, ``session``, and ``instrument_id`` = ``US.<symbol>``, which stays outside every
        spell. Only where that id is the one of an instrument that bore the symbol on other days,
        ``.OTHER`` is added: the row belongs to somebody else.
    spells : sequence of SymbolSpell, or pl.DataFrame of SPELLS_SCHEMA
        Which instrument a symbol means, and when.

    Returns
    -------
    pl.DataFrame
        The same rows and columns by (instrument_id, session).

    Raises
    ------
    SourceError
        When two spells of one symbol overlap.
    """
    known = spells if isinstance(spells, pl.DataFrame) else spells_frame(spells)
    require_disjoint(known)
    # Most symbols have no spell: only those that have are looked up.
    spelled = pl.col("symbol").is_in(known["symbol"].unique().implode())
    inside = bars.filter(spelled.fill_null(value=False)).sort("session", nulls_last=True)
    found = inside.join_asof(
        known.select("symbol", "last", session="first", spelled_id="instrument_id").sort("session"),
        on="session", by="symbol", strategy="backward", check_sortedness=False,
    )  # fmt: skip
    own = known.select("symbol", instrument_id="instrument_id").unique()
    taken = pl.struct("symbol", "instrument_id").is_in(own.to_struct().implode())
    permanent = (
        pl.when(pl.col("session") <= pl.col("last"))
        .then(pl.col("spelled_id"))
        .when(taken & pl.col("session").is_not_null())
        .then(pl.col("instrument_id") + OTHER)
        .otherwise(pl.col("instrument_id"))
    )
    named = found.with_columns(permanent.alias("instrument_id")).select(bars.columns)
    rest = bars.filter(~spelled.fill_null(value=False))
    return pl.concat([rest, named]).sort("instrument_id", "session")
