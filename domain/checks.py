"""The rules that must hold before anything trades: pure verdicts, one per table and partition.

Dagster's blocking checks and the attestations that a hand-off needs call the same functions.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable

import msgspec
import polars as pl

from contracts.events import RATINGS
from domain.book.policy import BookPolicy
from domain.compliance.rules import GrossLeverage, NameConcentration, SectorConcentration
from domain.market_data.quality import FLAGS
from domain.market_data.series_rules import unit_steps
from domain.market_data.session_rules import session_findings
from domain.market_data.vendor_reconciliation import Reconciliation
from domain.trading_decision.signals import HORIZON_SESSIONS

RULE_SET_VERSION = "checks-3"
SIDES = ("long", "neutral", "short")

# The embedded year quarantines 0.06 % of its lines.
QUARANTINED_MAX = 0.05
# Two vendors of 2015 and 2016 lie more than 50 bp apart on 0.14 % of returns, and on 0.85 % where
# only one of them counts dividends (benchmarks.data_quality).
VENDORS_APART_MAX = 0.01
# Where only one vendor's prices count dividends: 2.8 % in the month in which most are paid.
VENDORS_APART_OTHER_BASIS_MAX = 0.05
VENDORS_COMMON_MIN = 0.5
# What an order may rest on; a backtest may rest on any basis, and its report says so.
RAW_ONLY = ("raw",)
ANY_BASIS = ("raw", "split_adjusted", "total_return")
PROBABILITY_TOLERANCE = 1e-6
WEIGHT_TOLERANCE = 1e-9


class Verdict(msgspec.Struct, frozen=True):
    """Whether one partition of one table may be used, and every rule that it breaks."""

    table: str
    partition: str
    n_rows: int
    violations: tuple[str, ...]
    rule_set_version: str = RULE_SET_VERSION

    @property
    def passed(self) -> bool:
        """True when no rule is broken."""
        return not self.violations


def verdict_of(
    table: str, partition: str, frame: pl.DataFrame, rules: Iterable[tuple[str, int | bool]]
) -> Verdict:
    """Return the verdict of named rules, each with how many rows break it, or whether."""
    broken = tuple(
        f"{name}: {int(count)} rows" if not isinstance(count, bool) else name
        for name, count in rules
        if count
    )
    return Verdict(table, partition, frame.height, broken)


def _count(frame: pl.DataFrame, broken: pl.Expr) -> int:
    # An unknown answer is a broken rule: checks pass positively or not at all.
    return frame.filter(broken.fill_null(value=True)).height


def _duplicates(frame: pl.DataFrame, *key: str) -> int:
    return frame.height - frame.select(key).n_unique() if frame.height else 0


def _several(frame: pl.DataFrame, column: str, *key: str) -> int:
    """Count the keys under which a column has more than one value."""
    values = frame.select(*key, column).n_unique() if frame.height else 0
    return values - (frame.select(key).n_unique() if frame.height else 0)


def check_bars(
    bars: pl.DataFrame,
    quarantine: pl.DataFrame,
    coverage: pl.DataFrame,
    partition: str,
    *,
    bases: Collection[str] = RAW_ONLY,
) -> Verdict:
    """Judge one month of bars: keys, prices, units, calendar, completeness, share of quarantine.

    Parameters
    ----------
    bars, quarantine, coverage : pl.DataFrame
        The month's rows of the three tables of workflow 01.
    bases : collection of str
        The price bases that may be: only a book that never trades may rest on adjusted prices.
    """
    prices = pl.concat_list("open", "high", "low", "close")
    thin = session_findings(coverage).filter(rule="session_half_empty")
    named = pl.col("quality_flags").str.split(",").list.set_difference(["", *FLAGS]).list.len()
    lines = bars.height + quarantine.height
    rules = (
        ("no_bars_for_known_sessions", bars.is_empty() and coverage["n_bars"].sum() > 0),
        ("duplicate_key", _duplicates(bars, "instrument_id", "session")),
        ("price_not_positive_and_finite", _count(bars, _outside(prices))),
        ("volume_negative", _count(bars, pl.col("volume_shares") < 0)),
        (
            "outside_range",
            _count(
                bars,
                (pl.min_horizontal("open", "close") < pl.col("low"))
                | (pl.max_horizontal("open", "close") > pl.col("high")),
            ),
        ),
        ("unit_factor", int(unit_steps(bars.sort("instrument_id", "session")).sum())),
        ("flag_not_of_the_catalogue", _count(bars, named > 0)),
        ("currencies_mixed", bars["currency"].n_unique() > 1),
        ("not_raw_basis", _count(bars, ~pl.col("price_basis").is_in(list(bases)))),
        ("not_a_session", _count(bars, ~pl.col("session").is_in(coverage["session"].implode()))),
        ("no_event_id", _count(bars, pl.col("event_id").str.len_chars() != 64)),
        ("session_half_empty", thin.height),
        ("too_many_quarantined", quarantine.height > QUARANTINED_MAX * max(lines, 1)),
    )
    return verdict_of("market_data/bars", partition, bars, rules)


def check_vendors(found: Reconciliation, partition: str) -> Verdict:
    """Judge what two vendors say of the sessions of a partition.

    Fails when there is nothing to compare, when the second vendor lacks half of the primary's
    bars, and when more than one return in a hundred is an error, or one in twenty where the two are
    adjusted for different things.

    Parameters
    ----------
    found : Reconciliation
        Of the partition's sessions, with the last one before them as where returns start.
    """
    counted = [name for name in found.counts.columns if name.startswith("n_")]
    n = {name: int(found.counts[name].sum()) for name in counted}
    known = n["n_common"] + n["n_only_primary"]
    apart = VENDORS_APART_OTHER_BASIS_MAX if n.get("n_other_basis") else VENDORS_APART_MAX
    rules = (
        ("nothing_compared", n["n_compared"] == 0),
        ("second_vendor_incomplete", n["n_common"] < VENDORS_COMMON_MIN * known),
        (
            "returns_disagree",
            n["n_return_error"] if n["n_return_error"] > apart * n["n_compared"] else 0,
        ),
    )
    return verdict_of("market_data/vendor_reconciliation", partition, found.discrepancies, rules)


def _outside(prices: pl.Expr) -> pl.Expr:
    return prices.list.eval((pl.element() <= 0) | ~pl.element().is_finite()).list.any()


def check_evaluations(evaluations: pl.DataFrame, partition: str) -> Verdict:
    """Judge one month of evaluations: probabilities, ratings, and that no model saw its future."""
    parts = [f"p_{rating}" for rating in RATINGS]
    probabilities = pl.concat_list(parts)
    rules = (
        (
            "duplicate_key",
            _duplicates(evaluations, "instrument_id", "session", "horizon_sessions"),
        ),
        (
            "probabilities_do_not_sum_to_one",
            _count(evaluations, (pl.sum_horizontal(parts) - 1).abs() > PROBABILITY_TOLERANCE),
        ),
        (
            "probability_outside_zero_and_one",
            _count(
                evaluations,
                probabilities.list.eval(~pl.element().is_between(0, 1)).list.any(),
            ),
        ),
        ("unknown_rating", _count(evaluations, ~pl.col("rating").is_in(RATINGS))),
        (
            "expected_return_not_finite",
            _count(evaluations, ~pl.col("expected_return").is_finite()),
        ),
        ("model_saw_its_future", _count(evaluations, pl.col("train_cutoff") >= pl.col("session"))),
        (
            "several_models_in_a_session",
            _several(evaluations, "model_version", "session", "horizon_sessions"),
        ),
    )
    return verdict_of("market_prediction/evaluations", partition, evaluations, rules)


def check_signals(signals: pl.DataFrame, evaluations: pl.DataFrame, partition: str) -> Verdict:
    """Judge one month of signals: ranges, validity, abstention, and one signal per evaluation."""
    confidence, strength = pl.col("confidence"), pl.col("strength")
    looked_at = evaluations.filter(pl.col("horizon_sessions") == HORIZON_SESSIONS)
    known = signals["evaluation_id"].is_in(looked_at["event_id"].implode())
    rules = (
        ("duplicate_key", _duplicates(signals, "instrument_id", "session")),
        ("no_event_id", _count(signals, pl.col("event_id").str.len_chars() != 64)),
        ("rests_on_no_evaluation", int((~known.fill_null(value=False)).sum())),
        ("evaluation_without_signal", max(0, looked_at.height - signals.height)),
        ("unknown_side", _count(signals, ~pl.col("side").is_in(SIDES))),
        ("confidence_outside_zero_and_one", _count(signals, ~confidence.is_between(0, 1))),
        ("strength_outside_zero_and_one", _count(signals, ~strength.is_between(0, 1))),
        (
            "abstains_and_takes_a_side",
            _count(signals, pl.col("abstain") & (pl.col("side") != "neutral")),
        ),
        ("expected_return_not_finite", _count(signals, ~pl.col("expected_return").is_finite())),
        ("volatility_negative", _count(signals, ~(pl.col("volatility") >= 0))),
        (
            "not_valid_in_its_future",
            _count(
                signals,
                (pl.col("valid_from") <= pl.col("session"))
                | (pl.col("valid_to") <= pl.col("valid_from")),
            ),
        ),
    )
    return verdict_of("trading_decision/signals", partition, signals, rules)


def check_decisions(
    decisions: pl.DataFrame, equity: pl.DataFrame, policy: BookPolicy, partition: str
) -> Verdict:
    """Judge one month of decisions against the limits, independently of how they were sized.

    The weights that the sizer wrote are judged, and so are the shares, at their arrival price and
    the session's net asset value; shares that only the no-trade band keeps may exceed a cap.

    A holding without a price, or blocked, keeps its shares whatever the limits say; its rule says
    so, and it does not count here.
    """
    free = decisions.filter(
        ~pl.col("binding_rule").is_in(["stale_price", "blocked_unexplained_jump", "no_volume"])
        | pl.col("binding_rule").is_null()
    )
    name, sector, gross = (
        policy.weight_max(kind) for kind in (NameConcentration, SectorConcentration, GrossLeverage)
    )
    by_session = [
        math.fsum(frame["target_weight"])
        for frame in free.partition_by("session", maintain_order=True)
    ]
    by_sector = [
        math.fsum(frame["target_weight"])
        for frame in free.partition_by("session", "sector", maintain_order=True)
    ]
    rules = (
        ("duplicate_key", _duplicates(decisions, "session", "instrument_id")),
        ("short_target", _count(decisions, pl.col("target_qty") < 0)),
        (
            "delta_is_not_target_less_current",
            _count(
                decisions,
                pl.col("delta_qty") != pl.col("target_qty") - pl.col("current_qty"),
            ),
        ),
        (
            "over_name_cap",
            _count(free, pl.col("target_weight") > name + WEIGHT_TOLERANCE),
        ),
        ("over_gross_cap", sum(total > gross + WEIGHT_TOLERANCE for total in by_session)),
        ("over_sector_cap", sum(total > sector + WEIGHT_TOLERANCE for total in by_sector)),
        (
            "shares_over_name_cap",
            _count(
                free.filter(pl.col("delta_qty") > 0).join(
                    equity.select("session", "nav_minor"), on="session", how="left"
                ),
                pl.col("target_qty") * pl.col("arrival_price") * 100
                > name * pl.col("nav_minor") + 1,
            ),
        ),
        (
            "no_arrival_price",
            _count(decisions.filter(pl.col("delta_qty") != 0), pl.col("arrival_price") <= 0),
        ),
        ("other_limits", _count(decisions, ~pl.col("limits_version").is_in(sorted(policy.hashes)))),
    )
    return verdict_of("portfolio_coordination/decisions", partition, decisions, rules)
