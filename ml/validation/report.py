"""What walking forward has shown, good or bad, as a page for people and as JSON for machines.

The wording is part of the rule: skill is claimed only where the ranks and the money agree, and
"no evidence" is said where there is none.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from contracts.errors import ContractError
from contracts.events import RATINGS
from domain.reporting.evidence import T_STATISTIC_MIN
from domain.reporting.figures import ABSENT, basis_points, count, day, number, percent
from ml.validation.decile_portfolio import DECILES
from ml.validation.deflated_sharpe import CONFIDENCE
from ml.validation.reliability import Reliability
from ml.validation.trials import TrialCount
from ml.validation.validate import Stability, Validation

# Fewer horizons that do not overlap, and a HAC t-statistic is too sure of itself.
HORIZONS_MIN = 10
SCHEMA = "walk-forward-report/1"
_BPS = 1e4


class WalkForwardReport(msgspec.Struct, frozen=True):
    """The same report twice: Markdown, and the numbers behind it as JSON."""

    markdown: str
    json: bytes


class Evidence(msgspec.Struct, frozen=True):
    """What a validation shows, in one word and in sentences.

    ``level``: ``none`` (nothing shown, or too little measured), ``ranks`` (the rank IC is above
    zero, the deflated Sharpe ratio does not exclude luck), ``skill`` (both), ``against`` (the
    ranks were inverted).
    """

    level: str
    sentences: tuple[str, ...]


def evidence_of(validation: Validation) -> Evidence:
    """Say what a validation is evidence of.

    Skill asks for both: a rank IC above zero with t >= 2 over at least ten horizons that do not
    overlap, and a deflated Sharpe ratio after costs of at least 0.95.
    """
    t, n = validation.ic_t_hac, validation.n_sessions
    ranks = (
        f"rank IC {number(validation.ic_mean, 4, signed=True)}, t {number(t, 2, signed=True)} over "
        f"{count(n, 'session')}"
    )
    level, first = "none", f"No evidence of skill: {ranks}."
    if t is None or n < HORIZONS_MIN * validation.horizon_sessions:
        first = f"No evidence of skill: {count(n, 'session')} with an outcome are too few to tell."
    elif t <= -T_STATISTIC_MIN:
        level = "against"
        first = f"Evidence against the model: {ranks}. It ranked the wrong way round."
    elif t >= T_STATISTIC_MIN:
        sure = validation.long_short.dsr is not None and validation.long_short.dsr >= CONFIDENCE
        level = "skill" if sure else "ranks"
        first = (
            f"Evidence of skill: {ranks}."
            if sure
            else f"The ranks carry information ({ranks}), which is not evidence that anything is "
            "left after costs and luck."
        )
    return Evidence(level, (first, _money(validation), *_beside(validation)))


def walk_forward_report(
    validations: Sequence[Validation], trials: TrialCount, *, title: str = "Walk-forward report"
) -> WalkForwardReport:
    """Render the validations of several horizons.

    Parameters
    ----------
    validations : sequence of Validation
        One per horizon, at least one, in any order; baselines are in their ``against``.
    trials : TrialCount
        What the Sharpe ratios were deflated by.

    Returns
    -------
    WalkForwardReport
        Deterministic: equal validations give equal bytes.

    Raises
    ------
    ContractError
        When a horizon occurs twice, or a validation was deflated by another number of trials.
    """
    ordered = sorted(validations, key=lambda each: each.horizon_sessions)
    horizons = [each.horizon_sessions for each in ordered]
    if not ordered or len(set(horizons)) != len(horizons):
        raise ContractError(
            f"Validations of the horizons {horizons}.", remedy="pass one validation per horizon"
        )
    for each in ordered:
        if each.long_short.n_trials != trials.n:
            raise ContractError(
                f"The horizon of {each.horizon_sessions} sessions is deflated by "
                f"{each.long_short.n_trials} trials; {trials.n} were counted.",
                remedy="validate again with the number of trials counted",
            )
    evidence = [evidence_of(each) for each in ordered]
    parts = [
        f"# {title}",
        _opening(ordered, trials),
        "## What it shows",
        *(
            f"**{count(each.horizon_sessions, 'session')} ahead.** " + " ".join(found.sentences)
            for each, found in zip(ordered, evidence, strict=True)
        ),
        "## Measures",
        _measures(ordered),
        "## Deciles",
        "Mean simple return over the horizon, less the session's mean, in basis points; decile 10 "
        "has the highest scores.",
        _deciles(ordered),
        "## Beside the baselines",
        _baselines(ordered),
        "## Calibration",
        *(_calibration(each) for each in ordered),
        "## Stability",
        *(_stability(each) for each in ordered),
        "## How it was measured",
        _method(ordered),
    ]
    payload = {
        "schema": SCHEMA,
        "title": title,
        "trials": trials,
        "evidence": {str(h): found for h, found in zip(horizons, evidence, strict=True)},
        "validations": ordered,
    }
    encoded = msgspec.json.format(msgspec.json.encode(payload), indent=2)
    return WalkForwardReport("\n\n".join(part for part in parts if part) + "\n", encoded)


def _money(validation: Validation) -> str:
    book = validation.long_short
    if book.dsr is None or book.sharpe is None:
        return "The long-short book is too short, or too empty, for a Sharpe ratio."
    best = number(book.expected_maximum_sharpe, 2)
    said = (
        f"After costs of {number(validation.cost_bps, 1)} bps the long-short book has a Sharpe "
        f"ratio of {number(book.sharpe, 2)} a year over {count(book.n_days, 'session')}; the best "
        f"of {count(book.n_trials, 'trial')} without skill would show {best}. "
        f"Deflated Sharpe ratio {number(book.dsr, 3)}"
    )
    if book.dsr >= CONFIDENCE:
        return f"{said}: unlikely to be luck."
    return f"{said}, below {CONFIDENCE}: luck is not excluded."


def _beside(validation: Validation) -> tuple[str, ...]:
    behind = [
        f"{each.name.replace('_', ' ')} (t {number(each.ic_advantage_t_hac, 1, signed=True)})"
        for each in validation.against
        if each.ic_advantage_t_hac is None or each.ic_advantage_t_hac < T_STATISTIC_MIN
    ]
    if not validation.against:
        return ("No baseline was measured beside it.",)
    if not behind:
        return ("Its ranks are ahead of every baseline.",)
    return (f"Its ranks are not shown to be ahead of {', '.join(behind)}.",)


def _opening(ordered: Sequence[Validation], trials: TrialCount) -> str:
    first = min((each.first_session for each in ordered if each.first_session), default=None)
    last = max((each.last_session for each in ordered if each.last_session), default=None)
    span = (
        f"Evaluations of {day(first)} to {day(last)}" if first else "No evaluation has an outcome"
    )
    return (
        f"{span}, each by the model that was champion then, measured on outcomes that no model had "
        f"seen. {trials.sentence()}"
    )


_ROWS: tuple[tuple[str, Callable[[Validation], str]], ...] = (
    ("Sessions with an IC", lambda v: count(v.n_sessions)),
    ("Evaluations with an outcome", lambda v: count(v.n_rows)),
    ("Rank IC, mean", lambda v: number(v.ic_mean, 4, signed=True)),
    ("Rank IC, standard deviation", lambda v: number(v.ic_std, 4)),
    ("Rank IC, t (HAC, lag h - 1)", lambda v: number(v.ic_t_hac, 2, signed=True)),
    ("Sessions with a positive IC", lambda v: percent(v.ic_positive_share, 1)),
    ("Decile spread over the horizon", lambda v: _bps(v.spread_mean)),
    ("Decile spread, t", lambda v: number(v.spread_t_hac, 2, signed=True)),
    ("Decile spread after costs", lambda v: _bps(v.spread_after_costs_mean)),
    ("Decile spread after costs, t", lambda v: number(v.spread_after_costs_t_hac, 2, signed=True)),
    ("Sessions with a positive spread", lambda v: percent(v.hit_rate, 1)),
    ("Buys and sells on the right side", lambda v: percent(v.rating_hit_rate, 1)),
    ("Turnover of the book per session", lambda v: percent(v.long_short.turnover_mean, 1)),
    ("Sharpe ratio before costs, annualised", lambda v: number(v.long_short.sharpe_gross, 2)),
    ("Sharpe ratio after costs, annualised", lambda v: number(v.long_short.sharpe, 2)),
    ("Skew of daily returns", lambda v: number(v.long_short.skew, 2)),
    ("Kurtosis of daily returns", lambda v: number(v.long_short.kurtosis, 2)),
    ("Probabilistic Sharpe ratio", lambda v: number(v.long_short.psr, 3)),
    ("Trials", lambda v: count(v.long_short.n_trials)),
    ("Best Sharpe ratio of luck", lambda v: number(v.long_short.expected_maximum_sharpe, 2)),
    ("Deflated Sharpe ratio", lambda v: number(v.long_short.dsr, 3)),
    ("Log-loss", lambda v: number(v.log_loss, 4)),
    ("Log-loss of uniform", lambda v: number(v.log_loss_uniform, 4)),
    (
        "Class-wise calibration error",
        lambda v: number(v.reliability.classwise_error if v.reliability else None, 4),
    ),
    ("Outcomes inside the interval", lambda v: percent(v.interval_coverage, 1)),
    ("Gross weight over missing opens", lambda v: percent(v.long_short.unpriced_share, 2)),
    ("Positions over unexplained jumps", lambda v: count(v.long_short.n_jumps)),
)


def _measures(ordered: Sequence[Validation]) -> str:
    head = ["Measure", *(count(each.horizon_sessions, "session") for each in ordered)]
    return _table(head, [[label, *(read(each) for each in ordered)] for label, read in _ROWS])


def _deciles(ordered: Sequence[Validation]) -> str:
    head = ["Decile", *(count(each.horizon_sessions, "session") for each in ordered)]
    rows = [
        [str(d + 1), *(_bps(each.decile_returns[d] if each.decile_returns else None)
                       for each in ordered)]
        for d in range(DECILES)
    ]  # fmt: skip
    return _table(head, rows)


def _baselines(ordered: Sequence[Validation]) -> str:
    rows = []
    for each in ordered:
        for name, measured, ahead, t in (
            ("model", each, None, None),
            *((o.name, o.validation, o.ic_advantage, o.ic_advantage_t_hac) for o in each.against),
        ):
            rows.append(
                [
                    str(each.horizon_sessions),
                    name.replace("_", " "),
                    number(measured.ic_mean, 4, signed=True),
                    number(measured.ic_t_hac, 2, signed=True),
                    _bps(measured.spread_after_costs_mean),
                    number(measured.long_short.sharpe, 2),
                    number(measured.long_short.psr, 3),
                    number(ahead, 4, signed=True),
                    number(t, 2, signed=True),
                ]
            )
    head = [
        "Horizon", "Score", "Rank IC", "t", "Spread after costs", "Sharpe", "PSR",
        "Model's IC ahead by", "t of that",
    ]  # fmt: skip
    return _table(head, rows)


def _calibration(each: Validation) -> str:
    head = f"**{count(each.horizon_sessions, 'session')} ahead.** "
    if each.reliability is None or each.log_loss is None:
        return head + "No probabilities with an outcome."
    better = (
        ", which takes no view on direction: knowing who is volatile is enough"
        if each.log_loss < each.log_loss_uniform
        else ": no better"
    )
    said = (
        f"{head}Log-loss {number(each.log_loss, 4)} against {number(each.log_loss_uniform, 4)} "
        f"uniform{better}. Class-wise calibration error "
        f"{number(each.reliability.classwise_error, 4)} over "
        f"{count(each.reliability.n_rows, 'row')}."
    )
    if each.interval_coverage is not None:
        said += (
            f" {percent(each.interval_coverage, 1)} of outcomes lay inside intervals meant for "
            f"{percent(each.interval_nominal, 0)}."
        )
    return f"{said}\n\n{_reliability_table(each.reliability)}"


def _reliability_table(found: Reliability) -> str:
    """One row per bin, one column per class; equal probabilities leave a class fewer bins."""
    rows = [
        [
            str(place + 1),
            *(
                f"{percent(bins[place].predicted, 1)}: {percent(bins[place].observed, 1)}"
                if place < len(bins)
                else ABSENT
                for bins in found.bins
            ),
        ]
        for place in range(max(len(bins) for bins in found.bins))
    ]
    return _table(["Announced: observed", *(name.replace("_", " ") for name in RATINGS)], rows)


def _stability(each: Validation) -> str:
    head = f"**{count(each.horizon_sessions, 'session')} ahead.**"
    tables = [
        _table([title, "Sessions", "Rank IC", "t"], [_stable(one) for one in parts])
        for title, parts in (("Year", each.by_year), ("Sector", each.by_sector))
        if parts
    ]
    return "\n\n".join([head, *tables]) if tables else f"{head} Nothing to compare."


def _stable(one: Stability) -> list[str]:
    return [
        one.name,
        count(one.n_sessions),
        number(one.ic_mean, 4, signed=True),
        number(one.ic_t_hac, 2, signed=True),
    ]


def _method(ordered: Sequence[Validation]) -> str:
    costs = sorted({each.cost_bps for each in ordered})
    given = all(each.long_short.trial_variance_given for each in ordered)
    variance = "given" if given else "taken as that of an estimate without skill, 1 / (n - 1)"
    return "\n".join(
        [
            "- Decided on a session's close, traded at the next open; returns from open to open.",
            "- Spread: top less bottom decile of the score, held over the horizon. After costs: "
            "less what turning the tranche of h sessions ago into the new one trades, at "
            f"{', '.join(number(cost, 1) for cost in costs)} bps one way.",
            "- Book: one h-th formed each session (Jegadeesh & Titman 1993), one unit long and one "
            "short per unit of capital; turnover counts buys and sells. No borrowing fees, no "
            "interest, no market impact.",
            "- t-statistics: Newey & West (1987), lag h - 1. Sharpe ratios are annualised by "
            "sqrt(252).",
            "- Deflated Sharpe ratio: Bailey & Lopez de Prado (2014); the trials' Sharpe variance "
            f"is {variance}. Baselines were not chosen among others: one trial each.",
            f"- Skill is claimed where t >= {number(T_STATISTIC_MIN, 0)} over at least "
            f"{HORIZONS_MIN} horizons and the deflated Sharpe ratio is at least {CONFIDENCE}.",
            "- Names that leave the data inside a holding period have no outcome in IC and spread; "
            "the book holds them at their last price.",
        ]
    )


def _bps(value: float | None) -> str:
    return basis_points(None if value is None else value * _BPS, 1, signed=True)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table, the first column to the left, numbers to the right."""
    rule = ["---", *["---:"] * (len(head) - 1)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, rule, *rows))
