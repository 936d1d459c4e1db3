"""Alpha Vantage over HTTP: daily bars with their corporate actions, and intraday bars by month.

Prices are asked for as they were traded. An intraday bar's time is taken as its beginning.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal, NamedTuple

import msgspec

from contracts.errors import SourceError
from sources.file_drops import RawDrop, make_drop
from sources.market_data.alpha_vantage_bodies import require_answer
from sources.market_data.alpha_vantage_series import drop_name, read_series
from sources.market_data.credentials import Variable, read_secret
from sources.market_data.errors import VendorCredentialError, VendorQuotaError
from sources.market_data.http import HttpClient, HttpLimits
from sources.market_data.protocol import (
    PriceBasis,
    Reading,
    Refusal,
    Undated,
    Window,
    require_symbol,
)

HOST = "www.alphavantage.co"
# What `compact` means, and what a plan without `full` gets in its place.
COMPACT_ROWS = 100
MONTHS_MAX = 600


class AlphaVantage(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="type",
    tag="alpha_vantage",
):  # fmt: skip
    """Which series, and how it is asked for; ``key_env`` names the variable with the key."""

    key_env: Variable
    series: Literal["daily_adjusted", "intraday"] = "daily_adjusted"
    interval: Literal["1min", "5min", "15min", "30min", "60min"] = "5min"
    format: Literal["csv", "json"] = "csv"
    outputsize: Literal["compact", "full"] = "full"
    url: str = f"https://{HOST}/query"
    http: HttpLimits = HttpLimits()

    def open(self, name: str, environ: Mapping[str, str]) -> AlphaVantageSource:
        """Return the source with its key.

        Raises
        ------
        VendorCredentialError
            When the variable is not set.
        """
        key = read_secret(name, self.key_env, environ)
        hosts = self.http.hosts or (HOST,)
        limits = msgspec.structs.replace(self.http, hosts=hosts)
        return AlphaVantageSource(name, self, HttpClient(self.url, limits, key), key)


class _Question(NamedTuple):
    name: str
    parameters: dict[str, str]


class AlphaVantageSource(Undated):
    """Daily or intraday bars of the instruments that are asked for."""

    price_basis: PriceBasis = "raw"
    volume_unit_shares = 1

    def __init__(self, name: str, config: AlphaVantage, client: HttpClient, key: str) -> None:
        self.name, self.config, self._client, self._key = name, config, client, key

    def fetch(self, window: Window, instruments: Sequence[str]) -> Iterator[RawDrop | Refusal]:
        """Yield one drop per instrument, or per instrument and month.

        A drop with fewer rows than the window needs is kept, and a refusal says what is missing.

        Raises
        ------
        VendorCredentialError
            When the key is not accepted: the other questions would not be answered either.
        SourceError
            Without instruments: the vendor cannot be asked for all.
        """
        if not instruments:
            raise SourceError(
                f"{self.name} cannot be asked for all instruments.",
                remedy="name them: --instruments AAPL,MSFT",
            )
        exhausted = ""
        for symbol in instruments:
            try:
                questions = self._questions(window, require_symbol(symbol))
            except SourceError as error:
                yield Refusal(symbol[:40], error.message)
                continue
            for question in questions:
                if exhausted:
                    yield Refusal(question.name, f"was not asked for: {exhausted}")
                    continue
                try:
                    yield from self._answers(question, window)
                except VendorCredentialError:
                    raise
                except VendorQuotaError as error:
                    exhausted = error.message
                    yield Refusal(question.name, exhausted)
                except SourceError as error:
                    yield Refusal(question.name, error.message)

    def is_daily(self, name: str) -> bool:
        """Tell daily answers from intraday ones."""
        return "/daily_adjusted." in name

    def read(self, drop: RawDrop) -> Reading:
        """Parse a drop of either series and format; raise ``SourceError`` for anything else."""
        return read_series(drop)

    def _questions(self, window: Window, symbol: str) -> list[_Question]:
        config = self.config
        asked = {"symbol": symbol, "datatype": config.format, "outputsize": config.outputsize}
        if config.series == "daily_adjusted":
            name = drop_name(symbol, None, "", config.format)
            return [_Question(name, {"function": "TIME_SERIES_DAILY_ADJUSTED", **asked})]
        asked |= {"interval": config.interval, "adjusted": "false"}
        return [
            _Question(
                drop_name(symbol, config.interval, month, config.format),
                {"function": "TIME_SERIES_INTRADAY", "month": month, **asked},
            )
            for month in _months(window)
        ]

    def _answers(self, question: _Question, window: Window) -> Iterator[RawDrop | Refusal]:
        wants_csv = self.config.format == "csv"
        body = self._client.get(
            {**question.parameters, "apikey": self._key},
            lambda found: require_answer(found, wants_csv=wants_csv, hide=self._client.hide),
        )
        drop = make_drop(self.name, question.name, body)
        yield drop
        try:
            rows = self.read(drop).rows
        except SourceError:
            # The bytes are kept as they are; whoever reads them is told.
            return
        if self.config.series != "daily_adjusted" or rows.height != COMPACT_ROWS:
            return
        first = dt.datetime.strptime(str(rows["date"].min()), "%Y%m%d").date()  # noqa: DTZ007
        if first > window.first:
            yield Refusal(
                question.name, f"is partial: the newest {COMPACT_ROWS} rows only, from {first} on"
            )


def _months(window: Window) -> list[str]:
    first, last = (day.year * 12 + day.month - 1 for day in (window.first, window.last))
    if last - first >= MONTHS_MAX:
        raise SourceError(
            f"{window.first} to {window.last} has more than {MONTHS_MAX} months.",
            remedy="ask for fewer at a time",
        )
    return [f"{month // 12:04}-{month % 12 + 1:02}" for month in range(first, last + 1)]
