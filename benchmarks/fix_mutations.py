"""Send damaged FIX messages to the venue and to the service; see that neither minds.

``python -m benchmarks.fix_mutations`` (200,000 to the venue, 10,000 to the service) prints a report
and exits 1 when a process ended, an answer took longer than a second, memory grew beyond its bound,
or an order's state is one that nobody said. The mutants come from a seed; see ``fix_mutants``.

Each is followed by what ends an unfinished frame, and every few dozen by a TestRequest, which must
be answered within a second, behind all of them.

The venue is asked twice: as it comes, and checking each message against the dictionary. At the end
every order in its ledger must be one that was sent, in a right frame, with just these terms.

The service talks to a broker of this program's: see ``fix_mutations_broker``.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import tempfile
import time
from collections import Counter, defaultdict
from pathlib import Path

import msgspec

from benchmarks import fix_wire as wire
from benchmarks.fix_mutants import HARSH, Fields, Mutant, mutant
from benchmarks.fix_peers import Client
from benchmarks.fix_wire import ClosedError
from benchmarks.torture_world import SYMBOLS, venue_config
from execution.loopback import wait_until
from execution.processes import Child, start_venue
from execution.venue.control import VenueClient
from execution.venue.ledger import Accepted, entries

BATCH = 40
PROBE_EVERY_BATCHES = 25
ANSWER_S_MAX = 1.0
# What may be added after the first tenth of the messages: see README, "Mutated messages".
RSS_GROWTH_BYTES_MAX = 64 * 1024 * 1024
HEARTBEAT_S = 30
PROBLEMS_MAX = 10


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What one process went through, and what was wrong with it."""

    target: str
    messages: int
    framed: int
    kinds: dict[str, int]
    answer_s_max: float
    session_rejects: int
    resends_asked: int
    logons: int
    rss_start_mb: float
    rss_end_mb: float
    counts: dict[str, int]
    problems: list[str]
    seconds: float


def rss_bytes(pid: int) -> int:
    """Return a process's resident memory."""
    pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


class Memory:
    """Resident memory after the first tenth of a run, and at its end."""

    def __init__(self, pid: int, messages: int) -> None:
        self._pid = pid
        self._warm_at = messages // 10
        self.start = 0
        self.end = 0

    def look(self, sent: int) -> None:
        """Note the memory after so many messages."""
        self.end = rss_bytes(self._pid)
        if not self.start and sent >= self._warm_at:
            self.start = self.end

    def problem(self, bound: int = RSS_GROWTH_BYTES_MAX) -> list[str]:
        """Say that it grew too much."""
        grown = self.end - self.start
        return [f"memory grew by {grown:,} bytes"] if grown > bound else []


class VenueRun:
    """Mutated requests against a venue's process."""

    def __init__(self, root: Path, *, seed: int, is_strict: bool) -> None:
        root.mkdir(parents=True, exist_ok=True)
        self._rng = random.Random(seed)  # noqa: S311 - a repeatable plan
        config = msgspec.structs.replace(
            venue_config(root), is_strict=is_strict, resets_on_logon=True
        )
        self._name = "venue, strict" if is_strict else "venue"
        self._ledger = root / "venue" / "ledger.jsonl"
        self._child: Child = start_venue(config)
        self._venue = VenueClient(root / "venue")
        self._venue.wait_listening()
        self._venue.open()
        self._peer = Client(
            "127.0.0.1", config.fix_port, config.client_comp_id, config.comp_id, HEARTBEAT_S
        )
        self._ids: list[str] = []
        self._said: dict[str, list[set[tuple[str, str]]]] = defaultdict(list)
        # Orders in frames that were wrong: none of them may be in the ledger.
        self._unframed: dict[str, list[str]] = defaultdict(list)
        self._problems: list[str] = []
        self._kinds: Counter[str] = Counter()
        self._framed = 0
        self._probes = 0

    def run(self, messages: int) -> Outcome:
        """Send so many mutants."""
        started = time.monotonic()
        memory = Memory(self._child.pid, messages)
        try:
            self._reconnect()
            sent = batch = 0
            while sent < messages and self._child.exit_code is None and not self._is_hopeless:
                sent += self._batch(min(BATCH, messages - sent))
                batch += 1
                if batch % PROBE_EVERY_BATCHES == 0:
                    self._probe()
                    if self._child.exit_code is None:
                        memory.look(sent)
            self._probe()
            if self._child.exit_code is None:
                memory.look(sent)
            self._judge()
            return Outcome(
                target=self._name,
                messages=sent,
                framed=self._framed,
                kinds=dict(sorted(self._kinds.items())),
                answer_s_max=round(self._peer.answer_s_max, 3),
                session_rejects=self._peer.session_rejects,
                resends_asked=self._peer.gaps,
                logons=self._peer.logons,
                rss_start_mb=round(memory.start / 1e6, 1),
                rss_end_mb=round(memory.end / 1e6, 1),
                counts={
                    "orders": len({entry.cl_ord_id for entry in entries(self._ledger)}),
                    "reports": self._peer.reports,
                    "probes": self._probes,
                },
                problems=[*self._problems, *memory.problem()],
                seconds=round(time.monotonic() - started, 1),
            )
        finally:
            self._peer.drop()
            self._child.kill()

    def _batch(self, count: int) -> int:
        """Send mutants and have the end of them confirmed; a lost session is begun again."""
        done = 0
        try:
            while done < count:
                one = mutant(self._rng, self._request())
                done += 1
                self._note(one)
                if one.is_framed:
                    self._peer.send_numbered(one.raw)
                    if one.kind in HARSH:
                        # It may end the session: what comes after would not be read.
                        self._peer.settle()
                elif one.is_deaf:
                    # It waits for what nobody will send: only a new session helps.
                    self._peer.send(one.raw)
                    break
                else:
                    self._peer.send(one.raw + one.filler)
            if one.is_deaf:
                self._reconnect()
            else:
                self._peer.settle()
        except ClosedError:
            self._reconnect()
        except wire.WireError as error:
            self._problem(f"after {self._kinds.total()} messages: {error}; {self._last}")
            self._reconnect()
        return done

    def _reconnect(self) -> None:
        try:
            self._peer.connect(lambda: self._child.exit_code is None)
        except (OSError, wire.WireError) as error:
            self._problem(f"no new session: {error}")

    def _note(self, one: Mutant) -> None:
        self._kinds[one.kind] += 1
        self._last = f"{one.kind}: {wire.shown(one.raw[:300])}"
        self._framed += one.is_framed
        if not one.is_framed:
            if wire.value_of(one.raw, 11):
                self._unframed[wire.value_of(one.raw, 11)].append(wire.shown(one.raw[:300]))
        else:
            terms = {(_text(tag), _text(value)) for tag, value in wire.pairs_of(one.raw)}
            for tag, value in terms:
                if tag == "11":
                    self._said[value].append(terms)

    def _request(self) -> Fields:
        """Return a valid request: mostly new orders, of ids that are new or were used."""
        rng = self._rng
        kind = rng.choices(["D", "F", "G", "H", "AF"], [60, 10, 15, 10, 5])[0]
        if kind == "AF":
            return [*self._peer.header("AF"), (b"584", b"M"), (b"585", b"7")]
        fresh = not self._ids or rng.random() < 0.3
        if fresh:
            self._ids.append(f"C{len(self._ids)}")
        own = self._ids[-1] if fresh else rng.choice(self._ids)
        fields = [*self._peer.header(kind), (b"11", own.encode())]
        if kind in "FG":
            fields.append((b"41", rng.choice(self._ids).encode()))
        fields += [
            (b"1", b"ACC"),
            (b"55", rng.choice(SYMBOLS).encode()),
            (b"54", rng.choice([b"1", b"2"])),
        ]
        if kind in "DG":
            price = b"%d.%02d" % (rng.randint(90, 110), rng.randrange(100))
            fields += [(b"38", b"%d" % rng.randint(1, 900)), (b"40", b"2"), (b"44", price)]
            fields += [(b"59", b"0")]
        return [*fields, (b"60", wire.utc_text().encode())]

    def _probe(self) -> None:
        """See that the venue itself works: over HTTP, and with a good order."""
        if self._child.exit_code is not None:
            return
        self._probes += 1
        before, started = self._peer.reports, time.monotonic()
        name = f"PROBE{self._probes}"
        self._said[name].append(
            {("11", name), ("55", SYMBOLS[0]), ("54", "1"), ("38", "1"), ("44", "1")}
        )
        order = [(11, name), (55, SYMBOLS[0]), (54, "1"), (38, "1"), (40, "2"), (44, "1")]
        try:
            self._peer.say("D", [*order, (60, wire.utc_text())])
            while self._peer.reports == before and time.monotonic() - started < ANSWER_S_MAX:
                self._peer.settle()
        except ClosedError:
            self._reconnect()
            return
        if self._peer.reports == before:
            self._problem(f"probe {self._probes} was not answered within {ANSWER_S_MAX} s")
        self._venue.status()

    def _problem(self, what: str) -> None:
        self._problems.append(what)

    @property
    def _is_hopeless(self) -> bool:
        return len(self._problems) >= PROBLEMS_MAX

    def _judge(self) -> None:
        if self._child.exit_code is not None:
            self._problem(f"the process ended with {self._child.exit_code}")
            return
        if self._peer.answer_s_max > ANSWER_S_MAX:
            self._problem(f"an answer took {self._peer.answer_s_max:.2f} s")
        wait_until("logged on", lambda: bool(self._venue.status()), 5.0)
        for entry in entries(self._ledger):
            if isinstance(entry, Accepted) and not self._was_said(entry):
                unframed = self._unframed[entry.cl_ord_id]
                self._problem(f"nobody sent {entry} in a right frame; in a wrong one {unframed}")

    def _was_said(self, entry: Accepted) -> bool:
        side = "1" if entry.side == "buy" else "2"
        for terms in self._said[entry.cl_ord_id]:
            lots = {value for tag, value in terms if tag == "38"}
            is_same = ("54", side) in terms and any(_is(value, entry.lots) for value in lots)
            if entry.replaces:
                # A replaced order keeps its side and symbol, whatever the request says.
                is_same = any(_is(value, entry.lots) for value in lots)
            elif ("55", entry.symbol) not in terms:
                is_same = False
            if is_same and entry.lots > 0:
                return True
        return False


def _is(text: str, lots: int) -> bool:
    whole, _, fraction = text.partition(".")
    return (
        whole.isascii() and whole.isdigit() and not fraction.strip("0") and int(whole[-30:]) == lots
    )


def _text(data: bytes) -> str:
    return data.decode("latin-1")


def run(root: Path, *, count: int, service_count: int, seed: int) -> list[Outcome]:
    """Send mutants to the venue, half of them as it comes, half strict, and to the service."""
    from benchmarks.fix_mutations_broker import ServiceRun

    return [
        VenueRun(root / "plain", seed=seed, is_strict=False).run(count // 2),
        VenueRun(root / "strict", seed=seed + 1, is_strict=True).run(count - count // 2),
        ServiceRun(root / "service", seed=seed + 2).run(service_count),
    ]


def main() -> int:
    """Run and print the report as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=200_000)
    # The service waits a second before it connects again, so this takes 10 ms a message.
    parser.add_argument("--service-count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--root", type=Path, help="keep journals and logs in this directory")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as root:
        outcomes = run(
            options.root or Path(root),
            count=options.count,
            service_count=options.service_count,
            seed=options.seed,
        )
    sys.stdout.write(json.dumps(msgspec.to_builtins(outcomes), indent=2) + "\n")
    return 1 if any(one.problems for one in outcomes) else 0


if __name__ == "__main__":
    sys.exit(main())
