"""The damaging ends of a FIX session: a client for the venue, a broker for the service.

Both keep a session alive by plain means: they send with their own next number, fill gaps when the
other end asks for a resend, and log on again when it has ended the session.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable

from benchmarks import fix_wire as wire
from benchmarks.fix_mutants import Fields
from benchmarks.fix_wire import ClosedError, Line, SilentError, WireError

ANSWER_TIMEOUT_S = 2.0
ASK_AGAIN_S = 0.2
GAP_MAX = 1_000
_EXPECTING = re.compile(r"expecting (\d+)")


class Peer:
    """One end of a session.

    Parameters
    ----------
    sender, target : str
        CompIDs, this end's first.
    """

    def __init__(self, sender: str, target: str) -> None:
        self.sender = sender
        self.target = target
        self.next_seq = 1
        self.line: Line | None = None
        self.answer_s_max = 0.0
        self.session_rejects = 0
        self.gaps = 0
        self.rejected_seqs: set[int] = set()
        self._probe = 0

    def header(self, kind: str) -> Fields:
        """Return a message's first fields; its number is the next one."""
        return [
            (b"35", kind.encode()),
            (b"34", b"%d" % self.next_seq),
            (b"49", self.sender.encode()),
            (b"52", wire.utc_text().encode()),
            (b"56", self.target.encode()),
        ]

    def say(self, kind: str, fields: Iterable[tuple[int, str]] = ()) -> None:
        """Send a valid message."""
        header = [(int(tag), value.decode()) for tag, value in self.header(kind)[1:]]
        self.next_seq += 1
        self.send(wire.message(kind, [*header, *fields]))

    def send(self, data: bytes) -> None:
        """Send bytes as they are."""
        if self.line is None:
            raise ClosedError("no line")
        self.line.send(data)

    def send_numbered(self, raw: bytes) -> None:
        """Send a damaged message whose frame is right, and stand by the number that it says.

        A number that is too high promises others below it. This end fills such a gap when it is
        asked to, unless it is beyond all bounds: then it begins a new session.

        Raises
        ------
        ClosedError
            When a new session is needed.
        """
        self.send(raw)
        self.next_seq += 1
        said = wire.value_of(raw, 36) if wire.value_of(raw, 35) == "4" else ""
        for text in (wire.value_of(raw, 34), said):
            number = int(text) + 1 if text.isdigit() and text.isascii() else 0
            if number > self.next_seq + GAP_MAX:
                raise ClosedError("a number that cannot be reached")
            self.next_seq = max(self.next_seq, number)

    def settle(self) -> None:
        """Return once the other end has answered a TestRequest, gaps filled on the way.

        Asked again while nothing comes: a frame that cannot be read takes with it what came in the
        same packet.

        Raises
        ------
        ClosedError
            When it ended the session instead.
        WireError
            When it did not answer.
        """
        started = time.monotonic()
        self._ask()
        while True:
            try:
                raw = self._receive(ASK_AGAIN_S)
            except SilentError:
                if time.monotonic() - started > ANSWER_TIMEOUT_S:
                    raise
                self._ask()
                continue
            kind = wire.value_of(raw, 35)
            if kind == "0" and wire.value_of(raw, 112) == f"P{self._probe}":
                self.answer_s_max = max(self.answer_s_max, time.monotonic() - started)
                return
            if kind == "2":
                self._fill_gap(raw)
                self._ask()
            else:
                self.on_message(kind, raw)

    def _ask(self) -> None:
        self._probe += 1
        self.say("1", [(112, f"P{self._probe}")])

    def _receive(self, timeout_s: float = ANSWER_TIMEOUT_S) -> bytes:
        if self.line is None:
            raise ClosedError("no line")
        return self.line.receive(timeout_s)

    def _fill_gap(self, raw: bytes) -> None:
        self.gaps += 1
        begin = int(wire.value_of(raw, 7))
        # Said from the beginning again: nothing that is in the gap is worth repeating.
        fill = [(43, "Y"), (122, wire.utc_text()), (123, "Y"), (36, str(self.next_seq))]
        header = [(34, str(begin)), (49, self.sender), (52, wire.utc_text()), (56, self.target)]
        self.send(wire.message("4", [*header, *fill]))

    def on_message(self, kind: str, raw: bytes) -> None:
        """Take what is no answer to a TestRequest."""
        if kind == "1":
            self.say("0", [(112, wire.value_of(raw, 112))])
        elif kind == "2":
            self._fill_gap(raw)
        elif kind == "3":
            self.session_rejects += 1
            reference = wire.value_of(raw, 45)
            if reference.isdigit():
                self.rejected_seqs.add(int(reference))
        elif kind == "5":
            expected = _EXPECTING.search(wire.value_of(raw, 58))
            if expected:
                self.next_seq = int(expected[1])
            raise ClosedError(f"logged out: {wire.value_of(raw, 58)}")

    def drop(self) -> None:
        """Close the line, if there is one."""
        if self.line is not None:
            self.line.close()
            self.line = None


class Client(Peer):
    """Logs on to an acceptor that resets its numbers at each logon."""

    def __init__(self, host: str, port: int, sender: str, target: str, heartbeat_s: int) -> None:
        super().__init__(sender, target)
        self._place = (host, port)
        self._heartbeat_s = heartbeat_s
        self.logons = 0
        self.reports = 0

    def connect(self, is_alive: Callable[[], bool]) -> None:
        """Log on anew; the acceptor may need a moment to see that the last line is gone."""
        deadline = time.monotonic() + ANSWER_TIMEOUT_S
        while is_alive():
            self.drop()
            self.next_seq = 1
            try:
                self.line = Line.to(*self._place)
                self.say("A", [(98, "0"), (108, str(self._heartbeat_s))])
                if wire.value_of(self._receive(), 35) == "A":
                    self.logons += 1
                    return
            except (OSError, WireError):
                if time.monotonic() > deadline:
                    raise
            time.sleep(0.005)

    def on_message(self, kind: str, raw: bytes) -> None:
        """Count reports."""
        if kind in {"8", "9", "j"}:
            self.reports += 1
        super().on_message(kind, raw)
