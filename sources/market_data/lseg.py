"""LSEG's historical pricing through ``lseg-data``: daily and intraday bars by RIC.

The layout, and which codes an answer can have, are those of lseg-data 2.1.1.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import ModuleType
from typing import Annotated, Any, Literal

import httpx
import msgspec
import polars as pl

from contracts.errors import SourceError
from sources.file_drops import RawDrop
from sources.market_data.credentials import Variable, read_secret
from sources.market_data.errors import (
    VendorCredentialError,
    VendorSessionError,
    VendorUnavailableError,
)
from sources.market_data.frames import NEW_YORK, require_columns
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
from sources.market_data.vendor_library_series import Entry, decode_answer, place_of, read_bars

# What the vendor gives at most for one question.
ROWS_MAX = 10_000
INSTALL = (
    "install lseg-data (2.1 or later) into this environment by hand; no extra has it, for it holds "
    "httpx below 0.28 and pandas below 3"
)
_INTERVALS = {"1min": "PT1M", "5min": "PT5M", "30min": "PT30M", "60min": "PT60M"}
# CCH is the adjustment for capital changes, splits among them; the corrections change no basis.
_ADJUSTMENTS = {
    "raw": ["unadjusted"], "split_adjusted": ["exchangeCorrection", "manualCorrection", "CCH"],
}  # fmt: skip
_ADJUSTED = frozenset({"CCH", "CRE", "RPO", "RTS"})
# A root, a class in lower case, an exchange: AAPL.O, BRKb.N.
_RIC = re.compile(r"([A-Z]+)([a-z])?\.[A-Z]{1,3}")


class Lseg(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="type",
    tag="lseg",
):  # fmt: skip
    """Which series, and who asks: the three ``_env`` name variables.

    ``user_env`` and ``secret_env`` are the client's identity and secret, or with
    ``grant = "password"`` a machine's name and password. ``symbols`` has those RICs whose symbol is
    not plain, like ``{ "VOD.L" = "VOD" }``.
    """

    key_env: Variable
    user_env: Variable
    secret_env: Variable
    grant: Literal["client_credentials", "password"] = "client_credentials"
    series: Literal["daily", "intraday"] = "daily"
    interval: Interval = "1min"
    price_basis: Literal["raw", "split_adjusted"] = "raw"
    symbols: dict[str, str] = {}
    close_field: str = "TRDPRC_1"
    rows_max: Annotated[int, msgspec.Meta(ge=1, le=ROWS_MAX)] = ROWS_MAX
    time_zone: str = NEW_YORK
    limits: LibraryLimits = LibraryLimits()

    def open(self, name: str, environ: Mapping[str, str]) -> LsegSource:
        """Return the source with its credentials.

        Raises
        ------
        VendorCredentialError
            When a variable is not set.
        ConfigurationError
            When the time zone is none.
        """
        read_zone(self.time_zone)
        key, user, secret = (
            read_secret(name, variable, environ)
            for variable in (self.key_env, self.user_env, self.secret_env)
        )
        return LsegSource(name, self, key, user, secret)


class LsegSource(LibrarySource):
    """Bars of the RICs that are asked for, or of the symbols that ``symbols`` gives them."""

    vendor = "LSEG"

    def __init__(self, name: str, config: Lseg, key: str, user: str, secret: str) -> None:
        interval = None if config.series == "daily" else config.interval
        super().__init__(name, interval, config.limits, (key, user, secret))
        self.config, self._key, self._user, self._secret = config, key, user, secret
        self.price_basis: PriceBasis = config.price_basis
        self._fields = {"open": "OPEN_PRC", "high": "HIGH_1", "low": "LOW_1",
                        "close": config.close_field, "volume": "ACVOL_UNS"}  # fmt: skip

    def label(self, instrument: str) -> tuple[str, str]:
        """Return the RIC twice; see ``LibrarySource.label``."""
        rics = {symbol: ric for ric, symbol in self.config.symbols.items()}
        ric = rics.get(instrument, instrument)
        self._symbol(ric)
        return ric, ric

    @contextmanager
    def connect(self) -> Iterator[Ask]:
        """Open a session of the platform and close it; see ``LibrarySource.connect``."""
        library = import_library("lseg.data", remedy=INSTALL)
        summaries = import_library("lseg.data.content.historical_pricing", remedy=INSTALL).summaries
        session = self._session(library)
        try:
            yield lambda question: self._ask(question, library, summaries, session)
        finally:
            session.close()

    def read(self, drop: RawDrop) -> Reading:
        """Parse a drop.

        Raises
        ------
        SourceError
            When it is about another instrument, interval or price basis, or lacks a column.
        """
        place, found = place_of(drop.name), decode_answer(drop)
        said = found if isinstance(found, dict) else {}
        universe = said.get("universe")
        ric = universe.get("ric") if isinstance(universe, dict) else None
        interval = _INTERVALS[place.interval] if place.interval else "P1D"
        # An hour has two names.
        every = str(said.get("interval")).replace("PT1H", "PT60M")
        if ric != place.label or every != interval:
            raise SourceError(
                f"{drop.name} is about {str(ric)[:40]!r} every {every[:20]!r}.",
                remedy=f"expected {place.label!r} every {interval!r}; fetch it again",
            )
        self._require_basis(drop, said.get("adjustments"))
        headers, data = said.get("headers"), said.get("data")
        if not isinstance(headers, list) or not isinstance(data, list):
            raise SourceError(
                f"{drop.name} has {', '.join(said)[:120]!r}, without 'headers' and 'data'.",
                remedy="check that the vendor has not changed the layout",
                rule="changed_header",
            )
        names = [str(one.get("name")) if isinstance(one, dict) else "" for one in headers]
        columns = {"at": "DATE_TIME" if place.interval else "DATE", **self._fields}
        require_columns(names, columns, drop.name)
        where = {ours: names.index(theirs) for ours, theirs in columns.items()}
        label = said.get("summaryTimestampLabel", "startPeriod")
        if place.interval and label not in ("startPeriod", "endPeriod"):
            raise SourceError(
                f"The bars of {drop.name} are labelled {str(label)[:40]!r}.",
                remedy="expected startPeriod or endPeriod; extend the adapter",
            )
        return read_bars(
            drop, self._symbol(place.label), [_entry(row, where, len(names)) for row in data],
            zone=self.config.time_zone, at_end=label == "endPeriod",
        )  # fmt: skip

    def incomplete(self, question: Question, reading: Reading) -> str:
        """Tell whether the vendor gave only the newest rows; see ``LibrarySource.incomplete``."""
        n_rows = reading.rows.height + reading.quarantine.height
        if n_rows < self.config.rows_max:
            return ""
        if self.interval is not None:
            first_ns = reading.rows["start_ns"].min()
            oldest = pl.Series([first_ns], dtype=pl.Datetime("ns", "UTC"))[0]
        else:
            oldest = reading.rows["session"].min()
        return f"is partial: the newest {n_rows} rows only, from {oldest} on"

    def _symbol(self, ric: str) -> str:
        if ric in self.config.symbols:
            return self.config.symbols[ric]
        found = _RIC.fullmatch(ric)
        if found is None:
            raise SourceError(
                f"{ric[:40]!r} is no RIC whose symbol is plain.",
                remedy="name the RIC, and its symbol in `symbols` in sources.toml",
            )
        root, share_class = found.groups()
        return f"{root}.{share_class.upper()}" if share_class else root

    def _require_basis(self, drop: RawDrop, adjustments: object) -> None:
        if not isinstance(adjustments, list):
            return
        is_adjusted = not _ADJUSTED.isdisjoint(str(one) for one in adjustments)
        if is_adjusted != (self.price_basis != "raw"):
            raise SourceError(
                f"{drop.name} is adjusted for {', '.join(map(str, adjustments))[:80]!r}, and the "
                f"source's prices are {self.price_basis}.",
                remedy="make another source for prices of another basis",
            )

    def _session(self, library: ModuleType) -> Any:
        platform = library.session.platform
        settings = library.get_config()
        # A session that reconnects would wait for ever where there is no way to the vendor.
        settings.set_param("sessions.platform.default.auto-reconnect", False)  # noqa: FBT003
        settings.set_param("http.request-timeout", self.limits.timeout_s)
        kind = (
            platform.GrantPassword if self.config.grant == "password"
            else platform.ClientCredentials
        )  # fmt: skip
        said: list[str] = []
        try:
            session = platform.Definition(
                app_key=self._key, grant=kind(self._user, self._secret)
            ).get_session()
            session.on_event(
                lambda code, message, _: (
                    said.append(str(message))
                    # It says that it reconnects where it does not.
                    if code.name == "SessionAuthenticationFailed"
                    else None
                )
            )
            state = session.open()
        except (library.errors.LDError, httpx.HTTPError) as error:
            said.append(str(error))
            state = None
        if state != library.OpenState.Opened:
            # The library does not tell a wrong secret from no way to the vendor; its words do.
            raise VendorSessionError(
                f"LSEG opens no session: {self.hide('; '.join(said)) or 'it does not say why'}.",
                remedy=f"check {self.config.key_env}, {self.config.user_env} and "
                f"{self.config.secret_env}, and whether api.refinitiv.com can be reached",
            )
        return session

    def _ask(self, question: Question, library: ModuleType, summaries: Any, session: Any) -> Answer:
        daily = self.interval is None
        begin, end = bounds_of(question.days, read_zone(self.config.time_zone))
        if daily:
            begin, end = (
                dt.datetime.combine(day, dt.time(), dt.UTC)
                for day in (question.days.first, question.days.last)
            )
        definition = summaries.Definition(
            universe=question.instrument,
            interval=_INTERVALS[self.interval] if self.interval else "P1D",
            adjustments=_ADJUSTMENTS[self.config.price_basis],
            fields=[*self._fields.values()],
            # As `start` and `end` the library would turn pages by itself, and give the last one's
            # header to all rows: an empty page has none.
            extended_params={"start": begin, "end": end, "count": self.config.rows_max},
        )
        try:
            answer = definition.get_data(session=session)
        except library.errors.LDError as error:
            raise self._refused(error) from None
        except httpx.HTTPError as error:
            raise VendorUnavailableError(
                f"LSEG gave no whole answer: {type(error).__name__}: {self.hide(str(error))}.",
                remedy="ask again later",
            ) from None
        raw = answer.data.raw
        status = raw.get("status") if isinstance(raw, dict) else None
        if not isinstance(status, dict):
            return Answer(raw)
        return Answer(raw, (self.hide(f"{status.get('code')}: {status.get('message')}"),))

    def _refused(self, error: Any) -> SourceError:
        found = getattr(error, "response", None)
        answers = found if isinstance(found, list) else [found] if found is not None else []
        said = [one for answer in answers for one in answer.errors or ()] or [error]
        code = "" if said[0].code is None else str(said[0].code)
        text = self.hide(f"{code}: {said[0].message}")
        if code == "401":
            return VendorCredentialError(
                f"LSEG does not accept the session: {text}",
                remedy=f"check {self.config.secret_env}",
            )
        if code in ("408", "429") or (code.isdecimal() and int(code) >= 500):
            return VendorUnavailableError(
                f"LSEG does not answer now: {text}", remedy="ask again later, or more slowly"
            )
        if "UserNotPermission" in code or code == "403":
            return SourceError(
                f"LSEG does not entitle this account: {text}", remedy="ask the vendor for it"
            )
        return SourceError(f"LSEG does not answer: {text}", remedy="check the RIC")


def _entry(row: object, where: Mapping[str, int], n_cells: int) -> Entry:
    if not isinstance(row, list) or len(row) != n_cells:
        return Entry(row, {}, is_whole=False)
    return Entry(row, {name: row[index] for name, index in where.items()})
