"""From a vendor's daily CSV to normalised bars and a quarantine that loses nothing."""

from __future__ import annotations

import datetime as dt
import io
from collections.abc import Callable, Collection, Sequence
from typing import NamedTuple

import polars as pl

from contracts.errors import SourceError
from domain.market_data.instruments import MIC_UNKNOWN
from domain.market_data.quality import (
    PRICES,
    ROW_ERRORS,
    ROW_WARNINGS,
    any_broken,
    expressions,
    first_broken,
    flags_of,
)

HEADER = ("Date", "Symbol", "Open", "High", "Low", "Close", "Volume")

# The vendor counts volume in round lots of 100 shares.
VOLUME_UNIT_SHARES = 100
# No market trades so much; beyond it a count of shares would not fit into 64 bits.
VOLUME_MAX = 1e14
# What may part the fields of a one-column file: a byte that no line has.
_SEPARATORS = tuple(bytes([code]) for code in (*range(1, 9), *range(14, 32)))
_WHITE = (b" ", b"\t", b"\r", b"\x0b", b"\x0c", *(bytes([code]) for code in range(28, 32)))
_ERRORS, _WARNINGS = expressions(ROW_ERRORS), expressions(ROW_WARNINGS)


class Normalised(NamedTuple):
    """Bars that may be used, and rows that may not with the first rule they break.

    ``n_later`` rows are of sessions after the last one asked for: not judged, and in neither.
    """

    bars: pl.DataFrame
    quarantine: pl.DataFrame
    coverage: pl.DataFrame
    n_later: int = 0

    def with_bars(self, change: Callable[[pl.DataFrame], pl.DataFrame]) -> Normalised:
        """Return the same with changed bars."""
        return self._replace(bars=change(self.bars))

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
            self.n_later,
        )


def read_lines(data: bytes) -> pl.DataFrame:
    """Return the file's lines below the header as ``line``, 1-based, and ``raw``; no empty ones.

    Raises
    ------
    SourceError
        When the bytes are not UTF-8, or the header is not
        ``Date,Symbol,Open,High,Low,Close,Volume``.
    """
    data = data.removeprefix(b"\xef\xbb\xbf")
    _require_utf8(data)
    header = tuple(data.split(b"\n", 1)[0].decode().strip().split(","))
    if header != HEADER:
        raise SourceError(
            f"Header is {','.join(header)[:200]!r}, expected {','.join(HEADER)!r}.",
            remedy="check that the vendor has not changed the layout; then extend the adapter",
            rule="changed_header",
        )
    lines = (
        text_lines(data, skip=1)
        .with_row_index("line", offset=2)
        .with_columns(pl.col("line").cast(pl.Int64))
    )
    said = pl.col("raw").str.strip_chars() if _is_spaced(data) else pl.col("raw")
    # An empty line says nothing; everything else is judged.
    empty = lines.select((said.str.len_bytes() == 0).fill_null(value=True)).to_series()
    return lines.filter(~empty) if empty.any() else lines


def _is_spaced(data: bytes) -> bool:
    # Looking for white space once is quicker than stripping each field of each line.
    return not data.isascii() or any(byte in data for byte in _WHITE)


def _require_utf8(data: bytes) -> None:
    if data.isascii():
        return
    try:
        data.decode()
    except UnicodeDecodeError as error:
        raise SourceError(
            f"Not UTF-8 text: byte {error.start} is {data[error.start]:#04x}.",
            remedy="the file is corrupt or compressed; ask the vendor to send it again",
            rule="wrong_encoding",
        ) from error


def text_lines(data: bytes, *, skip: int = 0) -> pl.DataFrame:
    """Return the lines of UTF-8 text after the first ``skip`` as ``raw``; null for an empty one."""
    separator = next((byte for byte in _SEPARATORS if byte not in data), None)
    if separator is None:
        lines = data.split(b"\n")[skip:]
        return pl.DataFrame([pl.Series("raw", lines, dtype=pl.Binary).cast(pl.String)])
    return pl.read_csv(
        io.BytesIO(data),
        has_header=False,
        skip_rows=skip,
        separator=separator.decode(),
        quote_char=None,
        new_columns=["raw"],
        schema={"raw": pl.String},
        raise_if_empty=False,
    )


def read_rows(data: bytes) -> pl.DataFrame:
    """Parse the vendor's file into text columns plus ``line``, its 1-based line number.

    Raises
    ------
    SourceError
        When ``read_lines`` cannot read it.
    """
    raw = pl.col("raw")
    names = [name.lower() for name in HEADER]
    spaced = _is_spaced(data)
    cells = raw.str.strip_chars_end("\r") if spaced else raw
    parted = read_lines(data).with_columns(
        (cells.str.count_matches(",", literal=True).cast(pl.Int64) + 1).alias("field_count"),
        # What follows the last field stays out: the line is quarantined for its field count.
        cells.str.split_exact(",", len(HEADER)).struct.rename_fields([*names, "rest"]).alias("all"),
    )
    rows = parted.unnest("all").drop("rest")
    return rows.with_columns(pl.col(*names).str.strip_chars()) if spaced else rows


def normalise(
    rows: pl.DataFrame,
    *,
    source: str,
    sha256: str,
    sessions: pl.Series,
    volume_unit_shares: int = VOLUME_UNIT_SHARES,
    price_basis: str = "raw",
    received: dt.date | None = None,
    known_symbols: Collection[str] | None = None,
) -> Normalised:
    """Turn vendor rows into bars; set aside rows that break a rule of ``quality.ROW_ERRORS``.

    Parameters
    ----------
    rows : pl.DataFrame
        The result of ``read_rows``, or of another vendor's reader in the same columns; a column
        ``session`` of dates spares reading ``date``.
    source, sha256 : str
        The vendor and the hash of its file.
    sessions : pl.Series
        Exchange sessions (``pl.Date``) that a row may belong to. Rows after the last of them are
        not known yet and are left out: a replay must not see them. ``n_later`` counts them.
    volume_unit_shares : int
        How many shares one unit of the vendor's volume is.
    price_basis : str
        What the vendor's prices are adjusted for: ``raw``, ``split_adjusted``, ``total_return``.
    received : datetime.date, optional
        The day on which the file came. Nobody can have known a later session: such a row is
        quarantined, whatever was asked for.
    known_symbols : collection of str, optional
        The only symbols that are known; without it every well-formed one is.

    Returns
    -------
    Normalised
        ``bars`` has one row per (instrument_id, session), volume in shares, prices in currency
        units, never NaN.
        ``quarantine`` has one row per rejected line with ``reason`` and the line's text. Together
        with ``n_later`` they hold every line. ``coverage`` has one row per session since the
        file's first, saying which are missing.
    """
    judged = _facts(typed_rows(rows), sessions, received, known_symbols)
    later = (pl.col("session") > pl.lit(sessions.max(), pl.Date)) & ~pl.col("is_future")
    known = judged.filter(~later.fill_null(value=False))
    n_later = judged.height - known.height
    known = _marked(known)
    provenance = (pl.lit(source).alias("source"), pl.lit(sha256).alias("raw_sha256"))
    broken = known.select(any_broken(_ERRORS)).to_series()
    quarantine = (
        known.filter(broken)
        .with_columns(first_broken(_ERRORS).alias("reason"))
        .select(
            pl.col("line").alias("source_seq"), "symbol", "session", "reason", "raw", *provenance
        )
        .sort("source_seq")
    )
    good = known.filter(~broken) if quarantine.height else known
    bars = _bars(good, provenance, volume_unit_shares, price_basis)
    return Normalised(bars, quarantine, coverage_of(bars, quarantine, sessions), n_later)


def texts_in(rows: pl.DataFrame) -> Callable[[pl.DataFrame], pl.DataFrame]:
    """Return the ``texts`` of ``series_rules.with_series_rules`` where all bars are of one file."""

    def texts(bars: pl.DataFrame) -> pl.DataFrame:
        lines = rows.select(pl.col("line").alias("source_seq"), "raw")
        return bars.select("raw_sha256", "source_seq").join(lines, on="source_seq")

    return texts


def typed_rows(rows: pl.DataFrame) -> pl.DataFrame:
    """Return vendor rows with ``session`` as a date, and prices and volume as numbers or null."""
    dated = pl.col("date").str.to_date("%Y%m%d", strict=False).alias("session")
    volume = pl.col("volume").cast(pl.Float64, strict=False)
    return rows.with_columns(
        *(() if "session" in rows.columns else (dated,)),
        *(pl.col(name).cast(pl.Float64, strict=False) for name in PRICES),
        pl.when(~(volume.is_finite() & (volume.abs() > VOLUME_MAX))).then(volume).alias("volume"),
    )


def _facts(
    typed: pl.DataFrame,
    sessions: pl.Series,
    received: dt.date | None,
    known_symbols: Collection[str] | None,
) -> pl.DataFrame:
    """Add what the rules ask of a row that the row itself does not say."""
    after = pl.lit(value=False) if received is None else pl.col("session") > pl.lit(received)
    listed = (
        pl.lit(value=True)
        if known_symbols is None
        else pl.col("symbol").is_in(sorted(known_symbols))
    )
    return typed.with_columns(
        (pl.lit("US.") + pl.col("symbol").str.replace_all("-", ".", literal=True)).alias(
            "instrument_id"
        ),
        after.fill_null(value=False).alias("is_future"),
        listed.alias("is_listed"),
        pl.col("session").is_in(sessions.implode()).alias("in_sessions"),
    )


def _marked(rows: pl.DataFrame) -> pl.DataFrame:
    """Sort by instrument and session, and mark rows that repeat or contradict one another."""
    ordered = _ordered(rows)
    again = _again(ordered, "instrument_id", "session")
    if not again.any():
        return ordered.with_columns(
            pl.lit(value=False).alias("conflicts"), pl.lit(value=False).alias("repeats")
        )
    group = again.not_().cum_sum().alias("group")
    same = pl.all_horizontal(
        pl.col(name).eq_missing(pl.col(name).shift(1)) for name in (*PRICES, "volume")
    )
    # All of a group are equal when each is equal to the one before it.
    differs = ordered.select(group, (~same & again).alias("differs"))
    conflicts = differs.select(pl.col("differs").any().over("group")).to_series()
    return ordered.with_columns(conflicts.alias("conflicts"), (again & ~conflicts).alias("repeats"))


def _ordered(rows: pl.DataFrame) -> pl.DataFrame:
    instrument, session, line = pl.col("instrument_id"), pl.col("session"), pl.col("line")
    same = instrument == instrument.shift(1)
    later = (session > session.shift(1)) | ((session == session.shift(1)) & (line > line.shift(1)))
    sorted_already = (instrument > instrument.shift(1)) | (same & later)
    # The first row has none before it; a null further on means that something is unreadable.
    if rows.height < 2 or rows.select(sorted_already.slice(1).fill_null(value=False).all()).item():
        return rows
    return rows.sort("instrument_id", "session", "line", maintain_order=True)


def _again(ordered: pl.DataFrame, *key: str) -> pl.Series:
    """Return whether a row's key is that of the row before; an unreadable key is nobody's."""
    same = pl.all_horizontal(pl.col(name) == pl.col(name).shift(1) for name in key)
    return ordered.select(same.fill_null(value=False)).to_series()


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
    # Only the counter of round lots is known to stop, and only prices as traded are in cents.
    idle = {
        "volume_saturated": volume_unit_shares != VOLUME_UNIT_SHARES,
        "sub_penny": price_basis != "raw",
    }
    marks = good.select(
        broken.alias(name) for name, broken in _WARNINGS if not idle.get(name, False)
    )
    return with_months(good).select(
        "instrument_id",
        "symbol",
        pl.lit("bar_1d").alias("kind"),
        "session",
        "month",
        *PRICES,
        (pl.col("volume") * volume_unit_shares).cast(pl.Int64).alias("volume_shares"),
        pl.lit("USD").alias("currency"),
        pl.lit(price_basis).alias("price_basis"),
        pl.col("session").alias("basis_as_of"),
        pl.lit(MIC_UNKNOWN).alias("mic"),
        flags_of(marks).alias("quality_flags"),
        pl.col("line").alias("source_seq"),
        *provenance,
    )


def with_months(rows: pl.DataFrame) -> pl.DataFrame:
    """Add ``month``, the first day of the session's month as text; few sessions are spelled."""
    spelled = rows.select(pl.col("session").unique()).with_columns(
        pl.col("session").dt.strftime("%Y-%m-01").alias("month")
    )
    return rows.join(spelled, on="session", how="left", maintain_order="left")
