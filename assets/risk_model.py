"""Workflow 03: what instruments are exposed to, what factors earned, and what risk is ahead."""

import itertools

import dagster as dg
import polars as pl

from domain.instrument_analysis.risk_model import history_of, model_days, month_forecasts
from domain.instrument_analysis.risk_quality import model_quality
from orchestration.base.metadata import HISTORY, lake_asset, lake_assets, spec
from orchestration.base.settings import Settings

EXPOSURES = dg.AssetIn(["instrument_analysis", "risk_exposures"], metadata=HISTORY)
FACTOR_RETURNS = dg.AssetIn(["instrument_analysis", "factor_returns"], metadata=HISTORY)

DAYS_OUTS = {
    "risk_exposures": spec(
        "03", "risk_exposures", primary_key=["instrument_id", "session"], kinds={"numpy"},
        description="One row is one instrument's exposures at a session's close: sector, and "
        "standardised beta, size (a proxy by dollar volume), momentum and volatility, null where "
        "history is too short; and its specific return of the session. Grain: instrument, session. "
        "Units: standard deviations, fractions, USD. Consumers: 03, 06, 09.",
    ),
    "factor_returns": spec(
        "03", "factor_returns", primary_key=["session", "factor"], kinds={"numpy"},
        description="One row is what one factor of the risk model earned in a session, by a "
        "regression on the exposures at the close before. Grain: session, factor. Units: "
        "fractions. Consumers: 03, 09.",
    ),
}  # fmt: skip
FORECAST_OUTS = {
    "factor_covariance": spec(
        "03", "factor_covariance", primary_key=["month", "factor_a", "factor_b"], kinds={"numpy"},
        description="One row is the covariance of two factors' daily returns, as forecast at a "
        "month's last session (of the newest month, its last so far), and the session from which "
        "it may be used. Grain: month, ordered pair of factors. Units: squared fractions per "
        "session. Consumers: 06, 09.",
    ),
    "specific_risk": spec(
        "03", "specific_risk", primary_key=["month", "instrument_id"], kinds={"numpy"},
        description="One row is one instrument's volatility that no factor explains, shrunk "
        "towards names of its size. Grain: month, instrument. Units: fractions per session. "
        "Consumers: 06, 09.",
    ),
}  # fmt: skip


def risk_model_assets(
    settings: Settings, months: dg.MonthlyPartitionsDefinition
) -> list[dg.AssetsDefinition]:
    """Return the risk model's assets, which workflow 06 may read, and the verdict on them."""

    @lake_assets(
        "risk_model_days",
        outs=DAYS_OUTS,
        ins={
            "bars": dg.AssetIn(["market_data", "adjusted_bars"], metadata=HISTORY),
            "instruments": dg.AssetIn(["market_data", "instruments"]),
        },
        months=months,
    )
    def risk_model_days(
        context: dg.AssetExecutionContext, bars: pl.DataFrame, instruments: pl.DataFrame
    ) -> tuple[pl.DataFrame, pl.DataFrame]:
        return model_days(bars, instruments, settings.sessions(), list(context.partition_keys))

    @lake_assets(
        "risk_model_forecasts",
        outs=FORECAST_OUTS,
        ins={"exposures": EXPOSURES, "factor_returns": FACTOR_RETURNS},
        months=months,
    )
    def risk_model_forecasts(
        context: dg.AssetExecutionContext, exposures: pl.DataFrame, factor_returns: pl.DataFrame
    ) -> tuple[pl.DataFrame, pl.DataFrame]:
        following = dict(itertools.pairwise(entry.session for entry in settings.session_times()))
        history = history_of(exposures, factor_returns)
        return month_forecasts(history, list(context.partition_keys), following)

    # Apart from the forecasts: it reads the book, which may come to read the forecasts.
    @lake_asset(
        "03", "risk_model_quality", primary_key=["month", "portfolio"], kinds={"numpy"},
        ins={
            "exposures": EXPOSURES,
            "factor_returns": FACTOR_RETURNS,
            "positions": dg.AssetIn(["portfolio_management", "positions"], metadata=HISTORY),
        },
        months=months,
        description="One row is one test portfolio's bias statistic over the 252 sessions up to a "
        "month's last: the deviation of its returns over the volatility forecast for them, with "
        "the band in which it should lie. Grain: month, portfolio. Consumers: 09, operations.",
    )  # fmt: skip
    def risk_model_quality(
        context: dg.AssetExecutionContext,
        exposures: pl.DataFrame,
        factor_returns: pl.DataFrame,
        positions: pl.DataFrame,
    ) -> pl.DataFrame:
        history = history_of(exposures, factor_returns)
        return model_quality(history, list(context.partition_keys), positions)

    return [risk_model_days, risk_model_forecasts, risk_model_quality]
