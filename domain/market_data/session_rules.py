"""Rules on whole sessions: those that nobody has, and those of which half is missing."""

from __future__ import annotations

import polars as pl

from domain.market_data.quality import CATALOGUE, SESSION_COMPLETENESS_MIN


def session_findings(coverage: pl.DataFrame) -> pl.DataFrame:
    """Return the sessions that are missing, or half empty against the usual one of those given.

    Parameters
    ----------
    coverage : pl.DataFrame
        Rows of ``normalise``'s coverage, usually of one month.

    Returns
    -------
    pl.DataFrame
        session, rule, severity, detail.
    """
    usual = float(str(coverage.filter(~pl.col("missing"))["n_bars"].median() or 0))
    few = pl.col("n_bars") < SESSION_COMPLETENESS_MIN * usual
    rule = (
        pl.when("missing")
        .then(pl.lit("session_missing"))
        .when(few)
        .then(pl.lit("session_half_empty"))
    )
    severities = {name: rule.severity for name, rule in CATALOGUE.items()}
    return (
        coverage.with_columns(rule.alias("rule"))
        .filter(pl.col("rule").is_not_null())
        .select(
            "session",
            "rule",
            pl.col("rule").replace_strict(severities, return_dtype=pl.String).alias("severity"),
            pl.format("{} bars, usual are {}", "n_bars", pl.lit(usual)).alias("detail"),
        )
        .sort("session")
    )
