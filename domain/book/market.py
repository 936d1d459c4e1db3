"""What a step sees of the world in one session."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence

import msgspec

from domain.market_data.instruments import MIC_UNKNOWN
from domain.market_data.reference import CorporateAction


class Bar(msgspec.Struct, frozen=True):
    """One instrument's raw bar; prices in ticks of 1e-4."""

    open_ticks: int
    close_ticks: int
    volume_shares: int
    unexplained_jump: bool
    event_id: str


class CapitalFlow(msgspec.Struct, frozen=True):
    """Capital that came in (positive) or left, in minor units; ``reference`` is its transfer."""

    reference: str
    amount_minor: int


class Market(msgspec.Struct, frozen=True):
    """One session of the market.

    ``session_index`` counts exchange sessions from the start of history, so that "every five
    sessions" means the same in every run. ``bars`` is empty when the vendor sent nothing.
    """

    session: dt.date
    session_index: int
    next_session: dt.date
    settlement_date: dt.date
    open_ns: int
    close_ns: int
    next_close_ns: int
    bars: Mapping[str, Bar]
    sectors: Mapping[str, str]
    actions: Sequence[CorporateAction]
    handover: bool = False
    """The next session is the first that a broker executes: bring the book to target in full."""
    capital: tuple[CapitalFlow, ...] = ()
    """What was paid in or out with effect from this session's open."""
    members: frozenset[str] | None = None
    """Who is in the index that the book is about; None where it is about all that is quoted."""


class SignalView(msgspec.Struct, frozen=True):
    """What the book reads of a signal; ``expected_return`` and ``volatility`` over its horizon."""

    event_id: str
    expected_return: float
    volatility: float
    abstain: bool


class Fill(msgspec.Struct, frozen=True):
    """Shares of one pending order executed at one price, with their costs in minor units."""

    cl_ord_id: str
    quantity: int
    """Signed: positive bought."""
    price_ticks: int
    commission_minor: int
    spread_cost_minor: int
    exec_id: str
    broker: str
    liquidity: str
    transact_ns: int
    mic: str = MIC_UNKNOWN
    order_id: str = ""
    event_id: str = ""
    """Identity of the execution where somebody else gave it one."""


class Executions(msgspec.Struct, frozen=True):
    """What became of a session's orders: fills, and why the rest of an order was not filled."""

    fills: tuple[Fill, ...]
    reasons: Mapping[str, str] = {}
