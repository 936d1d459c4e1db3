"""Small hand-made markets for tests of the book."""

import datetime as dt
import json

from domain.book.market import Bar, Market, SignalView
from domain.book.policy import BookPolicy, book_rules
from domain.book.simulate import simulated_fills
from domain.book.state import BookState
from domain.book.step import step

DAY = dt.date(2010, 1, 4)
POLICY = BookPolicy(
    initial_cash_minor=100_000_00,
    rules=book_rules(name_bps_max=10_000, sector_bps_max=10_000),
    commission_per_share_minor=0.0,
    commission_min_minor=100,
    half_spread_bps=0.0,
)


def state_of(cash_minor, **fields):
    """A funded state with this much cash, and the capital that it came from."""
    accounts = {
        "asset:cash:USD": (cash_minor, 0, 0, 0),
        "equity:capital:USD": (0, cash_minor, 0, 0),
    }
    return BookState(accounts=accounts, funded=True, **fields)


def bar(open_price, close_price=None, volume=1_000_000, *, jump=False, bar_id="b"):
    close = open_price if close_price is None else close_price
    return Bar(round(open_price * 10_000), round(close * 10_000), volume, jump, bar_id)


def market(day, bars, *, actions=(), sectors=None):
    """Session number ``day`` (every calendar day is one) with the given bars."""
    session = DAY + dt.timedelta(days=day)
    open_ns = (day * 24 + 14) * 3_600_000_000_000
    return Market(
        session=session,
        session_index=day,
        next_session=session + dt.timedelta(days=1),
        settlement_date=session + dt.timedelta(days=3),
        open_ns=open_ns,
        close_ns=open_ns + 6 * 3_600_000_000_000,
        next_close_ns=open_ns + 30 * 3_600_000_000_000,
        bars=bars,
        sectors=sectors or {},
        actions=actions,
    )


def signal(expected_return, volatility=0.05, *, abstain=False):
    return SignalView("signal", expected_return, volatility, abstain)


def advance(days, policy=POLICY, signals=None, state=None):
    """Step through markets; return the last state and every step's events."""
    state, found = state or BookState(), []
    for day in days:
        state, events = step(state, day, signals or {}, simulated_fills, policy)
        found.append(events)
    return state, found


def decision_of(events, name):
    return next(d for d in events.rebalance.decisions if d.instrument_id == name)


def rules(decision):
    return [clip["rule"] for clip in json.loads(decision.clips)]
