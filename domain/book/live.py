"""The book after go-live: issued decisions stand, and fills come from the venue's reports."""

from __future__ import annotations

import datetime as dt
import itertools
from collections.abc import Callable, Mapping, Sequence

import msgspec
import polars as pl

from contracts.clock import datetime_ns
from contracts.codec import to_json
from contracts.envelope import cl_ord_id
from contracts.events import CoordinatedTradingDecisionEvent
from domain.book.market import Executions, Fill, Market
from domain.book.policy import BookPolicy
from domain.book.rebalance import Rebalance
from domain.book.rows import DecisionRow, ReplayRow, VerdictRow
from domain.book.state import PendingOrder, price_ticks

# The decisions of one session as they were issued, by instrument.
IssuedDecisions = Mapping[str, CoordinatedTradingDecisionEvent]
# What the rules said of decisions when they were issued, by decision id.
KeptVerdicts = Mapping[str, tuple[VerdictRow, ...]]

FILL, BUST = "fill", "bust"
CORRECTED = "G"  # FIX ExecType of a trade correction
# Reports that end an order, and what an order row then says.
ENDS = {"rejected": "rejected", "canceled": "canceled", "expired": "expired_at_venue"}


def by_session(
    decisions: Sequence[CoordinatedTradingDecisionEvent], due: Sequence[dt.date] = ()
) -> dict[dt.date, IssuedDecisions]:
    """Group issued decisions by their session and instrument.

    Parameters
    ----------
    decisions : sequence of CoordinatedTradingDecisionEvent
        What was handed to execution.
    due : sequence of date
        The sessions of which decisions could only be issued until now, see ``live_sessions``. One
        without an issued decision is empty in the result: its hand-off was missed.
    """
    found: dict[dt.date, dict[str, CoordinatedTradingDecisionEvent]] = {day: {} for day in due}
    for decision in decisions:
        found.setdefault(decision.session, {})[decision.instrument_id] = decision
    return dict(found)


def live_sessions(days: Sequence[dt.date], go_live: dt.date | None, last: dt.date) -> list[dt.date]:
    """Return the sessions whose decisions a broker executed, or nobody ever will.

    From the eve of go-live to before ``last``, the newest session that has closed: its decisions
    may still be issued.
    """
    if go_live is None:
        return []
    following = itertools.pairwise(days)
    return [day for day, after in following if after >= go_live and day < last]


def unissued(
    pending: Sequence[PendingOrder], handed: Mapping[dt.date, IssuedDecisions]
) -> frozenset[str]:
    """Return the orders that no broker has, of sessions that a broker executes, by ClOrdID.

    The month before was built while its last decisions could still be issued.
    """
    found = set()
    for order in pending:
        issued = handed.get(order.decision_session)
        event = issued.get(order.instrument_id) if issued is not None else None
        is_issued = event is not None and event.envelope.event_id == order.decision_id
        if issued is not None and not is_issued:
            found.add(order.cl_ord_id)
    return frozenset(found)


def frozen(
    rebalance: Rebalance, issued: IssuedDecisions, kept: KeptVerdicts | None = None
) -> Rebalance:
    """Return a rebalance in which every decision, and what the rules said of it, is as issued.

    A decision that today's data would add was never handed to anyone: it becomes a hold, saying
    so; where nothing at all was issued, because the hand-off was missed, each does. The request
    keeps today's weights; quantities, ids and orders are the issued ones.
    """
    today = {row.instrument_id: row for row in rebalance.decisions}
    rows = []
    for name in sorted({*today, *issued}):
        event, row = issued.get(name), today.get(name)
        if event is not None:
            rows.append(_as_issued(event, row))
        elif row is not None:
            rows.append(_withheld(row) if row.delta_qty else row)
    orders = tuple(
        PendingOrder(
            cl_ord_id=cl_ord_id(event.envelope.event_id),
            decision_id=event.envelope.event_id,
            decision_session=event.session,
            instrument_id=name,
            quantity=event.delta_qty,
            arrival_ticks=price_ticks(float(event.arrival_price)),
            reservation_id=event.cash_reservation_id,
        )
        for name, event in sorted(issued.items())
        if event.delta_qty
    )
    # Other data gives other decisions, and no verdict on those that were issued.
    said: dict[str, list[VerdictRow]] = {}
    for verdict in rebalance.verdicts:
        said.setdefault(verdict.decision_id, []).append(verdict)
    then = kept or {}
    verdicts = tuple(
        verdict
        for order in orders
        for verdict in then.get(order.decision_id, ()) or said.get(order.decision_id, ())
    )
    return Rebalance(rebalance.request, tuple(rows), orders, verdicts)


def replayed(rebalance: Rebalance, issued: IssuedDecisions) -> list[ReplayRow]:
    """Compare what was issued with what today's data would decide, by instrument."""
    today = {row.instrument_id: row for row in rebalance.decisions if row.delta_qty}
    rows = []
    for name in sorted({*today, *issued}):
        event, row = issued.get(name), today.get(name)
        issued_id = event.envelope.event_id if event else None
        replay_id = row.event_id if row else None
        rows.append(
            ReplayRow(
                session=event.session if event else rebalance.request.session,
                instrument_id=name,
                issued_id=issued_id,
                replay_id=replay_id,
                issued_delta_qty=event.delta_qty if event else 0,
                replay_delta_qty=row.delta_qty if row else 0,
                same=issued_id == replay_id,
            )
        )
    return rows


def _withheld(row: DecisionRow) -> DecisionRow:
    return msgspec.structs.replace(
        row, action="hold", target_qty=row.current_qty, delta_qty=0, binding_rule="not_issued"
    )


def _as_issued(event: CoordinatedTradingDecisionEvent, row: DecisionRow | None) -> DecisionRow:
    if row is not None and row.event_id == event.envelope.event_id:
        return row
    delta = event.delta_qty
    return DecisionRow(
        event_id=event.envelope.event_id,
        session=event.session,
        round_number=event.round_number,
        instrument_id=event.instrument_id,
        sector=row.sector if row else "unknown",
        strategy=event.strategy,
        signal_id=event.signal_ids[0] if event.signal_ids else None,
        rebalance_id=event.rebalance_id,
        action="buy" if delta > 0 else ("sell" if delta < 0 else "hold"),
        full_kelly=event.full_kelly,
        fractional_kelly=event.fractional_kelly,
        core_weight=row.core_weight if row else 0.0,
        tilt_weight=row.tilt_weight if row else 0.0,
        target_weight=row.target_weight if row else 0.0,
        # What was held when it was issued; today's holding is the replay's business.
        current_qty=event.target_qty - delta,
        target_qty=event.target_qty,
        delta_qty=delta,
        clips=to_json(event.clips).decode(),
        binding_rule=event.clips[-1].rule if event.clips else None,
        arrival_price=float(event.arrival_price),
        cash_reservation_id=event.cash_reservation_id,
        limits_version=event.limits_version,
        urgency=event.urgency,
        valid_until_ns=event.valid_until_ns,
        bar_id=row.bar_id if row else None,
        knowledge_time_ns=event.envelope.knowledge_time_ns,
    )


def venue_executions(
    reports: pl.DataFrame,
) -> Callable[[Sequence[PendingOrder], Market, BookPolicy, int], Executions]:
    """Return the source of fills of the sessions that a broker executes.

    Parameters
    ----------
    reports : pl.DataFrame
        The table ``trade_execution/venue_reports``. An execution that a later report busted does
        not count.
    """
    # FIX keeps an ExecID unique for one trading day of a session only.
    scope = ("broker", "session")
    taken_back = reports.filter((pl.col("kind") == BUST) & pl.col("exec_ref_id").is_not_null())
    busted = set(taken_back.select(*scope, "exec_ref_id").iter_rows())
    fills: dict[dt.date, list[Fill]] = {}
    reasons: dict[str, str] = {}
    for row in reports.sort("segment", "record_offset").iter_rows(named=True):
        if row["kind"] in ENDS:
            reasons[row["cl_ord_id"]] = ENDS[row["kind"]]
        # A correction takes back the execution it names and stands in its place.
        executed = row["kind"] == FILL or row["exec_type"] == CORRECTED
        if executed and (row["broker"], row["session"], row["exec_id"]) not in busted:
            fills.setdefault(row["session"], []).append(_fill(row))

    def executions(
        pending: Sequence[PendingOrder], market: Market, policy: BookPolicy, cash_minor: int
    ) -> Executions:
        # Every execution of the session, whether or not the book has an order for it: one that
        # nobody ordered stops the book.
        del pending, policy, cash_minor
        return Executions(tuple(fills.get(market.session, ())), reasons)

    return executions


def _fill(row: Mapping[str, object]) -> Fill:
    quantity, price = row["last_qty"], row["last_px"]
    executed = row["transact_time"]
    if not (
        isinstance(quantity, int) and isinstance(price, float) and isinstance(executed, dt.datetime)
    ):
        raise TypeError(f"venue report {row['event_id']} has no quantity, price or time")
    return Fill(
        cl_ord_id=str(row["cl_ord_id"]),
        quantity=quantity if row["side"] == "buy" else -quantity,
        price_ticks=price_ticks(price),
        commission_minor=int(str(row["commission_minor"])),
        spread_cost_minor=0,
        exec_id=str(row["exec_id"]),
        broker=str(row["broker"]),
        liquidity=str(row["liquidity"]),
        transact_ns=datetime_ns(executed),
        mic=str(row["mic"]),
        order_id=str(row["order_id"]),
        event_id=str(row["event_id"]),
    )


def executions_from(
    go_live: dt.date | None,
    simulated: Callable[[Sequence[PendingOrder], Market, BookPolicy, int], Executions],
    venue: Callable[[Sequence[PendingOrder], Market, BookPolicy, int], Executions],
) -> Callable[[Sequence[PendingOrder], Market, BookPolicy, int], Executions]:
    """Return one source of fills: simulated before go-live, the venue's from then on."""

    def executions(
        pending: Sequence[PendingOrder], market: Market, policy: BookPolicy, cash_minor: int
    ) -> Executions:
        live = go_live is not None and market.session >= go_live
        return (venue if live else simulated)(pending, market, policy, cash_minor)

    return executions
