"""The venue's FIX end: requests to the venue's loop, reports to the client."""

from __future__ import annotations

import hmac
from collections.abc import Callable
from pathlib import Path
from typing import Any

import quickfix as fix

from execution.fix.parse import Fields, fields_of
from execution.venue.config import VenueConfig


def acceptor_text(config: VenueConfig, store: Path) -> str:
    """Return quickfix settings for the venue's end."""
    tls = [
        f"ServerCertificateFile={config.tls_cert_file}",
        f"ServerCertificateKeyFile={config.tls_key_file}",
        "CertificateVerifyLevel=0",  # clients show no certificate, they log on by password
        "SSLProtocol=+TLSv1_2 +TLSv1_3",
    ]
    return "\n".join(
        [
            "[DEFAULT]",
            "ConnectionType=acceptor",
            "NonStopSession=Y",
            "UseDataDictionary=N",
            "SocketNodelay=Y",
            "SocketReuseAddress=Y",
            f"SocketAcceptPort={config.fix_port}",
            f"HeartBtInt={config.heartbeat_s}",
            f"FileStorePath={store}",
            *(tls if config.tls_cert_file else ()),
            "[SESSION]",
            "BeginString=FIX.4.4",
            f"SenderCompID={config.comp_id}",
            f"TargetCompID={config.client_comp_id}",
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
    """

    def __init__(self, config: VenueConfig, store: Path, enqueue: Callable[[Fields], None]) -> None:
        super().__init__()
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
        self._session_id = fix.SessionID(
            session_id.getBeginString().getValue(),
            session_id.getSenderCompID().getValue(),
            session_id.getTargetCompID().getValue(),
        )

    def onLogon(self, _session_id: Any) -> None:  # noqa: N802
        """Note it."""
        self.is_logged_on = True

    def onLogout(self, _session_id: Any) -> None:  # noqa: N802
        """Note it."""
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
        header = message.getHeader()
        kind = header.getField(35) if header.isSetField(35) else ""
        self.received[kind] = self.received.get(kind, 0) + 1
        if kind == "A" and (self.rejects_logons or not self._is_known(message)):
            raise fix.RejectLogon("unknown user or wrong password")

    def _is_known(self, message: Any) -> bool:
        if not self._config.username:
            return True
        wanted = (self._config.username, Path(self._config.password_file).read_text().strip())
        brought = [message.getField(tag) if message.isSetField(tag) else "" for tag in (553, 554)]
        return hmac.compare_digest("\0".join(brought).encode(), "\0".join(wanted).encode())

    def fromApp(self, message: Any, _session_id: Any) -> None:  # noqa: N802
        """Count the request and hand it to the loop."""
        fields = fields_of(message.toString())
        kind = fields.get(35, "")
        self.received[kind] = self.received.get(kind, 0) + 1
        self._enqueue(fields)
