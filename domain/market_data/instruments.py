"""The instrument master: who the instruments are, with "unknown" where nobody says."""

from __future__ import annotations

import datetime as dt
from html.parser import HTMLParser

import polars as pl

from contracts.errors import SourceError
from domain.market_data.reference import (
    NO_END,
    RENAMES,
    spells_frame,
    with_permanent_ids,
)

UNKNOWN = "unknown"
# ISO 10383 gives XXXX to "no market": the vendor does not say where an instrument is listed.
MIC_UNKNOWN = "XXXX"
# Regulation NMS, rule 612: a cent, or a hundredth of one below a dollar; a round lot is 100 shares.
TICK_USD, TICK_BELOW_A_DOLLAR_USD = 0.01, 0.0001
LOT_SHARES = 100
# An instrument has ended when none of the last sessions of the file has a row of it: one that is
# absent for a day may come back.
ENDED_SESSIONS = 5
IDENTIFIED = (
    "name", "mic", "currency", "tick_size", "lot_shares", "gics_sector", "gics_sub_industry",
    "figi", "isin", "cusip", "cik",
)  # fmt: skip


_LISTED = {"symbol": "ticker", "name": "name", "sector": "sector", "industry": "industry"}
# A desk without a list of symbols: nothing is known of an instrument but its bars.
NOT_LISTED = pl.DataFrame(schema=dict.fromkeys(_LISTED, pl.String))


class _Symbols(HTMLParser):
    # The standard library's HTML parser reads the vendor's flat XML without ever expanding an
    # entity that the file defines, which its XML parsers do.
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.found: list[dict[str, str]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "symbol":
            self.found.append({name: value or "" for name, value in attrs})


def read_symbols(data: bytes) -> pl.DataFrame:
    """Parse the vendor's symbol list into symbol, name, sector, industry.

    Raises
    ------
    SourceError
        When the file is not UTF-8 or lists no symbol.
    """
    parser = _Symbols()
    try:
        parser.feed(data.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise SourceError(
            f"The symbol list is not UTF-8 text: byte {error.start} is {data[error.start]:#04x}.",
            remedy="the file is corrupt or compressed; ask the vendor to send it again",
        ) from error
    if not parser.found:
        raise SourceError(
            "The symbol list has no <symbol> element.",
            remedy="check that the vendor has not changed the layout; then extend the adapter",
        )
    rows = [
        {column: entry.get(attribute) or UNKNOWN for column, attribute in _LISTED.items()}
        for entry in parser.found
    ]
    return pl.DataFrame(rows, schema=NOT_LISTED.schema).unique(
        "symbol", keep="first", maintain_order=True
    )


def instrument_master(
    rows: pl.DataFrame,
    listed: pl.DataFrame,
    *,
    spells: pl.DataFrame | None = None,
    identifiers: pl.DataFrame | None = None,
    last_session: dt.date | None = None,
) -> pl.DataFrame:
    """Return one row per instrument that has had a row in the price file, or that has a spell.

    Parameters
    ----------
    rows : pl.DataFrame
        Result of ``read_rows``. A symbol that was another instrument's before belongs to both.
    listed : pl.DataFrame
        Result of ``read_symbols``. An instrument takes the entry of any of its symbols.
    spells : pl.DataFrame, optional
        The table ``symbol_spells``; the embedded renames without it.
    identifiers : pl.DataFrame, optional
        ``instrument_id``, ``rank``, ``as_of`` and the columns ``IDENTIFIED``. Of each cell the
        lowest rank's is taken.
    last_session : date, optional
        The last session that is known: no later row counts.

    Returns
    -------
    pl.DataFrame
        instrument_id, symbol (the first one), name, sector, industry, mic, currency; then
        ``first_session`` and ``last_session`` with a row (null without any), ``status`` (active,
        ended, or no_data), ``end_reason`` and ``final_price`` of what ended, ``tick_size``
        (currency units) and ``lot_shares``, GICS and ``sector_as_of``, the day that it holds on,
        and identifiers. What nobody says is ``unknown`` in names and null elsewhere.
    """
    known = spells_frame(RENAMES) if spells is None else spells
    described = _described(rows, listed, known).join(
        _lives(rows, known, last_session), on="instrument_id", how="left", maintain_order="left"
    )
    named = described.join(
        _identified(identifiers), on="instrument_id", how="left", maintain_order="left"
    )
    price = pl.col("last_price")
    tick = pl.when(price < 1).then(TICK_BELOW_A_DOLLAR_USD).otherwise(TICK_USD)
    ended = pl.col("status") == "ended"
    told = pl.col("told_end") <= pl.lit(last_session or NO_END)
    return named.select(
        "instrument_id",
        "symbol",
        pl.coalesce(pl.col("name").replace(UNKNOWN, None), "given_name").fill_null(UNKNOWN)
        .alias("name"),
        pl.coalesce(pl.col("sector").replace(UNKNOWN, None), "gics_sector").fill_null(UNKNOWN)
        .alias("sector"),
        pl.col("industry").fill_null(UNKNOWN),
        pl.coalesce("given_mic", "spell_mic", pl.lit(MIC_UNKNOWN)).alias("mic"),
        pl.col("given_currency").fill_null("USD").alias("currency"),
        "first_session",
        "last_session",
        pl.col("status").fill_null("no_data"),
        pl.when(told).then("told_reason").when(ended).then(pl.lit(UNKNOWN)).alias("end_reason"),
        pl.when(told).then(pl.coalesce("told_price", price)).when(ended).then(price)
        .alias("final_price"),
        pl.coalesce("tick_size", tick).alias("tick_size"),
        pl.col("lot_shares").fill_null(LOT_SHARES),
        "gics_sector", "gics_sub_industry", "sector_as_of", "figi", "isin", "cusip", "cik",
    ).sort("instrument_id")  # fmt: skip


def _described(rows: pl.DataFrame, listed: pl.DataFrame, spells: pl.DataFrame) -> pl.DataFrame:
    """Return what the vendor's list says of each instrument, and where and how it last traded."""
    first = pl.lit("US.") + pl.col("symbol") == pl.col("instrument_id")
    # The embedded renames say nothing of instruments that a vendor's file does not have.
    of_desk = spells.filter(pl.col("raw_sha256").is_not_null())
    quoted = with_permanent_ids(_dated(rows), spells).select("instrument_id", "symbol")
    named = (
        pl.concat([quoted, of_desk.select("instrument_id", "symbol")])
        .unique()
        .join(listed, on="symbol", how="left")
    )
    # The first symbol's entry wins; a later one stands in where the list does not know it.
    described = named.sort(
        "instrument_id",
        pl.col("sector").is_null() | (pl.col("sector") == UNKNOWN),
        ~first,
        "symbol",
    ).unique("instrument_id", keep="first", maintain_order=True)
    began = spells.sort("first").unique("instrument_id", keep="first", maintain_order=True)
    last = spells.sort("last").unique("instrument_id", keep="last", maintain_order=True)
    plain = pl.col("instrument_id").str.strip_prefix("US.")
    return (
        described.drop("symbol")
        .join(began.select("instrument_id", began_as="symbol"), on="instrument_id", how="left")
        .join(
            last.select(
                "instrument_id", spell_mic="mic", told_reason="end_reason",
                told_price="final_price",
                told_end=pl.when(pl.col("end_reason").is_not_null()).then("last"),
            ),
            on="instrument_id", how="left",
        )
        # The embedded renames have no spell of the first symbol: the id is made of it.
        .with_columns(
            pl.when(pl.col("instrument_id").str.starts_with(pl.lit("US.") + pl.col("began_as")))
            .then("began_as").otherwise(plain).alias("symbol")
        )
    )  # fmt: skip


def _lives(rows: pl.DataFrame, spells: pl.DataFrame, last: dt.date | None) -> pl.DataFrame:
    """Return first and last session, last price and status of what has a row up to ``last``."""
    close = pl.col("close").cast(pl.Float64, strict=False)
    dated = _dated(rows).with_columns(pl.when(close.is_finite() & (close > 0)).then(close))
    seen = with_permanent_ids(
        dated.filter(pl.col("session") <= pl.lit(last or NO_END)), spells
    ).sort("instrument_id", "session")
    newest = seen["session"].unique().sort().tail(ENDED_SESSIONS).min()
    lives = seen.group_by("instrument_id", maintain_order=True).agg(
        pl.col("session").min().alias("first_session"),
        pl.col("session").max().alias("last_session"),
        pl.col("close").drop_nulls().last().alias("last_price"),
    )
    active = pl.col("last_session") >= pl.lit(newest, pl.Date)
    return lives.with_columns(
        pl.when(active).then(pl.lit("active")).otherwise(pl.lit("ended")).alias("status")
    )


def _dated(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.filter(pl.col("symbol").is_not_null()).select(
        (pl.lit("US.") + pl.col("symbol")).alias("instrument_id"),
        "symbol",
        pl.col("date").str.to_date("%Y%m%d", strict=False).alias("session"),
        "close",
    )


def _identified(identifiers: pl.DataFrame | None) -> pl.DataFrame:
    """Return one row per instrument with each cell of the first source that has it."""
    schema = {
        "instrument_id": pl.String, "rank": pl.Int32, "as_of": pl.Date,
        **dict.fromkeys(IDENTIFIED, pl.String), "tick_size": pl.Float64, "lot_shares": pl.Int64,
    }  # fmt: skip
    rows = pl.DataFrame(schema=schema) if identifiers is None else identifiers.select(*schema)
    dated = pl.when(pl.col("gics_sector").is_not_null()).then("as_of").alias("sector_as_of")
    return (
        rows.with_columns(dated)
        .sort("instrument_id", "rank", maintain_order=True)
        .group_by("instrument_id", maintain_order=True)
        .agg(pl.col(*IDENTIFIED, "sector_as_of").drop_nulls().first())
        .rename({name: f"given_{name}" for name in ("name", "mic", "currency")})
    )
