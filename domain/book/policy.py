"""What the book is allowed to do, as one hashable value."""

from __future__ import annotations

import datetime as dt

import msgspec

from contracts.envelope import digest
from domain.compliance.rules import (
    BPS,
    GrossLeverage,
    NameConcentration,
    RuleSet,
    SectorConcentration,
    in_force,
    require_currency,
)

Concentration = NameConcentration | SectorConcentration | GrossLeverage
_ALWAYS = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


def book_rules(
    *, name_bps_max: int = 200, sector_bps_max: int = 2_500, gross_bps_max: int = 9_900
) -> RuleSet:
    """Return the book's own limits, in basis points of net asset value."""
    return RuleSet(
        name="book",
        effective=_ALWAYS,
        rules=(
            NameConcentration(rule_id="name_cap", weight_max_bps=name_bps_max),
            SectorConcentration(rule_id="sector_cap", weight_max_bps=sector_bps_max),
            GrossLeverage(rule_id="gross_cap", weight_max_bps=gross_bps_max),
        ),
    )


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
    rules: RuleSet = book_rules()
    desk: tuple[RuleSet, ...] = ()
    """The desk's approved rule sets; each applies from its instant on."""
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

    def at(self, now_ns: int) -> BookPolicy:
        """Return the policy of an instant: with the desk's rule set that is in force, if any.

        What was approved later is no part of an earlier decision, nor of its identity.

        Raises
        ------
        RuleSetError
            When the one in force is in another currency.
        """
        if not self.desk:
            return self
        chosen = in_force(self.desk, now_ns)
        if chosen is not None:
            require_currency(chosen, self.currency)
        return msgspec.structs.replace(self, desk=() if chosen is None else (chosen,))

    def weight_max(self, kind: type[Concentration]) -> float:
        """Return the tightest of the book's own limits of a kind, as a fraction; 1 without one."""
        limits = [
            rule.weight_max_bps / BPS
            for rule in self.rules.rules
            if isinstance(rule, Concentration)
            and type(rule) is kind
            and rule.weight_max_bps is not None
        ]
        return min(limits, default=1.0)

    def commission_minor(self, quantity: int) -> int:
        """Return what the cost model charges for an execution of so many shares, unsigned."""
        return max(self.commission_min_minor, round(quantity * self.commission_per_share_minor))

    def half_spread_minor(self, notional_minor: int) -> int:
        """Return what the cost model expects the spread to cost on a value traded."""
        return round(notional_minor * self.half_spread_bps / BPS)

    @property
    def hashes(self) -> frozenset[str]:
        """The hash of the policy at every instant, and with every set that was in force once.

        Of two sets from the same instant on only the later one applies now; decisions that were
        issued under the other stand.
        """
        desks = ((), *((one,) for one in self.desk))
        return frozenset(msgspec.structs.replace(self, desk=desk).hash for desk in desks)

    @property
    def hash(self) -> str:
        """SHA-256 of every field: part of the identity of each event of the book."""
        return digest(self)
