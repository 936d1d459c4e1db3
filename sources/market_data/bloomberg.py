"""Bloomberg's reference data through ``blpapi``: daily history, and bars within the day.

Fields, settings and messages are those of ``HistoricalDataRequest`` and ``IntradayBarRequest`` of
the service ``//blp/refdata``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Annotated, Literal

import msgspec

from contracts.errors import SourceError
from sources.file_drops import RawDrop
from sources.market_data.bloomberg_session import (
    BloombergSession,
    Server,
    open_session,
    refusal_of,
)
from sources.market_data.credentials import Variable, read_secret
from sources.market_data.frames import NEW_YORK
from sources.market_data.protocol import PriceBasis, Reading
from sources.market_data.vendor_library import (
    Answer,
    Ask,
    Interval,
    LibraryLimits,
    LibrarySource,
    Question,
    bounds_of,
    import_library,
    read_zone,
)
from sources.market_data.vendor_library_series import (
    BAR,
    Entry,
    Place,
    decode_answer,
    place_of,
    read_bars,
)

INSTALL = "install Bloomberg's blpapi into this environment"
_DAILY = {"at": "date", "open": "PX_OPEN", "high": "PX_HIGH", "low": "PX_LOW", "close": "PX_LAST",
          "volume": "PX_VOLUME"}  # fmt: skip
_INTRADAY = {"at": "time", **{name: name for name in BAR}}
# A symbol, with a class behind a dot or a dash; Bloomberg has a slash there: BRK/B US Equity.
_SYMBOL = re.compile(r"([A-Z0-9]+)(?:[.\-]([A-Z]+))?")


class Bloomberg(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="type",
    tag="bloomberg",
):  # fmt: skip
    """Which series, and where it is asked for.

    A terminal on this machine asks for no credentials; a server wants an application's name, which
    the variable ``app_env`` holds. ``yellow_key`` follows a symbol: ``AAPL US Equity``.
    ``securities`` has those symbols that are called otherwise, like ``{ VOD = "VOD LN Equity" }``.
    """

    host: str = "localhost"
    port: Annotated[int, msgspec.Meta(ge=1, le=65_535)] = 8194
    app_env: Variable | None = None
    series: Literal["daily", "intraday"] = "daily"
    interval: Interval = "1min"
    price_basis: Literal["raw", "split_adjusted", "total_return"] = "raw"
    yellow_key: str = "US Equity"
    securities: dict[str, str] = {}
    time_zone: str = NEW_YORK
    limits: LibraryLimits = LibraryLimits()

    def open(self, name: str, environ: Mapping[str, str]) -> BloombergSource:
        """Return the source with its credentials.

        Raises
        ------
        VendorCredentialError
            When the variable is named, and not set.
        ConfigurationError
            When the time zone is none.
        """
        read_zone(self.time_zone)
        app = None if self.app_env is None else read_secret(name, self.app_env, environ)
        return BloombergSource(name, self, app)


class BloombergSource(LibrarySource):
    """Bars of the symbols that are asked for."""

    vendor = "Bloomberg"

    def __init__(self, name: str, config: Bloomberg, app: str | None) -> None:
        interval = None if config.series == "daily" else config.interval
        super().__init__(name, interval, config.limits, () if app is None else (app,))
        self.config, self._app = config, app
        self.price_basis: PriceBasis = config.price_basis

    def label(self, instrument: str) -> tuple[str, str]:
        """Return the symbol and its security; see ``LibrarySource.label``."""
        return instrument, self._security(instrument)

    @contextmanager
    def connect(self) -> Iterator[Ask]:
        """Open a session and stop it; see ``LibrarySource.connect``."""
        blpapi = import_library("blpapi", remedy=INSTALL)
        server = Server(self.config.host, self.config.port, self._app, self.limits.timeout_s)
        with open_session(blpapi, server, self.hide) as session:
            yield lambda question: self._ask(question, session)

    def read(self, drop: RawDrop) -> Reading:
        """Parse a drop; ``line`` is the number of a bar in it, from 1.

        Raises
        ------
        SourceError
            When it is about another security, or has other elements.
        """
        place, messages = place_of(drop.name), decode_answer(drop)
        if not isinstance(messages, list):
            raise _changed(drop, "a list of messages")
        columns = _DAILY if place.interval is None else _INTRADAY
        entries: list[Entry] = []
        for message in messages:
            rows = self._rows(drop, place, message)
            entries += [_entry(row, columns) for row in rows]
        return read_bars(drop, place.label.upper(), entries, zone=self.config.time_zone)

    def _rows(self, drop: RawDrop, place: Place, message: object) -> list[object]:
        kind = "HistoricalDataResponse" if place.interval is None else "IntradayBarResponse"
        found = message if isinstance(message, dict) else {}
        content = found.get("content")
        part = "securityData" if place.interval is None else "barData"
        data = content.get(part) if isinstance(content, dict) else None
        if found.get("type") != kind or not isinstance(data, dict):
            raise _changed(drop, f"{kind} with {part}")
        # A message of bars within the day does not say whose they are.
        said = data.get("security")
        if place.interval is None and said != self._security(place.label):
            raise SourceError(
                f"{drop.name} is about {str(said)[:40]!r}.",
                remedy=f"expected {self._security(place.label)!r}; fetch it again",
            )
        rows = data.get("fieldData" if place.interval is None else "barTickData")
        if not isinstance(rows, list):
            raise _changed(drop, "a list of bars")
        return rows

    def _security(self, symbol: str) -> str:
        if symbol in self.config.securities:
            return self.config.securities[symbol]
        found = _SYMBOL.fullmatch(symbol.upper())
        if found is None:
            raise SourceError(
                f"{symbol[:40]!r} is no plain symbol.",
                remedy="name its security in `securities` in sources.toml",
            )
        root, share_class = found.groups()
        return f"{root}{f'/{share_class}' if share_class else ''} {self.config.yellow_key}"

    def _ask(self, question: Question, session: BloombergSession) -> Answer:
        daily = self.interval is None
        messages = (
            session.ask("HistoricalDataRequest", self._daily(question)) if daily
            else session.ask("IntradayBarRequest", self._intraday(question))
        )  # fmt: skip
        missing: list[str] = []
        for message in messages:
            content = message["content"]
            data = content.get("securityData") if isinstance(content, dict) else None
            if not isinstance(data, dict):
                continue
            error = data.get("securityError")
            if isinstance(error, dict):
                raise refusal_of(error, self.hide)
            for exception in data.get("fieldExceptions") or ():
                info = exception.get("errorInfo") or {}
                said = f"{info.get('category')}: {info.get('message')}"
                missing.append(self.hide(f"has no {exception.get('fieldId')}: {said}"))
        return Answer(messages, tuple(missing))

    def _adjustments(self) -> dict[str, object]:
        basis = self.price_basis
        return {
            # Otherwise what somebody has set at the terminal counts.
            "adjustmentFollowDPDF": False,
            "adjustmentNormal": basis == "total_return",
            "adjustmentAbnormal": basis == "total_return",
            "adjustmentSplit": basis != "raw",
        }

    def _daily(self, question: Question) -> dict[str, object]:
        return {
            "securities": [question.instrument],
            "fields": [name for name in _DAILY.values() if name != "date"],
            "startDate": f"{question.days.first:%Y%m%d}",
            "endDate": f"{question.days.last:%Y%m%d}",
            "periodicityAdjustment": "ACTUAL",
            "periodicitySelection": "DAILY",
            "nonTradingDayFillOption": "ACTIVE_DAYS_ONLY",
            **self._adjustments(),
        }

    def _intraday(self, question: Question) -> dict[str, object]:
        begin, end = bounds_of(question.days, read_zone(self.config.time_zone))
        return {
            "security": question.instrument,
            "eventType": "TRADE",
            "interval": int((self.interval or "").removesuffix("min")),
            # UTC, which a time without a zone is to Bloomberg.
            "startDateTime": begin.replace(tzinfo=None),
            "endDateTime": end.replace(tzinfo=None),
            "gapFillInitialBar": False,
            **self._adjustments(),
        }


def _entry(row: object, columns: Mapping[str, str]) -> Entry:
    if not isinstance(row, dict):
        return Entry(row, {}, is_whole=False)
    # A field that has no value on a day is left out of it.
    return Entry(row, {ours: row.get(theirs) for ours, theirs in columns.items()})


def _changed(drop: RawDrop, wanted: str) -> SourceError:
    return SourceError(
        f"{drop.name} is not {wanted}.",
        remedy="check that the vendor has not changed the layout; then extend the adapter",
        rule="changed_header",
    )
