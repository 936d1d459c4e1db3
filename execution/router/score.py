"""Which broker is best for an order now, and why: every broker is weighed, and none is left out."""

from __future__ import annotations

from execution.algos.contract import NS_PER_MS, NewChild
from execution.router.contract import (
    CENTITICKS,
    BrokerQuote,
    BrokerTerms,
    Candidate,
    Weights,
)
from execution.router.history import PPM, History

DOWN, REFUSING, NO_QUOTE, LIMIT = "down", "not accepting", "no fresh quote", "beyond the limit"
TRIED, NO_AUCTION, TOO_SMALL = "tried already", "takes no auction orders", "displays no round lot"
_US_PER_MS = 1_000


def is_taking(child: NewChild) -> bool:
    """Whether an order is to trade at once, and so needs a quote to meet."""
    return child.time_in_force == "ioc"


def candidate(
    child: NewChild,
    terms: BrokerTerms,
    history: History,
    quote: BrokerQuote | None,
    weights: Weights,
    exclusion: str,
) -> Candidate:
    """Weigh one broker for an order.

    The all-in cost per share, in 1e-6 of the currency's unit, is the signed price, plus the fee,
    plus miss, reject and latency costs times what the broker's history says of each.

    Parameters
    ----------
    child : NewChild
        The order.
    terms, history, quote : BrokerTerms, History, BrokerQuote or None
        The broker's fees, past (already decayed), and fresh quote.
    weights : Weights
        What the past costs.
    exclusion : str
        Why the broker is out of the question already; empty when it is not.
    """
    is_buy = child.side == "buy"
    sign = 1 if is_buy else -1
    price_ticks = displayed_lots = 0
    if is_taking(child):
        if quote is not None:
            price_ticks = quote.ask_ticks if is_buy else quote.bid_ticks
            displayed_lots = max(0, quote.ask_lots if is_buy else quote.bid_lots)
        exclusion = exclusion or _unmet(child, price_ticks, displayed_lots)
    fee = terms.take_fee_centiticks if is_taking(child) else terms.make_fee_centiticks
    fill_ppm = history.fill_ppm(weights.prior_lots)
    reject_ppm = history.reject_ppm()
    latency_us = history.mean_latency_us(weights.prior_latency_us)
    cost = (
        sign * price_ticks * CENTITICKS
        + fee
        + weights.miss_cost_centiticks * (PPM - fill_ppm) // PPM
        + weights.reject_cost_centiticks * reject_ppm // PPM
        + weights.latency_cost_centiticks_per_ms * latency_us // _US_PER_MS
    )
    return Candidate(
        broker=terms.name,
        exclusion=exclusion,
        cost_centiticks=cost,
        price_ticks=price_ticks,
        displayed_lots=displayed_lots,
        fee_centiticks=fee,
        fill_ppm=fill_ppm,
        reject_ppm=reject_ppm,
        latency_us=latency_us,
    )


def _unmet(child: NewChild, price_ticks: int, displayed_lots: int) -> str:
    if price_ticks <= 0 or displayed_lots <= 0:
        return NO_QUOTE
    sign = 1 if child.side == "buy" else -1
    if child.limit_ticks is not None and sign * (child.limit_ticks - price_ticks) < 0:
        return LIMIT
    return ""


def is_fresh(quote_ns: int, now_ns: int, weights: Weights) -> bool:
    """Whether a quote is young enough to be one."""
    return now_ns - quote_ns <= weights.quote_age_max_ms * NS_PER_MS


def ranked(candidates: list[Candidate]) -> tuple[Candidate, ...]:
    """Return candidates, best first, then the excluded ones.

    Equal costs: the larger display first, then the broker's name, so that no order of arrival
    decides.
    """
    return tuple(
        sorted(
            candidates,
            key=lambda one: (
                bool(one.exclusion),
                one.cost_centiticks,
                -one.displayed_lots,
                one.broker,
            ),
        )
    )


def spray(eligible: list[Candidate], lots: int, round_lots: int) -> list[tuple[Candidate, int]]:
    """Split an order over what brokers display, best first, in round lots.

    What no broker displays stays out. An odd rest goes, whole, to the best broker that displays
    that much more.

    Returns
    -------
    list of (Candidate, int)
        Brokers and lots; the lots add up to ``lots`` at most.
    """
    parts: dict[str, int] = {}
    left = lots
    for one in eligible:
        part = min(left, one.displayed_lots)
        part -= part % round_lots
        parts[one.broker] = part
        left -= part
    if 0 < left < round_lots:
        best = next(
            (one for one in eligible if one.displayed_lots - parts[one.broker] >= left), None
        )
        if best is not None:
            parts[best.broker] += left
    return [(one, parts[one.broker]) for one in eligible if parts[one.broker]]
