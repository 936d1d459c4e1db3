"""The demo's last act: one session traded over FIX, with the service killed half-way."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import polars as pl
from rich.console import Console

from cli.venue_session import write_replay
from contracts.clock import NS_PER_S
from contracts.errors import QuantiVistaError
from domain.book.state import PRICE_SCALE, TICKS_PER_MINOR, price_ticks
from execution.config import ServiceConfig
from execution.control import ServiceClient
from execution.fix.settings import FixConfig
from execution.processes import Child, free_port, start_service, start_venue
from execution.venue.config import VenueConfig
from execution.venue.control import VenueClient
from io_managers.lake import Lake
from orchestration.base.ops import ops_store
from orchestration.base.settings import Settings

TRADES = ("trade_execution", "trades")
KILL_TIMEOUT_S = 20.0
STEP_MS = 2.0
EXECUTION = "execution"


class DisagreementError(QuantiVistaError):
    """Service, venue and lake do not agree on what was traded."""


class Traded(msgspec.Struct, frozen=True):
    """What venue and service say at the end of a session."""

    orders: int
    orders_at_kill: int
    venue_fills: list[dict[str, Any]]
    venue_positions: dict[str, dict[str, int]]
    service_positions: dict[str, dict[str, Any]]


class Agreement(msgspec.Struct, frozen=True):
    """What service, venue and lake all say was traded; money in the currency's units."""

    fills: int
    shares: int
    cash: Decimal
    fees: Decimal


def execution_root(settings: Settings) -> Path:
    """Return the directory of the execution processes' state."""
    return settings.home / EXECUTION


def configs(
    settings: Settings, port: int, opening: dict[str, int] | None = None
) -> tuple[VenueConfig, ServiceConfig]:
    """Return the configuration of a paper venue and of a service that trades on it."""
    root = execution_root(settings)
    venue = VenueConfig(
        state_dir=str(root / "venue"), fix_port=port, bars=str(root / "session.jsonl")
    )
    started_ns = None
    if settings.now != "system":
        # Behind the hand-off's instant: an attestation is not valid before it was issued.
        started_ns = int(settings.instant().timestamp()) * NS_PER_S + NS_PER_S
    service = ServiceConfig(
        state_dir=str(root / "service"),
        ops_store_url=settings.ops_url,
        mode=settings.mode,
        clock_start_ns=started_ns,
        opening_lots=opening or {},
        fix=FixConfig(
            host="127.0.0.1", port=port, sender_comp_id="QUANTIVISTA", target_comp_id="VENUE"
        ),
    )
    return venue, service


@contextmanager
def processes(venue: VenueConfig, service: ServiceConfig) -> Iterator[tuple[Child, Child]]:
    """Start a venue and a service, ready to trade; stop both at the end."""
    started: list[Child] = []
    try:
        started.append(start_venue(venue))
        VenueClient(Path(venue.state_dir)).wait_listening()
        started.append(start_service(service))
        ServiceClient(Path(service.state_dir)).wait_ready()
        yield started[0], started[1]
        started[1].stop()
        started[0].stop()
    finally:
        for child in started:
            if child.exit_code is None:
                child.kill()


def trade_session(eve: Settings, session: dt.date, console: Console) -> Traded:
    """Send what was handed off over FIX, kill the service half-way, and bring the fills back.

    Parameters
    ----------
    eve : Settings
        The environment after the close before ``session``.
    session : date
        What the venue replays; its bars are not in the lake yet.
    """
    root = execution_root(eve)
    write_replay(eve, session, root / "session.jsonl")
    holdings = Lake(eve.lake_root).read(("portfolio_management", "positions"))
    held = holdings.filter(pl.col("session") == eve.last_session())
    opening = dict(held.select("instrument_id", "quantity").iter_rows())
    with ops_store(eve) as store:
        issued = len(store.issued(book=eve.book)) if store else 0
    venue_config, service_config = configs(eve, free_port(), opening)
    venue = VenueClient(Path(venue_config.state_dir))
    client = ServiceClient(Path(service_config.state_dir))
    with processes(venue_config, service_config) as (_, service):
        deadline = time.monotonic() + KILL_TIMEOUT_S
        while venue.order_messages() < issued // 2 and time.monotonic() < deadline:
            time.sleep(0.002)
        service.kill()
        reached = venue.order_messages()
        console.print(
            f"Service killed with SIGKILL when {reached} of {issued} orders had reached the "
            "venue. Restarting it ..."
        )
        service.restart()
        client.wait_ready()
        client.wait_decided(issued)
        venue.run(step_ms=STEP_MS)
        client.wait_settled(issued)
        return Traded(issued, reached, venue.fills(), venue.positions(), client.positions())


def agreement(settings: Settings, traded: Traded, session: dt.date) -> Agreement:
    """Return what was traded when service, venue and lake agree to the share and the cent.

    Raises
    ------
    DisagreementError
        Naming the first execution or instrument on which they differ.
    """
    lake = Lake(settings.lake_root)
    trades = lake.read(TRADES).filter(pl.col("session") == session)
    ours = {
        row["exec_id"]: (row["last_qty"], price_ticks(row["last_px"]), row["commission_minor"])
        for row in trades.iter_rows(named=True)
    }
    theirs = {
        fill["exec_id"]: (fill["lots"], fill["ticks"], round(fill["fee_ticks"] / TICKS_PER_MINOR))
        for fill in traded.venue_fills
    }
    _same("execution", ours, theirs, "lake", "venue")
    bars = lake.read(("market_data", "bars")).filter(pl.col("session") == session)
    symbols = dict(bars.select("instrument_id", "symbol").iter_rows())
    service = {
        symbols[name]: (row["lots"], Decimal(row["cash"]) * PRICE_SCALE)
        for name, row in traded.service_positions.items()
        if row["lots"]
    }
    venue = {
        symbol: (row["lots"], Decimal(row["cash_ticks"]))
        for symbol, row in traded.venue_positions.items()
        if row["lots"]
    }
    _same("symbol", service, venue, "service", "venue")
    return Agreement(
        fills=len(ours),
        shares=sum(quantity for quantity, _, _ in ours.values()),
        cash=Decimal(sum(row["cash_ticks"] for row in traded.venue_positions.values()))
        / PRICE_SCALE,
        fees=Decimal(sum(fee for _, _, fee in ours.values())) / 100,
    )


def _same(
    what: str, left: Mapping[str, Any], right: Mapping[str, Any], left_name: str, right_name: str
) -> None:
    for key in sorted({*left, *right}):
        if left.get(key) != right.get(key):
            raise DisagreementError(
                f"{what} {key}: the {left_name} says {left.get(key)}, the {right_name} "
                f"{right.get(key)}.",
                remedy="see docs/runbook-unknown-orders.md; nothing is issued until it is resolved",
            )
