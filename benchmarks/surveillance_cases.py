"""Labelled conduct planted into seeded order flow: cases of each kind, and look-alikes of each.

A case has an intensity from 0 (faint: small, slow, half-hearted) to 1 (blatant), drawn evenly: the
faint ones lie below any threshold that an innocent could live with, and are meant to be missed. A
look-alike has most of a kind's marks and lacks the one that makes it abuse.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import NamedTuple

from benchmarks.surveillance_flow import (
    BACKGROUND,
    SESSION_S,
    Market,
    noise,
    push,
    signed,
)
from domain.compliance.order_flow import OPPOSITE, OrderFlow

KINDS = (
    "wash_trades", "layering", "marking_the_close", "momentum_ignition", "order_to_trade"
)  # fmt: skip
LOOK_ALIKES = {
    "wash_trades": ("two owners", "one small self-cross", "slow round trip", "unequal sizes"),
    "layering": ("requoted", "patient", "partly executed", "balanced"),
    "marking_the_close": ("on-close order", "no move", "against the move", "small in a move"),
    "momentum_ignition": ("keeps the position", "no move", "late exit", "trims"),
    "order_to_trade": ("market maker", "under the ratio", "few messages"),
}


class Plant(NamedTuple):
    """One labelled conduct; ``look_alike`` is None for a case."""

    kind: str
    look_alike: str | None
    intensity: float
    owner: str
    start_s: float
    side: str


class Label(NamedTuple):
    """What was planted where: a case is found when an alert of its kind names its owner."""

    kind: str
    is_case: bool
    look_alike: str | None
    intensity: float
    owner: str
    instrument_id: str


def planted_flow(seed: int, number: int) -> tuple[OrderFlow, list[Label]]:
    """Return one session's flow with two planted conducts, a case or a look-alike each."""
    rng = random.Random(f"{seed}/{number}")  # noqa: S311 - a repeatable plan
    plants = [_plant(rng, kind, f"P{i}") for i, kind in enumerate(rng.sample(KINDS, 2))]
    pushes = [moved for plant in plants for moved in _pushes(plant)]
    market = Market(rng, number, pushes)
    for participant in BACKGROUND:
        participant(market)
    for plant in plants:
        _ACTS[plant.kind](market, plant)
    flow = market.flow()
    labels = [
        Label(p.kind, p.look_alike is None, p.look_alike, p.intensity, p.owner, flow.instrument_id)
        for p in plants
    ]
    return flow, labels


def _plant(rng: random.Random, kind: str, owner: str) -> Plant:
    look_alike = rng.choice(LOOK_ALIKES[kind]) if rng.random() < 0.5 else None
    start_s = SESSION_S - 595 if kind == "marking_the_close" else rng.uniform(900, 15_000)
    return Plant(kind, look_alike, rng.random(), owner, start_s, rng.choice(list(OPPOSITE)))


def _pushes(plant: Plant) -> list[Callable[[float], float]]:
    """Return what the conduct does to the price; a look-alike may lack just that."""
    u, name = plant.intensity, plant.look_alike
    if plant.kind == "momentum_ignition" and name != "no move":
        return [push(plant.start_s, 15 + 15 * u, signed(plant.side, 8 + 35 * u), 400)]
    if plant.kind == "marking_the_close" and name != "no move":
        bps = signed(plant.side, 8 + 60 * u if name is None else 40)
        return [push(plant.start_s, 560, -bps if name == "against the move" else bps)]
    return []


def _wash_trades(market: Market, plant: Plant) -> None:
    rng, u, name = market.rng, plant.intensity, plant.look_alike
    one = market.account(f"{plant.owner}-1", plant.owner)
    owner_of_other = f"{plant.owner}-peer" if name == "two owners" else plant.owner
    other = market.account(f"{plant.owner}-2", owner_of_other)
    noise(market, [one, other], 30)
    pairs = 1 if name == "one small self-cross" else 1 + int(u * 6)
    second = plant.start_s
    for _ in range(pairs):
        qty = 100 * rng.randint(2, 4 if name == "one small self-cross" else 4 + int(16 * u))
        delay = rng.uniform(0.01, 0.5 + 8 * (1 - u) * rng.random())
        their_qty = qty - int(qty * 0.25 * (1 - u) * rng.random())
        if name == "slow round trip":
            delay = rng.uniform(30, 300)
        if name == "unequal sizes":
            their_qty = int(qty * rng.uniform(0.3, 0.7))
        price = market.mid(second)
        cent_off = 100 if name is None and rng.random() < 0.3 * (1 - u) else 0
        for account, side, at, shares, paid in (
            (one, plant.side, second, qty, price),
            (other, OPPOSITE[plant.side], second + delay, their_qty, price + cent_off),
        ):
            order_id = market.new(at, account, side, shares, paid)
            market.fill(at + 0.002, order_id, account, side, paid, shares, "removed")
        second += rng.uniform(20, 240)


def _layering(market: Market, plant: Plant) -> None:
    rng, u, name = market.rng, plant.intensity, plant.look_alike
    account, shown_side = market.account(f"{plant.owner}-1", plant.owner), OPPOSITE[plant.side]
    noise(market, [account], 30)
    executed = 100 * rng.randint(1, 4)
    ratio = rng.uniform(1, 2) if name == "balanced" else 1.5 + 10 * u
    lots = max(1, round(executed * ratio / 100))
    levels = min(lots, 1 + int(u * 6))
    qty = 100 * round(lots / levels)
    second, shown = plant.start_s, []
    for level in range(levels):
        at = second + 0.2 * level
        price = market.rest(at, shown_side, level)
        shown.append((market.new(at, account, shown_side, qty, price), qty))
    traded_s = second + 2 + rng.uniform(0.5, 60)
    market.take(traded_s, account, plant.side, executed)
    if name == "partly executed":
        order_id, _ = shown[0]
        price = market.rest(traded_s, shown_side)
        for index, (order_id, _) in enumerate(shown):
            done = max(1, int(qty * rng.uniform(0.4, 0.8)))
            market.fill(traded_s - 0.4, order_id, account, shown_side, price, done, "added")
            shown[index] = (order_id, qty - done)
    _withdraw(market, account, shown_side, shown, traded_s, plant)


def _withdraw(
    market: Market, account: str, side: str, shown: list[tuple[str, int]], traded_s: float,
    plant: Plant,
) -> None:  # fmt: skip
    """Cancel what was shown: at once, or as the look-alike does."""
    rng, u, name = market.rng, plant.intensity, plant.look_alike
    delay = rng.uniform(90, 900) if name == "patient" else 0.1 + 30 * (1 - u) * rng.random()
    for order_id, qty in shown:
        leaves = name is None and rng.random() < 0.35 * (1 - u)
        if qty <= 0 or leaves:
            continue
        market.cancel(traded_s + delay, order_id, account, side, qty)
        if name == "requoted":
            at = traded_s + delay + rng.uniform(0.05, 1.5)
            again = market.new(at, account, side, qty, market.rest(at, side, 1))
            market.cancel(at + rng.uniform(120, 900), again, account, side, qty)
        delay += rng.uniform(0.01, 0.3)


def _marking_the_close(market: Market, plant: Plant) -> None:
    rng, u, name = market.rng, plant.intensity, plant.look_alike
    account = market.account(f"{plant.owner}-1", plant.owner)
    noise(market, [account], 30)
    window_qty = sum(one.qty for one in market.tape if one.time_ns >= market.at(SESSION_S - 600))
    share = 0.12 + 0.5 * u
    if name == "small in a move":
        share = rng.uniform(0.02, 0.08)
    elif name is not None:
        share = rng.uniform(0.3, 0.5)
    # Of a market that includes the owner's own trading.
    total = int(window_qty * share / (1 - share)) // 100 * 100
    if name == "on-close order":
        order_id = market.new(SESSION_S - rng.uniform(2_400, 7_200), account, plant.side, total,
                              on_close=True)  # fmt: skip
        market.fill(SESSION_S, order_id, account, plant.side, market.mid(SESSION_S), total,
                    "auction")  # fmt: skip
        return
    children = 5 + int(20 * u)
    for _ in range(children):
        side = OPPOSITE[plant.side] if rng.random() < 0.12 * (1 - u) else plant.side
        market.take(SESSION_S - rng.uniform(1, 590), account, side, max(100, total // children))


def _momentum_ignition(market: Market, plant: Plant) -> None:
    rng, u, name = market.rng, plant.intensity, plant.look_alike
    account = market.account(f"{plant.owner}-1", plant.owner)
    noise(market, [account], 30)
    second, burst = plant.start_s, 0
    fills = (4 if name is None else 6) + int(u * 12)
    for _ in range(fills):
        burst += market.take(second, account, plant.side, 100 * rng.randint(1, 4)).qty
        second += rng.uniform(0.2, (15 + 15 * u) / fills * 1.5)
    share = 0.3 + 0.7 * u if name is None else 0.8
    wait = rng.uniform(20, 150 + 220 * (1 - u))
    if name == "late exit":
        wait = rng.uniform(1_200, 3_600)
    elif name == "trims":
        share = rng.uniform(0.1, 0.35)
    elif name == "keeps the position":
        return
    left = int(burst * share) // 100 * 100
    second += wait
    while left > 0:
        qty = min(left, 100 * rng.randint(1, 5))
        market.take(second, account, OPPOSITE[plant.side], qty)
        left, second = left - qty, second + rng.uniform(0.5, 8)


def _order_to_trade(market: Market, plant: Plant) -> None:
    rng, u, name = market.rng, plant.intensity, plant.look_alike
    is_maker = name == "market maker"
    account = market.account(f"{plant.owner}-1", plant.owner, is_market_maker=is_maker)
    ratio = {"market maker": 100 + 250 * u, "under the ratio": 15 + 30 * u}.get(
        name or "", 30 + 400 * u
    )
    messages = 200 + int(1_800 * u)
    if name == "few messages":
        messages, ratio = rng.randint(40, 180), 10**6
    n_fills = int(messages / (ratio + 1))
    for _ in range(messages // 2):
        second, side = rng.uniform(60, SESSION_S - 1_200), rng.choice(list(OPPOSITE))
        qty = 100 * rng.randint(1, 3)
        order_id = market.new(second, account, side, qty, market.rest(second, side, 2))
        market.cancel(second + rng.uniform(0.01, 0.4), order_id, account, side, qty)
    for _ in range(n_fills):
        market.take(rng.uniform(60, SESSION_S - 1_200), account, rng.choice(list(OPPOSITE)), 100)


_ACTS: dict[str, Callable[[Market, Plant], None]] = {
    "wash_trades": _wash_trades,
    "layering": _layering,
    "marking_the_close": _marking_the_close,
    "momentum_ignition": _momentum_ignition,
    "order_to_trade": _order_to_trade,
}
