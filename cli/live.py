"""The demo's last act: one session traded over FIX, with the service killed half-way."""

from __future__ import annotations

import datetime as dt
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import polars as pl
from rich.console import Console

from cli.venue_session import write_replay
from contracts.clock import NS_PER_S, datetime_ns
from contracts.errors import DisagreementError
from domain.trade_execution.reconcile import BrokerStatement, StatementFill
from execution.config import ServiceConfig, read_config
from execution.control import ServiceClient
from execution.fix.settings import FixConfig
from execution.processes import Child, free_port, start_service, start_venue
from execution.venue.config import VenueConfig
from execution.venue.control import VenueClient
from io_managers.lake import Lake
from orchestration.base.ops import ops_store
from orchestration.base.settings import Settings
from sources.broker_statements import write_statement

RECONCILIATION = ("trade_execution", "reconciliation")
KILL_TIMEOUT_S = 20.0
STEP_MS = 2.0
EXECUTION = "execution"
# Not a setting: with the environment's own prefix it would become one of the next process.
OPS_STORE_VARIABLE = "EXECUTION_OPS_STORE_URL"


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
        started_ns = datetime_ns(settings.instant()) + NS_PER_S
    # The configuration is a file, and this URL may hold a password: only its variable is written.
    os.environ[OPS_STORE_VARIABLE] = settings.ops_url
    service = ServiceConfig(
        state_dir=str(root / "service"),
        ops_store_url=f"env:{OPS_STORE_VARIABLE}",
        mode=settings.mode,
        clock_start_ns=started_ns,
        opening_lots=opening or {},
        fix=FixConfig(
            host="127.0.0.1", port=port, sender_comp_id="QUANTIVISTA", target_comp_id="VENUE"
        ),
    )
    return venue, service


def opening_lots(settings: Settings) -> dict[str, int]:
    """Return what the service held before its journal began, for its limits.

    A service that has run keeps what it was started with: its journal goes on from there.
    """
    before = execution_root(settings) / "service" / "config.json"
    if before.exists():
        return read_config(before).opening_lots
    lake, key = Lake(settings.lake_root), ("portfolio_management", "positions")
    if not lake.exists(key):
        return {}
    held = lake.read(key, where=pl.col("session") == settings.last_session())
    return dict(held.select("instrument_id", "quantity").iter_rows())


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


def trade_session(eve: Settings, session: dt.date, console: Console) -> int:
    """Send what was handed off over FIX, kill the service half-way, and bring the fills back.

    Returns how many orders there were. The venue's end-of-session statement is left beside the lake
    for the reconciliation.

    Parameters
    ----------
    eve : Settings
        The environment after the close before ``session``.
    session : date
        What the venue replays; its bars are not in the lake yet.
    """
    root = execution_root(eve)
    write_replay(eve, session, root / "session.jsonl")
    with ops_store(eve) as store:
        issued = len(store.issued(book=eve.book)) if store else 0
    venue_config, service_config = configs(eve, free_port(), opening_lots(eve))
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
        client.wait_answered(issued)
        venue.run(step_ms=STEP_MS)
        client.wait_settled(issued)
        write_statement(eve.statements_root, _statement(session, issued, venue, client))
    return issued


def _statement(
    session: dt.date, orders: int, venue: VenueClient, client: ServiceClient
) -> BrokerStatement:
    return BrokerStatement(
        session=session,
        orders=orders,
        fills=tuple(StatementFill(**fill) for fill in venue.fills()),
        broker_positions={
            symbol: (row["lots"], row["cash_ticks"]) for symbol, row in venue.positions().items()
        },
        service_positions={
            name: (row["lots"], row["cash"]) for name, row in client.positions().items()
        },
    )


def agreement(settings: Settings, session: dt.date) -> str:
    """Return in a sentence what service, venue and lake all say was traded.

    Raises
    ------
    DisagreementError
        When they do not agree to the share and the cent, naming where.
    """
    found = Lake(settings.lake_root).read(RECONCILIATION, where=pl.col("session") == session)
    if found.is_empty():
        raise DisagreementError(
            f"There is no statement for {session}.", remedy="run the session, then the daily job"
        )
    row = found.row(0, named=True)
    if not (row["fills_agree"] and row["positions_agree"]):
        raise DisagreementError(
            f"Accounts of {session} differ: {row['differences']}.",
            remedy="see docs/runbook-unknown-orders.md",
        )
    return (
        f"Service, venue and lake agree: {row['n_orders']} orders, {row['n_fills']} fills, "
        f"{row['shares']:,} shares, {row['cash_minor'] / 100:,.2f} USD, "
        f"{row['fees_minor'] / 100:,.2f} USD of fees."
    )
