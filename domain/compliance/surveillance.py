"""Surveillance: every detector over every instrument's session, with its declared parameters."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from domain.compliance.alerts import Alert, Found, Unjudged
from domain.compliance.detectors import (
    layering,
    marking_the_close,
    momentum_ignition,
    order_to_trade,
    wash_trades,
)
from domain.compliance.order_flow import OrderFlow


class SurveillanceParameters(msgspec.Struct, frozen=True, kw_only=True):
    """The parameters of all detectors, each with its own version."""

    wash_trades: wash_trades.WashTradeParameters = wash_trades.WashTradeParameters()
    layering: layering.LayeringParameters = layering.LayeringParameters()
    marking_the_close: marking_the_close.MarkingTheCloseParameters = (
        marking_the_close.MarkingTheCloseParameters()
    )
    momentum_ignition: momentum_ignition.MomentumIgnitionParameters = (
        momentum_ignition.MomentumIgnitionParameters()
    )
    order_to_trade: order_to_trade.OrderToTradeParameters = order_to_trade.OrderToTradeParameters()


def surveil(flows: Iterable[OrderFlow], parameters: SurveillanceParameters) -> Found:
    """Return what the detectors say of the flows, in the order of session, instrument and time.

    Each flow is judged by itself: no verdict depends on which others are passed.
    """
    alerts: list[Alert] = []
    unjudged: list[Unjudged] = []
    for flow in flows:
        for found in (
            wash_trades.detect(flow, parameters.wash_trades),
            layering.detect(flow, parameters.layering),
            marking_the_close.detect(flow, parameters.marking_the_close),
            momentum_ignition.detect(flow, parameters.momentum_ignition),
            order_to_trade.detect(flow, parameters.order_to_trade),
        ):
            alerts += found.alerts
            unjudged += found.unjudged
    alerts.sort(key=lambda a: (a.session, a.instrument_id, a.start_ns, a.detector, a.alert_id))
    unjudged.sort(key=lambda u: (u.session, u.instrument_id, u.detector, u.owner))
    return Found(tuple(alerts), tuple(unjudged))
