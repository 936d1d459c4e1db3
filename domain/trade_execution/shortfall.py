"""Implementation shortfall of one order, to the minor unit, in integers alone.

No frames here: a process that watches an order while it works calls the same function.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from contracts.errors import ContractError
from contracts.events import Side
from domain.book.state import value_minor

SIGN: Mapping[Side, int] = {"buy": 1, "sell": -1}


class Shortfall(msgspec.Struct, frozen=True, kw_only=True):
    """What an order lost against trading all of it at the decision's price; positive is a cost.

    ``total_minor`` is the gain of the paper portfolio less that of the real one. It is computed by
    itself, and the four components sum to it.
    """

    delay_minor: int
    execution_minor: int
    opportunity_minor: int
    fees_minor: int
    total_minor: int

    @property
    def components_minor(self) -> int:
        """The sum of the four components."""
        return self.delay_minor + self.execution_minor + self.opportunity_minor + self.fees_minor


def implementation_shortfall(
    *,
    side: Side,
    order_qty: int,
    filled_qty: int,
    filled_minor: int,
    fees_minor: int,
    decision_ticks: int,
    release_ticks: int,
    end_ticks: int,
) -> Shortfall:
    """Return an order's implementation shortfall and what it is made of.

    Parameters
    ----------
    side : str
        ``buy`` or ``sell``.
    order_qty, filled_qty : int
        Shares ordered and filled, unsigned.
    filled_minor : int
        Value of the fills as booked, the sum over the executions, in minor units.
    fees_minor : int
        Everything charged beside the price.
    decision_ticks, release_ticks, end_ticks : int
        Price at the decision, when the order was released to the market, and when it ended, in
        ticks of 1e-4. The last one values what was not filled.

    Raises
    ------
    ContractError
        When more is filled than ordered, a quantity is negative or a price is not positive.

    Notes
    -----
    Perold (1988), "The implementation shortfall: paper versus reality": the paper portfolio trades
    everything at the decision's price, without costs. Wagner and Edwards (1993) split what the
    executed shares cost into delay (decision to release) and execution (release to fill); the
    opportunity cost is of the shares that were not executed, from the decision on. Each value of
    shares at a price is rounded once, half to even, and used wherever it occurs, so that the
    components telescope: their sum is the total to the minor unit.
    """
    _require(order_qty, filled_qty, (decision_ticks, release_ticks, end_ticks))
    sign = SIGN[side]
    decided = value_minor(filled_qty, decision_ticks)
    released = value_minor(filled_qty, release_ticks)
    paper_cost, paper_worth = (value_minor(order_qty, p) for p in (decision_ticks, end_ticks))
    real_worth = value_minor(filled_qty, end_ticks)
    paper_gain = sign * (paper_worth - paper_cost)
    real_gain = sign * (real_worth - filled_minor) - fees_minor
    return Shortfall(
        delay_minor=sign * (released - decided),
        execution_minor=sign * (filled_minor - released),
        opportunity_minor=sign * ((paper_worth - real_worth) - (paper_cost - decided)),
        fees_minor=fees_minor,
        total_minor=paper_gain - real_gain,
    )


def _require(order_qty: int, filled_qty: int, prices: tuple[int, ...]) -> None:
    if not 0 <= filled_qty <= order_qty:
        raise ContractError(
            f"{filled_qty} shares are filled of an order of {order_qty}.",
            remedy="reconcile the executions with the order",
        )
    if min(prices) <= 0:
        raise ContractError(
            f"A price of {min(prices)} ticks is no price.",
            remedy="leave an order without a price unmeasured, and say why",
        )
