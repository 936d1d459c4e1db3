"""Workflow 08, outside the book: decisions leave the graph here, and reports come back."""

from collections.abc import Mapping, Sequence
from functools import partial

import dagster as dg
import msgspec
import polars as pl

from contracts.clock import utc_datetime
from contracts.codec import to_json
from contracts.errors import HandoffRefusedError
from contracts.events import CoordinatedTradingDecisionEvent
from domain.book.live_cash import handoff_cash, withheld
from domain.book.policy import BookPolicy
from domain.book.rows import VerdictRow
from domain.book.state import BookState
from domain.cash_management.chart import OPENING, account_in
from domain.event_views import ViewContext, events_of
from domain.market_data.reference import actions_of
from domain.trade_execution.handoff import (
    decisions_to_issue,
    require_inputs,
    require_no_action,
    require_settled,
)
from domain.trade_execution.reconcile import reconcile
from io_managers.lake import Lake
from io_managers.verdicts import DECISIONS, STATES, Judge
from ops_store.records import Attestation, BookOpening, CashPlan, IssueRequest
from ops_store.store import OpsStore
from orchestration.base.inputs import ACTIONS
from orchestration.base.metadata import lake_asset
from orchestration.base.ops import all_bookings, clock_of, desk_rules, ops_store
from orchestration.base.partitions import RANGE_END_TAG, RANGE_START_TAG
from orchestration.base.settings import Settings
from sources.broker_statements import read_statements
from sources.venue_reports import VENUE_REPORTS_SCHEMA, all_reports, leaves_qty, venue_reports_frame

# A run that carries one of these rebuilds history. It must never reach a broker.
REBUILD_TAGS = ("dagster/backfill", RANGE_START_TAG, RANGE_END_TAG)
HANDOFF_SCHEMA: dict[str, pl.DataType | type[pl.DataType]] = {
    "decision_id": pl.String,
    "session": pl.Date,
    "month": pl.String,
    "instrument_id": pl.String,
    "delta_qty": pl.Int64,
    "mode": pl.String,
    "valid_until": pl.Datetime("us", "UTC"),
}


def trade_execution_assets(
    settings: Settings,
    months: dg.MonthlyPartitionsDefinition,
    policy: BookPolicy,
    primary_keys: Mapping[tuple[str, ...], Sequence[str]],
) -> list[dg.AssetsDefinition]:
    """Return the two ends of the cut between the graph and the execution service."""
    judge = Judge(Lake(settings.lake_root), policy, partial(desk_rules, settings))

    @lake_asset(
        "08", "venue_reports", primary_key=["segment", "record_offset"], kinds={"sqlite"},
        months=months, tier="raw",
        description="One row is one report of the execution service: a fill, a bust, or the end "
        "of an order. Grain: journal entry. Units: shares, USD per share, cents. Consumers: the "
        "book.",
    )  # fmt: skip
    def venue_reports(context: dg.AssetExecutionContext) -> pl.DataFrame:
        with ops_store(settings) as store:
            if store is None:
                return pl.DataFrame(schema=VENUE_REPORTS_SCHEMA)
            return venue_reports_frame(all_reports(store), list(context.partition_keys))

    @lake_asset(
        "08", "handoff", primary_key=["decision_id"], kinds={"sqlite"}, months=months, tier="raw",
        ins={
            "decisions": dg.AssetIn(list(DECISIONS)),
            "bars": dg.AssetIn(["market_data", "bars"]),
            "signals": dg.AssetIn(["trading_decision", "signals"]),
            "evaluations": dg.AssetIn(["market_prediction", "evaluations"]),
            "verdicts": dg.AssetIn(["compliance", "verdicts"]),
            "actions": ACTIONS,
        },
        # The live ledger must know all earlier fills before it reserves anew.
        deps=[["cash_management", "ledger"]],
        description="One row is one decision that was handed to the execution service and is "
        "frozen since. Grain: decision. Units: shares. Consumers: the execution service, by the "
        "outbox.",
    )  # fmt: skip
    def handoff(
        context: dg.AssetExecutionContext,
        decisions: pl.DataFrame,
        bars: pl.DataFrame,
        signals: pl.DataFrame,
        evaluations: pl.DataFrame,
        verdicts: pl.DataFrame,
        actions: pl.DataFrame,
    ) -> pl.DataFrame:
        keys = list(context.partition_keys)
        with ops_store(settings) as store:
            if store is None:
                return pl.DataFrame(schema=HANDOFF_SCHEMA)
            chosen = decisions_to_issue(
                decisions,
                last=settings.last_session(),
                following=settings.next_session(),
                go_live=settings.go_live_session,
            )
            if chosen.height:
                refuse_rebuilds(context.run.tags)
                require_inputs(chosen, bars, signals, evaluations)
                require_no_action(chosen, actions_of(actions), settings.next_session())
                require_settled(*earlier_fates(store, settings))
                store.attest(attested := attest(judge, settings, keys[-1], primary_keys))
                said = verdicts_of(verdicts)
                requests = requests_of(chosen, bars, said, attested, settings, context.run.run_id)
                opening = opening_for(judge, settings, keys[-1])
                store.issue(
                    book=settings.book, mode=settings.mode, requests=requests, opening=opening,
                    cash=cash_plan(store, settings, policy, opening, requests),
                )  # fmt: skip
            # The table is a copy of the store, so that a later session of the month keeps it.
            return handoff_frame(store.issued(book=settings.book), keys)

    @lake_asset(
        "08", "reconciliation", primary_key=["session"], kinds={"polars"}, months=months,
        tier="report",
        ins={
            "trades": dg.AssetIn(["trade_execution", "trades"]),
            "bars": dg.AssetIn(["market_data", "bars"]),
        },
        description="One row is one session that a broker executed: whether its statement, the "
        "execution service and the lake agree, to the share and the cent. Grain: session. Units: "
        "shares, cents. Consumers: 09.",
    )  # fmt: skip
    def reconciliation(
        context: dg.AssetExecutionContext, trades: pl.DataFrame, bars: pl.DataFrame
    ) -> pl.DataFrame:
        statements = read_statements(settings.statements_root, list(context.partition_keys))
        return reconcile(statements, trades, bars)

    return [venue_reports, handoff, reconciliation]


def earlier_fates(
    store: OpsStore, settings: Settings
) -> tuple[list[str], list[tuple[str, str, int | None]]]:
    """Return the decisions issued for earlier sessions, and what was reported of any."""
    today = settings.last_session()
    earlier = [
        event.envelope.event_id
        for event in store.issued(book=settings.book)
        if event.session < today
    ]
    return earlier, [(r.decision_id, r.kind, leaves_qty(r)) for r in all_reports(store)]


def refuse_rebuilds(tags: Mapping[str, str]) -> None:
    """Refuse to hand anything off in a run that rebuilds history."""
    found = sorted(set(REBUILD_TAGS) & set(tags))
    if found:
        raise HandoffRefusedError(
            f"A run with the tag {found[0]} rebuilds history and hands nothing to execution.",
            remedy="select assets without `trade_execution/handoff`, as the backfill job does",
        )


def opening_for(judge: Judge, settings: Settings, month: str) -> BookOpening:
    """Return the state on which the newest session's decisions were made.

    The store keeps it with the book's first decisions and ignores it from then on.
    """
    row = judge.month_of(STATES, month).row(0, named=True)
    if row["last_session"] != settings.last_session():
        raise HandoffRefusedError(
            f"The book of {month} ends on {row['last_session']}, not on {settings.last_session()}.",
            remedy="run the daily job again, so that the book reaches the newest session",
        )
    return BookOpening(row["last_session"].isoformat(), row["closing_hash"], row["closing_state"])


def cash_plan(
    store: OpsStore,
    settings: Settings,
    policy: BookPolicy,
    opening: BookOpening,
    requests: Sequence[IssueRequest],
) -> CashPlan:
    """Return what the live ledger books with these decisions: reservations, at first all else.

    What it holds already stands as it was booked, as an issued decision does: a book that was
    stepped again meanwhile may reserve other amounts for it.

    Raises
    ------
    HandoffRefusedError
        When the ledger was opened by another book: what is available to one of them would be the
        cash of both.
    """
    opened = store.transfers(limit=1, account_id=account_in(OPENING, policy.currency))
    if opened and opened[0].transfer.reference != settings.book:
        raise HandoffRefusedError(
            f"The live ledger holds the cash of book {opened[0].transfer.reference!r}, not of "
            f"{settings.book!r}.",
            remedy="give each live book an operations store of its own: another QUANTIVISTA_HOME, "
            "or another database",
        )
    frozen = store.opening(book=settings.book) or opening
    closes_ns = {entry.session.isoformat(): entry.close_ns for entry in settings.session_times()}
    after_ns = closes_ns[opening.session]
    planned = handoff_cash(
        settings.book, BookState.from_text(frozen.state), closes_ns[frozen.session],
        BookState.from_text(opening.state),
        {request.decision.envelope.event_id for request in requests}, policy.currency,
        withheld(all_bookings(store), policy.currency, after_ns),
    )  # fmt: skip
    known = store.find_transfers([one.id for one in planned.transfers])
    fresh = tuple(one for one in planned.transfers if one.id not in known)
    return CashPlan(planned.accounts, fresh, planned.reserved_minor)


def attest(
    judge: Judge,
    settings: Settings,
    month: str,
    primary_keys: Mapping[tuple[str, ...], Sequence[str]],
) -> list[Attestation]:
    """Return the attestations of a month's content, valid until the next session's close."""
    now_ns, session = clock_of(settings).now_ns(), settings.last_session()
    return [
        Attestation(
            rule_set_version=verdict.rule_set_version,
            table=verdict.table,
            partition=month,
            session=session.isoformat(),
            content_hash=content_hash,
            passed=verdict.passed,
            issued_ns=now_ns,
            expires_ns=settings.next_close_ns(),
        )
        for verdict, content_hash in judge.attested(month, session, primary_keys)
    ]


def handoff_frame(
    issued: Sequence[CoordinatedTradingDecisionEvent], months: Sequence[str]
) -> pl.DataFrame:
    """Return the issued decisions of some months with the columns of ``HANDOFF_SCHEMA``."""
    rows = [
        {
            "decision_id": event.envelope.event_id,
            "session": event.session,
            "month": event.envelope.partition,
            "instrument_id": event.instrument_id,
            "delta_qty": event.delta_qty,
            "mode": event.envelope.mode,
            "valid_until": utc_datetime(event.valid_until_ns),
        }
        for event in issued
        if event.envelope.partition in months
    ]
    return pl.DataFrame(rows, schema=HANDOFF_SCHEMA)


def verdicts_of(verdicts: pl.DataFrame) -> dict[str, list[VerdictRow]]:
    """Return what the rules said, by decision id."""
    said: dict[str, list[VerdictRow]] = {}
    for row in verdicts.sort("decision_id", "stage", "rule_id").iter_rows(named=True):
        said.setdefault(row["decision_id"], []).append(msgspec.convert(row, VerdictRow))
    return said


def requests_of(
    chosen: pl.DataFrame,
    bars: pl.DataFrame,
    said: Mapping[str, Sequence[VerdictRow]],
    attestations: Sequence[Attestation],
    settings: Settings,
    run_id: str,
) -> list[IssueRequest]:
    """Return what the operations store needs to issue the chosen decisions.

    The venue knows an instrument by the vendor's symbol of the decision's session.
    """
    symbols = {
        (row["instrument_id"], row["session"]): row["symbol"]
        for row in bars.select("instrument_id", "session", "symbol").iter_rows(named=True)
    }
    closes = {entry.session: entry.close_ns for entry in settings.session_times()}
    view = ViewContext(run_id=run_id, closes_ns=closes, mode=settings.mode)
    events = events_of("CoordinatedTradingDecisionEvent", chosen, view)
    return [
        IssueRequest(
            decision=event,
            symbol=symbols[event.instrument_id, event.session],
            content_hashes=tuple(entry.content_hash for entry in attestations),
            attestation_ids=tuple(entry.attestation_id for entry in attestations),
            verdicts=to_json(said.get(event.envelope.event_id, [])).decode(),
        )
        for event in events
        if isinstance(event, CoordinatedTradingDecisionEvent)
    ]
