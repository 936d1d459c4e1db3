"""The venue's FIX end: requests to the venue's loop, reports to the client."""

from __future__ import annotations

import hmac
from collections.abc import Callable
from pathlib import Path
from typing import Any

import quickfix as fix
import structlog

from contracts.fix_dictionary import write_dictionary
from execution.errors import MalformedMessageError
from execution.fix.parse import Fields, fields_of
from execution.venue.config import VenueConfig
from execution.venue.market_data import Update, reject

# By type of message; a client may invent as many others as it likes.
_COUNTED = frozenset({"0", "1", "2", "3", "4", "5", "A", "D", "F", "G", "H", "AF", "V"})

log = structlog.get_logger()


def acceptor_text(config: VenueConfig, store: Path) -> str:
    """Return quickfix settings for the venue's end."""
    tls = [
        f"ServerCertificateFile={config.tls_cert_file}",
        f"ServerCertificateKeyFile={config.tls_key_file}",
        "CertificateVerifyLevel=0",  # clients show no certificate, they log on by password
        "SSLProtocol=+TLSv1_2 +TLSv1_3",
    ]
    needs_dictionary = config.is_strict or config.market_data_comp_id
    dictionary = (
        ["UseDataDictionary=Y", f"DataDictionary={write_dictionary(store)}"]
        if needs_dictionary
        else []
    )
    # Who listens wants what is now, not what was missed: its sequence begins anew at each logon.
    market_data = (
        []
        if not config.market_data_comp_id
        else [
            "[SESSION]",
            "BeginString=FIX.4.4",
            f"SenderCompID={config.comp_id}",
            f"TargetCompID={config.market_data_comp_id}",
            "ResetOnLogon=Y",
            # Repeating groups: without a dictionary, quickfix refuses a tag that comes twice.
            *dictionary,
        ]
    )
    return "\n".join(
        [
            "[DEFAULT]",
            "ConnectionType=acceptor",
            "NonStopSession=Y",
            "UseDataDictionary=N",
            "SocketNodelay=Y",
            # Asks once more when a gap is not filled as promised. Without it, a damaged message
            # within a gap leaves quickfix waiting for good, deaf to whatever comes.
            "SendRedundantResendRequests=Y",
            "SocketReuseAddress=Y",
            f"SocketAcceptPort={config.fix_port}",
            f"HeartBtInt={config.heartbeat_s}",
            f"FileStorePath={store}",
            *(tls if config.tls_cert_file else ()),
            "[SESSION]",
            "BeginString=FIX.4.4",
            f"SenderCompID={config.comp_id}",
            f"TargetCompID={config.client_comp_id}",
            f"ResetOnLogon={'Y' if config.resets_on_logon else 'N'}",
            *(dictionary if config.is_strict else ()),
            *market_data,
            "",
        ]
    )


class VenueAcceptor(fix.Application):  # type: ignore[misc]
    """Accepts the one client.

    Parameters
    ----------
    config : VenueConfig
        Identities and port.
    store : Path
        Directory of quickfix's message store, from which it repeats after a gap.
    enqueue : callable
        Takes a request's fields to the venue's loop.
    subscribe : callable
        Takes a request for market data there, or None when who asked has gone.
    """

    def __init__(
        self,
        config: VenueConfig,
        store: Path,
        enqueue: Callable[[Fields], None],
        subscribe: Callable[[Fields | None], None],
    ) -> None:
        super().__init__()
        self._subscribe = subscribe
        self._market_data_id: Any = None
        self.received: dict[str, int] = {}
        self.rejects_logons = False
        self.is_logged_on = False
        self._enqueue = enqueue
        self._config = config
        self._session_id: Any = None
        settings = fix.SessionSettings()
        settings.setFromString(acceptor_text(config, store))
        self._stores = fix.FileStoreFactory(settings)
        self._settings = settings
        kind = fix.SSLSocketAcceptor if config.tls_cert_file else fix.SocketAcceptor
        self._acceptor = kind(self, self._stores, settings)

    def start(self) -> None:
        """Listen."""
        self._acceptor.start()

    def stop(self) -> None:
        """Log out and stop listening."""
        self._acceptor.stop()

    def send(self, fields: Fields, *, is_possible_duplicate: bool = False) -> None:
        """Send one report; kept by quickfix and repeated later when the client is away."""
        message = fix.Message()
        header = message.getHeader()
        for tag, value in fields.items():
            if tag == 35:
                header.setField(35, value)
            else:
                message.setField(tag, value)
        if is_possible_duplicate:
            header.setField(43, "Y")
            header.setField(122, "20000101-00:00:00.000")
        fix.Session.sendToTarget(message, self._session_id)

    def send_update(self, update: Update) -> None:
        """Send one message of market data; lost when its reader is away."""
        if self._market_data_id is None:
            return
        message = fix.Message()
        for tag, value in update.fields.items():
            (message.getHeader() if tag == 35 else message).setField(tag, value)
        for entry in update.entries:
            group = fix.Group(268, next(iter(entry)))
            for tag, value in entry.items():
                group.setField(tag, value)
            message.addGroup(group)
        fix.Session.sendToTarget(message, self._market_data_id)

    def disconnect(self) -> None:
        """Break the line without a logout."""
        self._session().disconnect()

    def skip_sequence(self, count: int) -> None:
        """Lose ``count`` sequence numbers, as if messages had vanished on the way."""
        session = self._session()
        session.setNextSenderMsgSeqNum(session.getExpectedSenderNum() + count)

    def _session(self) -> Any:
        return fix.Session.lookupSession(self._session_id)

    # Callbacks: an exception that escapes one would end the process, so each is total. -------

    def onCreate(self, session_id: Any) -> None:  # noqa: N802
        """Remember a copy of the session's id; quickfix may free its own."""
        known = fix.SessionID(
            session_id.getBeginString().getValue(),
            session_id.getSenderCompID().getValue(),
            session_id.getTargetCompID().getValue(),
        )
        if self._is_market_data(session_id):
            self._market_data_id = known
        else:
            self._session_id = known

    def _is_market_data(self, session_id: Any) -> bool:
        target: str = session_id.getTargetCompID().getValue()
        return target == self._config.market_data_comp_id

    def onLogon(self, session_id: Any) -> None:  # noqa: N802
        """Note it."""
        if not self._is_market_data(session_id):
            self.is_logged_on = True

    def onLogout(self, session_id: Any) -> None:  # noqa: N802
        """Note it."""
        if self._is_market_data(session_id):
            self._subscribe(None)
        else:
            self.is_logged_on = False

    def toAdmin(self, _message: Any, _session_id: Any) -> None:  # noqa: N802
        """Nothing to add."""

    def toApp(self, _message: Any, _session_id: Any) -> None:  # noqa: N802
        """Nothing to withhold."""

    def fromAdmin(self, message: Any, _session_id: Any) -> None:  # noqa: N802
        """Refuse logons when told to, and those without the right credentials.

        Raises
        ------
        quickfix.RejectLogon
            The refusal, in the form quickfix expects.
        """
        kind = ""
        try:
            kind = _field(message.getHeader(), 35)
            counted = kind if kind in _COUNTED else "other"
            self.received[counted] = self.received.get(counted, 0) + 1
            refuses = kind == "A" and (self.rejects_logons or not self._is_known(message))
        except Exception as error:  # noqa: BLE001 - whose logon cannot be judged is not let in
            log.warning("admin_message_failed", kind=ascii(kind), error=ascii(error))
            refuses = kind == "A"
        if refuses:
            raise fix.RejectLogon("unknown user or wrong password")

    def _is_known(self, message: Any) -> bool:
        if not self._config.username:
            return True
        wanted = (self._config.username, Path(self._config.password_file).read_text().strip())
        brought = (_field(message, 553), _field(message, 554))
        # Bytes that are not UTF-8 come from quickfix as surrogates.
        texts = ["\0".join(pair).encode(errors="surrogateescape") for pair in (brought, wanted)]
        return hmac.compare_digest(*texts)

    def fromApp(self, message: Any, session_id: Any) -> None:  # noqa: N802
        """Count the request and hand it to the loop; who only listens cannot trade."""
        try:
            fields = fields_of(_ascii(message.toString()))
            if self._is_market_data(session_id):
                self._subscribe(fields)
                return
            kind = fields.get(35, "")
            kind = kind if kind in _COUNTED else "other"
            self.received[kind] = self.received.get(kind, 0) + 1
            self._enqueue(fields)
        except Exception as error:  # noqa: BLE001 - see above: it would end the process
            log.warning("message_refused", error=ascii(error))
            self._refuse(message, session_id)

    def _refuse(self, message: Any, session_id: Any) -> None:
        """Say that a message cannot be read; what cannot even be answered is dropped."""
        text = "the message cannot be read"
        try:
            header = message.getHeader()
            kind, sequence = _field(header, 35), _field(header, 34)
            if not self._is_market_data(session_id):
                self.send({35: "j", 45: sequence, 372: kind, 380: "0", 58: text})
            elif kind == "V":
                self.send_update(reject(_field(message, 262), "", text))
        except Exception as error:  # noqa: BLE001 - see above
            log.warning("refusal_not_sent", error=ascii(error))


def _ascii(text: str) -> str:
    """Return a message's text, which FIX writes in ASCII.

    Raises
    ------
    MalformedMessageError
        When it has other characters, or bytes that are none: they could be kept in no ledger.
    """
    if not text.isascii():
        raise MalformedMessageError(
            "The message is not ASCII.", remedy="send text of other languages in encoded fields"
        )
    return text


def _field(part: Any, tag: int) -> str:
    """Return a field of a message or its header, empty where it has none."""
    return str(part.getField(tag)) if part.isSetField(tag) else ""
