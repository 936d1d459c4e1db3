"""What the book is allowed to do, as one hashable value."""

from __future__ import annotations

import msgspec

from contracts.envelope import digest


class BookPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """Sizing, limits and the cost model of the simulated venue.

    Weights are fractions of net asset value; money is in minor units (cents); spreads in basis
    points of the price.
    """

    strategy: str = "core_tilt"
    currency: str = "USD"
    initial_cash_minor: int = 1_000_000_000  # ten million dollars: 500 names of ~20,000
    rebalance_every_sessions: int = 5
    # Sizing.
    invested_target: float = 0.98
    kelly_fraction: float = 0.25
    tilt_max: float = 0.005
    # Limits.
    name_weight_max: float = 0.02
    sector_weight_max: float = 0.25
    gross_max: float = 0.99
    lot_shares: int = 1
    no_trade_band: float = 0.0003
    cash_buffer: float = 0.005
    # A price older than this many sessions with data is no price: the position is closed.
    stale_sessions_max: int = 10
    # The simulated venue: tiered retail commissions, half a spread of a large-cap name, and no
    # more than a tenth of the session's volume.
    commission_per_share_minor: float = 0.35
    commission_min_minor: int = 35
    half_spread_bps: float = 2.5
    participation_max: float = 0.10

    @property
    def hash(self) -> str:
        """SHA-256 of every field: part of the identity of each event of the book."""
        return digest(self)
