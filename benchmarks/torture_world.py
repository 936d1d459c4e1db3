"""What the torture runs in: its decisions, its venue's day, its service's configuration."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from pathlib import Path

from contracts.catalog import DECISION_EVIDENCE
from contracts.envelope import Envelope, digest
from contracts.events import CoordinatedTradingDecisionEvent
from execution.config import ServiceConfig
from execution.fix.settings import FixConfig
from execution.phases import Timing
from execution.processes import free_port
from execution.risk import Limits
from execution.venue.config import VenueConfig
from execution.venue.market import Bar, Liquidity, SessionHeader, write_session
from ops_store.connection import sqlite_url
from ops_store.records import Attestation

NOW_NS = 1_282_248_000_000_000_000
DAY_NS = 86_400_000_000_000
CONTENT_HASHES = tuple(digest(("torture", table)) for table in DECISION_EVIDENCE)
SYMBOLS = tuple(f"S{letter}" for letter in "ABCDEFGHIJ")
ATTESTATIONS = [
    Attestation(
        rule_set_version="1",
        table=table,
        partition="p",
        session="2010-08-19",
        content_hash=content_hash,
        passed=True,
        issued_ns=NOW_NS,
        expires_ns=NOW_NS + 10 * DAY_NS,
    )
    for table, content_hash in zip(DECISION_EVIDENCE, CONTENT_HASHES, strict=True)
]


def venue_config(root: Path) -> VenueConfig:
    """Write the bars, and return a venue whose quotes come back after every order."""
    bars = root / "bars.jsonl"
    header = SessionHeader(
        session="2010-08-20",
        settlement_date="2010-08-25",
        open_ns=NOW_NS + DAY_NS // 2,
        close_ns=NOW_NS + DAY_NS,
    )
    price = Decimal(100)
    write_session(
        bars,
        header,
        [
            Bar(
                instrument=f"US.{symbol}",
                symbol=symbol,
                open=price,
                high=price + 1,
                low=price - 1,
                close=price,
                volume=30_000,
            )
            for symbol in SYMBOLS
        ],
    )
    return VenueConfig(
        state_dir=str(root / "venue"),
        fix_port=free_port(),
        bars=str(bars),
        liquidity=Liquidity(is_replenished=True),
    )


def service_config(root: Path, fix_port: int) -> ServiceConfig:
    """Return a service whose journal has small segments, so that kills fall into rotations too."""
    return ServiceConfig(
        state_dir=str(root / "service"),
        ops_store_url=sqlite_url(root / "ops.db"),
        mode="paper",
        clock_start_ns=NOW_NS,
        fix=FixConfig(
            host="127.0.0.1", port=fix_port, sender_comp_id="QUANTIVISTA", target_comp_id="VENUE"
        ),
        limits=Limits(gross_notional_max=Decimal(10) ** 10),
        timing=Timing(ack_timeout_ms=1_000),
        segment_bytes_max=65_536,
        # Every start compacts when nothing is open, so kills hit compacted journals too.
        compact_bytes_min=1,
    )


def decision(number: int) -> CoordinatedTradingDecisionEvent:
    """Return the n-th decision of the run; the same number gives the same decision."""
    symbol = SYMBOLS[number % len(SYMBOLS)]
    quantity = (1 if number % 3 else -1) * (100 + number % 7 * 50)
    envelope = Envelope(
        event_id=digest(("torture", number)),
        event_type="CoordinatedTradingDecisionEvent",
        event_time_ns=NOW_NS,
        knowledge_time_ns=NOW_NS,
        mode="paper",
        asset_key="torture",
        partition="",
        run_id="",
    )
    return CoordinatedTradingDecisionEvent(
        envelope=envelope,
        instrument_id=f"US.{symbol}",
        session=dt.date(2010, 8, 19),
        round_number=number,
        strategy="torture",
        signal_ids=(),
        rebalance_id="",
        full_kelly=0.0,
        fractional_kelly=0.0,
        target_qty=quantity,
        delta_qty=quantity,
        clips=(),
        cash_reservation_id="",
        limits_version="1",
        arrival_price=Decimal(100),
        urgency="normal",
        valid_until_ns=NOW_NS + 10 * DAY_NS,
    )
