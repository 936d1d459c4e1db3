"""How far the session with the broker is, and how long silence may last."""

from __future__ import annotations

import enum

import msgspec


class Phase(enum.StrEnum):
    """How far the session with the broker is."""

    DOWN = "down"
    RECONCILING = "reconciling"
    READY = "ready"


class Timing(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Patience, in milliseconds, and how often an order may be sent under its one ClOrdID."""

    ack_timeout_ms: int = 5_000
    reconcile_timeout_ms: int = 5_000
    sweep_interval_ms: int = 200
    sends_max: int = 5
