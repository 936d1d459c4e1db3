"""The demo's summary: what a person wants to know first, from the tables in the lake."""

from __future__ import annotations

import datetime as dt
import math

import polars as pl
from rich.console import Console
from rich.table import Table

from cli.cash import trial_balance_lines
from domain.reporting.evidence import last_session
from domain.reporting.ratings import both_ends, reasons_of
from io_managers.lake import Lake
from io_managers.reports import ReportStore
from ml.labels.forward import HORIZON_SESSIONS, HORIZONS
from ml.registry.champions import models_table
from orchestration.base.settings import Settings

TABLES = (
    ("market_data", "bars"), ("market_data", "quarantine"),
    ("instrument_analysis", "indicators"), ("instrument_analysis", "correlation_matrices"),
    ("market_prediction", "features"), ("market_prediction", "evaluations"),
    ("trading_decision", "signals"), ("portfolio_coordination", "decisions"),
    ("trade_execution", "orders"), ("trade_execution", "trades"),
    ("portfolio_management", "positions"), ("cash_management", "cash_entries"),
)  # fmt: skip


def print_summary(settings: Settings, console: Console) -> None:
    """Print the state of the lake: data, beliefs, book, and where to look next."""
    lake = Lake(settings.lake_root)
    for title, rows in (
        ("Data", _data(lake, settings)),
        ("Beliefs", _beliefs(lake)),
        ("Book", _book(lake)),
        ("Cash", trial_balance_lines(lake)),
    ):
        shown = Table("", "", title=title, title_justify="left", show_header=False)
        for name, value in rows:
            shown.add_row(name, value)
        console.print(shown)
    console.print(_ratings(lake))
    month = str(lake.read(("reporting", "reports"))["month"].max())
    console.print(f"Report  {ReportStore(settings.reports_root).path_of(month)}", soft_wrap=True)
    console.print(f"Lake    {settings.lake_root}", soft_wrap=True)
    console.print(
        "Next    open the report in a browser; `make dev` shows the lineage at "
        "http://127.0.0.1:3000; `make backfill FROM=2010-05-01 TO=2010-08-01` rebuilds months"
    )


def _data(lake: Lake, settings: Settings) -> list[tuple[str, str]]:
    bars, coverage = (lake.read(("market_data", name)) for name in ("bars", "coverage"))
    missing = coverage.filter("missing")["session"].to_list()
    quarantine = lake.read(("market_data", "quarantine"))
    rows = [
        ("as of", str(settings.last_session())),
        (
            "sessions",
            f"{bars['session'].n_unique()} of {coverage.height}; missing "
            + (", ".join(map(str, missing)) or "none"),
        ),
        ("instruments", f"{bars['instrument_id'].n_unique()}"),
    ]
    rows += [(f"rows of {'/'.join(key)}", f"{lake.read(key).height:,}") for key in TABLES]
    rows += [
        (f"quarantined: {reason}", f"{count:,}")
        for reason, count in quarantine["reason"].value_counts().sort("reason").iter_rows()
    ]
    return rows


def _beliefs(lake: Lake) -> list[tuple[str, str]]:
    measured = lake.read(("market_prediction", "model_quality")).sort("month")
    quality = measured.filter(horizon_sessions=HORIZON_SESSIONS).row(-1, named=True)
    signals = lake.read(("trading_decision", "signals"))
    sides = dict(signals["side"].value_counts().iter_rows())
    rows = [("models", _models(lake))]
    if quality["ic_mean"] is not None:
        rows += [
            (
                "rank IC, out of sample",
                f"{quality['ic_mean']:+.4f}, overlap-adjusted t {quality['ic_t_hac'] or 0.0:+.2f}, "
                f"{quality['n_sessions']} sessions",
            ),
            (
                "log-loss against uniform",
                f"{quality['log_loss']:.4f} against {quality['log_loss_uniform']:.4f}",
            ),
        ]
    rows.append(("evidence", str(quality["evidence"])))
    rows.append(
        (
            "signals",
            ", ".join(f"{count:,} {side}" for side, count in sorted(sides.items()))
            + f"; {int(signals['abstain'].sum()):,} abstain",
        )
    )
    return rows


def _ratings(lake: Lake) -> Table:
    """Show both ends of the last session's forecasts, and what pushes them."""
    evaluations = lake.read(("market_prediction", "evaluations")).filter(
        horizon_sessions=HORIZON_SESSIONS
    )
    when = last_session(evaluations)
    title = f"Ratings of {when}, {HORIZON_SESSIONS} sessions ahead"
    shown = Table("", "rating", "P(up)", "forecast", "because", title=title, title_justify="left")
    for part in both_ends(evaluations, 3):
        for row in part.iter_rows(named=True):
            shown.add_row(
                row["instrument_id"], row["rating"].replace("_", " "),
                f"{row['p_buy'] + row['p_strong_buy']:.0%}",
                f"{row['forecast_return'] * 10_000:+.1f} bps", reasons_of(row),
            )  # fmt: skip
    return shown


def _models(lake: Lake) -> str:
    """Say how many champions each horizon has had."""
    found = []
    for horizon in HORIZONS:
        table = lake.read(models_table(horizon))
        found.append(f"{table['training_key'].n_unique()} over {horizon}")
    return "champions: " + ", ".join(found) + " sessions ahead"


def _book(lake: Lake) -> list[tuple[str, str]]:
    equity = lake.read(("portfolio_management", "equity")).sort("session")
    if equity.is_empty():
        return [("book", "nothing yet: no session has data")]
    benchmark = lake.read(("portfolio_management", "benchmark")).sort("session")
    decisions = lake.read(("portfolio_coordination", "decisions"))
    orders, trades = (lake.read(("trade_execution", name)) for name in ("orders", "trades"))
    first, last = equity.row(0, named=True), equity.row(-1, named=True)
    # Compounded: capital that was paid in or out is no return.
    earned = math.prod(1 + each for each in equity["daily_return"].drop_nulls()) - 1
    cost = int(trades["commission_minor"].sum()) + int(trades["spread_cost_minor"].sum())
    latest = decisions.filter(pl.col("session") == decisions["session"].max())
    capped = latest.filter(pl.col("clips").str.contains("_cap"))
    held: list[dt.date] = equity["session"].to_list()
    clipped = decisions["binding_rule"].drop_nulls().value_counts().sort("binding_rule")
    return [
        (
            "equity",
            f"{first['nav_minor'] / 100:,.0f} -> {last['nav_minor'] / 100:,.0f} USD "
            f"({earned:+.2%}), {held[0]} to {held[-1]}",
        ),
        (
            "equal-weight benchmark",
            f"{benchmark['level'][-1] / benchmark['level'][0] - 1:+.2%} before costs",
        ),
        ("decisions", _counts(decisions, "action")),
        ("clipped by", ", ".join(f"{count:,} {rule}" for rule, count in clipped.iter_rows())),
        ("orders", _counts(orders, "status")),
        ("fills", _fills(trades)),
        ("turnover", f"{equity['turnover'].sum():.1%} of net asset value"),
        ("cost", f"{cost / 100:,.2f} USD"),
        ("invested at the end", f"{last['percent_invested']:.1%} in {last['n_positions']} names"),
        (
            "names at the last rebalance",
            f"{latest.filter(pl.col('tilt_weight') == 0).height} neutral, {capped.height} at a cap",
        ),
    ]


def _fills(trades: pl.DataFrame) -> str:
    simulated = trades.filter(pl.col("broker") == "SIMULATED").height
    executed = trades.filter(pl.col("broker") != "SIMULATED")
    text = f"{simulated:,} simulated at the next open"
    if executed.is_empty():
        return text
    bps = float(executed.select(pl.col("slippage_bps").mean()).item())
    return f"{text}, {executed.height:,} over FIX with {bps:+.1f} bps of slippage against arrival"


def _counts(frame: pl.DataFrame, column: str) -> str:
    counted = frame[column].value_counts().sort(column)
    return ", ".join(f"{count:,} {name}" for name, count in counted.iter_rows())
