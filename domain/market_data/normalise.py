"""From a vendor's daily CSV to normalised bars and a quarantine that loses nothing."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import NamedTuple

import polars as pl

from contracts.errors import SourceError
from domain.market_data.instruments import MIC_UNKNOWN

HEADER = ("Date", "Symbol", "Open", "High", "Low", "Close", "Volume")
PRICES = ("open", "high", "low", "close")

# The vendor counts volume in round lots of 100 shares.
VOLUME_UNIT_SHARES = 100
# 2^24 - 1 hundreds: the vendor's counter stops there (seen on C, 2009-12-18).
VOLUME_SATURATED = 16_777_215


class Normalised(NamedTuple):
    """Bars that may be used, and rows that may not with the first rule they break."""

    bars: pl.DataFrame
    quarantine: pl.DataFrame
    coverage: pl.DataFrame

    def in_months(self, months: Sequence[str], *, first: bool) -> Normalised:
        """Keep only rows of the named months; ``first`` also keeps lines without a readable date.

        A line whose date cannot be read belongs to no month. It is filed under the first one, once.
        """
        wanted = list(months)
        undated = pl.col("month").is_null() & pl.lit(first)
        quarantine = self.quarantine.with_columns(
            pl.col("session").dt.strftime("%Y-%m-01").alias("month")
        ).filter(pl.col("month").is_in(wanted) | undated)
        return Normalised(
            self.bars.filter(pl.col("month").is_in(wanted)),
            quarantine.with_columns(pl.col("month").fill_null(wanted[0])),
            self.coverage.filter(pl.col("month").is_in(wanted)),
        )


def read_lines(data: bytes) -> pl.DataFrame:
    """Return the file's lines below the header as ``line``, 1-based, and ``raw``; no empty ones.

    Raises
    ------
    SourceError
        When the bytes are not UTF-8, or the header is not
        ``Date,Symbol,Open,High,Low,Close,Volume``.
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise SourceError(
            f"Not UTF-8 text: byte {error.start} is {data[error.start]:#04x}.",
            remedy="the file is corrupt or compressed; ask the vendor to send it again",
        ) from error
    header = tuple(text.split("\n", 1)[0].strip().split(","))
    if header != HEADER:
        raise SourceError(
            f"Header is {','.join(header)[:200]!r}, expected {','.join(HEADER)!r}.",
            remedy="check that the vendor has not changed the layout; then extend the adapter",
        )
    lines = pl.read_csv(
        io.BytesIO(text.encode()),
        has_header=False,
        skip_rows=1,
        separator="\x01",
        quote_char=None,
        new_columns=["raw"],
        schema={"raw": pl.String},
        raise_if_empty=False,
    )
    return (
        lines.with_row_index("line", offset=2)
        # An empty line says nothing; everything else is judged.
        .filter(pl.col("raw").str.strip_chars() != "")
        .with_columns(pl.col("line").cast(pl.Int64))
    )


def read_rows(data: bytes) -> pl.DataFrame:
    """Parse the vendor's file into text columns plus ``line``, its 1-based line number.

    Raises
    ------
    SourceError
        When ``read_lines`` cannot read it.
    """
    fields = pl.col("raw").str.strip_chars_end("\r").str.split(",")
    return (
        read_lines(data)
        .with_columns(fields.alias("fields"))
        .with_columns(
            pl.col("fields").list.len().cast(pl.Int64).alias("field_count"),
            *(
                pl.col("fields").list.get(i, null_on_oob=True).str.strip_chars().alias(name.lower())
                for i, name in enumerate(HEADER)
            ),
        )
        .drop("fields")
    )


def normalise(
    rows: pl.DataFrame,
    *,
    source: str,
    sha256: str,
    sessions: pl.Series,
    volume_unit_shares: int = VOLUME_UNIT_SHARES,
    price_basis: str = "raw",
) -> Normalised:
    """Turn vendor rows into bars; set aside rows that break a rule.

    Parameters
    ----------
    rows : pl.DataFrame
        The result of ``read_rows``, or of another vendor's reader in the same columns.
    source, sha256 : str
        The vendor and the hash of its file.
    sessions : pl.Series
        Exchange sessions (``pl.Date``) that a row may belong to. Rows after the last of them are
        not known yet and are left out: a replay must not see them.
    volume_unit_shares : int
        How many shares one unit of the vendor's volume is.
    price_basis : str
        What the vendor's prices are adjusted for: ``raw``, ``split_adjusted``, ``total_return``.

    Returns
    -------
    Normalised
        ``bars`` has one row per (instrument_id, session), volume in shares, prices in currency
        units, never NaN.
        ``quarantine`` has one row per rejected line with ``reason`` and the line's text. Together
        they hold every line. ``coverage`` has one row per session since the file's first, saying
        which are missing.
    """
    typed = rows.with_columns(
        pl.col("date").str.to_date("%Y%m%d", strict=False).alias("session"),
        *(pl.col(name).cast(pl.Float64, strict=False) for name in PRICES),
        (pl.col("volume").cast(pl.Float64, strict=False)).alias("volume"),
    )
    typed = typed.filter(
        (pl.col("session") <= pl.lit(sessions.max(), pl.Date)).fill_null(value=True)
    )
    finite = pl.all_horizontal(pl.col(*PRICES, "volume").is_finite().fill_null(value=False))
    lowest = pl.min_horizontal("open", "close")
    highest = pl.max_horizontal("open", "close")
    rules = (
        ("wrong_field_count", pl.col("field_count") != len(HEADER)),
        ("unreadable_date", pl.col("session").is_null()),
        ("unknown_symbol", ~pl.col("symbol").str.contains(r"^[A-Z][A-Z0-9]*(\.[A-Z]+)?$")),
        ("not_a_number", ~finite),
        ("price_not_positive", pl.min_horizontal(*PRICES) <= 0),
        ("volume_negative", pl.col("volume") < 0),
        ("not_a_session", ~pl.col("session").is_in(sessions.implode())),
        ("high_below_low", pl.col("high") < pl.col("low")),
        ("outside_range", (lowest < pl.col("low")) | (highest > pl.col("high"))),
        # Which of two rows is right cannot be known from them: none of them is used.
        ("duplicate", pl.struct("symbol", "session").is_duplicated()),
    )
    reason = pl.coalesce(
        *(pl.when(broken.fill_null(value=True)).then(pl.lit(name)) for name, broken in rules),
        pl.lit(None, pl.String),
    )
    judged = typed.with_columns(reason.alias("reason"))
    provenance = (pl.lit(source).alias("source"), pl.lit(sha256).alias("raw_sha256"))
    quarantine = judged.filter(pl.col("reason").is_not_null()).select(
        pl.col("line").alias("source_seq"), "symbol", "session", "reason", "raw", *provenance
    )
    good = judged.filter(pl.col("reason").is_null())
    bars = _bars(good, provenance, volume_unit_shares, price_basis)
    return Normalised(bars, quarantine, coverage_of(bars, quarantine, sessions))


def coverage_of(bars: pl.DataFrame, quarantine: pl.DataFrame, sessions: pl.Series) -> pl.DataFrame:
    """Return one row per session from the first bar on: its rows, and whether it is missing."""
    counts = [
        frame.group_by("session").agg(pl.len().cast(pl.Int64).alias(name))
        for frame, name in ((bars, "n_bars"), (quarantine, "n_quarantined"))
    ]
    expected = sessions.to_frame("session").filter(
        pl.col("session") >= pl.lit(bars["session"].min(), pl.Date)
    )
    for count in counts:
        expected = expected.join(count, on="session", how="left")
    return expected.sort("session").with_columns(
        pl.col("n_bars", "n_quarantined").fill_null(0),
        (pl.col("n_bars").fill_null(0) == 0).alias("missing"),
        pl.col("session").dt.strftime("%Y-%m-01").alias("month"),
    )


def _bars(
    good: pl.DataFrame, provenance: tuple[pl.Expr, ...], volume_unit_shares: int, price_basis: str
) -> pl.DataFrame:
    # Only the counter of round lots is known to stop.
    counter_stops = volume_unit_shares == VOLUME_UNIT_SHARES
    flags = pl.concat_list(
        pl.when(pl.col("volume") == 0).then(pl.lit("zero_volume")),
        pl.when(pl.lit(counter_stops) & (pl.col("volume") >= VOLUME_SATURATED)).then(
            pl.lit("volume_saturated")
        ),
        pl.when(pl.col("low") < 0.5 * pl.col("close")).then(pl.lit("extreme_range")),
        pl.when((pl.col("close") * 100 - (pl.col("close") * 100).round()).abs() > 1e-6).then(
            pl.lit("sub_penny")
        ),
    ).list.drop_nulls()
    return good.select(
        (pl.lit("US.") + pl.col("symbol")).alias("instrument_id"),
        "symbol",
        pl.lit("bar_1d").alias("kind"),
        "session",
        pl.col("session").dt.strftime("%Y-%m-01").alias("month"),
        *PRICES,
        (pl.col("volume") * volume_unit_shares).cast(pl.Int64).alias("volume_shares"),
        pl.lit("USD").alias("currency"),
        pl.lit(price_basis).alias("price_basis"),
        pl.col("session").alias("basis_as_of"),
        pl.lit(MIC_UNKNOWN).alias("mic"),
        flags.list.join(",").alias("quality_flags"),
        pl.col("line").alias("source_seq"),
        *provenance,
    ).sort("instrument_id", "session")
