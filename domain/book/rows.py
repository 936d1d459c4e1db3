"""The rows that a step emits: the columns of the book's tables, in order."""

from __future__ import annotations

import datetime as dt

import msgspec


class DecisionRow(msgspec.Struct, frozen=True):
    """One instrument's decision at one rebalance; weights of net asset value, shares."""

    event_id: str
    session: dt.date
    round_number: int
    instrument_id: str
    sector: str
    strategy: str
    signal_id: str | None
    rebalance_id: str
    action: str
    full_kelly: float
    fractional_kelly: float
    core_weight: float
    tilt_weight: float
    target_weight: float
    current_qty: int
    target_qty: int
    delta_qty: int
    clips: str
    binding_rule: str | None
    arrival_price: float
    cash_reservation_id: str
    limits_version: str
    urgency: str
    valid_until_ns: int
    bar_id: str | None
    knowledge_time_ns: int


class OrderRow(msgspec.Struct, frozen=True):
    """The fate of one order in its session."""

    cl_ord_id: str
    decision_id: str
    decision_session: dt.date
    session: dt.date
    instrument_id: str
    side: str
    order_type: str
    order_qty: int
    filled_qty: int
    status: str
    reason: str | None


class TradeRow(msgspec.Struct, frozen=True):
    """One execution; quantities unsigned, prices in currency units, costs in minor units."""

    event_id: str
    exec_id: str
    cl_ord_id: str
    order_id: str
    decision_id: str
    session: dt.date
    instrument_id: str
    side: str
    last_qty: int
    last_px: float
    notional_minor: int
    commission_minor: int
    spread_cost_minor: int
    arrival_price: float
    slippage_bps: float
    cum_qty: int
    leaves_qty: int
    exec_type: str
    broker: str
    mic: str
    liquidity: str
    transact_time_ns: int
    settlement_date: dt.date
    currency: str


class PositionRow(msgspec.Struct, frozen=True):
    """One holding at a session's close."""

    session: dt.date
    instrument_id: str
    sector: str
    quantity: int
    price: float
    price_session: dt.date
    stale_sessions: int
    stale: bool
    market_value_minor: int
    weight: float
    cost_basis_minor: int
    unrealised_minor: int


class AdjustmentRow(msgspec.Struct, frozen=True):
    """A change of a holding that is no trade: an action, or a close-out at the last price."""

    session: dt.date
    instrument_id: str
    cause: str
    quantity_before: int
    quantity_after: int
    cash_minor: int
    source: str


class ReplayRow(msgspec.Struct, frozen=True):
    """An issued decision beside what today's data would decide; quantities in shares."""

    session: dt.date
    instrument_id: str
    issued_id: str | None
    replay_id: str | None
    issued_delta_qty: int
    replay_delta_qty: int
    same: bool


class RebalanceRow(msgspec.Struct, frozen=True):
    """One rebalance request; drift and turnover as fractions of net asset value."""

    event_id: str
    session: dt.date
    trigger: str
    drift: float
    turnover: float
    n_names: int
    n_orders: int
    cost_minor: int
    reserved_minor: int
    solver: str
    status: str
    current_weights: str
    target_weights: str
    residual_gross: float


class CashRow(msgspec.Struct, frozen=True):
    """One double entry: debit receives what credit gives."""

    event_id: str
    session: dt.date
    sequence: int
    debit: str
    credit: str
    amount_minor: int
    currency: str
    cause: str
    reference: str


class ReservationRow(msgspec.Struct, frozen=True):
    """What became of the cash reserved for one order; amounts in minor units.

    A buy reserves what it may cost, a sale what it is to bring. ``posted_minor`` was needed by its
    fills, ``released_minor`` was not.
    """

    reservation_id: str
    session: dt.date
    decision_session: dt.date
    decision_id: str
    cl_ord_id: str
    instrument_id: str
    side: str
    reserved_minor: int
    posted_minor: int
    released_minor: int
    currency: str


class VerdictRow(msgspec.Struct, frozen=True):
    """What one rule said about one decision before it was issued, and what it looked at.

    ``value`` and ``limit_value`` are in the unit that ``detail`` names; null where nothing was
    compared. ``inputs`` is JSON.
    """

    event_id: str
    session: dt.date
    decision_id: str
    instrument_id: str
    stage: str
    rule_id: str
    kind: str
    rule_version: str
    outcome: str
    value: int | None
    limit_value: int | None
    detail: str
    missing: str
    inputs: str
    notional_minor: int


class EquityRow(msgspec.Struct, frozen=True):
    """The book's value at a session's close."""

    session: dt.date
    nav_minor: int
    cash_minor: int
    invested_minor: int
    percent_invested: float
    gross_exposure: float
    n_positions: int
    n_stale: int
    traded_minor: int
    turnover: float
    commission_minor: int
    spread_cost_minor: int
    distributions_minor: int
    capital_minor: int
    daily_return: float | None
