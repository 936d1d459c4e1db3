"""Workflows 06, 07, 08 and 14 in one multi-asset: the book, moved by one pure step.

Splitting it by table would need a cycle (decisions need positions, positions need fills, fills need
decisions), which a graph of assets cannot have.
"""

import datetime as dt
from collections.abc import Iterator

import dagster as dg
import msgspec
import polars as pl

from contracts.codec import from_json
from domain.book.drive import drive, markets, signals_by_session
from domain.book.live import (
    IssuedDecisions,
    by_session,
    executions_from,
    live_sessions,
    venue_executions,
)
from domain.book.live_cash import capital_flows
from domain.book.market import CapitalFlow
from domain.book.months import STATES_SCHEMA, opening_state, states_frame
from domain.book.policy import BookPolicy
from domain.book.rows import VerdictRow
from domain.book.simulate import simulated_fills
from domain.book.state import BookState, differences, opening_of
from domain.market_data.membership import members_by_session
from domain.market_data.reference import actions_of
from domain.reporting.charts import exposure, to_png
from io_managers.lake import Lake
from orchestration.base.inputs import ACTIONS, INSTRUMENTS, MEMBERSHIP
from orchestration.base.metadata import HISTORY, lake_assets, png_metadata, spec
from orchestration.base.ops import all_bookings, desk_rules, ops_store
from orchestration.base.settings import Settings

STATES = ("portfolio_management", "book_states")

OUTS = {
    "decisions": spec(
        "06", "decisions", primary_key=["event_id"], kinds={"polars"},
        event="CoordinatedTradingDecisionEvent",
        description="One row is what the book wants of one instrument at one rebalance, with every "
        "rule that clipped it. Grain: decision session, instrument. Units: shares, fractions of "
        "net asset value. Consumers: 08, 09.",
    ),
    "replay": spec(
        "06", "replay", primary_key=["session", "instrument_id"], kinds={"polars"},
        tier="report",
        description="One row is one issued decision beside what today's data would have decided. "
        "It is never handed off. Grain: issued session, instrument. Units: shares. Consumers: "
        "risk officers.",
    ),
    "rebalance_requests": spec(
        "07", "rebalance_requests", primary_key=["event_id"], kinds={"polars"},
        event="RebalanceRequestEvent",
        description="One row is one request to bring drifted weights back to target. Grain: "
        "session. Units: fractions of net asset value, cents. Consumers: 06, 09.",
    ),
    "orders": spec(
        "08", "orders", primary_key=["cl_ord_id"], kinds={"polars"},
        description="One row is the fate of one order in its session: filled, partially filled or "
        "expired, with the reason. Grain: order. Units: shares. Consumers: 09.",
    ),
    "trades": spec(
        "08", "trades", primary_key=["event_id"], kinds={"polars"}, event="TradeExecutedEvent",
        description="One row is one execution with its costs and its slippage against the arrival "
        "price. Grain: execution. Units: USD per share, cents, basis points. Consumers: 07, 09, "
        "14.",
    ),
    "positions": spec(
        "07", "positions", primary_key=["instrument_id", "session"], kinds={"polars"},
        description="One row is one holding at a session's close on raw prices; `stale` when the "
        "price is older. Grain: instrument, session. Units: shares, cents. Consumers: 07, 09.",
    ),
    "adjustments": spec(
        "07", "adjustments", kinds={"polars"},
        # A company can pay two dividends, or split twice, on one day.
        primary_key=[
            "session", "instrument_id", "cause", "quantity_before", "cash_minor", "source"
        ],
        description="One row is a change of a holding that is no trade: a split, a spin-off, a "
        "distribution, a close-out because data ended. Grain: session, instrument, action. "
        "Consumers: 09, 14.",
    ),
    "equity": spec(
        "07", "equity", primary_key=["session"], kinds={"polars"},
        description="One row is the book's value, exposure, turnover and cost at a session's "
        "close. Grain: session. Units: cents, fractions. Consumers: 07, 09.",
    ),
    "cash_entries": spec(
        "14", "cash_entries", primary_key=["event_id"], kinds={"polars"},
        event="CashMovementPostedEvent",
        description="One row is one double entry: the debited account receives what the credited "
        "one gives. Grain: entry. Units: cents. Consumers: 09, 15.",
    ),
    "reservations": spec(
        "14", "reservations", primary_key=["reservation_id"], kinds={"polars"},
        description="One row is what became of the cash reserved for one order: posted by its "
        "fills, or released. Grain: order. Units: cents. Consumers: 09, 15.",
    ),
    "verdicts": spec(
        "15", "verdicts", primary_key=["decision_id", "stage", "rule_id"], kinds={"polars"},
        event="PreTradeCheckedEvent",
        description="One row is what one rule said of one decision before it was issued, with its "
        "version and what it looked at. Grain: decision, stage, rule. Units: as `detail` says. "
        "Consumers: risk officers.",
    ),
    # Last: a month's closing state exists only when its other tables were written.
    "book_states": spec(
        "07", "book_states", primary_key=["month"], kinds={"polars"},
        description="One row is a month's opening and closing state of the book. Grain: month. "
        "Consumers: the next month of the book.",
    ),
}  # fmt: skip


def book_assets(
    settings: Settings, months: dg.MonthlyPartitionsDefinition, policy: BookPolicy
) -> list[dg.AssetsDefinition]:
    """Return the book, bound to one environment and one policy."""
    lake = Lake(settings.lake_root)

    @lake_assets(
        "book",
        outs=OUTS,
        ins={
            "bars": dg.AssetIn(["market_data", "adjusted_bars"]),
            "instruments": INSTRUMENTS,
            "signals": dg.AssetIn(["trading_decision", "signals"]),
            "venue_reports": dg.AssetIn(["trade_execution", "venue_reports"], metadata=HISTORY),
            "actions": ACTIONS,
            "membership": MEMBERSHIP,
        },
        months=months,
        # One run of the book at a time: a month opens with what the one before closed with.
        pool="book",
    )
    def book(
        context: dg.AssetExecutionContext,
        bars: pl.DataFrame,
        instruments: pl.DataFrame,
        signals: pl.DataFrame,
        venue_reports: pl.DataFrame,
        actions: pl.DataFrame,
        membership: pl.DataFrame,
    ) -> Iterator[dg.Output[pl.DataFrame]]:
        keys = list(context.partition_keys)
        stored = lake.read(STATES) if lake.exists(STATES) else pl.DataFrame(schema=STATES_SCHEMA)
        opening = opening_state(stored, keys, all_months=months.get_partition_keys())
        sessions = markets(
            bars,
            settings.session_times(),
            dict(instruments.select("instrument_id", "sector").iter_rows()),
            actions_of(actions),
            months=keys, last=settings.last_session(),
            go_live=settings.go_live_session,
            capital=capital_of(settings, policy),
            members=members_by_session(membership),
        )  # fmt: skip
        reported = venue_executions(venue_reports)
        fills = executions_from(settings.go_live_session, simulated_fills, reported)
        handed, said = handed_off(settings), kept_verdicts(settings)
        ruled = msgspec.structs.replace(policy, desk=desk_rules(settings))
        run = drive(opening, sessions, signals_by_session(signals), fills, ruled, *handed, said)
        report_difference(settings, handed[1], run.recomputed)
        states = states_frame(opening, run.closings, keys)
        chart = {"chart": png_metadata(to_png(exposure(run.tables["equity"])))}
        for name in OUTS:
            table = states if name == "book_states" else run.tables[name]
            yield dg.Output(table, name, metadata=chart if name == "equity" else None)

    return [book]


def handed_off(settings: Settings) -> tuple[dict[dt.date, IssuedDecisions], BookState | None]:
    """Return what was handed to execution, by session, and the state that the book went live with.

    A session whose hand-off was missed is there, and empty.
    """
    go_live, last = settings.go_live_session, settings.last_session()
    due = live_sessions(settings.sessions().to_list(), go_live, last)
    with ops_store(settings) as store:
        issued = by_session(store.issued(book=settings.book) if store else [], due)
        opening = store.opening(book=settings.book) if store else None
    return issued, opening_of(opening.state, opening.state_hash) if opening else None


def kept_verdicts(settings: Settings) -> dict[str, tuple[VerdictRow, ...]]:
    """Return what the rules said of issued decisions when they were handed off."""
    with ops_store(settings) as store:
        said = store.issued_verdicts(book=settings.book) if store is not None else {}
    return {key: from_json(text.encode(), tuple[VerdictRow, ...]) for key, text in said.items()}


def capital_of(settings: Settings, policy: BookPolicy) -> dict[dt.date, tuple[CapitalFlow, ...]]:
    """Return what was paid into the live ledger or out of it, by session."""
    with ops_store(settings) as store:
        bookings = list(all_bookings(store)) if store is not None else []
    return capital_flows(bookings, settings.session_times(), policy.currency)


def report_difference(
    settings: Settings, went_live: BookState | None, recomputed: BookState | None
) -> None:
    """Open an incident when history has changed since the book went live on it."""
    if went_live is None or recomputed is None:
        return
    found = differences(went_live, recomputed)
    with ops_store(settings) as store:
        if found and store is not None:
            detail = (
                f"History gives another state for {went_live.session} than the one that the book "
                f"went live with: {'; '.join(found)}. The book goes on from the frozen one."
            )
            store.open_incident(kind="opening_differs", subject=settings.book, detail=detail)
