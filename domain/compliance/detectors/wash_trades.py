"""Wash trades: the same beneficial owner on both sides, so that nothing changes hands."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from contracts.clock import NS_PER_S
from contracts.events import Measure
from domain.compliance.alerts import Alert, Found, alert_of
from domain.compliance.order_flow import OrderEvent, OrderFlow

NAME = "wash_trades"
FOLLOWS = (
    "Securities Exchange Act s. 9(a)(1); FINRA Rule 5210, Supplementary Material .02; MAR "
    "(Regulation (EU) 596/2014) Art. 12(1)(a) with Delegated Regulation (EU) 2016/522, Annex II, "
    "'wash trades'"
)
PERCENT = 100
BPS = 10_000


class WashTradeParameters(msgspec.Struct, frozen=True, kw_only=True):
    """When two executions of one owner offset each other, and how many are a pattern.

    A market maker buys and sells all day: what makes a pattern is the share of the owner's trading
    around it that only offsets itself. FINRA's material exempts an isolated self-trade of unrelated
    algorithms, so one pair counts only when it is large.
    """

    version: str = "wash_trades-1"
    window_ns: int = 10 * NS_PER_S
    price_tolerance_bps: int = 1
    qty_tolerance_percent: int = 20
    episode_gap_ns: int = 600 * NS_PER_S
    pairs_min: int = 2
    single_pair_qty_min: int = 5_000
    matched_share_min_percent: int = 50


Pair = tuple[OrderEvent, OrderEvent]


def detect(flow: OrderFlow, parameters: WashTradeParameters) -> Found:
    """Return an alert for each episode of offsetting executions of one owner."""
    alerts: list[Alert] = []
    for owner, events in flow.by_owner().items():
        fills = [event for event in events if event.kind == "fill"]
        for episode in _episodes(_pairs(fills, parameters), parameters.episode_gap_ns):
            alert = _judged(flow, owner, fills, episode, parameters)
            alerts += [alert] if alert else []
    return Found(tuple(alerts))


def _pairs(fills: Sequence[OrderEvent], parameters: WashTradeParameters) -> list[Pair]:
    """Match each execution with the first earlier one that it offsets; each is used once."""
    pairs: list[Pair] = []
    waiting: list[OrderEvent] = []
    for fill in fills:
        waiting = [one for one in waiting if fill.time_ns - one.time_ns <= parameters.window_ns]
        other = next((one for one in waiting if _offset(one, fill, parameters)), None)
        if other is None:
            waiting.append(fill)
        else:
            waiting.remove(other)
            pairs.append((other, fill))
    return pairs


def _offset(one: OrderEvent, other: OrderEvent, parameters: WashTradeParameters) -> bool:
    if one.side == other.side or one.price_ticks is None or other.price_ticks is None:
        return False
    apart = abs(one.price_ticks - other.price_ticks) * BPS
    larger = max(one.qty, other.qty)
    return (
        apart <= parameters.price_tolerance_bps * one.price_ticks
        and abs(one.qty - other.qty) * PERCENT <= parameters.qty_tolerance_percent * larger
    )


def _episodes(pairs: Sequence[Pair], gap_ns: int) -> list[list[Pair]]:
    episodes: list[list[Pair]] = []
    for pair in pairs:
        if episodes and pair[0].time_ns - episodes[-1][-1][1].time_ns <= gap_ns:
            episodes[-1].append(pair)
        else:
            episodes.append([pair])
    return episodes


def _judged(
    flow: OrderFlow, owner: str, fills: Sequence[OrderEvent], episode: Sequence[Pair],
    parameters: WashTradeParameters,
) -> Alert | None:  # fmt: skip
    matched = sum(one.qty + other.qty for one, other in episode)
    largest = max(min(one.qty, other.qty) for one, other in episode)
    start_ns = episode[0][0].time_ns - parameters.window_ns
    end_ns = episode[-1][1].time_ns + parameters.window_ns
    traded = sum(fill.qty for fill in fills if start_ns <= fill.time_ns <= end_ns)
    share = matched * PERCENT // traded
    is_pattern = (
        len(episode) >= parameters.pairs_min or largest >= parameters.single_pair_qty_min
    ) and share >= parameters.matched_share_min_percent
    if not is_pattern:
        return None
    return alert_of(
        flow, owner, detector=NAME, version=parameters.version, follows=FOLLOWS,
        evidence=[event for pair in episode for event in pair],
        measures=(
            Measure("offsetting_pairs", len(episode), parameters.pairs_min, "pairs"),
            Measure("largest_pair_qty", largest, parameters.single_pair_qty_min, "shares"),
            Measure("matched_share", share, parameters.matched_share_min_percent, "percent"),
        ),
    )  # fmt: skip
