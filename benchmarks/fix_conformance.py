"""Run QuickFIX's session acceptance scripts against a FIX 4.4 acceptor, over TCP.

``python -m benchmarks.fix_conformance SCRIPTS`` starts a paper venue of its own for each script and
compares with the table of known deviations beside this file; it exits 1 when a script deviates
otherwise than listed. With ``--host`` and ``--port`` it speaks to your own acceptor instead, which
must know the session ISLD (its end) with TW44, check messages against FIX 4.4's dictionary, and
begin anew at each logon.

The scripts (``test/definitions/server/fix44/*.def`` of QuickFIX) are read where they lie; they
are not part of this repository. A line is one step: ``i`` connects or closes, ``I`` sends, ``E``
expects a message, ``e`` expects the end of the connection; a number before a comma names one of
several connections. Messages sent without BodyLength and CheckSum get the right ones;
``<TIME+10>`` is now, ten seconds later.

An expected message matches when header, fields and values are the same, whatever their order inside
the body. BodyLength and CheckSum are not compared with the script's, whose timestamps have another
length, but with the message's own bytes. SendingTime must be within seconds of now, other instants
must be instants.

The scripts were written for an application that sends each order back as it came. A venue answers
instead, so where a script expects an application message back, one of the venue's is expected with
the same header: an ExecutionReport with the order's ClOrdID, or for a message that is no order
BusinessMessageReject with its type.
"""

from __future__ import annotations

import argparse
import json
import re
import socket
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import msgspec

from benchmarks import fix_wire as wire
from benchmarks.fix_wire import Line, Pairs, WireError
from execution.loopback import wait_until
from execution.processes import free_port, start_venue
from execution.venue.config import VenueConfig
from execution.venue.control import VenueClient

TABLE = Path(__file__).with_name("fix_conformance.toml")
ACCEPTOR, CLIENT = "ISLD", "TW44"
# The slowest step waits for a TestRequest at a HeartBtInt of 6 s, then for the line to be dropped.
TIMEOUT_S = 18.0
CLOCK_SKEW_S = 30.0
PAUSE_S = 0.2
ANSWER_S = 0.1
_STEP = re.compile(r"([iIeE])(?:(\d+),)?(.*)", re.DOTALL)
_TIME = re.compile(rb"<TIME([+-]\d+)?>")
_INSTANT = re.compile(rb"\d{8}-\d{2}:\d{2}:\d{2}(\.\d{3,9})?")
_INSTANTS = frozenset({b"52", b"60", b"122"})
_COMPUTED = frozenset({b"9", b"10"})
_HEADER = frozenset({b"8", b"35", b"34", b"43", b"49", b"56", b"97", b"122", b"52"})
_SESSION_KINDS = frozenset({b"0", b"1", b"2", b"3", b"4", b"5", b"A", b"j"})


class Step(msgspec.Struct, frozen=True):
    """One line of a script: what to do, on which connection, with which bytes."""

    number: int
    action: str
    line: str
    data: bytes


class Deviation(msgspec.Struct, frozen=True):
    """Where an acceptor did something else: the script's line and what happened instead."""

    script: str
    line: int
    observed: str


class Known(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A deviation of the table, with why it is right or accepted."""

    script: str
    line: int
    observed: str
    why: str


def steps_of(text: bytes) -> Iterator[Step]:
    """Parse a script; comments and empty lines are skipped."""
    for number, raw in enumerate(text.split(b"\n"), start=1):
        line = raw.rstrip(b"\r")
        if not line.strip() or line.startswith(b"#"):
            continue
        found = _STEP.fullmatch(line.decode("latin-1"))
        if found is None:
            raise WireError(f"line {number} is no step: {line[:60]!r}")
        action, which, rest = found.groups()
        yield Step(number, action, which or "1", rest.encode("latin-1"))


def to_send(data: bytes) -> bytes:
    """Return a step's message with its instants, and with length and checksum if it has none."""
    data = _TIME.sub(lambda found: wire.utc_text(float(found[1] or 0)).encode(), data)
    tags = [tag for tag, _ in wire.pairs_of(data)]
    if not data.endswith(wire.SOH):
        data += wire.SOH
    if b"9" not in tags:
        begin, _, body = data.partition(wire.SOH)
        length = len(body) if b"10" not in tags else body.rindex(b"\x0110=") + 1
        data = begin + b"\x019=%d\x01" % length + body
    if b"10" not in tags:
        data += b"10=" + wire.checksum(data) + wire.SOH
    return data


def difference(expected: bytes, got: bytes) -> str:
    """Return how a message differs from the expected one, empty when it does not."""
    wanted, came = wire.pairs_of(expected), wire.pairs_of(got)
    kind = dict(wanted).get(b"35", b"")
    if kind not in _SESSION_KINDS:
        wanted, came = _answer(wanted), _reduced(came)
    if [tag for tag, _ in came[:3]] != [b"8", b"9", b"35"]:
        return f"the header begins {came[:3]}"
    kinds = [dict(pairs).get(b"35", b"") for pairs in (wanted, came)]
    if kinds[0] != kinds[1]:
        return f"instead of 35={_text(kinds[0])} 35={_text(kinds[1])}"
    return _field_difference(_compared(wanted), _compared(came))


def _answer(echo: Pairs) -> Pairs:
    """Return what a venue says where the script's application sends a message back."""
    values = dict(echo)
    # PossResend is the request's own flag: an answer is no repetition of anything.
    header = [(tag, value) for tag, value in echo if tag in _HEADER and tag not in {b"35", b"97"}]
    if b"11" in values:
        return [*header, (b"35", b"8"), (b"11", values[b"11"])]
    return [*header, (b"35", b"j"), (b"372", values[b"35"])]


def _reduced(came: Pairs) -> Pairs:
    """Keep of a venue's answer what `_answer` speaks of, and the computed fields."""
    kind = dict(came).get(b"35", b"")
    about = {b"8": b"11", b"j": b"372"}.get(kind, b"")
    return [(tag, value) for tag, value in came if tag in _HEADER | _COMPUTED or tag == about]


def _compared(pairs: Pairs) -> Pairs:
    return sorted((tag, value) for tag, value in pairs if tag not in _COMPUTED)


def _field_difference(wanted: Pairs, came: Pairs) -> str:
    for tag, value in came:
        if tag in _INSTANTS and not _INSTANT.fullmatch(value):
            return f"{_text(tag)}={_text(value)} is no instant"
        if tag == b"52" and abs(_age_s(value)) > CLOCK_SKEW_S:
            return f"52={_text(value)} is not now"
    left = [pair if pair[0] not in _INSTANTS else (pair[0], b"") for pair in wanted]
    right = [pair if pair[0] not in _INSTANTS else (pair[0], b"") for pair in came]
    missing = [pair for pair in left if pair not in right]
    extra = [pair for pair in right if pair not in left]
    if not missing and not extra and len(left) == len(right):
        return ""
    return f"instead of [{_fields(missing)}] [{_fields(extra)}]"


def _age_s(instant: bytes) -> float:
    moment = time.strptime(_text(instant[:17]), "%Y%m%d-%H:%M:%S")
    now = time.strptime(wire.utc_text()[:17], "%Y%m%d-%H:%M:%S")
    return time.mktime(now) - time.mktime(moment)


def _text(data: bytes) -> str:
    return data.decode("latin-1")


def _fields(pairs: Pairs) -> str:
    return " ".join(f"{_text(tag)}={_text(value)}" for tag, value in pairs)


class Run:
    """One script against one acceptor; it ends at the first deviation, as all after it follows."""

    def __init__(self, host: str, port: int) -> None:
        self._place = (host, port)
        self._lines: dict[str, Line] = {}
        self._is_unanswered = False

    def play(self, script: Path) -> Deviation | None:
        """Return the first deviation, None when all steps went as written."""
        try:
            for step in steps_of(script.read_bytes()):
                observed = self._step(step)
                if observed:
                    return Deviation(script.stem, step.number, observed)
            return None
        finally:
            for line in self._lines.values():
                line.close()

    def _step(self, step: Step) -> str:
        try:
            if step.action == "i":
                self._initiate(step)
            elif step.action == "I":
                self._send(step)
            elif step.action == "e":
                self._lines[step.line].wait_closed(TIMEOUT_S)
            else:
                self._is_unanswered = False
                return difference(step.data, self._lines[step.line].receive(TIMEOUT_S))
        except WireError as error:
            return f"{type(error).__name__}: {error}"
        return ""

    def _send(self, step: Step) -> None:
        if self._is_unanswered:
            # An application answers on a thread of its own: let it, before the next message.
            time.sleep(ANSWER_S)
        data = to_send(step.data)
        self._is_unanswered = wire.value_of(data, 35).encode() not in _SESSION_KINDS
        self._lines[step.line].send(data)

    def _initiate(self, step: Step) -> None:
        old = self._lines.pop(step.line, None)
        if old is not None:
            old.close()
        if step.data == b"CONNECT":
            self._lines[step.line] = Line.to(*self._place)


@contextmanager
def own_venue(root: Path) -> Iterator[int]:
    """Yield the port of a paper venue that checks messages as the scripts expect.

    It has no session of bars, so it answers each order with one report: there is nothing to trade.
    """
    config = VenueConfig(
        state_dir=str(root),
        fix_port=free_port(),
        comp_id=ACCEPTOR,
        client_comp_id=CLIENT,
        is_strict=True,
        resets_on_logon=True,
    )
    venue = start_venue(config)
    try:
        VenueClient(root).wait_listening()
        _wait_port(config.fix_port)
        yield config.fix_port
    finally:
        venue.kill()


def _wait_port(port: int) -> None:
    deadline = time.monotonic() + 10.0
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1.0).close()
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)
        else:
            return


def scripts_of(directory: Path) -> list[Path]:
    """Return the scripts in a directory, by name."""
    return sorted(directory.glob("*.def"))


def run_own(scripts: Iterable[Path], root: Path, *, workers: int = 4) -> list[Deviation]:
    """Play scripts against paper venues, a few at once, each worker's venue its own.

    Returns
    -------
    list of Deviation
        At most one per script, by script.
    """

    def play_all(mine: list[Path], number: int) -> list[Deviation]:
        with own_venue(root / f"venue-{number}") as port:
            venue = VenueClient(root / f"venue-{number}")
            found = []
            for path in mine:
                # A session that still stands would refuse the next script's logon as a second one.
                wait_until("logged out", lambda: not venue.status()["is_logged_on"], TIMEOUT_S)
                found.append(Run("127.0.0.1", port).play(path))
            return [one for one in found if one]

    shares: list[list[Path]] = [[] for _ in range(workers)]
    # The two that wait for heartbeats go first, to different workers.
    slow_first = sorted(scripts, key=lambda path: (not path.name.startswith(("4a", "6")), path))
    for number, path in enumerate(slow_first):
        shares[number % workers].append(path)
    with ThreadPoolExecutor(workers) as pool:
        done = pool.map(play_all, shares, range(workers))
    return sorted((one for part in done for one in part), key=lambda one: one.script)


def known_deviations(path: Path = TABLE) -> list[Known]:
    """Return the table of deviations that are right or accepted."""
    rows = tomllib.loads(path.read_text()).get("deviation", [])
    return msgspec.convert(rows, list[Known])


def unexplained(found: Iterable[Deviation], known: Iterable[Known]) -> list[str]:
    """Return what the table does not say: new deviations, and listed ones that are gone."""
    seen = {(one.script, one.line, one.observed) for one in found}
    listed = {(one.script, one.line, one.observed) for one in known}
    return [
        *(f"not listed: {script}:{line}: {what}" for script, line, what in sorted(seen - listed)),
        *(f"gone: {script}:{line}: {what}" for script, line, what in sorted(listed - seen)),
    ]


def main() -> int:
    """Play the scripts and print what happened as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scripts", type=Path, help="directory of *.def files")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, help="of your own acceptor; a paper venue without it")
    options = parser.parse_args()
    scripts = scripts_of(options.scripts)
    started = time.monotonic()
    if options.port:
        found = []
        for path in scripts:
            deviation = Run(options.host, options.port).play(path)
            if deviation is not None:
                found.append(deviation)
            time.sleep(PAUSE_S)  # for the acceptor to notice that the connection has gone
        open_questions = [f"{one.script}:{one.line}: {one.observed}" for one in found]
    else:
        with tempfile.TemporaryDirectory() as root:
            found = run_own(scripts, Path(root))
        open_questions = unexplained(found, known_deviations())
    report = {
        "scripts": len(scripts),
        "passed": len(scripts) - len(found),
        "deviations": msgspec.to_builtins(found),
        "unexplained": open_questions,
        "seconds": round(time.monotonic() - started, 1),
    }
    sys.stdout.write(json.dumps(report, indent=2) + "\n")
    return 1 if open_questions or not scripts else 0


if __name__ == "__main__":
    sys.exit(main())
