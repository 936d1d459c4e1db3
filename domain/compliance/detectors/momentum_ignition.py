"""Momentum ignition: a burst that starts a move, and a position that is sold into it."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from contracts.clock import NS_PER_S
from contracts.events import Measure, Side
from domain.compliance.alerts import Alert, Found, Unjudged, alert_of
from domain.compliance.order_flow import OPPOSITE, SIGN, OrderEvent, OrderFlow, Quote, mid2_at

NAME = "momentum_ignition"
FOLLOWS = (
    "FINRA Rules 2020 and 5210; MAR (Regulation (EU) 596/2014) Art. 12(2)(c)(iii) with Delegated "
    "Regulation (EU) 2016/522, Annex II, 'momentum ignition'"
)
PERCENT = 100
BPS = 10_000


class MomentumIgnitionParameters(msgspec.Struct, frozen=True, kw_only=True):
    """How dense a burst is, how far the price goes, and how soon the position is reversed.

    A trader who follows momentum bursts too, and keeps the position: the reversal into the move
    is what tells them apart.
    """

    version: str = "momentum_ignition-1"
    burst_gap_ns: int = 5 * NS_PER_S
    burst_fills_min: int = 5
    burst_qty_min: int = 1_000
    move_window_ns: int = 60 * NS_PER_S
    price_move_min_bps: int = 15
    reversal_window_ns: int = 300 * NS_PER_S
    reversal_min_percent: int = 40


def detect(flow: OrderFlow, parameters: MomentumIgnitionParameters) -> Found:
    """Return an alert for each burst that moved the price and was reversed into the move."""
    alerts: list[Alert] = []
    unjudged: list[Unjudged] = []
    for owner, events in flow.by_owner().items():
        fills = [event for event in events if event.kind == "fill"]
        bursts = [b for side in OPPOSITE for b in _bursts(fills, side, parameters)]
        if bursts and flow.quotes is None:
            lacking = "no quotes: how far the price moved is not known"
            unjudged.append(Unjudged(NAME, flow.instrument_id, flow.session, owner, lacking))
            continue
        for burst in bursts:
            alert = _judged(flow, owner, fills, burst, flow.quotes or (), parameters)
            alerts += [alert] if alert else []
    return Found(tuple(alerts), tuple(unjudged))


def _bursts(
    fills: Sequence[OrderEvent], side: Side, parameters: MomentumIgnitionParameters
) -> list[list[OrderEvent]]:
    """Return runs of executions that took liquidity on one side, close upon each other."""
    runs: list[list[OrderEvent]] = []
    for fill in fills:
        if fill.side != side or fill.liquidity != "removed":
            continue
        if runs and fill.time_ns - runs[-1][-1].time_ns <= parameters.burst_gap_ns:
            runs[-1].append(fill)
        else:
            runs.append([fill])
    return [
        run
        for run in runs
        if len(run) >= parameters.burst_fills_min
        and sum(fill.qty for fill in run) >= parameters.burst_qty_min
    ]


def _judged(
    flow: OrderFlow, owner: str, fills: Sequence[OrderEvent], burst: Sequence[OrderEvent],
    quotes: tuple[Quote, ...], parameters: MomentumIgnitionParameters,
) -> Alert | None:  # fmt: skip
    first, last = burst[0], burst[-1]
    before = mid2_at(quotes, first.time_ns - 1)
    if before is None:
        return None
    move_bps = _move_bps(quotes, before, first, last.time_ns + parameters.move_window_ns)
    reversal = [
        fill
        for fill in fills
        if fill.side != first.side
        and last.time_ns < fill.time_ns <= last.time_ns + parameters.reversal_window_ns
        # Into the move: at a better price than the midpoint that the burst started from.
        and SIGN[first.side] * (2 * (fill.price_ticks or 0) - before) > 0
    ]
    burst_qty = sum(fill.qty for fill in burst)
    reversed_share = sum(fill.qty for fill in reversal) * PERCENT // burst_qty
    if move_bps < parameters.price_move_min_bps or reversed_share < parameters.reversal_min_percent:
        return None
    return alert_of(
        flow, owner, detector=NAME, version=parameters.version, follows=FOLLOWS,
        evidence=[*burst, *reversal],
        measures=(
            Measure("burst_fills", len(burst), parameters.burst_fills_min, "fills"),
            Measure("burst_qty", burst_qty, parameters.burst_qty_min, "shares"),
            Measure("price_move", move_bps, parameters.price_move_min_bps, "bps"),
            Measure("reversed", reversed_share, parameters.reversal_min_percent, "percent"),
        ),
    )  # fmt: skip


def _move_bps(quotes: tuple[Quote, ...], before: int, first: OrderEvent, until_ns: int) -> int:
    """Return how far the midpoint went in the burst's direction, at most, until an instant."""
    sign = SIGN[first.side]
    path = [
        quote.bid_ticks + quote.ask_ticks
        for quote in quotes
        if first.time_ns <= quote.time_ns <= until_ns
    ]
    return max((sign * (mid2 - before) * BPS // before for mid2 in path), default=0)
