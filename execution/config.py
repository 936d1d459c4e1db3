"""The service's configuration: one JSON file, every field checked, no secret in it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Literal

import msgspec

from contracts.clock import Clock, SystemClock
from contracts.codec import from_json
from contracts.errors import ConfigurationError
from execution.facts import DayFacts
from execution.fix.settings import FixConfig
from execution.phases import Timing
from execution.risk import Limits, Routing
from ops_store.records import ISSUABLE_MODES

Durability = Literal["write", "sync"]


class ServiceConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One execution service.

    Parameters
    ----------
    state_dir : str
        Journal, FIX store, lock, kill switch. One instance at a time.
    ops_store_url : str
        SQLAlchemy URL of the operations store, or ``env:NAME`` of the variable that holds it.
    mode : str
        ``paper`` or ``live``; decisions of another mode are refused.
    fix, limits, routing, timing
        Session, risk limits, order prices, patience.
    day : DayFacts
        What rules of the desk may ask for: net asset value, sectors, shares outstanding, locates.
    broker, mic, currency
        Written into every ``TradeExecutedEvent``; the broker's own LastMkt wins over ``mic``.
    durability : str
        ``write``: an order leaves once its intent is in the page cache, which survives the process
        but not the machine. ``sync``: once it is on the disk.
    clock_start_ns : int, optional
        The platform's instant at which this process starts, for replays. The wall clock when
        absent, which is the only choice in live mode.
    opening_lots : dict
        Positions from before the journal, for limits.
    poll_interval_ms : int
        Pause between two looks at the outbox.
    drain_timeout_ms : int
        How long a stop waits for answers of the broker.
    http_port : int
        Of /healthz and /metrics on loopback; 0 takes a free one and writes it to the state
        directory.
    segment_bytes_max : int
        Size at which the journal goes on in another file.
    compact_bytes_min : int
        A start compacts a journal that is at least this large, when no order is open and every
        report is copied.
    """

    state_dir: str
    ops_store_url: str
    mode: str
    fix: FixConfig
    broker: str = "paper"
    mic: str = "XNYS"
    currency: str = "USD"
    limits: Limits = Limits()
    day: DayFacts = DayFacts()
    routing: Routing = Routing()
    timing: Timing = Timing()
    durability: Durability = "write"
    clock_start_ns: int | None = None
    opening_lots: dict[str, int] = {}
    poll_interval_ms: int = 20
    drain_timeout_ms: int = 5_000
    http_port: int = 0
    segment_bytes_max: int = 64 * 1024 * 1024
    compact_bytes_min: int = 64 * 1024 * 1024

    def __post_init__(self) -> None:
        """Refuse what contradicts itself."""
        if self.mode not in ISSUABLE_MODES:
            raise ConfigurationError(
                f"mode={self.mode!r} cannot trade.", remedy=f"use one of {ISSUABLE_MODES}"
            )
        if self.mode == "live" and self.clock_start_ns is not None:
            raise ConfigurationError(
                "clock_start_ns is set in live mode.",
                remedy="remove it: live trading runs on the wall clock",
            )


class ReplayClock:
    """A clock that starts at a given instant and runs at the wall clock's pace."""

    def __init__(self, start_ns: int) -> None:
        self._offset_ns = start_ns - time.monotonic_ns()

    def now_ns(self) -> int:
        """Return the platform's instant."""
        return self._offset_ns + time.monotonic_ns()


def read_config(path: Path) -> ServiceConfig:
    """Read and check a configuration file."""
    try:
        return from_json(path.read_bytes(), ServiceConfig)
    except OSError as error:
        raise ConfigurationError(
            f"Cannot read {path.name}: {error.strerror}.", remedy="pass --config with a JSON file"
        ) from error


def clock_of(config: ServiceConfig) -> Clock:
    """Return the platform's clock as configured."""
    if config.clock_start_ns is None:
        return SystemClock()
    return ReplayClock(config.clock_start_ns)
