"""Workflow 03: what each instrument's own prices say, session by session."""

import datetime as dt
import os

import dagster as dg
import polars as pl

from contracts.clock import datetime_ns
from domain.identity import with_event_ids
from domain.instrument_analysis.correlations import month_end_correlations
from domain.instrument_analysis.indicator_catalogue import OUTPUTS
from domain.instrument_analysis.indicators import compute_indicators
from domain.instrument_analysis.timeframes import (
    SERIES,
    calendar_indicators,
    session_hours,
    session_indicators,
)
from domain.market_data.sessions import month_ends
from orchestration.base.metadata import HISTORY, lake_asset, lake_assets, spec
from orchestration.base.partitions import MONTH_COLUMN, SESSION_COLUMN
from orchestration.base.settings import Settings
from sources.market_data.configuration import read_sources
from sources.market_data.session_drops import session_sources

INDICATORS_VERSION = "indicators-2"
CORRELATION_VERSION = "correlations-2"
HISTORY_OF_BARS = dg.AssetIn(["market_data", "adjusted_bars"], metadata=HISTORY)


CORRELATION_KEY = ["month", "window_sessions", "estimator"]
CORRELATION_OUTS = {
    "correlations": spec(
        "03", "correlations", primary_key=CORRELATION_KEY, kinds={"scikit-learn"},
        event="CorrelationMatrixUpdatedEvent",
        description="One row is one completed month's correlation matrix: its window, estimator, "
        "shrinkage, least eigenvalue before and after it was made definite, size and hash, and the "
        "session from which it may be used. Grain: month, window, estimator. Consumers: 06, 09.",
    ),
    "correlation_matrices": spec(
        "03", "correlation_matrices",
        primary_key=[*CORRELATION_KEY, "instrument_a", "instrument_b"], kinds={"scikit-learn"},
        description="One row is one pair's Ledoit-Wolf correlation of daily log returns over 60 or "
        "252 sessions, and in how many of them both have one; the upper triangle without its "
        "diagonal. Grain: month, window, estimator, pair. Consumers: 06, 09.",
    ),
    "correlation_clusters": spec(
        "03", "correlation_clusters", primary_key=[*CORRELATION_KEY, "instrument_id"],
        kinds={"scipy"},
        description="One row is one instrument's cluster in a month's matrix, and the daily "
        "volatility that makes a covariance of its correlations. Grain: month, window, estimator, "
        "instrument. Units: fractions per session. Consumers: 06, 09.",
    ),
    "correlation_changes": spec(
        "03", "correlation_changes", primary_key=["month"], kinds={"numpy"},
        description="One row is how far a month-end matrix lies from the one before it, on the "
        "names in both. Grain: month. Consumers: operations, 09.",
    ),
}  # fmt: skip


def instrument_analysis_assets(
    settings: Settings, months: dg.MonthlyPartitionsDefinition
) -> list[dg.AssetsDefinition]:
    """Return the assets of workflow 03."""

    @lake_asset(
        "03", "indicators", primary_key=["instrument_id", "session"], kinds={"talib"},
        keeps_instruments_apart=True,
        event="TechnicalIndicatorComputedEvent",
        description="One row is one instrument's technical indicators after a session's "
        "close, on forward-adjusted prices and volumes; null through the warm-up and where a "
        "formula has no value. Grain: instrument, session. Consumers: 04.",
        ins={"bars": HISTORY_OF_BARS},
        months=months,
    )  # fmt: skip
    def indicators(context: dg.AssetExecutionContext, bars: pl.DataFrame) -> pl.DataFrame:
        wanted = pl.col(MONTH_COLUMN).is_in(list(context.partition_keys))
        computed = compute_indicators(bars, threads=settings.threads).filter(wanted)
        digests = bars.select("instrument_id", "session", "history_digest")
        return with_event_ids(
            computed.join(digests, on=["instrument_id", "session"], maintain_order="left"),
            event_type="TechnicalIndicatorComputedEvent", key="instrument_id", payload=OUTPUTS,
            inputs=["history_digest"], logic_version=INDICATORS_VERSION,
        )  # fmt: skip

    @lake_asset(
        "03", "timeframe_indicators", primary_key=["instrument_id", "timeframe", "session"],
        kinds={"talib"}, keeps_instruments_apart=True,
        description="One row is one instrument's week (`1w`) or month (`1mo`) that is over: its "
        "bar and its indicators, forward-adjusted. `session` is the period's last exchange "
        "session: usable from its close, `closed_at`, on. Grain: instrument, timeframe, period. "
        "Consumers: analysts.",
        ins={"bars": HISTORY_OF_BARS},
        months=months,
    )  # fmt: skip
    def timeframe_indicators(context: dg.AssetExecutionContext, bars: pl.DataFrame) -> pl.DataFrame:
        computed = calendar_indicators(
            bars, settings.session_times(), until=settings.last_session(), threads=settings.threads
        )
        return computed.filter(pl.col(MONTH_COLUMN).is_in(list(context.partition_keys)))

    @lake_assets(
        "month_end_correlations",
        outs=CORRELATION_OUTS,
        ins={"bars": HISTORY_OF_BARS},
        months=months,
    )
    def correlations(
        context: dg.AssetExecutionContext, bars: pl.DataFrame
    ) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame, pl.DataFrame]:
        ends = month_ends([entry.session for entry in settings.session_times()])
        found = month_end_correlations(
            bars,
            settings.sessions(),
            list(context.partition_keys),
            month_ends={month: end for month, (end, _) in ends.items()},
            usable_from={month: after for month, (_, after) in ends.items()},
        )
        # The matrix's own hash is the digest of everything that it rests on.
        events = with_event_ids(
            found.summary.with_columns(pl.col("as_of").alias("session")),
            event_type="CorrelationMatrixUpdatedEvent", key="universe",
            payload=("window_sessions", "estimator", "shrinkage", "n_observations",
                     "min_eigenvalue"),
            inputs=["matrix_sha256"], logic_version=CORRELATION_VERSION,
        )  # fmt: skip
        return events, found.matrix, found.clusters, found.changes

    return [indicators, timeframe_indicators, correlations]


def intraday_analysis_assets(
    settings: Settings, sessions: dg.DailyPartitionsDefinition
) -> list[dg.AssetsDefinition]:
    """Return the assets of workflow 03 that are partitioned by session."""

    @lake_asset(
        "03", "intraday_indicators", primary_key=[*SERIES, "timeframe", "start_time"],
        kinds={"talib"}, column=SESSION_COLUMN, months=sessions,
        description="One row is one bar of 1, 5, 15 or 60 minutes (`1m` .. `1h`) within a "
        "session's hours, with its indicators from the session's first bar on, on raw prices; "
        "usable from `closed_at` on. Grain: source, instrument, origin, timeframe, start. Units: "
        "currency, shares. Consumers: analysts.",
        ins={"bars": dg.AssetIn(["market_data", "intraday_bars"])},
    )  # fmt: skip
    def intraday_indicators(context: dg.AssetExecutionContext, bars: pl.DataFrame) -> pl.DataFrame:
        days = [dt.date.fromisoformat(key) for key in context.partition_keys]
        known = session_sources(read_sources(settings.sources_file), os.environ)
        # A source that is configured no more has the desk's calendar.
        calendars = {name: source.calendar for name, source in known.items()}
        times = {
            name: settings.times_between(min(days), max(days), calendars.get(name))
            for name in bars["source"].unique().sort()
        }
        return session_indicators(
            bars.filter(pl.col("kind") == "bar_1m"), session_hours(times),
            until_ns=datetime_ns(settings.instant()), threads=settings.threads,
        )  # fmt: skip

    return [intraday_indicators]
