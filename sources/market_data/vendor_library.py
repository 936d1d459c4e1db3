"""Vendors who are asked through their own library: what all of them need around it.

A library is imported when the first question is asked, and only then. Its answer becomes JSON whose
keys are sorted: the same answer is the same bytes, and is read again without the library.
"""

from __future__ import annotations

import datetime as dt
import importlib
import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from types import ModuleType
from typing import Annotated, Literal, NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec
import stamina

from contracts.errors import ConfigurationError, SourceError
from sources.file_drops import RawDrop, make_drop
from sources.market_data.errors import (
    VendorCredentialError,
    VendorQuotaError,
    VendorSessionError,
    VendorUnavailableError,
)
from sources.market_data.http import HIDDEN, Seconds
from sources.market_data.protocol import (
    PriceBasis,
    Reading,
    Refusal,
    Undated,
    Window,
    require_symbol,
)

Interval = Literal["1min", "5min", "30min", "60min"]
# A daily drop is a year, an intraday one a day: no more of either for one instrument at a time.
PARTS_MAX = 400


class LibraryLimits(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How a vendor is asked; ``timeout_s`` bounds one answer, ``wait_s_max`` a wait before it."""

    requests_per_minute: Annotated[float, msgspec.Meta(gt=0)] = 60
    attempts: Annotated[int, msgspec.Meta(ge=1, le=20)] = 4
    timeout_s: Seconds = 60
    wait_s_max: Seconds = 120


class Question(NamedTuple):
    """One drop to ask for: an instrument as the vendor calls it, and days, both included."""

    name: str
    instrument: str
    days: Window


class Answer(NamedTuple):
    """What the vendor said, of JSON's types, and what it said is missing."""

    content: object
    missing: tuple[str, ...] = ()


Ask = Callable[[Question], Answer]


def import_library(module: str, *, remedy: str) -> ModuleType:
    """Return a vendor's library.

    Raises
    ------
    ConfigurationError
        When it is not installed, or cannot be imported here.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ConfigurationError(
            f"The vendor's library {module!r} cannot be imported: {error}.", remedy=remedy
        ) from error


def read_zone(name: str) -> ZoneInfo:
    """Return a time zone by its name; raise ``ConfigurationError`` if there is none."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError):
        raise ConfigurationError(
            f"{name[:40]!r} is no time zone.", remedy="write one like America/New_York"
        ) from None


def encode_answer(content: object) -> bytes:
    """Return the one JSON text of an answer.

    JSON has no NaN and no infinity: they become the texts ``nan``, ``inf`` and ``-inf``, which a
    reader can tell from what was left out.
    """
    return msgspec.json.encode(_plain(content), order="sorted")


def _plain(content: object) -> object:
    if isinstance(content, Mapping):
        return {str(name): _plain(value) for name, value in content.items()}
    if isinstance(content, list | tuple):
        return [_plain(value) for value in content]
    if isinstance(content, float) and not math.isfinite(content):
        return str(content)
    if isinstance(content, dt.date | dt.time):
        return content.isoformat()
    if content is None or isinstance(content, str | bool | int | float):
        return content
    return str(content)


def bounds_of(days: Window, zone: ZoneInfo) -> tuple[dt.datetime, dt.datetime]:
    """Return in UTC when the first day begins, and when the last one ends."""
    first, after = days.first, days.last + dt.timedelta(days=1)
    begin, end = (
        dt.datetime.combine(day, dt.time(), zone).astimezone(dt.UTC) for day in (first, after)
    )
    return begin, end


class LibrarySource(Undated, ABC):
    """Bars of one vendor, behind ``sources.market_data.protocol.MarketDataSource``.

    Parameters
    ----------
    name : str
        Of the source.
    interval : str or None
        None for daily bars.
    limits : LibraryLimits
        See there.
    secrets : sequence of str
        Never shown.
    sleep : callable
        Waits so many seconds for the rate limit.
    """

    vendor: str
    price_basis: PriceBasis = "raw"
    volume_unit_shares = 1

    def __init__(
        self, name: str, interval: Interval | None, limits: LibraryLimits,
        secrets: Sequence[str] = (), sleep: Callable[[float], None] = time.sleep,
    ) -> None:  # fmt: skip
        self.name, self.interval, self.limits = name, interval, limits
        self._secrets, self._sleep, self._next_s = tuple(secrets), sleep, 0.0

    @abstractmethod
    def read(self, drop: RawDrop) -> Reading:
        """Parse a drop; see ``MarketDataSource.read``."""

    @abstractmethod
    def label(self, instrument: str) -> tuple[str, str]:
        """Return what an instrument's drops are called, and what the vendor calls it.

        Raises
        ------
        SourceError
            When it cannot be asked for.
        """

    @abstractmethod
    def connect(self) -> AbstractContextManager[Ask]:
        """Open a session, which is closed in all cases, and give what asks one question once."""

    def fetch(self, window: Window, instruments: Sequence[str]) -> Iterator[RawDrop | Refusal]:
        """Yield one drop per instrument and year, or day of an intraday series.

        Whole years are asked for: a drop that came for a part of one would take the rest back.

        Raises
        ------
        ConfigurationError
            Without the vendor's library.
        VendorCredentialError
            When the vendor does not accept who asks.
        SourceError
            Without instruments, or when no session comes about.
        """
        if not instruments:
            raise SourceError(
                f"{self.name} cannot be asked for all instruments.",
                remedy="name them: --instruments, separated by commas",
            )
        asked = [part for one in instruments for part in self._questions(window, one)]
        yield from (part for part in asked if isinstance(part, Refusal))
        questions = [part for part in asked if isinstance(part, Question)]
        if not questions:
            return
        exhausted = ""
        with self.connect() as ask:
            for question in questions:
                if exhausted:
                    yield Refusal(question.name, f"was not asked for: {exhausted}")
                    continue
                try:
                    yield from self._answers(question, ask)
                except VendorCredentialError:
                    raise
                except (VendorQuotaError, VendorSessionError) as error:
                    exhausted = error.message
                    yield Refusal(question.name, exhausted)
                except SourceError as error:
                    yield Refusal(question.name, error.message)

    def is_daily(self, name: str) -> bool:
        """Tell daily answers from intraday ones."""
        return "/daily_" in name

    def hide(self, text: str) -> str:
        """Return a text without the credentials, on one line."""
        for secret in self._secrets:
            text = text.replace(secret, HIDDEN)
        return " ".join(text.split())[:300]

    def incomplete(self, question: Question, reading: Reading) -> str:
        """Return what the rows say is missing, empty if nothing."""
        del question, reading
        return ""

    def _answers(self, question: Question, ask: Ask) -> Iterator[RawDrop | Refusal]:
        answer = self._asked(question, ask)
        drop = make_drop(self.name, question.name, encode_answer(answer.content))
        try:
            reading = self.read(drop)
        except SourceError:
            # The bytes are kept as they are; whoever reads them is told.
            yield drop
            return
        if reading.rows.is_empty() and reading.quarantine.is_empty():
            # It would take back what an earlier answer to the same question had.
            yield Refusal(question.name, "; ".join(answer.missing) or "has no rows")
            return
        yield drop
        for missing in (*answer.missing, self.incomplete(question, reading)):
            if missing:
                yield Refusal(question.name, missing)

    def _asked(self, question: Question, ask: Ask) -> Answer:
        for attempt in stamina.retry_context(
            on=self._wait, attempts=self.limits.attempts, timeout=None, wait_initial=1,
            wait_max=self.limits.wait_s_max,
        ):  # fmt: skip
            with attempt:
                self._keep_pace()
                answer = ask(question)
        return answer

    def _wait(self, error: Exception) -> bool:
        return isinstance(error, VendorUnavailableError)

    def _keep_pace(self) -> None:
        now_s = time.monotonic()
        if now_s < self._next_s:
            self._sleep(self._next_s - now_s)
        self._next_s = max(now_s, self._next_s) + 60 / self.limits.requests_per_minute

    def _questions(self, window: Window, instrument: str) -> list[Question | Refusal]:
        try:
            label, vendors = self.label(instrument)
            parts = self._parts(window)
            require_symbol(label)
        except SourceError as error:
            return [Refusal(instrument[:40], error.message)]
        what = self.interval or "daily"
        return [Question(f"{label}/{what}_{part}.json", vendors, days) for part, days in parts]

    def _parts(self, window: Window) -> list[tuple[str, Window]]:
        first, last = window.first, window.last
        n = last.year - first.year if self.interval is None else (last - first).days
        if n >= PARTS_MAX:
            raise SourceError(
                f"{first} to {last} has more than {PARTS_MAX} parts.",
                remedy="ask for fewer at a time",
            )
        if self.interval is None:
            return [
                (f"{year:04}", Window(dt.date(year, 1, 1), dt.date(year, 12, 31)))
                for year in range(first.year, last.year + 1)
            ]
        days = (first + dt.timedelta(days=i) for i in range(n + 1))
        return [(day.isoformat(), Window(day, day)) for day in days]
