"""What every source of market data can do: fetch raw drops, and read a drop into rows.

Fetching and reading are apart because a drop is kept byte for byte before anything looks inside: a
parser that is mended later reads the old drops again.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal, NamedTuple, Protocol

import msgspec
import polars as pl

from contracts.errors import SourceError
from domain.market_data.intraday.best_quotes import Scope
from domain.market_data.intraday.sale_conditions import SaleConditions
from sources.file_drops import RawDrop

PriceBasis = Literal["raw", "split_adjusted", "total_return"]
Kind = Literal["bar_1d", "bar_1h", "bar_1m", "bar_5m", "bar_15m", "bar_30m", "bar_1s",
               "quote_bar_1m", "quote_bar_1s", "trade", "quote", "depth", "tops"]  # fmt: skip
# A symbol as vendors write it. It becomes part of a drop's name, so it may not look like a path.
_SYMBOL = re.compile(r"[A-Za-z0-9][A-Za-z0-9.\-=^]{0,31}")


class Window(msgspec.Struct, frozen=True):
    """Days that are asked for, both included."""

    first: dt.date
    last: dt.date

    def __post_init__(self) -> None:
        if self.first > self.last:
            raise SourceError(
                f"The window's first day {self.first} lies after its last, {self.last}.",
                remedy="pass the earlier day first",
            )

    def __contains__(self, day: dt.date) -> bool:
        return self.first <= day <= self.last


class Refusal(msgspec.Struct, frozen=True):
    """Something that was asked for and did not come, by the name that its drop would have had."""

    name: str
    reason: str


class Reading(NamedTuple):
    """What one drop says.

    ``rows`` of a daily drop are what ``domain.market_data.normalise`` takes, otherwise they have
    the schema of ``sources.market_data.frames`` for their kind. ``quarantine`` has the lines that
    are not of the layout, with the columns of the normaliser's. Together they hold every line of
    the file that says something.
    """

    kind: Kind
    rows: pl.DataFrame
    quarantine: pl.DataFrame


class Undated:
    """Of a source whose drops do not say in their names when they were written."""

    def written_ns(self, name: str) -> None:
        """Return nothing: a drop is known when it came."""
        del name


class WithinTheDay(Undated):
    """Of a source that has no daily bars."""

    def is_daily(self, name: str) -> bool:
        """Tell that it holds none."""
        del name
        return False


class MarketDataSource(Protocol):
    """One configured vendor."""

    @property
    def price_basis(self) -> PriceBasis:
        """What its prices are adjusted for."""

    @property
    def volume_unit_shares(self) -> int:
        """How many shares one unit of its volume is."""

    def fetch(self, window: Window, instruments: Sequence[str]) -> Iterator[RawDrop | Refusal]:
        """Yield the drops that can hold the instruments' data within the window, one by one.

        A vendor's file is never cut: it may hold more than was asked for. No instruments means
        all, where the vendor can be asked for all.

        Raises
        ------
        SourceError
            When nothing at all can be fetched. What fails for one drop is a ``Refusal``.
        """

    def is_daily(self, name: str) -> bool:
        """Tell by its name whether a drop of this source holds daily bars."""

    def written_ns(self, name: str) -> int | None:
        """Return by its name when the vendor wrote a drop; nothing where the name does not say."""

    def read(self, drop: RawDrop) -> Reading:
        """Parse a drop of this source.

        Raises
        ------
        SourceError
            When the bytes are not of the vendor's layout at all.
        """


class SessionSource(MarketDataSource, Protocol):
    """A vendor whose drops hold single sessions: ticks, bars within the day, depth."""

    @property
    def quote_scope(self) -> Scope:
        """What one of its quotes speaks for."""

    @property
    def sale_conditions(self) -> SaleConditions:
        """Which of its trades count for what."""

    @property
    def calendar(self) -> str | None:
        """The code of its exchange calendar in exchange_calendars; None is the desk's."""

    @property
    def regular_hours_only(self) -> bool:
        """Whether it promises that nothing is from before the open or after the close."""

    def days_of(self, name: str) -> tuple[dt.date, ...] | None:
        """Return the days that a drop can have rows of, by its name; None where it does not say."""

    def read_session(self, drop: RawDrop, beside: Mapping[str, RawDrop]) -> list[Reading]:
        """Parse a drop into one reading per kind; ``beside`` are the source's others, by name.

        A drop that only completes another one gives none.

        Raises
        ------
        SourceError
            As ``read``, or when a drop that it needs is missing.
        """


def require_symbol(symbol: str) -> str:
    """Return a vendor's symbol, refusing what no vendor would call an instrument."""
    if not _SYMBOL.fullmatch(symbol):
        raise SourceError(
            f"{symbol[:40]!r} is no symbol.",
            remedy="write letters, digits and . - = ^, at most 32 of them",
        )
    return symbol
