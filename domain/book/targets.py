"""From beliefs to target shares: a core, a tilt by fractional Kelly, and rules that clip both."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Iterable, Mapping

import msgspec

from contracts.events import Clip
from domain.book.market import Market, SignalView
from domain.book.policy import BookPolicy
from domain.book.pre_trade import PreTrade
from domain.book.state import PRICE_SCALE, BookState, value_minor
from domain.compliance.engine import Verdict
from domain.compliance.rules import BPS, GrossLeverage, NameConcentration, SectorConcentration
from domain.market_data.reference import CorporateAction

MINOR_PER_UNIT = 100


class Target(msgspec.Struct):
    """What the book wants of one instrument; built rule by rule, each clip naming its rule."""

    instrument_id: str
    sector: str
    price_ticks: int
    current_qty: int
    core_weight: float
    full_kelly: float
    fractional_kelly: float
    tilt_weight: float
    weight: float
    signal_id: str | None
    bar_id: str | None
    target_qty: int = 0
    clips: list[Clip] = []

    def clip(self, rule: str, after: int) -> None:
        """Set the target shares, naming the rule when it changed them."""
        if after != self.target_qty:
            self.clips.append(Clip(rule, self.target_qty, after))
            self.target_qty = after


class Sized(msgspec.Struct, frozen=True):
    """Targets in the order of instrument ids, and what each rule said of what they change."""

    targets: list[Target]
    verdicts: list[tuple[str, Verdict]]


def size_targets(
    state: BookState, market: Market, signals: Mapping[str, SignalView], policy: BookPolicy
) -> Sized:
    """Return the target of every member and every holding, within what the rules allow.

    The full Kelly weight of an asset with expected excess return m and standard deviation s is
    m / s^2 (Thorp 2006, "The Kelly criterion in blackjack, sports betting and the stock market",
    section 7); the book takes ``kelly_fraction`` of it on top of the core. An abstaining signal
    has no tilt.
    """
    nav_minor = state.nav_minor
    quoted = sorted(
        name
        for name, bar in market.bars.items()
        if name not in state.blocked and bar.volume_shares > 0
    )
    # What left the index may be sold and is not bought.
    members = [name for name in quoted if market.members is None or name in market.members]
    core = policy.invested_target / len(members) if members else 0.0
    targets = []
    for name in sorted(set(members) | set(state.positions)):
        target = _raw_target(name, core if name in members else 0.0, state, market, signals, policy)
        targets.append(target)
    _limit_weights(targets, nav_minor, policy)
    pending = pending_actions(market.actions, market.session, market.next_session)
    tradable = set(quoted) - pending
    for target in targets:
        if target.instrument_id not in tradable:
            target.clip(_why_not(target.instrument_id, state, market), target.current_qty)
        else:
            _limit_quantity(target, market, nav_minor, policy)
    _limit_buys(targets, state, policy)
    return Sized(targets, _judged(targets, PreTrade(state, market, policy), policy.lot_shares))


def _judged(targets: list[Target], desk: PreTrade, lot: int) -> list[tuple[str, Verdict]]:
    """Hold the orders to the rules, sells first; a rule that cuts one is among its clips."""
    changed = [target for target in targets if target.target_qty != target.current_qty]
    for target in sorted(changed, key=lambda t: t.target_qty > t.current_qty):
        change = target.target_qty - target.current_qty
        order = (target.instrument_id, target.price_ticks, target.bar_id)
        allowed = desk.allowed(order[0], change, *order[1:])
        if allowed.rule_id is not None:
            lots = abs(allowed.change) // lot * lot
            change = lots if change > 0 else -lots
            target.clip(allowed.rule_id, target.current_qty + change)
        if change:
            desk.take(order[0], change, *order[1:])
    return desk.verdicts


def _raw_target(
    name: str,
    core: float,
    state: BookState,
    market: Market,
    signals: Mapping[str, SignalView],
    policy: BookPolicy,
) -> Target:
    bar, held, signal = market.bars.get(name), state.positions.get(name), signals.get(name)
    kelly = 0.0
    if signal is not None and not signal.abstain and signal.volatility > 0 and core > 0:
        kelly = signal.expected_return / signal.volatility**2
    fractional = policy.kelly_fraction * kelly
    tilt = max(-policy.tilt_max, min(policy.tilt_max, fractional))
    ticks = bar.close_ticks if bar is not None else (held.price_ticks if held else 0)
    return Target(
        instrument_id=name,
        sector=market.sectors.get(name, "unknown"),
        price_ticks=ticks,
        current_qty=held.quantity if held else 0,
        core_weight=core,
        full_kelly=kelly,
        fractional_kelly=fractional,
        tilt_weight=tilt,
        weight=core + fractional,
        signal_id=signal.event_id if signal is not None else None,
        bar_id=bar.event_id if bar is not None else None,
    )


def _limit_weights(targets: list[Target], nav_minor: int, policy: BookPolicy) -> None:
    """Apply the limits that are fractions of net asset value, from the name to the whole book.

    The book's own concentration rules say how large a target may be before any order is made of it:
    scaling keeps the proportions that judging order by order would lose.
    """
    for target in targets:
        target.target_qty = shares_of(target.weight, nav_minor, target.price_ticks)
        _set_weight(target, "tilt_cap", target.core_weight + target.tilt_weight, nav_minor)
        _set_weight(target, "long_only", max(0.0, target.weight), nav_minor)
    sectors: dict[str, list[Target]] = {}
    for target in targets:
        sectors.setdefault(target.sector, []).append(target)
    for rule in policy.rules.rules:
        if isinstance(rule, NameConcentration):
            for target in targets:
                weight = min(rule.weight_max_bps / BPS, target.weight)
                _set_weight(target, rule.rule_id, weight, nav_minor)
        elif isinstance(rule, SectorConcentration):
            for name in sorted(sectors):
                _scale(rule.rule_id, sectors[name], rule.weight_max_bps / BPS, nav_minor)
        elif isinstance(rule, GrossLeverage) and rule.weight_max_bps is not None:
            _scale(rule.rule_id, targets, rule.weight_max_bps / BPS, nav_minor)


def _scale(rule: str, targets: list[Target], limit: float, nav_minor: int) -> None:
    total = math.fsum(target.weight for target in targets)
    if total > limit:
        for target in targets:
            _set_weight(target, rule, target.weight * (limit / total), nav_minor)


def _set_weight(target: Target, rule: str, weight: float, nav_minor: int) -> None:
    if weight != target.weight:
        target.weight = weight
        target.clip(rule, shares_of(weight, nav_minor, target.price_ticks))


def pending_actions(
    actions: Iterable[CorporateAction], decided: dt.date, executed: dt.date
) -> set[str]:
    """Return the instruments whose quantity or price changes its meaning before the execution.

    A broker fills an order as it was sent, in new shares at new prices: after a 2-for-1 split it
    would buy half of what was decided. So no order goes out over an ex-date, which is announced
    before it comes; the next rebalance decides on the new basis. An ordinary dividend changes the
    meaning of neither.
    """
    return {
        one.instrument_id
        for one in actions
        if decided < one.ex_session <= executed and one.kind != "cash_dividend"
    }


def _why_not(name: str, state: BookState, market: Market) -> str:
    if name in state.blocked:
        return "blocked_unexplained_jump"
    if name not in market.bars:
        return "stale_price"
    return "no_volume" if not market.bars[name].volume_shares else "corporate_action_pending"


def _limit_quantity(target: Target, market: Market, nav_minor: int, policy: BookPolicy) -> None:
    lot = policy.lot_shares
    band = 0.0 if market.handover else policy.no_trade_band
    target.clip("lot", target.target_qty // lot * lot)
    change = target.target_qty - target.current_qty
    worth_minor = abs(change) * target.price_ticks * MINOR_PER_UNIT / PRICE_SCALE
    if target.target_qty and target.current_qty and worth_minor < band * nav_minor:
        target.clip("no_trade_band", target.current_qty)
        return
    volume = market.bars[target.instrument_id].volume_shares
    most = int(policy.participation_max * volume) // lot * lot
    if abs(change) > most:
        target.clip("participation", target.current_qty + (most if change > 0 else -most))


def _limit_buys(targets: list[Target], state: BookState, policy: BookPolicy) -> None:
    """Scale buys down to what the book may hold in all, and to the cash that there will be.

    Cash is what is on hand plus what the sells should bring, less a buffer. Each limit leaves every
    buy the same share: judging one order after the other would favour the first by name.
    """
    nav_minor = state.nav_minor
    for rule in policy.rules.rules:
        if isinstance(rule, GrossLeverage) and rule.weight_max_bps is not None:
            held = sum(value_minor(t.current_qty, t.price_ticks) for t in targets)
            sold = _worth_minor(targets, buys=False)
            room_minor = rule.weight_max_bps / BPS * nav_minor - (held - sold)
            _scale_buys(targets, rule.rule_id, room_minor, policy.lot_shares)
    cash_minor = state.cash_minor + _worth_minor(targets, buys=False)
    available_minor = cash_minor - policy.cash_buffer * nav_minor
    _scale_buys(targets, "cash", available_minor, policy.lot_shares)


def _worth_minor(targets: list[Target], *, buys: bool) -> float:
    changes = (t.target_qty - t.current_qty for t in targets)
    worths = (change * t.price_ticks for change, t in zip(changes, targets, strict=True))
    wanted = (abs(worth) for worth in worths if worth and (worth > 0) == buys)
    return sum(wanted) * MINOR_PER_UNIT / PRICE_SCALE


def _scale_buys(targets: list[Target], rule: str, room_minor: float, lot: int) -> None:
    buys_minor = _worth_minor(targets, buys=True)
    if buys_minor == 0 or buys_minor <= room_minor:
        return
    share = max(0.0, room_minor / buys_minor)
    for target in targets:
        if target.target_qty > target.current_qty:
            bought = int((target.target_qty - target.current_qty) * share)
            target.clip(rule, target.current_qty + bought // lot * lot)


def shares_of(weight: float, nav_minor: int, ticks: int) -> int:
    """Return how many whole shares a weight of net asset value buys, rounded towards zero."""
    if ticks <= 0:
        return 0
    return int(weight * nav_minor * PRICE_SCALE / (ticks * MINOR_PER_UNIT))
