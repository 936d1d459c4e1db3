"""Seeded order flow of a session: a market, and participants who do nothing wrong.

The market is a random walk with a daily volatility of 1.5 %, quotes every five seconds and a tape
whose volume rises towards the close. Market makers requote, a momentum fund bursts and sometimes
takes a quick profit, a fund works passive orders that it cancels and moves, and trades at the
close. Every detector meets look-alikes here that nobody planted.
"""

from __future__ import annotations

import datetime as dt
import random
from collections.abc import Callable

from contracts.clock import NS_PER_S
from domain.compliance.order_flow import (
    OPPOSITE,
    SIGN,
    Account,
    OrderEvent,
    OrderFlow,
    Print,
    Quote,
    flow_of,
)

SESSION_S = 23_400
STEP_S = 5
STEPS = SESSION_S // STEP_S
CENT = 100
WALK_BPS = 2.2
FIRST_SESSION = dt.date(2010, 3, 1)


class Market:
    """One instrument's session, into which participants put orders and executions.

    ``pushes`` are functions from a second of the session to a move of the price in basis points:
    what a planted conduct does to the market.
    """

    def __init__(
        self, rng: random.Random, number: int, pushes: list[Callable[[float], float]]
    ) -> None:
        self.rng, self.number = rng, number
        self.session = FIRST_SESSION + dt.timedelta(days=number)
        midnight = dt.datetime.combine(self.session, dt.time(14, 30), dt.UTC)
        self.open_ns = int(midnight.timestamp()) * NS_PER_S
        self.close_ns = self.open_ns + SESSION_S * NS_PER_S
        self.mids = self._walk(pushes)
        self.accounts: dict[str, Account] = {}
        self.events: list[OrderEvent] = []
        self.tape: list[Print] = []
        self._ids = 0
        self._background_tape()

    def _walk(self, pushes: list[Callable[[float], float]]) -> list[float]:
        base, walked, mids = self.rng.uniform(2_000, 20_000), 0.0, []
        for step in range(STEPS + 1):
            walked += self.rng.gauss(0, WALK_BPS)
            pushed = sum(push(step * STEP_S) for push in pushes)
            mids.append(base * (1 + (walked + pushed) / 10_000))
        return mids

    def _background_tape(self) -> None:
        for second in range(5, SESSION_S, 10):
            busy = 3 if second > SESSION_S - 600 else 1
            price = self.price(second, "buy" if self.rng.random() < 0.5 else "sell")
            qty = busy * 100 * self.rng.randint(1, 8)
            self.tape.append(Print(self.at(second), price, qty))
        auction = 100 * self.rng.randint(300, 700)
        self.tape.append(Print(self.close_ns, self.mid(SESSION_S), auction))

    def at(self, second: float) -> int:
        """Return an instant in nanoseconds."""
        return self.open_ns + int(second * 1_000) * (NS_PER_S // 1_000)

    def mid(self, second: float) -> int:
        """Return the midpoint in ticks."""
        index = min(max(int(second // STEP_S), 0), STEPS)
        return round(self.mids[index]) * CENT

    def price(self, second: float, side: str, levels: int = 0) -> int:
        """Return what an aggressive order of a side pays, or ``levels`` cents behind the best."""
        sign = 1 if side == "buy" else -1
        return self.mid(second) + sign * CENT * (1 - levels)

    def rest(self, second: float, side: str, levels: int = 0) -> int:
        """Return the price of a passive order of a side, ``levels`` cents behind the best."""
        sign = 1 if side == "buy" else -1
        return self.mid(second) - sign * CENT * (1 + levels)

    def account(self, name: str, owner: str, *, is_market_maker: bool = False) -> str:
        """Make an account known, and return its name."""
        self.accounts[name] = Account(name, owner, is_market_maker)
        return name

    def _event(self, second: float, kind: str, order_id: str, account: str, side: str,
               price: int | None, qty: int, **more: object) -> OrderEvent:  # fmt: skip
        self._ids += 1
        event = OrderEvent(
            event_id=f"F{self.number}-{self._ids}", order_id=order_id, time_ns=self.at(second),
            kind=kind, account=account, trader=f"{account}-trader", side=side, price_ticks=price,
            qty=qty, **more,
        )  # fmt: skip
        self.events.append(event)
        return event

    def new(self, second: float, account: str, side: str, qty: int, price: int | None = None,
            *, on_close: bool = False) -> str:  # fmt: skip
        """Enter an order and return its id."""
        order_id = f"O{self.number}-{self._ids + 1}"
        self._event(second, "new", order_id, account, side, price, qty, on_close=on_close)
        return order_id

    def cancel(self, second: float, order_id: str, account: str, side: str, qty: int) -> None:
        """Withdraw what is open of an order."""
        self._event(second, "cancel", order_id, account, side, None, qty)

    def fill(self, second: float, order_id: str, account: str, side: str, price: int, qty: int,
             liquidity: str) -> OrderEvent:  # fmt: skip
        """Execute an order."""
        self.tape.append(Print(self.at(second), price, qty))
        return self._event(second, "fill", order_id, account, side, price, qty,
                           liquidity=liquidity)  # fmt: skip

    def take(self, second: float, account: str, side: str, qty: int) -> OrderEvent:
        """Enter an order that trades at once."""
        price = self.price(second, side)
        order_id = self.new(second, account, side, qty, price)
        return self.fill(second + 0.001, order_id, account, side, price, qty, "removed")

    def flow(self) -> OrderFlow:
        """Return what surveillance sees."""
        quotes = [
            Quote(self.at(step * STEP_S), round(mid) * CENT - CENT, round(mid) * CENT + CENT)
            for step, mid in enumerate(self.mids)
        ]
        return flow_of(
            instrument_id=f"US.T{self.number:03}", session=self.session, open_ns=self.open_ns,
            close_ns=self.close_ns, accounts=self.accounts.values(), events=self.events,
            quotes=quotes, tape=self.tape,
        )  # fmt: skip


def market_maker(market: Market) -> None:
    """Quote both sides on two levels; after an execution, requote, or rarely step away."""
    rng, account = market.rng, market.account("MM", "market maker", is_market_maker=True)
    second, open_orders = 1.0, []
    while second < SESSION_S - 60:
        for order_id, side, left in open_orders:
            market.cancel(second, order_id, account, side, left)
        open_orders = []
        for side in OPPOSITE:
            for level in range(2):
                qty = 100 * rng.randint(2, 5)
                order_id = market.new(second + 0.05, account, side, qty,
                                      market.rest(second, side, level))  # fmt: skip
                open_orders.append((order_id, side, qty))
        wait = rng.uniform(30, 120)
        if rng.random() < 0.4:
            wait, open_orders = _market_makers_fill(market, account, second, wait, open_orders)
        second += wait


def _market_makers_fill(
    market: Market, account: str, second: float, wait: float,
    open_orders: list[tuple[str, str, int]],
) -> tuple[float, list[tuple[str, str, int]]]:  # fmt: skip
    rng = market.rng
    index = rng.randrange(len(open_orders))
    order_id, side, qty = open_orders[index]
    done = min(qty, 100 * rng.randint(1, 4))
    price = market.rest(second, side)
    market.fill(second + wait / 2, order_id, account, side, price, done, "added")
    open_orders[index] = (order_id, side, qty - done)
    open_orders = [one for one in open_orders if one[2]]
    if rng.random() < 0.01:
        # Steps away for a minute: nothing is shown again.
        for order_id, side, left in open_orders:
            market.cancel(second + wait / 2 + 1, order_id, account, side, left)
        return wait / 2 + rng.uniform(40, 90), []
    return wait / 2 + rng.uniform(0.05, 1.5), open_orders


def momentum_fund(market: Market) -> None:
    """Burst with the last minutes' move, and leave later; rarely take a quick profit."""
    rng, account = market.rng, market.account("MOM", "momentum fund")
    for _ in range(5):
        second = rng.uniform(900, SESSION_S - 7_200)
        side = "buy" if market.mid(second) > market.mid(second - 300) else "sell"
        bought = 0
        for _ in range(rng.randint(3, 10)):
            second += rng.uniform(0.3, 4)
            bought += market.take(second, account, side, 100 * rng.randint(1, 4)).qty
        stays = rng.uniform(60, 280) if rng.random() < 0.06 else rng.uniform(1_200, 5_400)
        second += stays
        while bought > 0:
            qty = min(bought, 100 * rng.randint(1, 5))
            market.take(second, account, OPPOSITE[side], qty)
            bought, second = bought - qty, second + rng.uniform(1, 30)


def rebalancing_fund(market: Market) -> None:
    """Work passive orders, cancel and move what does not trade; trade the rest at the close."""
    rng = market.rng
    desks = [market.account("FUND-A", "fund"), market.account("FUND-B", "fund")]
    for account, side in zip(desks, rng.sample(list(OPPOSITE), 2), strict=True):
        for _ in range(20):
            second, qty = rng.uniform(60, SESSION_S - 1_200), 100 * rng.randint(2, 6)
            order_id = market.new(second, account, side, qty, market.rest(second, side))
            if rng.random() < 0.5:
                done = min(qty, 100 * rng.randint(1, 6))
                price = market.rest(second, side)
                later = second + rng.uniform(20, 300)
                market.fill(later, order_id, account, side, price, done, "added")
                if done < qty:
                    market.cancel(later + rng.uniform(5, 60), order_id, account, side, qty - done)
            else:
                market.cancel(second + rng.uniform(20, 300), order_id, account, side, qty)
    account, side = desks[0], rng.choice(list(OPPOSITE))
    qty = 100 * rng.randint(20, 120)
    entered = SESSION_S - rng.uniform(1_800, 5_400)
    order_id = market.new(entered, account, side, qty, on_close=True)
    market.fill(SESSION_S, order_id, account, side, market.mid(SESSION_S), qty, "auction")


def late_trader(market: Market) -> None:
    """Trade a little in the last minutes, mostly one way."""
    rng, account = market.rng, market.account("DAY", "day trader")
    side = rng.choice(list(OPPOSITE))
    for _ in range(rng.randint(3, 12)):
        chosen = side if rng.random() < 0.8 else OPPOSITE[side]
        market.take(SESSION_S - rng.uniform(5, 900), account, chosen, 100 * rng.randint(1, 6))


def noise(market: Market, accounts: list[str], n_orders: int) -> None:
    """Let somebody trade a little all day, without a pattern."""
    rng = market.rng
    for _ in range(n_orders):
        second, side = rng.uniform(30, SESSION_S - 900), rng.choice(list(OPPOSITE))
        account, qty = rng.choice(accounts), 100 * rng.randint(1, 5)
        if rng.random() < 0.4:
            market.take(second, account, side, qty)
            continue
        order_id = market.new(second, account, side, qty, market.rest(second, side, 1))
        market.cancel(second + rng.uniform(10, 400), order_id, account, side, qty)


def push(start_s: float, rise_s: float, bps: float, decay_s: float | None = None) -> Callable:
    """Return a move of the price that rises linearly and, with ``decay_s``, mostly fades."""

    def moved(second: float) -> float:
        if second <= start_s:
            return 0.0
        if second <= start_s + rise_s or decay_s is None:
            return bps * min(1.0, (second - start_s) / rise_s)
        return bps * max(0.3, 1 - 0.7 * (second - start_s - rise_s) / decay_s)

    return moved


def signed(side: str, bps: float) -> float:
    """Return a move in the direction of a side."""
    return SIGN[side] * bps


BACKGROUND = (market_maker, momentum_fund, rebalancing_fund, late_trader)
