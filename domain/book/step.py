"""The step: one session of the book, the same in a backfill, a backtest, on paper and live."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import msgspec

from contracts.envelope import event_id
from contracts.errors import BookError
from domain.book.actions import DIVIDENDS, apply_actions, close_ended
from domain.book.ledger import Ledger
from domain.book.live import IssuedDecisions, KeptVerdicts, frozen, replayed
from domain.book.market import Executions, Fill, Market, SignalView
from domain.book.policy import BookPolicy
from domain.book.rebalance import LOGIC_VERSION, Rebalance, rebalance
from domain.book.rows import EquityRow, OrderRow, PositionRow, ReplayRow, TradeRow
from domain.book.state import PRICE_SCALE, BookState, PendingOrder, Position

# Where fills come from: the simulation before go-live, the venue's reports after it.
# It is told the cash before the session's trades, in minor units.
FillSource = Callable[[Sequence[PendingOrder], Market, BookPolicy, int], Executions]


class StepEvents(msgspec.Struct):
    """What a step leaves behind, as rows of the book's tables."""

    orders: list[OrderRow] = []
    trades: list[TradeRow] = []
    positions: list[PositionRow] = []
    equity: list[EquityRow] = []
    replay: list[ReplayRow] = []
    rebalance: Rebalance | None = None
    ledger: Ledger | None = None


def step(
    state: BookState,
    market: Market,
    signals: Mapping[str, SignalView],
    fills: FillSource,
    policy: BookPolicy,
    issued: IssuedDecisions | None = None,
    withdrawn: frozenset[str] = frozenset(),
    kept: KeptVerdicts | None = None,
) -> tuple[BookState, StepEvents]:
    """Move the book from one session's close to the next one's.

    Parameters
    ----------
    state : BookState
        Closing state of an earlier session.
    market : Market
        The session: its bars, actions and calendar. Without bars, nothing trades or is valued.
    signals : mapping of instrument id to SignalView
        Signals made on this session's close.
    fills : FillSource
        Executions of the pending orders in this session.
    policy : BookPolicy
        Sizing, limits and costs.
    issued : IssuedDecisions, optional
        Decisions of this session that were handed to execution: they stand, whatever today's data
        would decide. None where fills are simulated, or where they may still be handed off.
    withdrawn : frozenset of str
        ClOrdIDs of pending orders that no broker has: their reservations are released.
    kept : KeptVerdicts, optional
        What the rules said of ``issued`` when it was handed off.

    Returns
    -------
    tuple of BookState and StepEvents
        The closing state, and the rows that explain how it came about.

    Raises
    ------
    BookError
        When the session does not follow the state's, a fill does not fit its order, or nothing is
        left of the book.
    """
    _require_order(state, market)
    events = StepEvents()
    ledger = Ledger(state, market, policy.currency, (policy.hash, LOGIC_VERSION))
    events.ledger = ledger
    pending = tuple(order for order in state.pending if order.cl_ord_id not in withdrawn)
    apply_actions(ledger, market)
    executed = fills(pending, market, policy, ledger.cash_minor)
    ledger.release_unneeded(state.pending, executed.fills)
    # A broker may execute in a session of which the vendor sent nothing: that is booked.
    if not market.bars and not executed.fills and not market.capital:
        events.orders = [_order_row(order, 0, market, "no_market_data") for order in pending]
        return _waiting(state, market, ledger), events
    if not state.funded:
        ledger.fund(policy.initial_cash_minor, "initial")
    for flow in market.capital:
        ledger.fund(flow.amount_minor, flow.reference)
    _book_fills(events, ledger, pending, executed, market, policy)
    ledger.repay()
    _mark(ledger, market)
    close_ended(ledger, policy.stale_sessions_max)
    closing = _closing(state, ledger, market)
    _value(events, closing, market, state.last_nav_minor)
    closing = msgspec.structs.replace(closing, last_nav_minor=closing.nav_minor)
    if _is_due(state, market, policy) or issued:
        today = rebalance(closing, market, signals, policy)
        closing = _decided(events, ledger, closing, today, market, policy, issued, kept)
    return msgspec.structs.replace(closing, accounts=ledger.totals()), events


def _waiting(state: BookState, market: Market, ledger: Ledger) -> BookState:
    return msgspec.structs.replace(
        state, session=market.session, pending=(), accounts=ledger.totals()
    )


def _decided(
    events: StepEvents, ledger: Ledger, closing: BookState, today: Rebalance, market: Market,
    policy: BookPolicy, issued: IssuedDecisions | None, kept: KeptVerdicts | None,
) -> BookState:  # fmt: skip
    """Reserve cash for the orders of what was issued, or else of what is decided today."""
    events.rebalance = today
    if issued is not None:
        events.replay = replayed(today, issued)
        events.rebalance = frozen(today, issued, kept)
    missed = issued is not None and not issued and bool(today.orders)
    return msgspec.structs.replace(
        closing,
        pending=ledger.reserve(events.rebalance.orders),
        last_rebalance_index=_due_again(closing, market, policy)
        if missed
        else market.session_index,
    )


def _is_due(state: BookState, market: Market, policy: BookPolicy) -> bool:
    if not market.bars:
        return False  # nothing to decide on: the rebalance waits for the next session
    last = state.last_rebalance_index
    waited = last is None or market.session_index - last >= policy.rebalance_every_sessions
    return waited or market.handover


def _due_again(state: BookState, market: Market, policy: BookPolicy) -> int | None:
    """Return the index that makes a rebalance due in the next session: this one reached nobody."""
    last = state.last_rebalance_index
    if last is None:
        return None
    return min(last, market.session_index + 1 - policy.rebalance_every_sessions)


def _require_order(state: BookState, market: Market) -> None:
    if state.session is not None and market.session <= state.session:
        raise BookError(
            f"Session {market.session} does not follow {state.session}.",
            remedy="step forward from the closing state of the session before",
        )


def _closing(state: BookState, ledger: Ledger, market: Market) -> BookState:
    blocked = dict(state.blocked)
    for name in sorted(market.bars):
        if market.bars[name].unexplained_jump:
            blocked.setdefault(name, market.session)
    closing = msgspec.structs.replace(
        state,
        session=market.session,
        accounts=ledger.totals(),
        funded=True,
        positions={name: ledger.positions[name] for name in sorted(ledger.positions)},
        pending=(),
        blocked=blocked,
    )
    if closing.nav_minor <= 0:
        raise BookError(
            f"The book is worth {closing.nav_minor} {ledger.currency} cents on {market.session}.",
            remedy="it is ruined: look at its positions, and at the prices of that session",
        )
    return closing


def _book_fills(
    events: StepEvents,
    ledger: Ledger,
    pending: Sequence[PendingOrder],
    executions: Executions,
    market: Market,
    policy: BookPolicy,
) -> None:
    """Book sells before buys, so that what they bring can pay for the buys of the same open."""
    orders = {order.cl_ord_id: order for order in pending}
    filled = dict.fromkeys(orders, 0)
    # Enters the trades in the order in which they changed the cash.
    for fill in sorted(executions.fills, key=_booking_order):
        order = orders.get(fill.cl_ord_id)
        if order is None:
            raise BookError(
                f"Fill {fill.exec_id} belongs to no pending order ({fill.cl_ord_id}).",
                remedy="reconcile the venue's reports with the orders before booking them",
            )
        cumulated = filled[fill.cl_ord_id] + fill.quantity
        if fill.quantity * order.quantity <= 0 or abs(cumulated) > abs(order.quantity):
            raise BookError(
                f"Fill {fill.exec_id} of {fill.quantity} does not fit order {order.cl_ord_id} of "
                f"{order.quantity} with {filled[fill.cl_ord_id]} filled.",
                remedy="reconcile the venue's reports with the orders before booking them",
            )
        filled[fill.cl_ord_id] = cumulated
        notional_minor = ledger.settle(order, fill)
        events.trades.append(
            _trade_row(order, fill, notional_minor, abs(cumulated), market, policy)
        )
    for order in pending:
        reason = executions.reasons.get(order.cl_ord_id, "not_filled")
        events.orders.append(_order_row(order, abs(filled[order.cl_ord_id]), market, reason))


def _booking_order(fill: Fill) -> tuple[bool, int, str]:
    return fill.quantity > 0, fill.transact_ns, fill.exec_id


def _order_row(order: PendingOrder, filled: int, market: Market, reason: str) -> OrderRow:
    size = abs(order.quantity)
    status = "filled" if filled == size else ("partially_filled" if filled else "expired")
    return OrderRow(
        cl_ord_id=order.cl_ord_id,
        decision_id=order.decision_id,
        decision_session=order.decision_session,
        session=market.session,
        instrument_id=order.instrument_id,
        side="buy" if order.quantity > 0 else "sell",
        order_type="market_on_open",
        order_qty=size,
        filled_qty=filled,
        status=status,
        reason=None if filled == size else reason,
    )


def _trade_row(
    order: PendingOrder, fill: Fill, notional_minor: int, cumulated: int, market: Market,
    policy: BookPolicy,
) -> TradeRow:  # fmt: skip
    sign = 1 if fill.quantity > 0 else -1
    slippage_bps = sign * (fill.price_ticks / order.arrival_ticks - 1) * 10_000
    row = TradeRow(
        event_id="",
        exec_id=fill.exec_id,
        cl_ord_id=order.cl_ord_id,
        order_id=fill.order_id or order.cl_ord_id,
        decision_id=order.decision_id,
        session=market.session,
        instrument_id=order.instrument_id,
        side="buy" if fill.quantity > 0 else "sell",
        last_qty=abs(fill.quantity),
        last_px=fill.price_ticks / PRICE_SCALE,
        notional_minor=notional_minor,
        commission_minor=fill.commission_minor,
        spread_cost_minor=fill.spread_cost_minor,
        arrival_price=order.arrival_ticks / PRICE_SCALE,
        slippage_bps=slippage_bps,
        cum_qty=cumulated,
        leaves_qty=abs(order.quantity) - cumulated,
        exec_type="trade",
        broker=fill.broker,
        mic=fill.mic,
        liquidity=fill.liquidity,
        transact_time_ns=fill.transact_ns,
        settlement_date=market.settlement_date,
        currency=policy.currency,
    )
    bar = market.bars.get(order.instrument_id)
    identity = fill.event_id or event_id(
        event_type="TradeExecutedEvent",
        key=fill.exec_id,
        session=market.session.isoformat(),
        round_number=0,
        payload=row,
        input_digests=[order.decision_id, *([bar.event_id] if bar else [])],
        policy_hash=policy.hash,
        logic_version=LOGIC_VERSION,
    )
    return msgspec.structs.replace(row, event_id=identity)


def _mark(ledger: Ledger, market: Market) -> None:
    for name, held in ledger.positions.items():
        bar = market.bars.get(name)
        if bar is not None:
            ledger.positions[name] = Position(
                held.quantity, held.cost_basis_minor, bar.close_ticks, market.session
            )
        elif held.price_session < market.session and market.bars:
            ledger.positions[name] = msgspec.structs.replace(
                held, stale_sessions=held.stale_sessions + 1
            )


def _value(
    events: StepEvents, closing: BookState, market: Market, last_nav_minor: int | None
) -> None:
    nav_minor = closing.nav_minor
    for name, held in closing.positions.items():
        worth_minor = held.market_value_minor
        events.positions.append(
            PositionRow(
                session=market.session,
                instrument_id=name,
                sector=market.sectors.get(name, "unknown"),
                quantity=held.quantity,
                price=held.price_ticks / PRICE_SCALE,
                price_session=held.price_session,
                stale_sessions=held.stale_sessions,
                stale=held.stale_sessions > 0,
                market_value_minor=worth_minor,
                weight=worth_minor / nav_minor,
                cost_basis_minor=held.cost_basis_minor,
                unrealised_minor=worth_minor - held.cost_basis_minor,
            )
        )
    invested_minor = sum(row.market_value_minor for row in events.positions)
    traded_minor = sum(row.notional_minor for row in events.trades)
    ledger = events.ledger
    distributed = ledger.adjustments if ledger is not None else []
    capital_minor = sum(flow.amount_minor for flow in market.capital)
    events.equity.append(
        EquityRow(
            session=market.session,
            nav_minor=nav_minor,
            cash_minor=closing.cash_minor,
            invested_minor=invested_minor,
            percent_invested=invested_minor / nav_minor,
            gross_exposure=sum(abs(row.market_value_minor) for row in events.positions) / nav_minor,
            n_positions=len(events.positions),
            n_stale=sum(row.stale for row in events.positions),
            traded_minor=traded_minor,
            turnover=traded_minor / nav_minor,
            commission_minor=sum(row.commission_minor for row in events.trades),
            spread_cost_minor=sum(row.spread_cost_minor for row in events.trades),
            distributions_minor=sum(
                row.cash_minor for row in distributed if row.cause in DIVIDENDS
            ),
            capital_minor=capital_minor,
            # Capital moves at the open, before anything is earned on it, and is no return itself.
            daily_return=None
            if last_nav_minor is None
            else nav_minor / (last_nav_minor + capital_minor) - 1,
        )
    )
