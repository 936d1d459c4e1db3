"""What a report is made from: the platform's tables, cut at the report's session."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping

import msgspec
import polars as pl
from polars.datatypes import DataTypeClass

from contracts.errors import ContractError
from domain.reporting.evidence import ModelQuality

TEXT, WHOLE, REAL, DAY, FLAG = pl.String, pl.Int64, pl.Float64, pl.Date, pl.Boolean

# The columns each table must bring; more are welcome and ignored.
SCHEMAS: dict[str, dict[str, DataTypeClass]] = {
    "equity": {
        "session": DAY, "month": TEXT, "nav_minor": WHOLE, "cash_minor": WHOLE,
        "percent_invested": REAL, "gross_exposure": REAL, "n_positions": WHOLE, "n_stale": WHOLE,
        "traded_minor": WHOLE, "turnover": REAL, "commission_minor": WHOLE,
        "spread_cost_minor": WHOLE, "distributions_minor": WHOLE, "daily_return": REAL,
    },
    "benchmark": {"session": DAY, "daily_return": REAL},
    "benchmark_sectors": {"session": DAY, "sector": TEXT, "weight": REAL},
    "positions": {
        "session": DAY, "instrument_id": TEXT, "sector": TEXT, "quantity": WHOLE, "price": REAL,
        "price_session": DAY, "stale_sessions": WHOLE, "stale": FLAG, "market_value_minor": WHOLE,
        "weight": REAL, "unrealised_minor": WHOLE,
    },
    "decisions": {
        "session": DAY, "instrument_id": TEXT, "rebalance_id": TEXT, "action": TEXT,
        "core_weight": REAL, "tilt_weight": REAL, "target_weight": REAL, "delta_qty": WHOLE,
        "clips": TEXT, "binding_rule": TEXT,
    },
    "orders": {
        "session": DAY, "month": TEXT, "order_qty": WHOLE, "filled_qty": WHOLE, "status": TEXT,
        "reason": TEXT,
    },
    "trades": {
        "session": DAY, "month": TEXT, "instrument_id": TEXT, "side": TEXT,
        "notional_minor": WHOLE, "commission_minor": WHOLE, "spread_cost_minor": WHOLE,
        "slippage_bps": REAL,
    },
    "broker_scorecard": {
        "month": TEXT, "broker": TEXT, "n_orders": WHOLE, "n_rejected": WHOLE, "n_measured": WHOLE,
        "fill_ratio": REAL, "paper_minor": WHOLE, "delay_minor": WHOLE, "execution_minor": WHOLE,
        "opportunity_minor": WHOLE, "fees_minor": WHOLE, "shortfall_minor": WHOLE,
        "delay_bps": REAL, "execution_bps": REAL, "shortfall_bps": REAL, "vs_vwap_bps": REAL,
        "predicted_cost_minor": WHOLE, "realised_cost_minor": WHOLE, "send_to_ack_p50_us": WHOLE,
        "send_to_ack_p99_us": WHOLE,
    },
    "rebalance_requests": {
        "event_id": TEXT, "session": DAY, "trigger": TEXT, "drift": REAL, "turnover": REAL,
        "n_names": WHOLE, "n_orders": WHOLE, "cost_minor": WHOLE, "status": TEXT,
    },
    "cash_entries": {
        "session": DAY, "month": TEXT, "debit": TEXT, "credit": TEXT, "amount_minor": WHOLE,
        "cause": TEXT, "reference": TEXT,
    },
    "signals": {
        "session": DAY, "instrument_id": TEXT, "side": TEXT, "strength": REAL,
        "expected_return": REAL, "reasons": TEXT, "abstain": FLAG, "abstain_reason": TEXT,
    },
    "evaluations": {
        "session": DAY, "instrument_id": TEXT, "rating": TEXT, "p_buy": REAL, "p_strong_buy": REAL,
        "forecast_return": REAL, "top_reasons": TEXT, "reason_bps": TEXT,
    },
    "quarantine": {"session": DAY, "month": TEXT, "reason": TEXT},
    "coverage": {
        "session": DAY, "month": TEXT, "n_bars": WHOLE, "n_quarantined": WHOLE, "missing": FLAG,
    },
    "universe": {
        "session": DAY, "month": TEXT, "index": TEXT, "n_bars": WHOLE, "n_members": WHOLE,
        "n_with_data": WHOLE, "n_without_data": WHOLE, "without_data": TEXT,
        "n_instruments_ever": WHOLE, "n_synthetic": WHOLE,
    },
    "attribution": {
        "session": DAY, "month": TEXT, "level": TEXT, "name": TEXT, "portfolio_weight": REAL,
        "benchmark_weight": REAL, "portfolio_return": REAL, "benchmark_return": REAL,
        "allocation": REAL, "selection": REAL, "interaction": REAL, "cost": REAL, "residual": REAL,
    },
    "reconciliation": {
        "session": DAY, "month": TEXT, "n_orders": WHOLE, "n_fills": WHOLE, "shares": WHOLE,
        "fills_agree": FLAG, "positions_agree": FLAG, "differences": TEXT,
    },
    "instruments": {"instrument_id": TEXT, "symbol": TEXT, "name": TEXT},
}  # fmt: skip


class ReportInputs(msgspec.Struct, frozen=True, kw_only=True):
    """Everything one report shows. A table that does not exist yet is ``None`` or empty.

    Tables may reach beyond ``as_of``: rows of later sessions are ignored, so a report on a past
    month never changes. ``benchmark`` is `equal_weight_benchmark`, ``benchmark_sectors``
    `benchmark_sector_returns`, ``attribution`` `attribute`. ``quality`` must be what was known at
    ``as_of``. ``notes`` are caveats shown first; ``provenance`` maps table to canonical hash.
    """

    as_of: dt.date
    book: str = "backtest"
    currency: str = "USD"
    knowledge_cutoff: dt.datetime | None = None
    equity: pl.DataFrame | None = None
    benchmark: pl.DataFrame | None = None
    benchmark_sectors: pl.DataFrame | None = None
    positions: pl.DataFrame | None = None
    decisions: pl.DataFrame | None = None
    orders: pl.DataFrame | None = None
    trades: pl.DataFrame | None = None
    broker_scorecard: pl.DataFrame | None = None
    rebalance_requests: pl.DataFrame | None = None
    cash_entries: pl.DataFrame | None = None
    signals: pl.DataFrame | None = None
    evaluations: pl.DataFrame | None = None
    quarantine: pl.DataFrame | None = None
    coverage: pl.DataFrame | None = None
    universe: pl.DataFrame | None = None
    attribution: pl.DataFrame | None = None
    reconciliation: pl.DataFrame | None = None
    instruments: pl.DataFrame | None = None
    quality: ModelQuality | None = None
    notes: tuple[str, ...] = ()
    provenance: Mapping[str, str] = {}

    @property
    def month(self) -> str:
        """First day of the report's month, ``"2010-08-01"``."""
        return self.as_of.strftime("%Y-%m-01")

    def table(self, name: str) -> pl.DataFrame:
        """Return a table with its declared columns, ascending by session, none after ``as_of``.

        Raises
        ------
        ContractError
            When a table with rows lacks a column.
        """
        schema = SCHEMAS[name]
        frame: pl.DataFrame | None = getattr(self, name)
        if frame is None or not frame.height:
            return pl.DataFrame(schema=schema)
        missing = [column for column in schema if column not in frame.columns]
        if missing:
            raise ContractError(
                f"The table {name!r} lacks {missing}.",
                remedy="pass the table as its asset declares it",
            )
        chosen = frame.select(*schema).cast(pl.Schema(schema))
        if "session" not in schema:
            return chosen
        known = chosen.filter(pl.col("session") <= self.as_of)
        if known["session"].is_sorted():  # looking costs a hundredth of sorting
            return known
        # Stable: rows of one session keep their order.
        return known.sort("session", maintain_order=True)
