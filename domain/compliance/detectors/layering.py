"""Layering and spoofing: orders on one side that were never meant to trade.

The conduct shows in three steps: orders are shown on one side, the owner trades on the other, and
what was shown is withdrawn at once. One price is spoofing, several are layering.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from contracts.clock import NS_PER_S
from contracts.events import Measure, Side
from domain.compliance.alerts import Alert, Found, alert_of
from domain.compliance.order_flow import OPPOSITE, OrderEvent, OrderFlow

NAME = "layering"
FOLLOWS = (
    "FINRA Rule 5210, Supplementary Material .03 (disruptive quoting and trading); MAR "
    "(Regulation (EU) 596/2014) Art. 12(2)(c) with Delegated Regulation (EU) 2016/522, Annex II, "
    "'layering and spoofing'; Commodity Exchange Act s. 4c(a)(5)(C)"
)
PERCENT = 100


class LayeringParameters(msgspec.Struct, frozen=True, kw_only=True):
    """What makes shown orders look as if they were not meant to trade.

    A market maker shows both sides: what is shown is therefore compared with all that the owner
    meant to trade on the other side, executed or still open. It withdraws and shows again: what
    comes back on the same side within ``reentry_ns`` was a change of price, not withdrawn. An order
    of which much was executed was meant to trade.
    """

    version: str = "layering-1"
    # Shown at most this long before the execution on the other side.
    lookback_ns: int = 120 * NS_PER_S
    cancel_window_ns: int = 30 * NS_PER_S
    reentry_ns: int = 2 * NS_PER_S
    # Shown quantity against what was executed, or is open, on the other side.
    imbalance_min_percent: int = 250
    shown_qty_min: int = 500
    withdrawn_share_min_percent: int = 70


class _Order:
    """What is open of one order, and when and why it ended."""

    def __init__(self, event: OrderEvent) -> None:
        self.first = event
        self.open_qty = event.qty
        self.filled_qty = 0
        self.cancel: OrderEvent | None = None

    def apply(self, event: OrderEvent) -> None:
        if event.kind == "replace":
            self.open_qty = max(0, event.qty - self.filled_qty)
        elif event.kind == "fill":
            self.filled_qty += event.qty
            self.open_qty = max(0, self.open_qty - event.qty)
        elif event.kind == "cancel":
            self.open_qty = max(0, self.open_qty - event.qty)
            self.cancel = event


class _Shown(msgspec.Struct, frozen=True):
    """An order that was open when its owner traded on the other side; open and executed shares."""

    order: _Order
    open_qty: int
    filled_qty: int


class _Candidate(msgspec.Struct, frozen=True):
    """An execution, what was shown against it, and what was still open on its own side."""

    fill: OrderEvent
    shown: tuple[_Shown, ...]
    beside_qty: int


def detect(flow: OrderFlow, parameters: LayeringParameters) -> Found:
    """Return an alert for each execution whose other side was shown and withdrawn."""
    alerts: list[Alert] = []
    for owner, events in flow.by_owner().items():
        alerts += _of_owner(flow, owner, events, parameters)
    return Found(tuple(alerts))


def _of_owner(
    flow: OrderFlow, owner: str, events: Sequence[OrderEvent], parameters: LayeringParameters
) -> list[Alert]:
    orders: dict[str, _Order] = {}
    live: dict[str, _Order] = {}
    candidates: list[_Candidate] = []
    for event in events:
        if event.kind == "new":
            orders[event.order_id] = live[event.order_id] = _Order(event)
            continue
        if event.kind == "fill":
            candidates += _candidate(event, live, parameters.lookback_ns)
        order = orders.get(event.order_id)
        if order is not None:
            order.apply(event)
            if not order.open_qty:
                live.pop(event.order_id, None)
    entries = {side: [e for e in events if e.side == side and e.kind == "new"] for side in OPPOSITE}
    alerts: list[Alert] = []
    for group in _grouped(candidates):
        alert = _judged(flow, owner, group, entries, parameters)
        alerts += [alert] if alert else []
    return alerts


def _candidate(fill: OrderEvent, live: Mapping[str, _Order], lookback_ns: int) -> list[_Candidate]:
    resting = [
        order
        for order in live.values()
        # An order without a limit trades at once, and one for the auction waits: neither is shown.
        if order.first.price_ticks is not None and not order.first.on_close
    ]
    shown = tuple(
        _Shown(order, order.open_qty, order.filled_qty)
        for order in resting
        if order.first.side != fill.side and fill.time_ns - order.first.time_ns <= lookback_ns
    )
    beside = sum(
        order.open_qty - (fill.qty if order.first.order_id == fill.order_id else 0)
        for order in resting
        if order.first.side == fill.side
    )
    return [_Candidate(fill, shown, beside)] if shown else []


Group = list[_Candidate]


def _grouped(candidates: Sequence[_Candidate]) -> list[Group]:
    """Put executions against the same shown orders together: they are one conduct."""
    groups: list[Group] = []
    ids: set[str] = set()
    for candidate in candidates:
        mine = {one.order.first.order_id for one in candidate.shown}
        if groups and ids & mine:
            groups[-1].append(candidate)
            ids |= mine
        else:
            groups.append([candidate])
            ids = mine
    return groups


def _judged(
    flow: OrderFlow, owner: str, group: Group,
    entries: Mapping[Side, Sequence[OrderEvent]], parameters: LayeringParameters,
) -> Alert | None:  # fmt: skip
    fills = [candidate.fill for candidate in group]
    # Of an order that several executions met, what it showed at the first of them.
    shown = {one.order.first.order_id: one for c in reversed(group) for one in c.shown}
    until_ns = fills[-1].time_ns + parameters.cancel_window_ns
    withdrawn = {
        name: one.order.cancel
        for name, one in shown.items()
        if one.order.cancel is not None and fills[0].time_ns <= one.order.cancel.time_ns <= until_ns
    }
    shown_qty = sum(one.open_qty for one in shown.values())
    entered_qty = shown_qty + sum(one.filled_qty for one in shown.values())
    withdrawn_qty = sum(min(e.qty, shown[name].open_qty) for name, e in withdrawn.items())
    again = entries[OPPOSITE[fills[0].side]]
    withdrawn_qty -= _shown_again(list(withdrawn.values()), again, parameters.reentry_ns)
    meant_qty = sum(fill.qty for fill in fills) + max(0, *(c.beside_qty for c in group))
    imbalance = shown_qty * PERCENT // meant_qty
    share = max(0, withdrawn_qty) * PERCENT // entered_qty
    if (
        imbalance < parameters.imbalance_min_percent
        or shown_qty < parameters.shown_qty_min
        or share < parameters.withdrawn_share_min_percent
    ):
        return None
    entered = [one.order.first for one in shown.values()]
    levels = len({event.price_ticks for event in entered})
    return alert_of(
        flow, owner, detector=NAME, version=parameters.version, follows=FOLLOWS,
        evidence=[*fills, *withdrawn.values(), *entered],
        measures=(
            Measure("imbalance", imbalance, parameters.imbalance_min_percent, "percent"),
            Measure("shown_qty", shown_qty, parameters.shown_qty_min, "shares"),
            Measure("withdrawn_share", share, parameters.withdrawn_share_min_percent, "percent"),
            Measure("price_levels", levels, 1, "levels"),
        ),
    )  # fmt: skip


def _shown_again(
    cancels: Sequence[OrderEvent], entries: Sequence[OrderEvent], reentry_ns: int
) -> int:
    """Return how many shares came back on the same side right after they were withdrawn."""
    if not cancels:
        return 0
    first_ns = min(cancel.time_ns for cancel in cancels)
    last_ns = max(cancel.time_ns for cancel in cancels)
    return sum(e.qty for e in entries if first_ns <= e.time_ns <= last_ns + reentry_ns)
