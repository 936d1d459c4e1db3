"""Which trades count for what: the vendors' sale conditions as data, with the source of each rule.

Conditions are flags, written as a hexadecimal number by AlgoSeek (LEAN's ticks) and IEX alike.
"""

from __future__ import annotations

from enum import IntEnum

import msgspec
import numpy as np
import numpy.typing as npt
import polars as pl


class Role(IntEnum):
    """What a trade counts for in a bar; a higher one includes the lower ones."""

    NOTHING = 0
    VOLUME = 1
    RANGE = 2
    PRICE = 3


class SaleRule(msgspec.Struct, frozen=True):
    """Trades that have all of these flags play this role."""

    all_of: int
    role: Role
    why: str


class SaleConditions(msgspec.Struct, frozen=True, kw_only=True):
    """A rule set: the first rule that a trade meets decides; a trade that meets none is a price.

    Parameters
    ----------
    source : str
        The document, or the measurement, that the rules are from.
    rules : tuple of SaleRule
        In order.
    carries : bool
        Whether the volume of a period without a price is booked to the last bar that has one,
        whenever that was, as some vendors do; else it is a bar of its own, without prices.
    """

    source: str
    rules: tuple[SaleRule, ...]
    carries: bool = False

    def role_of(self, conditions: str) -> Role:
        """Return the role of a trade.

        Conditions that are no number count for volume only: what is not understood makes no price,
        and nothing is lost.
        """
        try:
            flags = int(conditions, 16)
        except ValueError:
            return Role.VOLUME
        for rule in self.rules:
            if flags & rule.all_of == rule.all_of:
                return rule.role
        return Role.PRICE

    def roles(self, conditions: pl.Series) -> npt.NDArray[np.int8]:
        """Return the roles of many trades, an array of shape (n_trades,)."""
        kinds = conditions.unique()
        roles = [int(self.role_of(kind)) for kind in kinds.to_list()]
        found = conditions.replace_strict(kinds, pl.Series(roles, dtype=pl.Int8))
        return found.cast(pl.Int8).to_numpy()


OPENING, CLOSING = 0x40, 0x80

# What the consolidated tapes say updates volume, high and low, and last.
SIP = SaleConditions(
    source="CTA and UTP plans, Consolidated Processing Guidelines (sale condition matrix, 2013); "
    "the flags as LEAN's Data/equity/readme.md describes AlgoSeek's",
    rules=(
        SaleRule(0x1000000, Role.NOTHING, "M: a market centre's official close repeats a trade"),
        SaleRule(0x4000000, Role.NOTHING, "Q: a market centre's official open repeats a trade"),
        SaleRule(0x80000000, Role.VOLUME, "I: odd lot"),
        SaleRule(0x2, Role.VOLUME, "C: cash sale"),
        SaleRule(0x4, Role.VOLUME, "N: next day"),
        SaleRule(0x8, Role.VOLUME, "R: seller's option"),
        SaleRule(0x200, Role.VOLUME, "H: price variation"),
        SaleRule(0x400, Role.VOLUME, "T: form T"),
        SaleRule(0x2000, Role.VOLUME, "T: extended hours"),
        SaleRule(0x4000, Role.VOLUME, "U: extended hours, sold out of sequence"),
        SaleRule(0x40000, Role.VOLUME, "V, 7: contingent trade"),
        SaleRule(0x100000, Role.VOLUME, "W, B: average price"),
        SaleRule(0x800, Role.RANGE, "L: sold last, late"),
        SaleRule(0x2000000, Role.RANGE, "P: prior reference price"),
        SaleRule(0x400000, Role.RANGE, "4: derivatively priced"),
    ),
)

# What LEAN's own bars count. The readme says only that suspicious ticks are left out; the rest was
# found by comparing its second and minute bars of 2013-10-07..09 (SPY, AIG, BAC, IBM) with its
# ticks, and tests/integration/test_intraday_samples.py asserts it.
LEAN_BARS = SaleConditions(
    source="measured on LEAN's own bars, see docs/intraday.md",
    rules=(
        SaleRule(0x1000000, Role.NOTHING, "official close"),
        SaleRule(0x4000000, Role.NOTHING, "official open"),
        SaleRule(OPENING, Role.NOTHING, "opening auction: the primary's is put into a minute"),
        SaleRule(CLOSING, Role.NOTHING, "closing auction: the primary's is put into 15:59"),
        SaleRule(0x2000, Role.PRICE, "extended hours, sweeps too"),
        SaleRule(0x20, Role.VOLUME, "intermarket sweep"),
        SaleRule(0x200, Role.VOLUME, "price variation"),
        SaleRule(0x8, Role.VOLUME, "seller's option"),
        SaleRule(0x20100000, Role.VOLUME, "average price, exempt of rule 611"),
    ),
    carries=True,
)

# IEX's flags are a byte.
IEX = SaleConditions(
    source="IEX TOPS specification 1.6, appendix A: sale conditions and eligibility",
    rules=(
        SaleRule(0x40, Role.VOLUME, "extended hours: not last sale eligible"),
        SaleRule(0x20, Role.VOLUME, "odd lot: not last sale eligible"),
    ),
)
