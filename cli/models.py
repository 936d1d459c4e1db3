"""`quantivista models`: who serves, who was held back, and a person's word against the rule's."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Annotated, Any

import polars as pl
import typer
from rich.console import Console
from rich.markdown import Markdown
from rich.markup import escape
from rich.table import Table

from cli.acting import As, acting
from contracts.errors import ConfigurationError
from io_managers.lake import Lake
from ml.labels.forward import HORIZONS, forward_returns
from ml.ratings import RatingPolicy
from ml.registry.champions import Champion, Snapshot
from ml.registry.registry import Registry
from ml.validation.baselines import baseline_evaluations
from ml.validation.report import walk_forward_report
from ml.validation.trials import count_trials
from ml.validation.validate import validate
from ops_store.records import ModelDecision
from orchestration.base.registry import registry_of
from orchestration.base.settings import Settings, read_settings

app = typer.Typer(help="Look at the models, and change who serves.", no_args_is_help=True)
console = Console()
BARS = ("market_data", "adjusted_bars")
EVALUATIONS = ("market_prediction", "evaluations")
INSTRUMENTS = ("market_data", "instruments")

Horizon = Annotated[int, typer.Argument(help="Sessions ahead: 1, 5 or 20.")]
Because = Annotated[str, typer.Option(help="Why, in a sentence that an examiner understands.")]
From = Annotated[
    str, typer.Option("--from", help="First session served; the next one if not given.")
]


def known_registry(settings: Settings, horizon: int) -> Registry:
    """Return the registry of a horizon that a person named.

    Raises
    ------
    ConfigurationError
        When nothing looks so far ahead.
    """
    if horizon not in HORIZONS:
        raise ConfigurationError(
            f"No model looks {horizon} sessions ahead.",
            remedy=f"name one of {', '.join(map(str, HORIZONS))}",
        )
    return registry_of(settings, horizon)


@app.command("list")
def listed(horizon: Horizon) -> None:
    """List the trainings of a horizon: from when each serves or served, by whose word and why."""
    settings = read_settings()
    known = known_registry(settings, horizon).snapshot()
    table = Table("version", "trained for", "serves from", "by", "because", show_lines=True)
    for number, champion in sorted(known.versions.items()):
        since = [f"{day}" for day, version in known.serving if version == number]
        said = champion.tags.get("promoted_because") or champion.tags.get("held_back_because", "")
        table.add_row(
            f"{number}{_mark(known, number)}", champion.month[:7], "\n".join(since) or "never",
            escape(champion.tags.get("promoted_by", "")), escape(said),
        )  # fmt: skip
    console.print(table)
    with acting(settings, "") as (store, _):
        decided = store.model_decisions(horizon)
    for each in decided:
        console.print(
            f"{escape(each.decided_by)} decided about the sessions from {each.from_session}: "
            f"{escape(each.because)}"
        )


@app.command()
def promote(
    horizon: Horizon,
    version: Annotated[int, typer.Argument(help="Version in the registry.")],
    because: Because,
    from_: From = "",
    as_: As = "",
) -> None:
    """Let a version serve from the next session on, whatever the rule says, until it says more."""
    settings = read_settings()
    known = known_registry(settings, horizon).snapshot()
    chosen = known.versions.get(version)
    if chosen is None or not chosen.training_key:
        raise ConfigurationError(
            f"{known.name} has no version {version} of ours.",
            remedy=f"look at `quantivista models list {horizon}`",
        )
    _decide(settings, horizon, chosen, _first(settings, from_), because, as_)


@app.command()
def rollback(horizon: Horizon, because: Because, from_: From = "", as_: As = "") -> None:
    """Let the champion before the present one serve again, from the next session on."""
    settings = read_settings()
    known = known_registry(settings, horizon).snapshot()
    first = _first(settings, from_)
    now = known.of_session(first)
    before = [version for day, version in known.serving if day <= first]
    earlier = [version for version in before if now is None or version != now.version]
    if now is None or not earlier:
        raise ConfigurationError(
            f"{known.name} has had no champion before the present one.",
            remedy=f"look at `quantivista models list {horizon}`, and promote a version by number",
        )
    _decide(settings, horizon, known.versions[earlier[-1]], first, because, as_)


@app.command()
def report(
    out: Annotated[Path | None, typer.Option(help="Also write it here, as Markdown.")] = None,
) -> None:
    """Say what all evaluations have been worth, beside baselines, deflated by the trials made."""
    settings = read_settings()
    lake, sessions = Lake(settings.lake_root), settings.sessions()
    bars, evaluations = (lake.read(table) for table in (BARS, EVALUATIONS))
    named = lake.read(INSTRUMENTS, columns=["instrument_id", "sector"]).drop_nulls()
    recipes = {
        horizon: [
            each.recipe for each in registry_of(settings, horizon).snapshot().versions.values()
        ]
        for horizon in HORIZONS
    }
    trials = count_trials(recipes, n_elsewhere=settings.trials_elsewhere)
    found = []
    for horizon in HORIZONS:
        mine = evaluations.filter(pl.col("horizon_sessions") == horizon)
        found.append(validate(
            mine, forward_returns(bars, sessions, horizon), bars, sessions, horizon=horizon,
            cost_bps=RatingPolicy().one_way_cost_bps, n_trials=trials.n, sectors=named,
            baselines=baseline_evaluations(mine, bars, sessions),
        ))  # fmt: skip
    page = walk_forward_report(found, trials, title=f"Walking forward, book {settings.book}")
    if out is not None:
        out.write_text(page.markdown, encoding="utf-8")
    console.print(Markdown(page.markdown))


def _first(settings: Settings, given: str) -> dt.date:
    """Return the first session of a decision: what was evaluated already stays as it is."""
    following = settings.next_session()
    try:
        first = dt.date.fromisoformat(given) if given else following
    except ValueError as error:
        raise ConfigurationError(
            f"{given!r} is not a date.", remedy="write it as 2010-08-23"
        ) from error
    if first < following:
        raise ConfigurationError(
            f"The sessions up to {settings.last_session()} were evaluated by who was champion.",
            remedy=f"decide about sessions from {following} on",
        )
    return first


def _decide(
    settings: Settings, horizon: int, chosen: Champion, first: dt.date, because: str, person: str
) -> None:
    with acting(settings, person) as (store, by):
        kept = store.decide_model(
            ModelDecision(
                horizon_sessions=horizon,
                from_session=first,
                training_key=chosen.training_key,
                trained_for=chosen.month,
                decided_by=by,
                because=because,
            )
        )
    console.print(
        f"Version {chosen.version}, trained for {chosen.month[:7]}, looks {horizon} sessions ahead "
        f"from {kept.from_session} on. The next run of models_{horizon} puts it in office.",
        soft_wrap=True,
    )


def _mark(known: Snapshot, number: int) -> str:
    marks: dict[Any, str] = {known.challenger: " (challenger)", known.newest: " (champion)"}
    return marks.get(number, "")
