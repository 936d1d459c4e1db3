"""Excessive order-to-trade ratio: a flood of messages for little trading."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from contracts.events import Measure
from domain.compliance.alerts import Alert, Found, alert_of
from domain.compliance.order_flow import OrderEvent, OrderFlow

NAME = "order_to_trade"
FOLLOWS = (
    "MiFID II (Directive 2014/65/EU) Art. 48(6) with Delegated Regulation (EU) 2017/566 (RTS 9), "
    "ratio by number of messages; MAR (Regulation (EU) 596/2014) Art. 12(2)(c)(i), 'quote stuffing'"
)


class OrderToTradeParameters(msgspec.Struct, frozen=True, kw_only=True):
    """The ratio from which an account's messages are excessive.

    RTS 9 leaves the maximum to each venue and expects a higher one for market makers.
    """

    version: str = "order_to_trade-1"
    ratio_max: int = 50
    market_maker_ratio_max: int = 500
    messages_min: int = 200


def detect(flow: OrderFlow, parameters: OrderToTradeParameters) -> Found:
    """Return an alert for each account over its ratio in the session.

    RTS 9 counts one message for a new order, one for a cancel, and two for a replacement; the ratio
    is messages divided by executions, less one. Without an execution it is the number of messages.
    """
    by_account: dict[str, list[OrderEvent]] = {}
    for event in flow.events:
        by_account.setdefault(event.account, []).append(event)
    alerts: list[Alert] = []
    for account, events in sorted(by_account.items()):
        alert = _judged(flow, account, events, parameters)
        alerts += [alert] if alert else []
    return Found(tuple(alerts))


_WEIGHTS = {"new": 1, "replace": 2, "cancel": 1, "fill": 0}


def _judged(
    flow: OrderFlow, account: str, events: Sequence[OrderEvent],
    parameters: OrderToTradeParameters,
) -> Alert | None:  # fmt: skip
    messages = sum(_WEIGHTS[event.kind] for event in events)
    n_fills = sum(event.kind == "fill" for event in events)
    ratio = messages // n_fills - 1 if n_fills else messages
    who = flow.accounts[account]
    limit = parameters.market_maker_ratio_max if who.is_market_maker else parameters.ratio_max
    if messages < parameters.messages_min or ratio <= limit:
        return None
    return alert_of(
        flow, who.owner, detector=NAME, version=parameters.version, follows=FOLLOWS,
        evidence=events,
        measures=(
            Measure("order_to_trade_ratio", ratio, limit, "ratio"),
            Measure("messages", messages, parameters.messages_min, "messages"),
            Measure("fills", n_fills, 0, "fills"),
        ),
    )  # fmt: skip
