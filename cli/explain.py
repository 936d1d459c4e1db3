"""`quantivista explain`: from a fill, an order or a decision back to the vendor's bytes."""

from __future__ import annotations

import datetime as dt
from typing import Any

import msgspec
import polars as pl
from rich.markup import escape
from rich.tree import Tree

from contracts.errors import LakeError
from io_managers.lake import Lake
from ml.registry.champions import models_table
from ml.registry.model_store import ModelStore
from orchestration.base.partitions import MONTH_COLUMN

# An id may be shortened to its first digits, as people do with hashes.
ID_CHARS_MIN = 6

Row = dict[str, Any]


class Explanation(msgspec.Struct, frozen=True):
    """The walk, link by link; ``links`` are (name, row) from the fill to the raw line."""

    links: tuple[tuple[str, Row], ...]

    def to_json(self) -> bytes:
        """Return the walk as JSON, in order."""
        return msgspec.json.encode([{"link": name} | row for name, row in self.links])

    def to_tree(self) -> Tree:
        """Return the walk as a tree for the terminal; each link hangs below what it explains."""
        root = Tree("explanation")
        branch = root
        for name, row in self.links:
            text = escape(
                ", ".join(f"{key} {value}" for key, value in row.items() if value is not None)
            )
            branch = branch.add(f"[bold]{name}[/bold]  {text}")
        return root


def explain(lake: Lake, identity: str, store: ModelStore | None = None) -> Explanation:
    """Walk from a fill, order or decision to the raw line of the vendor's file.

    Parameters
    ----------
    identity : str
        An execution's event id or ExecID, an order's ClOrdID, or a decision's event id; its first
        characters are enough where they are unique. An ExecID that brokers used on several days is
        named with its day: ``2010-08-20/E100``.
    store : ModelStore, optional
        Says where in MLflow's registry the model is found.

    Raises
    ------
    LakeError
        When no table holds the id, or several rows do.
    """
    if len(identity) < ID_CHARS_MIN and not identity.startswith("E"):
        raise LakeError(
            f"{identity!r} is too short to be an id.", remedy=f"pass {ID_CHARS_MIN} characters"
        )
    links: list[tuple[str, Row]] = []
    decision_id = identity
    trade = _find(lake, ("trade_execution", "trades"), identity, "event_id", "exec_id")
    order_id = identity if trade is None else trade["cl_ord_id"]
    order = _find(lake, ("trade_execution", "orders"), order_id, "cl_ord_id")
    if trade is not None:
        links.append(("fill", _pick(trade, "exec_id", "session", "side", "last_qty", "last_px",
                                    "broker", "slippage_bps")))  # fmt: skip
    if order is not None:
        decision_id = order["decision_id"]
        links.append(("order", _pick(order, "cl_ord_id", "session", "side", "order_qty",
                                     "filled_qty", "status", "reason")))  # fmt: skip
    decision = _find(lake, ("portfolio_coordination", "decisions"), decision_id, "event_id")
    if decision is None:
        raise LakeError(
            f"No fill, order or decision has the id {identity!r}.",
            remedy="take one from trade_execution.trades, trade_execution.orders or "
            "portfolio_coordination.decisions",
        )
    links.append(("decision", _pick(decision, "event_id", "session", "instrument_id", "action",
                                    "delta_qty", "core_weight", "tilt_weight", "clips",
                                    "arrival_price")))  # fmt: skip
    return Explanation((*links, *_beliefs(lake, decision, store), *_data(lake, decision)))


def _beliefs(lake: Lake, decision: Row, store: ModelStore | None) -> list[tuple[str, Row]]:
    """Signal, evaluation, model and indicators; none where no model existed yet."""
    if decision["signal_id"] is None:
        return [("signal", {"note": "none: no model had been trained for this session"})]
    month = decision["month"]
    links = []
    signal = _one(lake, ("trading_decision", "signals"), month, event_id=decision["signal_id"])
    links.append(("signal", _pick(signal, "event_id", "side", "strength", "confidence", "reasons",
                                  "abstain_reason")))  # fmt: skip
    evaluation = _one(
        lake, ("market_prediction", "evaluations"), month, event_id=signal["evaluation_id"]
    )
    links.append(("evaluation", _pick(evaluation, "event_id", "rating", "horizon_sessions",
                                      "forecast_return", "expected_return", "feature_hash",
                                      "top_reasons", "reason_bps")))  # fmt: skip
    models = models_table(evaluation["horizon_sessions"])
    model = _served_by(lake, models, evaluation["model_sha256"])
    links.append(("model", _registered(store, model["training_key"]) | _pick(
        model, "model_sha256", "return_model_sha256", "promoted_by", "promoted_because",
        "train_first", "train_last", "calibration_first", "calibration_known", "n_train_rows",
    )))  # fmt: skip
    return links


def _registered(store: ModelStore | None, training_key: str) -> Row:
    place = None if store is None else store.registration(training_key)
    if place is None:
        return {}
    return {"registered": f"{place.model} version {place.version}", "mlflow_run_id": place.run_id}


def _data(lake: Lake, decision: Row) -> list[tuple[str, Row]]:
    """Return indicators, bar and raw line behind a decision's arrival price."""
    name, session, month = decision["instrument_id"], decision["session"], decision["month"]
    if decision["bar_id"] is None:
        return [("bar", {"note": "none in this session: the last price stood in"})]
    keys = {"instrument_id": name, "session": session}
    indicators = _one(lake, ("instrument_analysis", "indicators"), month, **keys)
    adjusted = _one(lake, ("market_data", "adjusted_bars"), month, **keys)
    bar = _one(lake, ("market_data", "bars"), month, event_id=decision["bar_id"])
    raw = _one(lake, ("market_data", "vendor_drops"), None, sha256=bar["raw_sha256"])
    return [
        ("indicators", _pick(indicators, "event_id", "rsi_14", "macd", "atr_14", "adx_14")),
        ("bars", _pick(adjusted, "history_digest", "factor", "gap_sessions")),
        ("bar", _pick(bar, "event_id", "session", "open", "high", "low", "close",
                      "volume_shares", "quality_flags")),
        ("raw line", {"file": raw["name"], "sha256": raw["sha256"], "line": bar["source_seq"]}),
    ]  # fmt: skip


def _find(lake: Lake, key: tuple[str, str], identity: str, *columns: str) -> Row | None:
    if not lake.exists(key):
        return None
    day, slash, short = identity.partition("/")
    matches = pl.any_horizontal(pl.col(column).str.starts_with(identity) for column in columns)
    if slash and "exec_id" in columns:
        identity = short
        matches = (pl.col("exec_id") == short) & (pl.col("session").cast(pl.String) == day)
    found = lake.read(key, where=matches)
    exact = found.filter(pl.any_horizontal(pl.col(column) == identity for column in columns))
    rows = exact if exact.height else found
    if rows.height > 1:
        raise LakeError(
            f"{rows.height} rows of {'/'.join(key)} have an id that begins with {identity!r}.",
            remedy="pass more of its characters, or an ExecID with its day: 2010-08-20/E100",
        )
    return rows.row(0, named=True) if rows.height else None


def _one(lake: Lake, key: tuple[str, str], month: str | None, **wanted: Any) -> Row:
    where = pl.all_horizontal(pl.col(name) == pl.lit(value) for name, value in wanted.items())
    if month is not None:
        where = (pl.col(MONTH_COLUMN) == month) & where
    rows = lake.read(key, where=where)
    if rows.height != 1:
        raise LakeError(
            f"{rows.height} rows of {'/'.join(key)} match {wanted}, expected one.",
            remedy=f"rebuild {month or 'the table'}: its tables do not belong together",
        )
    return rows.row(0, named=True)


def _served_by(lake: Lake, key: tuple[str, str], sha256: str) -> Row:
    """Return the newest row of a model; where a champion was refused, one from before served."""
    rows = lake.read(key, where=pl.col("model_sha256") == sha256).sort("month", "serves_from")
    if rows.is_empty():
        raise LakeError(
            f"No row of {'/'.join(key)} has model {sha256}.",
            remedy="rebuild the models: the tables do not belong together",
        )
    return rows.row(-1, named=True)


def _pick(row: Row, *names: str) -> Row:
    return {
        name: value.isoformat() if isinstance(value := row[name], dt.date) else value
        for name in names
    }
