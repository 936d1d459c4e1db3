"""The events of the chain, one Struct each; ``catalog`` says who produces and consumes them.

A lake table holds an event's fields as columns and adds what its readers need; ``event_id`` is the
same in both. Prices of analytics are floats; money that is booked is an integer of minor units or
a ``Decimal``.
"""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Literal, get_args

import msgspec

from contracts.envelope import Envelope

PriceBasis = Literal["raw", "split_adjusted", "total_return"]
Side = Literal["buy", "sell"]
SignalSide = Literal["long", "short", "neutral"]
Rating = Literal["strong_sell", "sell", "neutral", "buy", "strong_buy"]
RATINGS: tuple[Rating, ...] = get_args(Rating)


class Event(msgspec.Struct, frozen=True, kw_only=True, tag_field="event_type"):
    """Base of all events: the envelope, then the event's own fields."""

    envelope: Envelope


class NormalizedMarketDataEvent(Event, frozen=True, kw_only=True, tag=True):
    """One instrument's bar of one session, as the vendor's bytes say it."""

    instrument_id: str
    symbol: str
    mic: str
    kind: str
    session: dt.date
    open: float
    high: float
    low: float
    close: float
    volume_shares: int
    currency: str
    source: str
    source_seq: int
    raw_sha256: str
    price_basis: PriceBasis
    basis_as_of: dt.date
    quality_flags: tuple[str, ...] = ()
    vwap: float | None = None


class TechnicalIndicatorComputedEvent(Event, frozen=True, kw_only=True, tag=True):
    """One indicator's value after the close of a bar; ``value`` is None through the warm-up."""

    instrument_id: str
    session: dt.date
    name: str
    params: dict[str, float]
    library: str
    timeframe: str
    bar_close_ns: int
    value: float | None
    warm_up_needed_bars: int
    warm_up_used_bars: int
    price_basis: str


class CorrelationMatrixUpdatedEvent(Event, frozen=True, kw_only=True, tag=True):
    """A shrunk correlation matrix after a month's last session; usable from the next session."""

    universe: str
    as_of: dt.date
    usable_from: dt.date
    window_sessions: int
    estimator: str
    shrinkage: float
    n_observations: int
    n_instruments: int
    min_eigenvalue: float
    matrix_table: str
    matrix_sha256: str


class InstrumentEvaluatedEvent(Event, frozen=True, kw_only=True, tag=True):
    """What the model of that session believes about one instrument over a horizon."""

    instrument_id: str
    session: dt.date
    horizon_sessions: int
    rating: Rating
    probabilities: tuple[float, float, float, float, float]
    expected_return: float
    interval_low: float
    interval_high: float
    calibration_id: str
    model_version: str
    model_sha256: str
    train_cutoff: dt.date
    feature_hash: str
    top_reasons: tuple[str, ...]
    out_of_distribution: bool


class TradingSignalEvent(Event, frozen=True, kw_only=True, tag=True):
    """A view on one instrument. It knows nothing of any portfolio."""

    instrument_id: str
    session: dt.date
    side: SignalSide
    strength: float
    confidence: float
    horizon_sessions: int
    valid_from: dt.date
    valid_to: dt.date
    evaluation_ids: tuple[str, ...]
    timeframe_votes: dict[str, int]
    reasons: tuple[str, ...]
    abstain: bool


class RebalanceRequestEvent(Event, frozen=True, kw_only=True, tag=True):
    """The book has drifted from its targets, or its schedule is due."""

    session: dt.date
    trigger: Literal["initial", "scheduled", "drift"]
    current_weights: dict[str, float]
    target_weights: dict[str, float]
    drift: float
    turnover: float
    cost_minor: int
    solver: str
    status: str
    residuals: dict[str, float]


class Clip(msgspec.Struct, frozen=True):
    """A rule that changed a target, and by how much; quantities in shares."""

    rule: str
    before: int
    after: int


class CoordinatedTradingDecisionEvent(Event, frozen=True, kw_only=True, tag=True):
    """How many shares of one instrument the book wants, and why not more."""

    instrument_id: str
    session: dt.date
    round_number: int
    strategy: str
    signal_ids: tuple[str, ...]
    rebalance_id: str
    full_kelly: float
    fractional_kelly: float
    target_qty: int
    delta_qty: int
    clips: tuple[Clip, ...]
    cash_reservation_id: str
    limits_version: str
    arrival_price: Decimal
    urgency: Literal["low", "normal", "high"]
    valid_until_ns: int


class Fee(msgspec.Struct, frozen=True):
    """One charge on an execution."""

    kind: str
    amount_minor: int
    currency: str


class TradeExecutedEvent(Event, frozen=True, kw_only=True, tag=True):
    """One execution, in FIX's terms."""

    cl_ord_id: str
    order_id: str
    exec_id: str
    exec_ref_id: str | None
    exec_type: str
    broker: str
    mic: str
    instrument_id: str
    session: dt.date
    side: Side
    last_qty: int
    last_px: Decimal
    cum_qty: int
    leaves_qty: int
    liquidity: str
    fees: tuple[Fee, ...]
    transact_time_ns: int
    settlement_date: dt.date
    decision_id: str


class ExecutionQualityEvent(Event, frozen=True, kw_only=True, tag=True):
    """How one order was executed: positive amounts and ``vs_`` distances are costs.

    The four components sum to ``shortfall_minor``; all are None where ``shortfall_null_reason``
    says why. ``release_price`` is the market's when the order could first trade.
    """

    cl_ord_id: str
    decision_id: str
    instrument_id: str
    session: dt.date
    side: Side
    broker: str
    outcome: str
    order_qty: int
    filled_qty: int
    currency: str
    average_price: float | None
    decision_price: float | None
    release_price: float | None
    vwap_price: float | None
    twap_price: float | None
    close_price: float | None
    vs_decision_bps: float | None
    vs_release_bps: float | None
    vs_vwap_bps: float | None
    vs_twap_bps: float | None
    vs_close_bps: float | None
    delay_minor: int | None
    execution_minor: int | None
    opportunity_minor: int | None
    fees_minor: int | None
    shortfall_minor: int | None
    shortfall_null_reason: str | None
    effective_spread_bps: float | None
    markout_1s_bps: float | None
    markout_1min_bps: float | None
    markout_5min_bps: float | None
    markout_close_bps: float | None
    reversion_bps: float | None
    predicted_cost_minor: int | None
    realised_cost_minor: int | None


class CashMovementPostedEvent(Event, frozen=True, kw_only=True, tag=True):
    """One double entry: ``amount_minor`` leaves the credited account for the debited one."""

    session: dt.date
    debit: str
    credit: str
    amount_minor: int
    currency: str
    cause: str
    reference: str


class CashReconciledEvent(Event, frozen=True, kw_only=True, tag=True):
    """One session's cash by book, live ledger and broker; ``agree`` is true for all three alike.

    ``broker_change_minor`` is None where the broker has sent no statement.
    """

    session: dt.date
    currency: str
    book_cash_minor: int
    ledger_cash_minor: int
    book_change_minor: int
    ledger_change_minor: int
    broker_change_minor: int | None
    agree: bool
    differences: str


class PreTradeCheckedEvent(Event, frozen=True, kw_only=True, tag=True):
    """What one rule said of one decision; ``value`` and ``limit_value`` as ``detail`` names them.

    They are None where the rule compares nothing. ``missing`` names unknown facts, which close it.
    """

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


class PerformanceAttributionEvent(Event, frozen=True, kw_only=True, tag=True):
    """Where a period's return against the benchmark came from (Brinson-Fachler)."""

    period_start: dt.date
    period_end: dt.date
    level: str
    name: str
    benchmark: str
    effects: dict[str, float]
    cost: float
    residual: float


class ComprehensiveReportGeneratedEvent(Event, frozen=True, kw_only=True, tag=True):
    """A report was rendered; ``sha256`` is of its bytes."""

    report_type: str
    as_of: dt.date
    knowledge_cutoff_ns: int
    sha256: str
    inputs: tuple[str, ...]
    sections: tuple[str, ...]


class Measure(msgspec.Struct, frozen=True):
    """One number against its threshold, as a rule or a detector compared them."""

    name: str
    value: int
    threshold: int
    unit: str


class ComplianceViolationDetectedEvent(Event, frozen=True, kw_only=True, tag=True):
    """Conduct that a person has to look at: an alert of surveillance, or a rule that was broken.

    ``alert_id`` names the conduct and stays when parameters or later evidence change the rest.
    """

    alert_id: str
    session: dt.date
    instrument_id: str
    detector: str
    detector_version: str
    follows: str
    owner: str
    accounts: tuple[str, ...]
    traders: tuple[str, ...]
    n_orders: int
    order_ids: tuple[str, ...]
    fill_ids: tuple[str, ...]
    measures: tuple[Measure, ...]


class RegulatoryReportSubmittedEvent(Event, frozen=True, kw_only=True, tag=True):
    """A version of a report was put on record, complete; filing it is a person's act.

    ``content_hash`` is the canonical hash of the report's month. A restatement names what it takes
    the place of, here by content and in the envelope by event.
    """

    report: str
    period_start: dt.date
    as_of: dt.date
    is_final: bool
    report_version: int
    content_hash: str
    supersedes_hash: str | None
    n_rows: int
