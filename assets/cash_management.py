"""Workflow 14, outside the book: the live ledger, what it proves, what has yet to settle."""

import datetime as dt
import itertools
from collections.abc import Iterator, Sequence

import dagster as dg
import polars as pl

from domain.book.live_cash import other_entries, reports_of, reservations_of
from domain.book.policy import BookPolicy
from domain.cash_management.live import restated, settlements
from domain.cash_management.tables import (
    BREAKS_SCHEMA,
    LADDER_SCHEMA,
    LEDGER_SCHEMA,
    RECONCILED_FIELDS,
    bookings_frame,
    breaks_frame,
    ladder_frame,
    reconciliation_frame,
    trial_balance_frame,
)
from domain.cash_management.transfers import Booking
from domain.identity import with_event_ids
from domain.trade_execution.differences import broker_findings
from domain.trade_execution.reconcile import BrokerStatement, session_differences
from ops_store.records import ReportRow
from ops_store.store import OpsStore
from orchestration.base.inputs import BARS_SO_FAR
from orchestration.base.metadata import HISTORY, lake_asset
from orchestration.base.ops import all_bookings, ops_store
from orchestration.base.settings import Settings
from sources.broker_statements import read_statements
from sources.venue_reports import all_reports, venue_reports_frame

LOGIC_VERSION = "cash-1"
BROKER_ACCOUNT = "broker"
# Who looks after a new break until somebody assigns it.
BREAKS_OWNER = "operations"


def cash_management_assets(
    settings: Settings, months: dg.MonthlyPartitionsDefinition, policy: BookPolicy
) -> list[dg.AssetsDefinition]:
    """Return the assets of workflow 14 that follow the book."""

    @lake_asset(
        "14", "ledger", primary_key=["sequence"], kinds={"sqlite"}, months=months, tier="raw",
        ins={
            "cash_entries": dg.AssetIn(["cash_management", "cash_entries"], metadata=HISTORY),
            "venue_reports": dg.AssetIn(["trade_execution", "venue_reports"], metadata=HISTORY),
        },
        description="One row is one booking of the live ledger in the operations store: an "
        "opening balance, a reservation, what execution's reports made of it. Grain: booking. "
        "Units: cents. Consumers: reconciliation, handoff.",
    )  # fmt: skip
    def ledger(
        context: dg.AssetExecutionContext, cash_entries: pl.DataFrame, venue_reports: pl.DataFrame
    ) -> pl.DataFrame:
        with ops_store(settings) as store:
            if store is None or store.opening(book=settings.book) is None:
                return pl.DataFrame(schema=LEDGER_SCHEMA)
            keys = list(context.partition_keys)
            until = months.time_window_for_partition_key(keys[-1]).end.date()
            every = months.get_partition_keys()
            reports = venue_reports_frame(reports_upto(store, venue_reports), every)
            day = until - dt.timedelta(days=1)
            before = book_live(store, settings, policy, cash_entries, reports, day)
            new = all_bookings(store, before[-1].sequence if before else 0)
            return bookings_frame([*before, *new], keys)

    @lake_asset(
        "14", "trial_balance", primary_key=["month", "account_id"], kinds={"polars"},
        months=months, tier="report",
        ins={"states": dg.AssetIn(["portfolio_management", "book_states"])},
        description="One row is one account of the book's ledger at a month's close, posted and "
        "reserved; all of them sum to zero. Grain: month, account. Units: cents. Consumers: 09.",
    )  # fmt: skip
    def trial_balance(states: pl.DataFrame) -> pl.DataFrame:
        return trial_balance_frame(states, policy.currency)

    @lake_asset(
        "14", "settlement_ladder", primary_key=["session", "settlement_date"], kinds={"polars"},
        months=months, tier="report",
        ins={
            "trades": dg.AssetIn(["trade_execution", "trades"], metadata=HISTORY),
            "equity": dg.AssetIn(["portfolio_management", "equity"]),
        },
        description="One row is what has yet to settle on a date, seen from a session's close, "
        "and the cash that is settled, available and projected then. Grain: session, settlement "
        "date. Units: cents. Consumers: operations.",
    )  # fmt: skip
    def settlement_ladder(trades: pl.DataFrame, equity: pl.DataFrame) -> pl.DataFrame:
        return ladder_frame(trades, equity) if equity.height else pl.DataFrame(schema=LADDER_SCHEMA)

    @lake_asset(
        "14", "reconciliation", primary_key=["session"], kinds={"polars"}, months=months,
        event="CashReconciledEvent",
        ins={
            "equity": dg.AssetIn(["portfolio_management", "equity"]),
            "trades": dg.AssetIn(["trade_execution", "trades"]),
        },
        # Its rows are a copy; what is compared is the store itself.
        deps=[["cash_management", "ledger"]],
        description="One row is one session that a broker executed: whether book, live ledger and "
        "broker agree on its cash to the cent. Grain: session. Units: cents. Consumers: 09.",
    )  # fmt: skip
    def reconciliation(
        context: dg.AssetExecutionContext, equity: pl.DataFrame, trades: pl.DataFrame
    ) -> pl.DataFrame:
        keys = list(context.partition_keys)
        with ops_store(settings) as store:
            bookings = list(all_bookings(store)) if store is not None else []
        frame = reconciliation_frame(
            equity, trades, bookings, read_statements(settings.statements_root, keys),
            settings.session_times(), settings.go_live_session, policy.currency,
        )  # fmt: skip
        return with_event_ids(
            frame, event_type="CashReconciledEvent", key="currency", payload=RECONCILED_FIELDS,
            inputs=["ledger_digest"], logic_version=LOGIC_VERSION,
        )  # fmt: skip

    @lake_asset(
        "14", "breaks", primary_key=["break_id"], kinds={"sqlite"}, months=months, tier="report",
        ins={
            "trades": dg.AssetIn(["trade_execution", "trades"], metadata=HISTORY),
            "bars": BARS_SO_FAR,
        },
        description="One row is one break between bank or broker and our books, with its owner and "
        "its age; filed under the month in which it was opened. Grain: break. Units: cents, "
        "sessions. Consumers: operations.",
    )  # fmt: skip
    def breaks(
        context: dg.AssetExecutionContext, trades: pl.DataFrame, bars: pl.DataFrame
    ) -> pl.DataFrame:
        with ops_store(settings) as store:
            if store is None:
                return pl.DataFrame(schema=BREAKS_SCHEMA)
            statements = read_statements(settings.statements_root, months.get_partition_keys())
            upto = context.partition_keys[-1]
            roll_broker_breaks(store, settings, policy, statements, trades, bars, upto)
            found = store.breaks(unresolved_only=False)
        sessions = settings.sessions().to_list()
        return breaks_frame(found, context.partition_keys, sessions, settings.last_session())

    return [ledger, trial_balance, settlement_ladder, reconciliation, breaks]


def roll_broker_breaks(
    store: OpsStore,
    settings: Settings,
    policy: BookPolicy,
    statements: Sequence[BrokerStatement],
    trades: pl.DataFrame,
    bars: pl.DataFrame,
    upto: str,
) -> None:
    """Carry the breaks with the broker over to the newest session.

    A run whose last month ``upto`` is an earlier one does not: it has no trades of later sessions,
    and each of their fills would be a break.
    """
    if not statements or upto < f"{settings.last_session():%Y-%m}-01":
        return
    found = {
        statement.session.isoformat(): session_differences(statement, trades, bars)
        for statement in statements
    }
    store.roll_breaks(
        broker_findings(found, BROKER_ACCOUNT, policy.currency),
        [(BROKER_ACCOUNT, policy.currency)],
        session=settings.last_session(),
        owner=BREAKS_OWNER,
    )


def reports_upto(store: OpsStore, venue_reports: pl.DataFrame) -> Iterator[ReportRow]:
    """Yield the journal's reports up to the last one that the table has, and so the book knows."""
    keys = venue_reports.select("segment", "record_offset")
    last = max(keys.iter_rows(), default=(0, 0))
    return itertools.takewhile(lambda row: (row.segment, row.offset) <= last, all_reports(store))


def book_live(
    store: OpsStore,
    settings: Settings,
    policy: BookPolicy,
    cash_entries: pl.DataFrame,
    venue_reports: pl.DataFrame,
    until: dt.date,
) -> list[Booking]:
    """Book in the live ledger what reports and corporate actions have moved; none of it twice.

    Returns what the ledger held before.

    Parameters
    ----------
    store : OpsStore
        Holds the ledger.
    settings : Settings
        The environment.
    policy : BookPolicy
        The book's, for its currency.
    cash_entries : pl.DataFrame
        What the book booked up to ``until``.
    venue_reports : pl.DataFrame
        A beginning of the journal, of all months: what an order's end releases depends on its
        fills, which may lie in the month after it.
    until : date
        The last day of which ``cash_entries`` speaks.
    """
    before = list(all_bookings(store))
    opening = store.opening(book=settings.book)
    if opening is None:
        return before
    issued = [event for event in store.issued(book=settings.book) if event.delta_qty]
    booked = store.find_transfers({event.cash_reservation_id for event in issued})
    reservations = reservations_of(issued, booked, policy.currency)
    reports = reports_of(venue_reports)
    opens_ns = {entry.session: entry.open_ns for entry in settings.session_times()}
    accounts, entries = other_entries(
        cash_entries, dt.date.fromisoformat(opening.session), opens_ns
    )
    until_ns = max((at_ns for day, at_ns in opens_ns.items() if day <= until), default=0)
    store.create_accounts(accounts)
    groups = (
        *restated(entries, before, until_ns),
        *settlements(reports, reservations, policy.currency),
    )
    store.settle(groups, currency=policy.currency)
    return before
