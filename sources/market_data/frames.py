"""The typed frames that readers give, and how lines of text become them.

Intraday frames have UTC instants in nanoseconds and prices in currency units. A bar's ``start_ns``
is when it begins, ``end_ns`` when it is complete: nobody knew it earlier. A side of a quote that
the vendor leaves out is null.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import polars as pl

from contracts.errors import SourceError
from domain.market_data.intraday.rules import crossed_book
from domain.market_data.normalise import HEADER, text_lines
from domain.market_data.quality import any_broken, first_broken, require_rules
from sources.file_drops import RawDrop
from sources.market_data.protocol import Kind, Reading

NEW_YORK = "America/New_York"
# A line of these says nothing.
_BLANKS = " \t\r\v\f"
_SPACES = [*_BLANKS, *(chr(code) for code in range(28, 32))]
LINES_MAX = 100_000_000
_OHLC = ("open", "high", "low", "close")
_SIDES = tuple(f"{side}_{name}" for side in ("bid", "ask") for name in (*_OHLC, "size"))
_WHERE = {"line": pl.Int64, "symbol": pl.String, "session": pl.Date}
_SPAN = {"start_ns": pl.Int64, "end_ns": pl.Int64}
_TICK = {"exchange": pl.String, "conditions": pl.String, "suspicious": pl.Boolean}

Schema = dict[str, type[pl.DataType]]
DAILY: Schema = {
    "line": pl.Int64, "raw": pl.String, "field_count": pl.Int64, "date": pl.String,
    "symbol": pl.String, "session": pl.Date, **dict.fromkeys((*_OHLC, "volume"), pl.Float64),
}  # fmt: skip
# Volumes and sizes are floats: one vendor in two writes `100.0`.
BAR: Schema = {**_WHERE, **_SPAN, **dict.fromkeys((*_OHLC, "volume"), pl.Float64)}
QUOTE_BAR: Schema = {**_WHERE, **_SPAN, **dict.fromkeys(_SIDES, pl.Float64)}
TRADE: Schema = {
    **_WHERE, "time_ns": pl.Int64, "price": pl.Float64, "size": pl.Float64, **_TICK,
}  # fmt: skip
QUOTE: Schema = {
    **_WHERE, "time_ns": pl.Int64,
    **dict.fromkeys(("bid_price", "bid_size", "ask_price", "ask_size"), pl.Float64), **_TICK,
}  # fmt: skip
# One row is one level of a book at an instant; a side without so many levels is null there.
DEPTH: Schema = {
    **_WHERE, "time_ns": pl.Int64, "level": pl.Int64,
    **dict.fromkeys(("bid_price", "bid_size", "ask_price", "ask_size"), pl.Float64),
}  # fmt: skip
QUARANTINE: Schema = {
    "source_seq": pl.Int64, "symbol": pl.String, "session": pl.Date, "reason": pl.String,
    "raw": pl.String, "source": pl.String, "raw_sha256": pl.String,
}  # fmt: skip

# Names that no vendor's column has.
_REST, _ALL = "\x00rest", "\x00all"

# A rule's name, and where it is broken.
Rules = Sequence[tuple[str, pl.Expr]]


def schema_of(kind: Kind) -> Schema:
    """Return the columns that rows of a kind have, at least."""
    if kind == "bar_1d":
        return DAILY
    if kind.startswith("quote_bar"):
        return QUOTE_BAR
    return {"trade": TRADE, "quote": QUOTE, "depth": DEPTH}.get(kind, BAR)


def split_lines(data: bytes, *, first_line: int = 1) -> pl.DataFrame:
    r"""Return the lines that say something: ``line``, ``raw``, and whether it is ``utf8``.

    Never fails for what the bytes are: of a line that is not UTF-8, ``raw`` has the wrong bytes as
    ``\xff``.
    """
    data = data.removeprefix(b"\xef\xbb\xbf")
    n_lines = data.count(b"\n") + 1
    if n_lines > LINES_MAX:
        raise SourceError(
            f"The file has {n_lines} lines, the limit is {LINES_MAX}.",
            remedy="split it by date",
            rule="oversized_file",
        )
    if _is_utf8(data):
        lines = text_lines(data).with_columns(pl.lit(value=True).alias("utf8"))
    else:
        pieces = data.split(b"\n")
        shown = [piece.decode(errors="backslashreplace") for piece in pieces]
        lines = pl.DataFrame(
            {"raw": shown, "utf8": [_is_utf8(piece) for piece in pieces]},
            schema={"raw": pl.String, "utf8": pl.Boolean},
        )
    said = pl.col("raw").str.strip_chars(_BLANKS) != ""
    numbered = lines.with_row_index("line", offset=first_line).with_columns(
        pl.col("line").cast(pl.Int64), pl.col("raw").str.strip_chars_end("\r")
    )
    return numbered.filter(said)


def _is_utf8(piece: bytes) -> bool:
    try:
        piece.decode()
    except UnicodeDecodeError:
        return False
    return True


def with_fields(lines: pl.DataFrame, names: Sequence[str], separator: str = ",") -> pl.DataFrame:
    """Add a line's fields as text under the given names, and ``n_fields``; quotes mean nothing."""
    raw, n = pl.col("raw"), len(names)
    # What follows the last name stays out: `n_fields` tells of it.
    parted = raw.str.split_exact(separator, n).struct.rename_fields([*names, _REST])
    counted = raw.str.count_matches(separator, literal=True).cast(pl.Int64) + 1
    found = (
        lines.drop(*names, "n_fields", strict=False)
        .with_columns(counted.alias("n_fields"), parted.alias(_ALL))
        .unnest(_ALL)
        .drop(_REST)
    )
    # Looking for white space once is quicker than stripping each field of each line.
    text = lines["raw"].str
    spaced = (text.len_bytes() != text.len_chars()).any() or text.contains_any(_SPACES).any()
    return found.with_columns(pl.col(*names).str.strip_chars()) if spaced else found


def layout_rules(n_fields: int) -> Rules:
    """Return the rules that any line of a text file with so many fields keeps."""
    return (
        ("not_utf8", ~pl.col("utf8")),
        ("wrong_field_count", pl.col("n_fields") != n_fields),
    )


def number(name: str, *, scale: float = 1, of: pl.Expr | None = None) -> pl.Expr:
    """Return a column as a number divided by ``scale``, null where it is none or NaN.

    ``of`` is what is read, the column of that name without it.
    """
    found = (pl.col(name) if of is None else of).cast(pl.Float64, strict=False)
    if scale != 1:
        found = found.map_batches(lambda series: _quotient(series, scale))
    return pl.when(found.is_not_nan()).then(found).alias(name)


def _quotient(series: pl.Series, scale: float) -> pl.Series:
    # polars multiplies by the reciprocal of a scalar: 140200 / 10000 is 14.020000000000001 there.
    # Measured with polars 2: 31 % of the prices up to 300 dollars differ from the nearest float.
    return pl.Series(series.name, series.to_numpy() / scale, dtype=pl.Float64)


def missing(*names: str) -> pl.Expr:
    """Return whether any of the columns is null, or infinite."""
    return ~pl.all_horizontal(pl.col(*names).is_finite().fill_null(value=False))


def infinite(*names: str) -> pl.Expr:
    """Return whether any of the columns is infinite; null is not."""
    return pl.any_horizontal(pl.col(*names).is_infinite().fill_null(value=False))


def new_york_ns(naive: pl.Expr) -> pl.Expr:
    """Return the instants of New York's wall clock in nanoseconds.

    Null for an hour that the change to summer time leaves out, and for the one that the change back
    has twice: which of the two was meant cannot be known.
    """
    placed = naive.dt.replace_time_zone(NEW_YORK, ambiguous="null", non_existent="null")
    return placed.dt.epoch("ns")


def sift(drop: RawDrop, kind: Kind, typed: pl.DataFrame, rules: Rules) -> Reading:
    """Part rows from lines that break a rule; the first rule broken is the reason.

    Parameters
    ----------
    drop : RawDrop
        Where the lines are from.
    kind : str
        Decides which columns the rows have; others of ``typed`` that begin with ``adj_``,
        ``dividend_`` or ``split_`` are kept after them.
    typed : pl.DataFrame
        One row per line, with ``line``, ``raw``, ``symbol`` and ``session``.
    rules : sequence of (str, pl.Expr)
        Of the catalogue in ``domain.market_data.quality``. Null counts as broken.

    Raises
    ------
    ContractError
        When a rule is not of the catalogue.
    """
    rules = (*rules, *crossed_book(typed.columns))
    require_rules(name for name, _ in rules)
    broken = typed.select(any_broken(rules)).to_series()
    refused = typed.filter(broken).with_columns(first_broken(rules).alias("reason"))
    quarantine = refused.select(
        pl.col("line").alias("source_seq"), "symbol", "session", "reason", "raw",
        pl.lit(drop.source).alias("source"), pl.lit(drop.sha256).alias("raw_sha256"),
    )  # fmt: skip
    extra = [name for name in typed.columns if name.startswith(("adj_", "dividend_", "split_"))]
    rows = (typed.filter(~broken) if refused.height else typed).select(*schema_of(kind), *extra)
    return Reading(kind, rows, quarantine)


def sift_daily(drop: RawDrop, typed: pl.DataFrame, rules: Rules = ()) -> Reading:
    """Part daily rows, whose ``session``, prices and volume are null where they are unreadable."""
    # Few days are spelled, whatever the number of rows.
    days = typed.select(pl.col("session").unique()).with_columns(
        pl.col("session").dt.strftime("%Y%m%d").alias("date")
    )
    dated = typed.drop("date", strict=False).join(
        days, on="session", how="left", maintain_order="left"
    )
    daily = dated.with_columns(
        # What the normaliser counts: a line of the layout has all that it needs.
        pl.lit(len(HEADER), pl.Int64).alias("field_count"),
    )
    broken = (
        *rules,
        ("unreadable_date", pl.col("session").is_null()),
        ("infinite", infinite(*_OHLC, "volume")),
        ("not_a_number", missing(*_OHLC, "volume")),
    )
    return sift(drop, "bar_1d", daily, broken)


def require_columns(found: Sequence[str], wanted: Mapping[str, str], what: str) -> None:
    """Refuse a header that lacks a mapped column, or has it twice.

    Parameters
    ----------
    found : sequence of str
        The file's columns.
    wanted : mapping of str to str
        Our name of each needed column, and the vendor's.
    what : str
        The file, for the message.
    """
    wrong = [name for name in wanted.values() if list(found).count(name) != 1]
    if wrong:
        raise SourceError(
            f"{what} has the columns {', '.join(found)[:300]!r}, without (or twice) "
            f"{', '.join(wrong)}.",
            remedy="check that the vendor has not changed the layout; then map its `columns`",
            rule="changed_header",
        )
