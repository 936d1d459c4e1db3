"""Workflow 08, outside the book: decisions leave the graph here, and reports come back."""

from collections.abc import Mapping, Sequence

import dagster as dg
import polars as pl

from contracts.errors import HandoffRefusedError
from domain.book.policy import BookPolicy
from domain.event_views import ViewContext, events_of
from domain.handoff import decisions_to_issue
from io_managers.lake import Lake
from io_managers.verdicts import DECISIONS, Judge
from ops_store.records import Attestation, IssueRequest
from orchestration.base.metadata import lake_asset
from orchestration.base.ops import clock_of, ops_store
from orchestration.base.settings import Settings
from sources.venue_reports import VENUE_REPORTS_SCHEMA, all_reports, venue_reports_frame

# A run that carries one of these rebuilds history. It must never reach a broker.
REBUILD_TAGS = (
    "dagster/backfill", "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"
)  # fmt: skip
HANDOFF_SCHEMA = {
    "decision_id": pl.String,
    "session": pl.Date,
    "month": pl.String,
    "instrument_id": pl.String,
    "symbol": pl.String,
    "delta_qty": pl.Int64,
    "mode": pl.String,
    "attestation_ids": pl.String,
}


def trade_execution_assets(
    settings: Settings,
    months: dg.MonthlyPartitionsDefinition,
    policy: BookPolicy,
    primary_keys: Mapping[tuple[str, ...], Sequence[str]],
) -> list[dg.AssetsDefinition]:
    """Return the two ends of the cut between the graph and the execution service."""
    judge = Judge(Lake(settings.lake_root), policy)

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
        },
        description="One row is one decision handed to the execution service, with the "
        "attestations that let it pass. Grain: decision. Units: shares. Consumers: the execution "
        "service, by the outbox.",
    )  # fmt: skip
    def handoff(
        context: dg.AssetExecutionContext, decisions: pl.DataFrame, bars: pl.DataFrame
    ) -> pl.DataFrame:
        refuse_rebuilds(context.run.tags)
        last, following = settings.last_session(), settings.next_session()
        chosen = decisions_to_issue(
            decisions, last=last, following=following, go_live=settings.go_live_session
        )
        if chosen.is_empty():
            return pl.DataFrame(schema=HANDOFF_SCHEMA)
        symbols = bars.filter(pl.col("session") == last).select("instrument_id", "symbol")
        chosen = chosen.join(symbols, on="instrument_id", how="left", maintain_order="left")
        attestations = attest(judge, settings, context.partition_key, primary_keys)
        requests = requests_of(chosen, attestations, settings, context.run_id)
        with ops_store(settings) as store:
            if store is None:
                raise HandoffRefusedError(
                    "The book has no operations store.", remedy="set QUANTIVISTA_GO_LIVE_SESSION"
                )
            store.attest(attestations)
            store.issue(book=settings.book, mode=settings.mode, requests=requests)
        ids = ",".join(attestation.attestation_id for attestation in attestations)
        return chosen.with_columns(
            pl.col("event_id").alias("decision_id"),
            pl.lit(settings.mode).alias("mode"),
            pl.lit(ids).alias("attestation_ids"),
        ).select(HANDOFF_SCHEMA)

    return [venue_reports, handoff]


def refuse_rebuilds(tags: Mapping[str, str]) -> None:
    """Refuse to hand anything off in a run that rebuilds history."""
    found = sorted(set(REBUILD_TAGS) & set(tags))
    if found:
        raise HandoffRefusedError(
            f"A run with the tag {found[0]} rebuilds history and hands nothing to execution.",
            remedy="select assets without `trade_execution/handoff`, as the backfill job does",
        )


def attest(
    judge: Judge,
    settings: Settings,
    month: str,
    primary_keys: Mapping[tuple[str, ...], Sequence[str]],
) -> list[Attestation]:
    """Return the attestations of a month's content, valid until the next session's close."""
    now_ns = clock_of(settings).now_ns()
    return [
        Attestation(
            rule_set_version=verdict.rule_set_version,
            table=verdict.table,
            partition=month,
            session=settings.last_session().isoformat(),
            content_hash=content_hash,
            passed=verdict.passed,
            issued_ns=now_ns,
            expires_ns=settings.next_close_ns(),
        )
        for verdict, content_hash in judge.attested(month, primary_keys)
    ]


def requests_of(
    chosen: pl.DataFrame, attestations: Sequence[Attestation], settings: Settings, run_id: str
) -> list[IssueRequest]:
    """Return what the operations store needs to issue the chosen decisions."""
    closes = {entry.session: entry.close_ns for entry in settings.session_times()}
    view = ViewContext(run_id=run_id, closes_ns=closes, mode=settings.mode)
    events = events_of("CoordinatedTradingDecisionEvent", chosen, view)
    return [
        IssueRequest(
            decision=event,  # type: ignore[arg-type]
            symbol=symbol,
            content_hashes=tuple(entry.content_hash for entry in attestations),
            attestation_ids=tuple(entry.attestation_id for entry in attestations),
        )
        for event, symbol in zip(events, chosen["symbol"], strict=True)
    ]
