"""One venue, one service and one operations store per test, as real processes on free ports."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec

from contracts.clock import FixedClock
from contracts.events import CoordinatedTradingDecisionEvent
from execution.config import ServiceConfig
from execution.control import ServiceClient
from execution.fix.settings import FixConfig
from execution.processes import Child, free_port, start_service, start_venue
from execution.venue.config import VenueConfig
from execution.venue.control import VenueClient
from execution.venue.market import Bar, SessionHeader, write_session
from ops_store.connection import sqlite_url
from ops_store.records import IssueRequest, ReportRow
from ops_store.store import OpsStore
from tests.unit.execution_builders import DAY_NS, NOW_NS, evidence, request

SYMBOLS = ("AAPL", "IBM", "MSFT", "GE", "KO")
HEADER = SessionHeader(
    session="2010-08-20",
    settlement_date="2010-08-25",
    open_ns=NOW_NS + 63_000_000_000_000,
    close_ns=NOW_NS + DAY_NS,
)


def bars(volume: int = 1_000_000) -> list[Bar]:
    return [
        Bar(
            instrument=f"US.{symbol}",
            symbol=symbol,
            open=Decimal("100.50"),
            high=Decimal("102"),
            low=Decimal("99"),
            close=Decimal("101"),
            volume=volume,
        )
        for symbol in SYMBOLS
    ]


class World:
    """Venue, service and store of one test."""

    def __init__(
        self,
        root: Path,
        *,
        volume: int = 1_000_000,
        service: dict[str, Any] | None = None,
        fix: dict[str, Any] | None = None,
        venue: dict[str, Any] | None = None,
    ) -> None:
        root.mkdir(parents=True, exist_ok=True)
        self.root = root
        self.port = free_port()
        path = root / "bars.jsonl"
        write_session(path, HEADER, bars(volume))
        self.venue_config = VenueConfig(
            state_dir=str(root / "venue"), fix_port=self.port, bars=str(path), **(venue or {})
        )
        self.url = sqlite_url(root / "ops.db")
        self.store = OpsStore.open(self.url, FixedClock(NOW_NS), migrate=True)
        self.store.attest(list(evidence()))
        self.config = ServiceConfig(
            state_dir=str(root / "service"),
            ops_store_url=self.url,
            mode="paper",
            clock_start_ns=NOW_NS,
            fix=FixConfig(
                host="127.0.0.1",
                port=self.port,
                sender_comp_id="QUANTIVISTA",
                target_comp_id="VENUE",
                **(fix or {}),
            ),
            **(service or {}),
        )
        self.client = ServiceClient(root / "service")
        self.market = VenueClient(root / "venue")
        self.sequence = 0
        self.children: list[Child] = []

    def start_venue(self) -> Child:
        self.venue = start_venue(self.venue_config)
        self.children.append(self.venue)
        return self.venue

    def start_service(self, *, ready: bool = True) -> Child:
        self.service = start_service(self.config)
        self.children.append(self.service)
        if ready:
            self.client.wait_ready()
        return self.service

    def start(self) -> None:
        self.start_venue()
        self.start_service(ready=False)
        self.market.wait_listening()
        self.client.wait_ready()

    def issue(self, *decisions: CoordinatedTradingDecisionEvent) -> None:
        requests: list[IssueRequest] = [request(one) for one in decisions]
        result = self.store.issue(book="main", mode="paper", requests=requests)
        self.sequence += len(result.issued)

    def trade(self, *decisions: CoordinatedTradingDecisionEvent) -> None:
        """Issue, and wait until each became an order or was refused."""
        self.issue(*decisions)
        self.client.wait_decided(self.sequence)

    def settle(self) -> dict[str, Any]:
        return self.client.wait_settled(self.sequence)

    def reports(self, *kinds: str) -> list[ReportRow]:
        return self.store.reports_after(kinds=kinds or None, limit=10_000)

    def incident_kinds(self) -> set[str]:
        return {incident.kind for incident in self.store.incidents()}

    def verdicts(self) -> list[str]:
        return [msgspec.json.decode(row.payload)["verdict"] for row in self.reports("refused")]

    def assert_agreement(self) -> None:
        """Service, venue and operations store agree to the share and the cent."""
        theirs = self.market.positions()
        ours = self.client.positions()
        assert {name.split(".")[1] for name, one in ours.items() if one["lots"]} <= set(theirs)
        for symbol, total in theirs.items():
            mine = ours[f"US.{symbol}"]
            assert mine["lots"] == total["lots"], symbol
            assert Decimal(mine["cash"]) * 10_000 == total["cash_ticks"], symbol
            assert mine["fees_minor"] * 100 == total["fee_ticks"], symbol
        copied = [row.exec_id for row in self.reports("fill")]
        assert sorted(copied) == sorted(fill["exec_id"] for fill in self.market.fills())

    def stop(self) -> None:
        for child in self.children:
            if child.exit_code is None:
                child.kill()
        self.store.close()


@contextmanager
def world(root: Path, **options: Any) -> Iterator[World]:
    """Yield a started world; its log is shown when the test fails."""
    made = World(root, **options)
    try:
        made.start()
        yield made
    finally:
        made.stop()


def until(what: str, done: Callable[[], bool], timeout_s: float = 15.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not done():
        assert time.monotonic() < deadline, f"not {what} within {timeout_s} s"
        time.sleep(0.02)
