"""The instrument master: who the instruments are, with "unknown" where the vendor does not say."""

from __future__ import annotations

from html.parser import HTMLParser

import polars as pl

from contracts.errors import SourceError
from domain.market_data.reference import with_permanent_ids

UNKNOWN = "unknown"
# ISO 10383 gives XXXX to "no market": the vendor does not say where an instrument is listed.
MIC_UNKNOWN = "XXXX"


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


def instrument_master(rows: pl.DataFrame, listed: pl.DataFrame) -> pl.DataFrame:
    """Return one row per instrument that has ever had a row in the vendor's price file.

    Parameters
    ----------
    rows : pl.DataFrame
        Result of ``read_rows``. A symbol that was another instrument's before belongs to both.
    listed : pl.DataFrame
        Result of ``read_symbols``. An instrument takes the entry of any of its symbols.

    Returns
    -------
    pl.DataFrame
        instrument_id, symbol (the first one), name, sector, industry, mic, currency.
    """
    dated = rows.filter(pl.col("symbol").is_not_null()).select(
        (pl.lit("US.") + pl.col("symbol")).alias("instrument_id"),
        "symbol",
        pl.col("date").str.to_date("%Y%m%d", strict=False).alias("session"),
    )
    first = pl.lit("US.") + pl.col("symbol") == pl.col("instrument_id")
    named = (
        with_permanent_ids(dated)
        .unique(["instrument_id", "symbol"])
        .join(listed, on="symbol", how="left")
    )
    # The first symbol's entry wins; a later one stands in where the list does not know it.
    described = named.sort(
        "instrument_id",
        pl.col("sector").is_null() | (pl.col("sector") == UNKNOWN),
        ~first,
        "symbol",
    ).unique("instrument_id", keep="first", maintain_order=True)
    return described.select(
        "instrument_id",
        pl.col("instrument_id").str.strip_prefix("US.").alias("symbol"),
        pl.col("name", "sector", "industry").fill_null(UNKNOWN),
        pl.lit(MIC_UNKNOWN).alias("mic"),
        pl.lit("USD").alias("currency"),
    ).sort("instrument_id")
