"""From what a model believes to a view that can be acted on, or to a reason not to.

A signal knows one instrument. What is held, what it costs and what is allowed is not its business.
"""

from __future__ import annotations

import msgspec
import polars as pl

from contracts.errors import ContractError

CLASSES = 5
# Evaluations look several horizons ahead; signals are made of this one.
HORIZON_SESSIONS = 5
LEANING = {
    "strong_sell": "short",
    "sell": "short",
    "neutral": "neutral",
    "buy": "long",
    "strong_buy": "long",
}
# What a signal is made of; a null in any of them is an evaluation that was not made.
NEEDED = (
    *("instrument_id", "session", "month", "horizon_sessions", "rating"),
    *("p_strong_sell", "p_sell", "p_neutral", "p_buy", "p_strong_buy"),
    *("score_z", "volatility", "ic_shrunk", "expected_return", "top_reasons", "model_version"),
    *("out_of_distribution", "unexplained_jump_recent"),
)

SIGNAL_SCHEMA: dict[str, pl.DataType | type[pl.DataType]] = {
    "instrument_id": pl.String,
    "session": pl.Date,
    "month": pl.String,
    "side": pl.String,
    "strength": pl.Float64,
    "confidence": pl.Float64,
    "horizon_sessions": pl.Int64,
    "expected_return": pl.Float64,
    "volatility": pl.Float64,
    "valid_from": pl.Date,
    "valid_to": pl.Date,
    "evaluation_id": pl.String,
    "reasons": pl.String,
    "abstain": pl.Boolean,
    "abstain_reason": pl.String,
}


class SignalPolicy(msgspec.Struct, frozen=True):
    """Thresholds of the step from evaluation to signal.

    ``strength`` reaches 1 at ``full_strength_z`` cross-sectional deviations. A largest probability
    within ``uniform_margin`` of 1 / 5 says nothing about the class.
    """

    full_strength_z: float = 2.0
    uniform_margin: float = 0.01


def generate_signals(
    evaluations: pl.DataFrame,
    next_sessions: pl.Series,
    policy: SignalPolicy | None = None,
) -> pl.DataFrame:
    """Turn every evaluation into one signal.

    Parameters
    ----------
    evaluations : pl.DataFrame
        From ``ml.evaluate.evaluate``; ``event_id``, where present, becomes ``evaluation_id``.
    next_sessions : pl.Series
        Exchange sessions, ascending dates, from the calendar: they hold every evaluated session and
        reach horizon + 1 sessions past the last one.
    policy : SignalPolicy, optional
        Thresholds.

    Returns
    -------
    pl.DataFrame
        ``SIGNAL_SCHEMA`` sorted by (instrument_id, session); only ``abstain_reason`` and
        ``evaluation_id`` may be null. ``side`` follows the rating (long for buy and strong_buy,
        short for sell and strong_sell); ``strength`` = min(|score_z| / full_strength_z, 1);
        ``confidence`` = calibrated probability of the side's two classes, of the middle class for a
        neutral one; ``expected_return`` and ``volatility`` log, over the horizon.
        ``valid_from`` is the next session, ``valid_to`` the one ``horizon_sessions`` later, at
        whose open the view ends. Abstaining is side neutral, strength 0, and the first reason that
        applies: unexplained_jump, out_of_distribution, probabilities_near_uniform,
        no_evidence_of_skill.

    Raises
    ------
    ContractError
        When the calendar does not reach far enough, or an evaluation has a null where none may be.
    """
    policy = policy or SignalPolicy()
    timed = _with_validity(_complete(evaluations), next_sessions)
    leaning = pl.col("rating").replace_strict(LEANING, return_dtype=pl.String)
    return (
        timed.with_columns(_abstain_reason(policy).alias("abstain_reason"))
        .with_columns(pl.col("abstain_reason").is_not_null().alias("abstain"))
        .with_columns(
            pl.when("abstain").then(pl.lit("neutral")).otherwise(leaning).alias("side"),
            _confidence(leaning).alias("confidence"),
        )
        .with_columns(
            pl.when(pl.col("side") == "neutral")
            .then(0.0)
            .otherwise(pl.min_horizontal(pl.col("score_z").abs() / policy.full_strength_z, 1.0))
            .alias("strength"),
            _reasons().alias("reasons"),
            pl.col("event_id").alias("evaluation_id"),
        )
        .select(*SIGNAL_SCHEMA)
        .sort("instrument_id", "session")
    )


def _complete(evaluations: pl.DataFrame) -> pl.DataFrame:
    """Refuse nulls where none may be, and add an empty ``event_id`` where there is none yet."""
    empty = [name for name in NEEDED if evaluations[name].null_count()]
    if empty:
        raise ContractError(
            f"Evaluations have nulls in {empty}.", remedy="pass what ml.evaluate returned"
        )
    if "event_id" in evaluations.columns:
        return evaluations
    return evaluations.with_columns(pl.lit(None, dtype=pl.String).alias("event_id"))


def _with_validity(evaluations: pl.DataFrame, next_sessions: pl.Series) -> pl.DataFrame:
    """Add ``valid_from`` and ``valid_to`` by the calendar, for each horizon in use."""
    parts = [
        pl.DataFrame({"session": next_sessions}).with_columns(
            pl.lit(horizon, dtype=pl.Int64).alias("horizon_sessions"),
            pl.col("session").shift(-1).alias("valid_from"),
            pl.col("session").shift(-1 - horizon).alias("valid_to"),
        )
        for horizon in evaluations["horizon_sessions"].unique().sort().to_list()
    ]
    if not parts:
        none = pl.lit(None, dtype=pl.Date)
        return evaluations.with_columns(none.alias("valid_from"), none.alias("valid_to"))
    timed = evaluations.join(
        pl.concat(parts), on=["session", "horizon_sessions"], how="left", maintain_order="left"
    )
    late = timed.filter(pl.col("valid_to").is_null())
    if late.height:
        raise ContractError(
            f"The calendar passed ends before the signals of {late['session'].sort()[0]} do.",
            remedy="pass sessions from the first evaluation to horizon + 1 past the last",
        )
    return timed


def _abstain_reason(policy: SignalPolicy) -> pl.Expr:
    largest = pl.max_horizontal("p_strong_sell", "p_sell", "p_neutral", "p_buy", "p_strong_buy")
    return (
        pl.when("unexplained_jump_recent")
        .then(pl.lit("unexplained_jump"))
        .when("out_of_distribution")
        .then(pl.lit("out_of_distribution"))
        .when(largest < 1.0 / CLASSES + policy.uniform_margin)
        .then(pl.lit("probabilities_near_uniform"))
        .when(pl.col("ic_shrunk") == 0.0)
        .then(pl.lit("no_evidence_of_skill"))
    )


def _confidence(leaning: pl.Expr) -> pl.Expr:
    return (
        pl.when(leaning == "long")
        .then(pl.col("p_buy") + pl.col("p_strong_buy"))
        .when(leaning == "short")
        .then(pl.col("p_sell") + pl.col("p_strong_sell"))
        .otherwise(pl.col("p_neutral"))
    )


def _reasons() -> pl.Expr:
    """Say in words what the signal rests on, and first of all why it abstains."""
    abstaining = pl.col("abstain_reason").replace_strict(
        {
            "unexplained_jump": "abstains: an overnight jump of the last sessions is unexplained",
            "out_of_distribution": "abstains: the features lie outside what the model was taught",
            "probabilities_near_uniform": "abstains: the probabilities are close to uniform",
            "no_evidence_of_skill": "abstains: the model has shown no evidence of skill",
        },
        default=None,
        return_dtype=pl.String,
    )
    rated = pl.format(
        "rated {} at score z {}",
        pl.col("rating").str.replace("_", " ", literal=True),
        pl.col("score_z").round(2),
    )
    expected = pl.format(
        "expects {} bps in {} sessions at {} bps volatility",
        (pl.col("expected_return") * 10_000).round(1),
        pl.col("horizon_sessions"),
        (pl.col("volatility") * 10_000).round(0).cast(pl.Int64),
    )
    because = pl.format(
        "driven by {}", pl.col("top_reasons").str.replace_all(",", ", ", literal=True)
    )
    model = pl.format("model {}", pl.col("model_version"))
    return pl.concat_str(
        abstaining, rated, expected, because, model, separator="; ", ignore_nulls=True
    )
