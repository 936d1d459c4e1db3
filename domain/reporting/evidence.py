"""What the tables say, as numbers: the aggregations behind a report's sentences and tables.

Integers are summed as integers and floats with ``math.fsum``, so that row order and thread count
cannot change a report. Not here: words about sections (``sections``) or pictures (``charts``).
"""

from __future__ import annotations

import datetime as dt
import json
import math
from collections.abc import Iterable

import msgspec
import polars as pl

from domain.reporting.figures import number

T_STATISTIC_MIN = 2.0
# Prefix of the accounts that hold an instrument at what it cost, less what it brought.
TRADING = "trading:"
INCOME = "income:"


class ModelQuality(msgspec.Struct, frozen=True, kw_only=True):
    """Out-of-sample quality of the model behind the evaluations; ``None`` where not measured.

    ``ic_mean`` is the mean daily rank correlation of score and outcome, ``ic_t_hac`` its
    t-statistic with autocorrelation-consistent errors, ``log_loss`` in nats against
    ``log_loss_uniform``.
    """

    ic_mean: float | None = None
    ic_t_hac: float | None = None
    n_sessions: int = 0
    log_loss: float | None = None
    log_loss_uniform: float | None = None
    evidence: str = ""


class TrialBalance(msgspec.Struct, frozen=True):
    """Debits and credits by account class, in integer minor units.

    ``rows`` are (account, debit, credit, balance); the balances sum to ``difference_minor``.
    """

    rows: tuple[tuple[str, int, int, int], ...]
    difference_minor: int


class ExecutionSummary(msgspec.Struct, frozen=True, kw_only=True):
    """Orders and fills of a period; costs in minor units, slippage in bps of arrival price."""

    by_status: tuple[tuple[str, int], ...]
    by_reason: tuple[tuple[str, int], ...]
    n_trades: int
    ordered_shares: int
    filled_shares: int
    traded_minor: int
    commission_minor: int
    spread_cost_minor: int
    slippage_bps: float | None
    slippage_worst_bps: float | None


def evidence_statement(quality: ModelQuality | None) -> str:
    """Say in one sentence whether the model's information coefficient is evidence of skill.

    |t| >= 2 is asked for (5 % two-sided; Newey and West 1987 errors). Nothing is claimed below.
    """
    ic = _finite(quality.ic_mean if quality else None)
    t = _finite(quality.ic_t_hac if quality else None)
    if quality is None or ic is None or t is None:
        return "No evidence yet: no model has been evaluated out of sample."
    figures = f"IC {number(ic, 3)}, t {number(t, 1)} over {quality.n_sessions:,} sessions"
    if t >= T_STATISTIC_MIN:
        return f"Evidence of skill: {figures}."
    if t <= -T_STATISTIC_MIN:
        return f"Evidence against the model: {figures}. It has been wrong more often than right."
    return f"No evidence of skill: {figures}."


def monthly_activity(equity: pl.DataFrame) -> pl.DataFrame:
    """Return per month ``turnover``, ``traded_minor``, ``cost_minor``, ``cost_bps`` (of NAV).

    ``turnover`` is value traded over NAV, summed over the sessions (buys plus sells); the NAV
    behind ``cost_bps`` is the mean of the month's closing values.
    """
    rows = []
    for month in sorted(equity["month"].unique().to_list()):
        part = equity.filter(pl.col("month") == month)
        cost = _total(part, "commission_minor") + _total(part, "spread_cost_minor")
        nav = _total(part, "nav_minor") / part.height
        rows.append(
            {
                "month": month,
                "turnover": math.fsum(part["turnover"].fill_null(0.0).to_list()),
                "traded_minor": _total(part, "traded_minor"),
                "cost_minor": cost,
                "cost_bps": cost / nav * 1e4 if nav else 0.0,
            }
        )
    schema = {"month": pl.String, "turnover": pl.Float64, "traded_minor": pl.Int64}
    return pl.DataFrame(rows, schema=schema | {"cost_minor": pl.Int64, "cost_bps": pl.Float64})


def contributions(
    positions: pl.DataFrame, cash_entries: pl.DataFrame, equity: pl.DataFrame, month: str
) -> pl.DataFrame:
    """Return each name's gain over the month, from its marks and its trading account.

    Gain = closing value - opening value - what its account ``trading:<instrument id>`` was debited
    + what it was credited: purchases and sales, spin-offs, cash in lieu, positions closed because
    their data ended; and income whose reference is ``<instrument id>:...``. Commissions are left
    out. The opening is the last close before the month. ``contribution`` divides it by
    the net asset value then (or at the month's first close, for the first month).

    Returns
    -------
    pl.DataFrame
        ``instrument_id``, ``gain_minor``, ``contribution`` (fraction), by gain, then name.
    """
    schema = {"instrument_id": pl.String, "gain_minor": pl.Int64, "contribution": pl.Float64}
    book = equity.sort("session")
    inside = book.filter(pl.col("month") == month)
    if not inside.height:
        return pl.DataFrame(schema=schema)
    before = book.filter(pl.col("session") < inside["session"][0])
    base = int((before if before.height else inside)["nav_minor"][-1 if before.height else 0])
    gains: dict[str, int] = {}
    closing = positions.filter(pl.col("session") == inside["session"][-1])
    for name, value in closing.select("instrument_id", "market_value_minor").iter_rows():
        gains[name] = gains.get(name, 0) + value
    if before.height:
        opening = positions.filter(pl.col("session") == before["session"][-1])
        for name, value in opening.select("instrument_id", "market_value_minor").iter_rows():
            gains[name] = gains.get(name, 0) - value
    moved = cash_entries.filter(pl.col("month") == month)
    for debit, credit, value, reference in moved.select(
        "debit", "credit", "amount_minor", "reference"
    ).iter_rows():
        if credit.startswith(INCOME):
            name = reference.partition(":")[0]
            gains[name] = gains.get(name, 0) + value
        for account, amount in ((debit, -value), (credit, value)):
            if account.startswith(TRADING):
                name = account.removeprefix(TRADING)
                gains[name] = gains.get(name, 0) + amount
    rows = [(name, gain, gain / base if base else 0.0) for name, gain in gains.items()]
    rows.sort(key=lambda row: (-row[1], row[0]))
    return pl.DataFrame(rows, schema=schema, orient="row")


def sector_exposure(positions: pl.DataFrame, benchmark_sectors: pl.DataFrame) -> pl.DataFrame:
    """Return the last session's weights by sector beside the benchmark's.

    Parameters
    ----------
    positions : pl.DataFrame
        ``session``, ``sector``, ``weight``.
    benchmark_sectors : pl.DataFrame
        ``session``, ``sector``, ``weight`` (`benchmark_sector_returns`); may be empty.

    Returns
    -------
    pl.DataFrame
        ``sector``, ``portfolio_weight``, ``benchmark_weight`` (null without a benchmark), ordered
        by the book's weight, then name. A null sector is ``"unknown"``.
    """
    held = _weights_of_last(positions)
    index = _weights_of_last(benchmark_sectors)
    rows = [
        (name, held.get(name, 0.0), index.get(name, 0.0) if index else None)
        for name in sorted({*held, *index}, key=lambda name: (-held.get(name, 0.0), name))
    ]
    schema = {"sector": pl.String, "portfolio_weight": pl.Float64, "benchmark_weight": pl.Float64}
    return pl.DataFrame(rows, schema=schema, orient="row")


def clips_by_rule(decisions: pl.DataFrame) -> list[tuple[str, int, int]]:
    """Return (rule, decisions it clipped, decisions where it was the last word), by count.

    Raises ``json.JSONDecodeError`` where ``clips`` is no JSON: a decision must explain itself.
    """
    clipped: dict[str, int] = {}
    binding: dict[str, int] = {}
    for text, rule in decisions.select("clips", "binding_rule").iter_rows():
        for name in sorted({str(clip["rule"]) for clip in json.loads(text or "[]")}):
            clipped[name] = clipped.get(name, 0) + 1
        if rule is not None:
            binding[rule] = binding.get(rule, 0) + 1
    rows = [(n, clipped.get(n, 0), binding.get(n, 0)) for n in {*clipped, *binding}]
    return sorted(rows, key=lambda row: (-row[1], -row[2], row[0]))


def counted(values: Iterable[str | None]) -> list[tuple[str, int]]:
    """Return (value, how often), most frequent first, then by name; a null is ``"unknown"``."""
    found: dict[str, int] = {}
    for value in values:
        key = "unknown" if value is None else value
        found[key] = found.get(key, 0) + 1
    return sorted(found.items(), key=lambda item: (-item[1], item[0]))


def execution_summary(orders: pl.DataFrame, trades: pl.DataFrame) -> ExecutionSummary:
    """Summarise orders and fills; slippage is weighted by notional, null prices left out."""
    weighted, weight, worst = [], 0, None
    for slippage, notional in trades.select("slippage_bps", "notional_minor").iter_rows():
        if _finite(slippage) is not None and notional:
            weighted.append(slippage * notional)
            weight += notional
            worst = slippage if worst is None else max(worst, slippage)
    return ExecutionSummary(
        by_status=tuple(counted(orders["status"].to_list())),
        by_reason=tuple(counted(orders["reason"].drop_nulls().to_list())),
        n_trades=trades.height,
        ordered_shares=_total(orders, "order_qty"),
        filled_shares=_total(orders, "filled_qty"),
        traded_minor=_total(trades, "notional_minor"),
        commission_minor=_total(trades, "commission_minor"),
        spread_cost_minor=_total(trades, "spread_cost_minor"),
        slippage_bps=math.fsum(weighted) / weight if weight else None,
        slippage_worst_bps=worst,
    )


def trial_balance(cash_entries: pl.DataFrame) -> TrialBalance:
    """Sum double entries by account.

    Accounts of instruments, such as ``trading:US.A``, fold into one row; others stand alone.
    The difference is zero in a ledger where every entry debits what it credits.
    """
    debits: dict[str, int] = {}
    credits_: dict[str, int] = {}
    # Sums of integers: they do not depend on the order of the rows.
    for side, sums in (("debit", debits), ("credit", credits_)):
        totals = cash_entries.group_by(side).agg(pl.col("amount_minor").sum())
        for account, amount in totals.iter_rows():
            sums[_account(account)] = sums.get(_account(account), 0) + amount
    rows = tuple(
        (
            name,
            debits.get(name, 0),
            credits_.get(name, 0),
            debits.get(name, 0) - credits_.get(name, 0),
        )
        for name in sorted({*debits, *credits_})
    )
    return TrialBalance(rows, sum(row[3] for row in rows))


def last_session(frame: pl.DataFrame) -> dt.date | None:
    """Return the newest session of a table, ``None`` when it has no rows."""
    value = frame["session"].max()
    return value if isinstance(value, dt.date) else None


def _account(name: str) -> str:
    return "trading (all instruments)" if name.startswith(TRADING) else name


def _weights_of_last(frame: pl.DataFrame) -> dict[str, float]:
    parts: dict[str, list[float]] = {}
    rows = frame.filter(pl.col("session") == last_session(frame)) if frame.height else frame
    for sector, weight in rows.select("sector", "weight").iter_rows():
        parts.setdefault("unknown" if sector is None else sector, []).append(weight)
    return {name: math.fsum(values) for name, values in sorted(parts.items())}


def _total(frame: pl.DataFrame, column: str) -> int:
    return int(frame[column].sum() or 0)


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
