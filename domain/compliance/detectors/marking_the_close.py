"""Marking the close: trading at the end of the session in order to set its last price."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from contracts.clock import NS_PER_S
from contracts.events import Measure
from domain.compliance.alerts import Alert, Found, Unjudged, alert_of
from domain.compliance.order_flow import SIGN, OrderEvent, OrderFlow, Print, Quote, mid2_at

NAME = "marking_the_close"
FOLLOWS = (
    "Securities Exchange Act s. 9(a)(2); FINRA Rules 2020 and 5210; MAR (Regulation (EU) "
    "596/2014) Art. 12(2)(b) with Delegated Regulation (EU) 2016/522, Annex II, 'marking the "
    "close'"
)
PERCENT = 100
BPS = 10_000


class MarkingTheCloseParameters(msgspec.Struct, frozen=True, kw_only=True):
    """How much of the last minutes' volume, how one-sided, and how far the price went.

    Orders that were entered for the closing auction long before it are how index funds trade; only
    what was entered within ``window_ns`` of the close counts.
    """

    version: str = "marking_the_close-1"
    window_ns: int = 600 * NS_PER_S
    volume_share_min_percent: int = 15
    one_sided_min_percent: int = 70
    price_move_min_bps: int = 15
    qty_min: int = 1_000


def detect(flow: OrderFlow, parameters: MarkingTheCloseParameters) -> Found:
    """Return an alert for each owner whose late trading went with the last price's move."""
    alerts: list[Alert] = []
    unjudged: list[Unjudged] = []
    start_ns = flow.close_ns - parameters.window_ns
    for owner, events in flow.by_owner().items():
        early = {e.order_id for e in events if e.kind == "new" and e.time_ns < start_ns}
        fills = [
            e for e in events
            if e.kind == "fill" and e.time_ns >= start_ns and e.order_id not in early
        ]  # fmt: skip
        if not fills:
            continue
        if flow.quotes is None or not flow.tape:
            reason = "no quotes" if flow.quotes is None else "no tape: the market's volume"
            lacking = f"{reason} of the last minutes"
            unjudged.append(Unjudged(NAME, flow.instrument_id, flow.session, owner, lacking))
            continue
        alert = _judged(flow, owner, fills, flow.quotes, flow.tape, parameters)
        alerts += [alert] if alert else []
    return Found(tuple(alerts), tuple(unjudged))


def _judged(
    flow: OrderFlow, owner: str, fills: Sequence[OrderEvent], quotes: tuple[Quote, ...],
    tape: Sequence[Print], parameters: MarkingTheCloseParameters,
) -> Alert | None:  # fmt: skip
    start_ns = flow.close_ns - parameters.window_ns
    market_qty = sum(one.qty for one in tape if one.time_ns >= start_ns)
    traded = sum(fill.qty for fill in fills)
    net = sum(SIGN[fill.side] * fill.qty for fill in fills)
    before = mid2_at(quotes, start_ns)
    if before is None or not market_qty or traded < parameters.qty_min:
        return None
    share = traded * PERCENT // market_qty
    one_sided = abs(net) * PERCENT // traded
    # The last print is the closing price: the auction's, where there is one.
    move_bps = (2 * tape[-1].price_ticks - before) * BPS // before * (1 if net > 0 else -1)
    if (
        share < parameters.volume_share_min_percent
        or one_sided < parameters.one_sided_min_percent
        or move_bps < parameters.price_move_min_bps
    ):
        return None
    return alert_of(
        flow, owner, detector=NAME, version=parameters.version, follows=FOLLOWS, evidence=fills,
        measures=(
            Measure("volume_share", share, parameters.volume_share_min_percent, "percent"),
            Measure("one_sided", one_sided, parameters.one_sided_min_percent, "percent"),
            Measure("price_move", move_bps, parameters.price_move_min_bps, "bps"),
            Measure("traded", traded, parameters.qty_min, "shares"),
        ),
    )  # fmt: skip
