"""Workflow 05: views on instruments. Nothing here knows of any portfolio."""

import dagster as dg
import polars as pl

from domain.identity import with_event_ids
from domain.trading_decision.signals import generate_signals
from ml.labels.forward import HORIZON_SESSIONS
from orchestration.base.metadata import lake_asset
from orchestration.base.settings import Settings

LOGIC_VERSION = "signals-1"
SIGNAL_FIELDS = (
    "side", "strength", "confidence", "horizon_sessions", "valid_from", "valid_to", "reasons",
    "abstain",
)  # fmt: skip


def trading_decision_assets(
    settings: Settings, months: dg.MonthlyPartitionsDefinition
) -> list[dg.AssetsDefinition]:
    """Return the assets of workflow 05."""

    @lake_asset(
        "05", "signals", primary_key=["instrument_id", "session"], kinds={"polars"},
        event="TradingSignalEvent", months=months,
        ins={"evaluations": dg.AssetIn(["market_prediction", "evaluations"])},
        description="One row is one view on one instrument after a session's close: side, "
        "strength, confidence, reasons, or why it abstains. Grain: instrument, session. "
        "Consumers: 06, 09.",
    )  # fmt: skip
    def signals(evaluations: pl.DataFrame) -> pl.DataFrame:
        looked_at = evaluations.filter(pl.col("horizon_sessions") == HORIZON_SESSIONS)
        days = pl.Series("session", [entry.session for entry in settings.session_times()])
        return with_event_ids(
            generate_signals(looked_at, days),
            event_type="TradingSignalEvent", key="instrument_id", payload=SIGNAL_FIELDS,
            inputs=["evaluation_id"], logic_version=LOGIC_VERSION,
        )  # fmt: skip

    return [signals]
