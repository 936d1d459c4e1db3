"""Our end of the FIX session: callbacks that copy and enqueue, and sending behind gates.

What DESIGN section 10 measured about quickfix, and where it is dealt with:

- an exception in a callback kills or wedges the process: ``_guarded`` wraps each;
- ``sendToTarget`` while logged out stores the order and reports success: ``send`` asks the gate;
- on reconnect quickfix repeats stored orders: ``toApp`` withholds those past their time;
- the store keeps every message, our logon's password too: ``secrets`` stars it out;
- the store is never synced: ``start`` rewinds the expected inbound number to what the journal
  holds, so that the broker repeats what a crash took between the socket and the journal.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import quickfix as fix

from execution.errors import ExecutionError
from execution.fix.encode import Encoder
from execution.fix.parse import utc_ns
from execution.fix.secrets import redact_store
from execution.fix.settings import FixConfig, initiator_text
from execution.messages import (
    CallbackFailed,
    Effect,
    Event,
    FixInbound,
    ReportRefused,
    SendCancel,
    SendMassStatus,
    SendOrder,
    SendReplace,
    SendStatus,
    SessionDown,
    SessionUp,
)

_NEW_RISK = frozenset({"D", "G"})
_LOGON = "A"
_REJECT = "3"
_LOGOUT = "5"
REASON_CHARS_MAX = 200
TEXT_CHARS_MAX = 500
RAW_BYTES_MAX = 65_536

Crash = Callable[[str], None]


def no_crash(_point: str) -> None:
    """Do nothing at a crash point: what production runs with."""


class FixSession(fix.Application):  # type: ignore[misc]
    """The initiator.

    Parameters
    ----------
    config : FixConfig
        The session.
    store : Path
        Directory of quickfix's own store.
    enqueue : callable
        Takes events from quickfix's thread to the writer's; may block, must not fail.
    is_killed : callable
        The kill switch, asked once more before an order leaves.
    crash : callable
        Named points at which a kill test ends the process.
    """

    def __init__(
        self,
        config: FixConfig,
        store: Path,
        enqueue: Callable[[Event], None],
        is_killed: Callable[[], bool],
        crash: Crash = no_crash,
    ) -> None:
        super().__init__()
        self._config = config
        self._enqueue = enqueue
        self._is_killed = is_killed
        self._crash = crash
        self._encoder = Encoder(config.account)
        self._session_id: Any = None
        self._logged_on = False
        self._sender_ident = 0
        self.last_activity_ns = 0
        self.withheld_count = 0
        self.refused_count = 0
        self._refusal = ""
        self._is_logon_open = False
        store.mkdir(parents=True, exist_ok=True)
        store.chmod(0o700)  # every message we sent is in it
        name = f"FIX.4.4-{config.sender_comp_id}-{config.target_comp_id}.body"
        self._stored, self._redacted_upto = store / name, 0
        settings = fix.SessionSettings()
        settings.setFromString(initiator_text(config, store))
        stores = fix.FileStoreFactory(settings)
        kind = fix.SSLSocketInitiator if config.tls_ca_file else fix.SocketInitiator
        self._initiator = kind(self, stores, settings)

    @property
    def is_logged_on(self) -> bool:
        """Whether the broker has accepted our logon and the line has not broken since."""
        return self._logged_on

    @property
    def problem(self) -> str:
        """Why no session is up, as far as this end can know; "" while one is."""
        if self._logged_on:
            return ""
        if self.refused_count:
            why = self._refusal or "the line was cut without a reason"
            return f"logon not accepted {self.refused_count} times: {why}"
        place = f"{self._config.host}:{self._config.port}"
        if self._config.tls_ca_file:
            return f"no connection to {place} whose certificate is signed by tls_ca_file"
        return f"no connection to {place}"

    def start(self, next_inbound_seq: int) -> None:
        """Connect, and go on connecting.

        Parameters
        ----------
        next_inbound_seq : int
            One more than the last inbound application message the journal holds.
        """
        self._redact()
        session = fix.Session.lookupSession(self._session_id)
        if session is None:
            raise ExecutionError("quickfix made no session.", remedy="check the FIX settings")
        # The lower of the two: the store may be behind (lost), or ahead (the journal lost a race
        # with a crash). Repeated messages are recognised by their ExecID.
        session.setNextTargetMsgSeqNum(min(session.getExpectedTargetNum(), next_inbound_seq))
        self._initiator.start()

    def stop(self) -> None:
        """Log out and disconnect."""
        self._initiator.stop()

    def send(self, effect: Effect) -> bool:
        """Send what the engine asked for; False when the session is down and nothing was sent."""
        if not self._logged_on:
            return False
        self._sender_ident = threading.get_ident()
        if isinstance(effect, SendOrder):
            message = self._encoder.new_order(effect.order, is_resend=effect.is_resend)
        elif isinstance(effect, SendCancel):
            message = self._encoder.cancel(effect.order)
        elif isinstance(effect, SendReplace):
            message = self._encoder.replace(effect.order, effect.qty_lots, effect.limit_ticks)
        elif isinstance(effect, SendStatus):
            message = self._encoder.status(effect.order)
        elif isinstance(effect, SendMassStatus):
            message = self._encoder.mass_status(effect.request_id)
        else:
            raise ExecutionError(f"{type(effect).__name__} is no message.", remedy="report this")
        return bool(fix.Session.sendToTarget(message, self._session_id))

    # Callbacks, on quickfix's thread: copy, enqueue, never raise ----------------------------

    def _guarded(self, where: str, work: Callable[[], None]) -> None:
        try:
            self.last_activity_ns = time.monotonic_ns()
            work()
        except Exception as error:  # noqa: BLE001 - an escaping exception would end the process
            self._enqueue(CallbackFailed(where, f"{type(error).__name__}: {error}"))

    def onCreate(self, session_id: Any) -> None:  # noqa: N802
        """Remember the session."""
        # quickfix owns the object it passes and may free it: keep a copy.
        self._session_id = fix.SessionID(
            session_id.getBeginString().getValue(),
            session_id.getSenderCompID().getValue(),
            session_id.getTargetCompID().getValue(),
        )

    def onLogon(self, _session_id: Any) -> None:  # noqa: N802
        """Open the gate; the engine reconciles first."""

        def work() -> None:
            self._logged_on, self._is_logon_open = True, False
            self.refused_count, self._refusal = 0, ""
            self._enqueue(SessionUp())
            self._redact()

        self._guarded("onLogon", work)

    def onLogout(self, _session_id: Any) -> None:  # noqa: N802
        """Close the gate."""

        def work() -> None:
            self._logged_on = False
            if self._is_logon_open:
                self._is_logon_open = False
                self.refused_count += 1
            self._enqueue(SessionDown("logged out or disconnected"))
            self._redact()

        self._guarded("onLogout", work)

    def _redact(self) -> None:
        if self._config.password_file:
            self._redacted_upto = redact_store(self._stored, self._redacted_upto)

    def toAdmin(self, message: Any, _session_id: Any) -> None:  # noqa: N802
        """Put the credentials into our logon; say when quickfix refuses a broker's message.

        A tag that comes twice is enough for it. The number is consumed, the message never reaches
        ``fromApp``, and it may have been an execution.
        """

        def work() -> None:
            kind = _kind(message)
            if kind == _REJECT:
                self._enqueue(
                    ReportRefused(message.toString().replace("\x01", "|")[:TEXT_CHARS_MAX])
                )
            if kind != _LOGON:
                return
            self._is_logon_open = True
            if self._config.username:
                message.setField(553, self._config.username)
                if self._config.password_file:
                    message.setField(554, Path(self._config.password_file).read_text().strip())

        self._guarded("toAdmin", work)

    def fromAdmin(self, message: Any, _session_id: Any) -> None:  # noqa: N802
        """Hand a session-level reject of ours to the writer: an order may have been in it.

        What the broker says when it refuses a logon is kept for people.
        """

        def work() -> None:
            kind = _kind(message)
            if kind == _LOGOUT and self._is_logon_open and message.isSetField(58):
                self._refusal = message.getField(58)[:REASON_CHARS_MAX]
            if kind == _REJECT:
                self._enqueue(FixInbound(0, message.toString().encode("ascii", "replace")))

        self._guarded("fromAdmin", work)

    def toApp(self, message: Any, _session_id: Any) -> None:  # noqa: N802
        """Withhold an order that must not leave: killed, or repeated too late.

        Raises
        ------
        quickfix.DoNotSend
            The only exception quickfix expects here; for a repeat it fills the gap instead.
        """
        withhold = True
        try:
            if threading.get_ident() == self._sender_ident:
                # A fresh message: the writer looked at the kill switch just before. Quickfix's
                # own repeats come on its thread, and have passed no gate yet.
                self._crash("to_app")
                return
            withhold = self._must_withhold(message)
        except Exception as error:  # noqa: BLE001 - see `_guarded`; in doubt the order stays here
            self._enqueue(CallbackFailed("toApp", f"{type(error).__name__}: {error}"))
        if withhold:
            self.withheld_count += 1
            raise fix.DoNotSend

    def _must_withhold(self, message: Any) -> bool:
        header = message.getHeader()
        kind = header.getField(35) if header.isSetField(35) else ""
        is_repeat = header.isSetField(43) and header.getField(43) == "Y"
        if kind not in _NEW_RISK or not is_repeat:
            return False
        if self._is_killed() or not header.isSetField(122):
            return True
        age_ns = time.time_ns() - utc_ns(header.getField(122))
        return age_ns > self._config.poss_dup_ttl_ms * 1_000_000

    def fromApp(self, message: Any, _session_id: Any) -> None:  # noqa: N802
        """Copy the message to the writer, which journals it before anyone reads it."""

        def work() -> None:
            header = message.getHeader()
            number = int(header.getField(34)) if header.isSetField(34) else 0
            raw = message.toString().encode("ascii", "replace")[:RAW_BYTES_MAX]
            self._enqueue(FixInbound(number, raw))

        self._guarded("fromApp", work)


def _kind(message: Any) -> str:
    header = message.getHeader()
    return str(header.getField(35)) if header.isSetField(35) else ""
