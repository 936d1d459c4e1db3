"""Market data over FIX 4.4: asks for books, records what comes, and keeps it byte for byte.

Callbacks of quickfix never raise. The raw text is from quickfix's own log: its ``toString`` sorts
the fields, and with them those of a repeating group.
"""

from __future__ import annotations

import datetime as dt
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import msgspec
import quickfix as fix

from contracts.errors import SourceError
from contracts.fix_dictionary import write_dictionary
from contracts.hosts import require_private_line
from domain.market_data.intraday.best_quotes import Scope
from domain.market_data.intraday.sale_conditions import SaleConditions
from sources.file_drops import RawDrop, make_drop
from sources.market_data.credentials import Variable, read_secret
from sources.market_data.errors import VendorUnavailableError
from sources.market_data.fix_messages import END, REFUSAL, SOH, Message, parse, readings
from sources.market_data.protocol import (
    PriceBasis,
    Reading,
    Refusal,
    Window,
    WithinTheDay,
    require_symbol,
)

Seconds = Annotated[float, msgspec.Meta(gt=0, le=86_400)]
_POLL_S = 0.05


class FixMarketData(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="type",
    tag="fix",
):  # fmt: skip
    """One session with one venue, which is listened to for ``listen_s``."""

    host: str
    port: Annotated[int, msgspec.Meta(ge=1, le=65_535)]
    sender_comp_id: str
    target_comp_id: str
    username: str = ""
    key_env: Variable | None = None
    listen_s: Seconds = 10.0
    timeout_s: Seconds = 10.0
    levels: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 10
    tls_ca_file: Path | None = None

    def open(self, name: str, environ: Mapping[str, str]) -> FixMarketDataSource:
        """Return the source.

        Raises
        ------
        VendorCredentialError
            When the password's variable is not set.
        SourceError
            When an identity holds what would forge other settings.
        ConfigurationError
            When the password would go over a network without TLS.
        """
        for text in (self.host, self.sender_comp_id, self.target_comp_id):
            if not text or not text.isprintable() or "=" in text:
                raise SourceError(
                    f"{text!r} is no identity of a FIX session.", remedy="write it without '='"
                )
        password = read_secret(name, self.key_env, environ) if self.key_env else ""
        require_private_line(
            self.host, has_password=bool(password), has_tls=self.tls_ca_file is not None
        )
        return FixMarketDataSource(name, self, password)


class FixMarketDataSource(WithinTheDay):
    """Depth and best quotes of one venue."""

    price_basis: PriceBasis = "raw"
    volume_unit_shares = 1
    calendar: str | None = None
    quote_scope: Scope = "exchange"
    regular_hours_only = False
    sale_conditions = SaleConditions(source="no trades are asked for", rules=())

    def __init__(self, name: str, config: FixMarketData, password: str) -> None:
        self.name, self.config, self._password = name, config, password

    def fetch(self, window: Window, instruments: Sequence[str]) -> Iterator[RawDrop | Refusal]:
        """Listen to the instruments' books; one drop holds all that the venue sent.

        The window is not asked for: a venue tells what is now. Instruments that the venue refuses
        or does not answer for are refusals.

        Raises
        ------
        VendorUnavailableError
            When the venue does not let us log on.
        SourceError
            Without instruments.
        """
        del window
        symbols = [require_symbol(symbol) for symbol in instruments]
        if not symbols:
            raise SourceError(
                f"{self.name} cannot be asked for all instruments.",
                remedy="name them: --instruments AAPL,MSFT",
            )
        with tempfile.TemporaryDirectory() as directory:
            raw = _listen(self.config, self._password, symbols, Path(directory))
        data = b"".join(line + b"\n" for line in raw)
        found = [one for one in map(parse, raw) if isinstance(one, Message)]
        refused = {one.fields.get("262"): one for one in found if one.kind == REFUSAL}
        answered = {one.fields.get("262") for one in found}
        if data:
            at = found[0].fields.get("52", "") if found else ""
            yield make_drop(self.name, f"{at[:17].replace(':', '')}.fix", data)
        for symbol in symbols:
            if symbol in refused:
                why = refused[symbol].fields.get("58", "refused")
                yield Refusal(symbol, f"the venue refuses it: {why}")
            elif symbol not in answered:
                yield Refusal(symbol, f"no answer within {self.config.listen_s} s")

    def days_of(self, name: str) -> tuple[dt.date, ...] | None:
        """Return nothing: a replayed session is of another day than its recording."""
        return None if name.endswith(".fix") else ()

    def read(self, drop: RawDrop) -> Reading:
        """Parse a recording into levels; see ``read_session``."""
        return self.read_session(drop, {})[0]

    def read_session(self, drop: RawDrop, beside: Mapping[str, RawDrop]) -> list[Reading]:
        """Parse a recording into levels and best quotes.

        Messages that are damaged, repeated or refusals, and changes that a gap in the sequence
        precedes, are in the quarantine.
        """
        del beside
        exchange = self.config.target_comp_id
        return readings(drop, levels=self.config.levels, exchange=exchange)


class _Listener(fix.Application):  # type: ignore[misc]
    """Logs on and asks. Each callback is total: an exception would end the process."""

    def __init__(self, username: str, password: str) -> None:
        super().__init__()
        self.is_logged_on = threading.Event()
        self.session_id: Any = None
        self._username, self._password = username, password

    def onCreate(self, session_id: Any) -> None:  # noqa: N802
        """Remember a copy of the session's id; quickfix may free its own."""
        self.session_id = fix.SessionID(
            session_id.getBeginString().getValue(),
            session_id.getSenderCompID().getValue(),
            session_id.getTargetCompID().getValue(),
        )

    def onLogon(self, _session_id: Any) -> None:  # noqa: N802
        """Note it."""
        self.is_logged_on.set()

    def onLogout(self, _session_id: Any) -> None:  # noqa: N802
        """Note it."""
        self.is_logged_on.clear()

    def toAdmin(self, message: Any, _session_id: Any) -> None:  # noqa: N802
        """Add the credentials to the logon."""
        header = message.getHeader()
        if self._username and header.isSetField(35) and header.getField(35) == "A":
            message.setField(553, self._username)
            message.setField(554, self._password)

    def fromAdmin(self, _message: Any, _session_id: Any) -> None:  # noqa: N802
        """Nothing to refuse."""

    def toApp(self, _message: Any, _session_id: Any) -> None:  # noqa: N802
        """Nothing to withhold."""

    def fromApp(self, _message: Any, _session_id: Any) -> None:  # noqa: N802
        """Nothing: the log has the raw text."""

    def ask(self, symbol: str) -> None:
        """Subscribe to one instrument; its symbol is the request's id."""
        message = fix.Message()
        message.getHeader().setField(35, "V")
        for tag, value in ((262, symbol), (263, "1"), (264, "0"), (265, "1")):
            message.setField(tag, value)
        for side in ("0", "1"):
            types = fix.Group(267, 269)
            types.setField(269, side)
            message.addGroup(types)
        named = fix.Group(146, 55)
        named.setField(55, symbol)
        message.addGroup(named)
        fix.Session.sendToTarget(message, self.session_id)


def _listen(
    config: FixMarketData, password: str, symbols: Sequence[str], directory: Path
) -> list[bytes]:
    """Return all that the venue sent from logon to logout, session messages too."""
    settings = fix.SessionSettings()
    settings.setFromString(_settings_text(config, directory))
    # Python must hold all of these for as long as the initiator lives.
    listener, stores = _Listener(config.username, password), fix.MemoryStoreFactory()
    logs = fix.FileLogFactory(settings)
    kind = fix.SSLSocketInitiator if config.tls_ca_file else fix.SocketInitiator
    initiator = kind(listener, stores, settings, logs)
    initiator.start()
    try:
        if not listener.is_logged_on.wait(config.timeout_s):
            raise VendorUnavailableError(
                f"{config.target_comp_id} at {config.host}:{config.port} let nobody log on within "
                f"{config.timeout_s} s.",
                remedy="check that it listens, and knows this sender_comp_id",
            )
        for symbol in symbols:
            listener.ask(symbol)
        until = time.monotonic() + config.listen_s
        while time.monotonic() < until and listener.is_logged_on.is_set():
            time.sleep(_POLL_S)
    finally:
        initiator.stop()
    return _incoming(config, directory)


def _incoming(config: FixMarketData, directory: Path) -> list[bytes]:
    """Return the raw messages that the log has from the venue, without the log's own times."""
    sender = SOH + b"49=" + config.target_comp_id.encode() + SOH
    found = []
    for path in sorted(directory.glob("*.messages.current.log")):
        for piece in path.read_bytes().split(END):
            _, mark, body = piece.partition(b" : 8=FIX")
            message = b"8=FIX" + body + SOH
            if mark and sender in message:
                found.append(message)
    return found


def _settings_text(config: FixMarketData, directory: Path) -> str:
    tls = [
        f"{fix.CERTIFICATE_AUTHORITIES_FILE}={config.tls_ca_file}",
        f"{fix.CERTIFICATE_VERIFY_LEVEL}=2",
        "SSLProtocol=+TLSv1_2 +TLSv1_3",
    ]
    return "\n".join(
        [
            "[DEFAULT]",
            "ConnectionType=initiator",
            "NonStopSession=Y",
            # Repeating groups: without a dictionary, quickfix refuses a tag that comes twice.
            "UseDataDictionary=Y",
            f"DataDictionary={write_dictionary(directory)}",
            # What the venue adds of its own is no reason to refuse its message: it is recorded.
            "ValidateUserDefinedFields=N",
            "AllowUnknownMsgFields=Y",
            "ValidateFieldsHaveValues=N",
            "ResetOnLogon=Y",
            "HeartBtInt=10",
            "ReconnectInterval=1",
            f"FileLogPath={directory}",
            f"SocketConnectHost={config.host}",
            f"SocketConnectPort={config.port}",
            *(tls if config.tls_ca_file else ()),
            "[SESSION]",
            "BeginString=FIX.4.4",
            f"SenderCompID={config.sender_comp_id}",
            f"TargetCompID={config.target_comp_id}",
            "",
        ]
    )
