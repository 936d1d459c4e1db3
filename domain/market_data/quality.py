"""The catalogue of what can be wrong with market data: every reason in the platform is a rule here.

A row that breaks an *error* goes to the quarantine with the first rule it breaks, its text, its
file's SHA-256 and its line. A *warning* stays on the bar as one of its ``quality_flags``: it may be
true, and often is. A file that breaks an error of its own is refused whole.

What is judged where: rows by ``normalise`` and the readers in ``sources``, series by
``series_rules``, sessions by ``session_rules``, whole files by ``deliveries``, intraday rows by
``intraday.rules`` and ``intraday.clock``, two vendors by ``vendor_reconciliation``.
``docs/data-quality.md`` is written from here.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, NamedTuple

import polars as pl

from contracts.errors import ContractError

Severity = Literal["error", "warning"]
Scope = Literal["file", "row", "session", "series"]
SCOPES: tuple[Scope, ...] = ("file", "row", "session", "series")
PRICES = ("open", "high", "low", "close")

# A symbol, with a class behind a dot or a dash: BRK.B and BRK-B are one share's.
SYMBOL = r"^[A-Z][A-Z0-9]*([.\-][A-Z]+)?$"
# 2^24 - 1 round lots: one vendor's counter stops there (seen on C, 2009-12-18).
VOLUME_SATURATED_LOTS = 16_777_215
# Both in the evaluation years: 0.17 % of all rows move by more, and most of those moves are real.
JUMP_MIN = 0.10
# Half of the month's usual number of bars: below that the session is a broken delivery, not a
# market (the embedded year's thinnest session has 83 %).
SESSION_COMPLETENESS_MIN = 0.5


class Rule(NamedTuple):
    """One way in which data can be wrong.

    ``broken`` is where a row of ``normalise.typed_rows`` breaks it, null counting as broken; rules
    without one are judged by the code of their scope.
    """

    name: str
    severity: Severity
    scope: Scope
    description: str
    broken: pl.Expr | None = None


_numbers = (*PRICES, "volume")
_lowest, _highest = pl.min_horizontal("open", "close"), pl.max_horizontal("open", "close")

# In the order in which a line is judged: the first rule broken is its reason.
ROW_ERRORS = (
    Rule("not_utf8", "error", "row", "The line has bytes that are not UTF-8."),
    Rule("wrong_field_count", "error", "row", "The line has more or fewer fields than the layout.",
         pl.col("field_count") != 7),
    Rule("unreadable_date", "error", "row", "The date is not of the layout, or is no day.",
         pl.col("session").is_null()),
    Rule("future_time", "error", "row", "The row is dated after the day on which it was received.",
         pl.col("is_future")),
    Rule("no_symbol", "error", "row", "The row names no instrument."),
    Rule("unknown_symbol", "error", "row",
         "The symbol is malformed, or not of the list of known ones where there is a list.",
         ~pl.col("symbol").str.contains(SYMBOL) | ~pl.col("is_listed")),
    Rule("infinite", "error", "row", "A price or the volume is infinite.",
         pl.any_horizontal(pl.col(*_numbers).is_infinite().fill_null(value=False))),
    Rule("not_a_number", "error", "row", "A price or the volume is absent, NaN or no number.",
         pl.any_horizontal(pl.col(*_numbers).is_nan().fill_null(value=True))),
    Rule("price_negative", "error", "row", "A price is below zero.",
         pl.min_horizontal(*PRICES) < 0),
    Rule("price_zero", "error", "row", "A price is zero.", pl.min_horizontal(*PRICES) == 0),
    Rule("volume_negative", "error", "row", "The volume is below zero.", pl.col("volume") < 0),
    Rule("not_a_session", "error", "row", "The date is a weekend or a holiday of the exchange.",
         ~pl.col("in_sessions")),
    Rule("high_below_low", "error", "row", "The high is below the low.",
         pl.col("high") < pl.col("low")),
    Rule("outside_range", "error", "row", "The open or the close lies outside low and high.",
         (_lowest < pl.col("low")) | (_highest > pl.col("high"))),
    Rule("duplicate", "error", "row",
         "Several rows of one instrument and session contradict each other: which is right cannot "
         "be known from them, so none is used.", pl.col("conflicts")),
    Rule("duplicate_exact", "error", "row",
         "The row repeats another of its instrument and session to the number: the first is kept.",
         pl.col("repeats")),
)  # fmt: skip

ROW_WARNINGS = (
    Rule("zero_volume", "warning", "row", "Nothing was traded: the price is an old one.",
         pl.col("volume") == 0),
    Rule("volume_saturated", "warning", "row", "The vendor's volume counter stands at its maximum.",
         pl.col("volume") >= VOLUME_SATURATED_LOTS),
    Rule("extreme_range", "warning", "row", "The low is less than half of the close.",
         pl.col("low") < 0.5 * pl.col("close")),
    Rule("sub_penny", "warning", "row", "The close, as traded, is not a whole number of cents.",
         (pl.col("close") * 100 - (pl.col("close") * 100).round()).abs() > 1e-6),
    Rule("range_without_volume", "warning", "row",
         "High and low differ though nothing was traded: the volume is missing, not zero.",
         (pl.col("volume") == 0) & (pl.col("high") > pl.col("low"))),
)  # fmt: skip

INTRADAY = (
    Rule("time_outside_day", "error", "row", "The time of day is before 0:00 or after 24:00."),
    Rule("wall_clock_time_not_unique", "error", "row",
         "The clock shows the time twice or never on that day: it changes to or from summer time."),
    Rule("unreadable_flag", "error", "row", "The mark of a suspicious tick is neither 0 nor 1."),
    Rule("crossed_book", "error", "row", "The best bid is above the best ask."),
    Rule("outside_session_hours", "error", "row",
         "A source of regular trading alone (`regular_hours_only`) has a row before the open or "
         "after the close, which is early on half-days."),
    Rule("wrong_session", "error", "row",
         "The row is of another day than its drop, or of a day without trading."),
    Rule("non_positive_price", "error", "row", "The price of a trade or bar is zero or less."),
    Rule("negative", "error", "row", "A size or volume, or the price of a quote, is below zero."),
    Rule("levels_out_of_order", "error", "row",
         "A level of the book is no worse than the one before it."),
    Rule("no_message", "error", "row",
         "The book has no message of a known time beside it, so when it stood is unknown."),
)  # fmt: skip

# Of recorded feeds and captures, whose rows are messages and packets.
FEED = (
    Rule("not_a_message", "error", "row", "The line is no message that can be read."),
    Rule("unknown_message", "error", "row", "The message is of no type that the feed describes."),
    Rule("short_message", "error", "row", "The message is shorter than its type."),
    Rule("not_ascii", "error", "row", "A text of the message has bytes that are not ASCII."),
    Rule("repeated_message", "error", "row",
         "A message of this sequence number has been read: the first counts."),
    Rule("sequence_gap", "error", "row", "Messages before this one are missing."),
    Rule("no_book", "error", "row",
         "The change is of a book that is not known, or no longer since a gap."),
    Rule("other_instrument", "error", "row",
         "The message is of another instrument than those before it in the recording."),
    Rule("refused_by_venue", "error", "row", "The venue refuses to send the market data."),
    Rule("wrong_checksum", "error", "row",
         "The check sum is not that of the bytes: they were damaged on the way."),
    Rule("wrong_length", "error", "row", "The packet is not as long as it says."),
    Rule("truncated_packet", "error", "row", "The packet is cut off."),
    Rule("damaged_block", "error", "row", "The block of the capture is not as its format says."),
    Rule("fragment", "error", "row", "The packet is a fragment of a larger one."),
    Rule("not_ipv4", "error", "row", "The packet is not of IPv4."),
    Rule("not_udp", "error", "row", "The packet is not of UDP."),
    Rule("not_tops_1_6", "error", "row", "The packet is not of TOPS 1.6."),
)  # fmt: skip

SERIES = (
    Rule("unit_factor", "error", "series",
         "The price is about a hundred times, or a hundredth of, the last accepted one: pence for "
         "pounds, cents for dollars. It stays set aside until the factor is gone, or until a split "
         "of that ratio is among the corporate actions."),
    Rule("jump", "warning", "series",
         "The close moved by more than 10 % and no corporate action explains it."),
    Rule("split_unapplied", "warning", "series",
         "Open and close step by a common split ratio and no corporate action explains it."),
    Rule("split_not_in_prices", "warning", "series",
         "A corporate action says that a raw price steps by a split, and it does not."),
    Rule("stale_repeat", "warning", "series",
         "Prices and volume are those of the session before, to the number, though it traded."),
    Rule("filled_gap", "warning", "series",
         "Nothing was traded and all prices are the last close: a gap that was filled in."),
    Rule("spike_reverted", "warning", "series",
         "The close is back where it was two bars ago: the bar between was probably wrong."),
    Rule("out_of_order", "warning", "series",
         "The row stands in its file on the wrong side of the instrument's session before."),
    Rule("missing_session", "warning", "series",
         "A name that had a bar in one of the five sessions before has none, and others have."),
    Rule("source_switched", "warning", "series",
         "The series continues with another vendor's rows."),
)  # fmt: skip

SESSION = (
    Rule("session_missing", "warning", "session",
         "No name has a bar in a session of the exchange."),
    Rule("session_half_empty", "error", "session",
         "A session has less than half of the usual number of bars."),
)  # fmt: skip

FILE = (
    Rule("empty_file", "error", "file", "The file has nothing but blanks."),
    Rule("oversized_file", "error", "file",
         "The file, or what it unpacks to, is larger than its limit."),
    Rule("unreadable_drop", "error", "file", "The drop of a session cannot be read at all."),
    Rule("broken_archive", "error", "file",
         "The archive or Parquet file is broken, cut off, or holds links, devices or names that "
         "leave its directory."),
    Rule("wrong_encoding", "error", "file",
         "The file is not UTF-8: it is compressed, UTF-16, or of an old code page."),
    Rule("unreadable_file", "error", "file", "The file is not of the source's layout."),
    Rule("changed_header", "error", "file", "The columns are not those of the layout."),
    Rule("truncated_file", "error", "file",
         "The last line ends without a newline and without all of its fields."),
    Rule("shrunken_file", "error", "file",
         "The file has far fewer bars than the one before it."),
    Rule("changed_unit", "error", "file",
         "Prices or volumes of the whole file are 10, 100 or 1,000 times those of the one before."),
    Rule("changed_time_zone", "error", "file",
         "The times of day of the whole file lie whole hours beside the exchange's."),
)  # fmt: skip

RULES = (*FILE, *ROW_ERRORS, *ROW_WARNINGS, *INTRADAY, *FEED, *SESSION, *SERIES)
CATALOGUE = {rule.name: rule for rule in RULES}

# What ``quality_flags`` may hold, in this order. A missing session has no bar to carry a flag, and
# a file's bars do not know which vendor's came before.
FLAGS = tuple(
    rule.name
    for rule in (*ROW_WARNINGS, *SERIES)
    if rule.severity == "warning" and rule.name not in {"missing_session", "source_switched"}
)


def require_rules(names: Iterable[str]) -> None:
    """Refuse a reason that the catalogue does not have.

    Raises
    ------
    ContractError
        Naming it.
    """
    unknown = [name for name in names if name not in CATALOGUE]
    if unknown:
        raise ContractError(
            f"{unknown[0]!r} is no rule of the catalogue.",
            remedy="add it to domain/market_data/quality.py, with a description and a test",
        )


def first_broken(rules: Iterable[tuple[str, pl.Expr]]) -> pl.Expr:
    """Return the name of the first rule that a row breaks, null where it breaks none.

    An unknown answer is a broken rule: rows pass positively or not at all.
    """
    return pl.coalesce(
        *(pl.when(broken.fill_null(value=True)).then(pl.lit(name)) for name, broken in rules),
        pl.lit(None, pl.String),
    )


def any_broken(rules: Iterable[tuple[str, pl.Expr]]) -> pl.Expr:
    """Return whether a row breaks any of the rules."""
    return pl.any_horizontal(*(broken.fill_null(value=True) for _, broken in rules))


def expressions(rules: Iterable[Rule]) -> tuple[tuple[str, pl.Expr], ...]:
    """Return the names and expressions of those rules that have one."""
    return tuple((rule.name, rule.broken) for rule in rules if rule.broken is not None)


def flags_of(marks: pl.DataFrame) -> pl.Series:
    """Return the names of each row's true columns, joined by commas, in the catalogue's order.

    Parameters
    ----------
    marks : pl.DataFrame
        Boolean columns named by flags; null counts as false.
    """
    names = [name for name in FLAGS if name in marks.columns]
    bits = [
        pl.col(name).fill_null(value=False).cast(pl.UInt32) * 2**i for i, name in enumerate(names)
    ]
    # Few combinations occur: each is spelled once.
    found = marks.select(pl.sum_horizontal(*bits, pl.lit(0, pl.UInt32)).alias("bits"))
    masks = found["bits"].unique().to_list()
    spelled = pl.DataFrame(
        {
            "bits": masks,
            "flags": [",".join(n for i, n in enumerate(names) if mask >> i & 1) for mask in masks],
        },
        schema={"bits": pl.UInt32, "flags": pl.String},
    )
    return found.join(spelled, on="bits", how="left", maintain_order="left")["flags"]
