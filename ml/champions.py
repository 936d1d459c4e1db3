"""Who was champion when: pure look-ups in what the registry holds, and the refusal to guess.

No MLflow here: ``ml.registry`` reads and writes it.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence

import msgspec
import polars as pl

from ml.errors import ChampionConflictError, RegistryMissingError
from ml.labels import HORIZON_SESSIONS

REGISTERED_MODEL = f"instrument-evaluation-{HORIZON_SESSIONS}-sessions"


class Champion(msgspec.Struct, frozen=True):
    """A registered version, as its tags describe it; ``month`` is the one it was trained for."""

    version: int
    run_id: str
    month: str
    training_key: str
    model_sha256: str
    recipe: str
    tags: Mapping[str, str]


class Snapshot(msgspec.Struct, frozen=True):
    """The registry at one moment: versions by number, and from when each champion serves."""

    versions: Mapping[int, Champion]
    serving: tuple[tuple[dt.date, int], ...]
    newest: int | None

    def of_training(self, training_key: str) -> Champion | None:
        """Return the version that a training made, the first if someone registered it again."""
        found = [each for each in self.versions.values() if each.training_key == training_key]
        return min(found, key=lambda each: each.version, default=None)

    def of_session(self, session: dt.date) -> Champion | None:
        """Return the champion of a session; ``None`` before the first, or when it was deleted."""
        before = [version for start, version in self.serving if start <= session]
        return self.versions.get(before[-1]) if before else None

    def from_month(self, month: str) -> Champion | None:
        """Return the version that became champion with a month's first day."""
        start = dt.date.fromisoformat(month)
        return next((self.versions.get(v) for day, v in self.serving if day == start), None)

    def of_run(self, run_id: str) -> Champion | None:
        """Return the version whose training an MLflow run logged."""
        return next((each for each in self.versions.values() if each.run_id == run_id), None)


def agreed(known: Snapshot, models: pl.DataFrame) -> list[Champion]:
    """Return the champion of every session of the months in ``models``, one per month.

    Parameters
    ----------
    models : pl.DataFrame
        The table of models: it says what was trained, the registry what serves.

    Raises
    ------
    RegistryMissingError
        When a month has no champion.
    ChampionConflictError
        When its champion is not the model of the table: another training, other bytes, or another
        within the month.
    """
    rows = models.sort("month").to_dicts()
    without = [row["month"] for row in rows if known.from_month(row["month"]) is None]
    if without:
        raise RegistryMissingError(
            f"The registry names no champion for the sessions of {len(without)} months, "
            f"{without[0][:7]} to {without[-1][:7]}.",
            remedy="restore it from its backup, or materialise market_prediction/models for these "
            f"months (`make backfill FROM={without[0]} TO={without[-1]}`), which registers them",
        )
    return [_agreed(known, row) for row in rows]


def _agreed(known: Snapshot, row: Mapping[str, str]) -> Champion:
    month = row["month"]
    first = dt.date.fromisoformat(month)
    last = (first + dt.timedelta(days=31)).replace(day=1) - dt.timedelta(days=1)
    champion = known.of_session(first)
    if champion is None or known.of_session(last) != champion:
        raise ChampionConflictError(
            f"The champion changes within {month[:7]}, which has one model.",
            remedy="take the alias away: champions change with the first day of a month",
        )
    name = f"{REGISTERED_MODEL} version {champion.version}, champion of {month[:7]},"
    if champion.training_key != row["training_key"]:
        raise ChampionConflictError(
            f"{name} comes from training {champion.training_key or 'unknown'}; the table of models "
            f"was made by {row['training_key']}.",
            remedy="find out who changed the registry; then materialise market_prediction/models "
            f"for {month[:7]}, which makes its training champion again",
        )
    if (champion.month, champion.model_sha256) != (month, row["model_sha256"]):
        raise ChampionConflictError(
            f"{name} is tagged month {champion.month or 'unknown'} and SHA-256 "
            f"{champion.model_sha256 or 'unknown'}; the table of models says {month} and "
            f"{row['model_sha256']}.",
            remedy="find out who changed the tags, and put them back in MLflow (`make mlflow`)",
        )
    return champion


def in_place(known: Snapshot, keys: Mapping[str, str]) -> bool:
    """Tell whether every month is served by its training, and the newest is the champion."""
    serving = all(
        (champion := known.from_month(month)) is not None and champion == known.of_training(key)
        for month, key in keys.items()
    )
    return serving and known.newest == known.serving[-1][1]


def reason_for(before: Champion | None, now: Champion) -> str:
    """Say why a training takes its month over from another, or from none."""
    if before is None:
        return "the month had no champion"
    if now.version < before.version:
        return f"the data are again those that version {now.version} was trained on"
    if now.recipe == before.recipe:
        return "retrained on corrected data, by the same recipe"
    return "retrained by another recipe"


def serving(models: pl.DataFrame, champions: Sequence[Champion]) -> pl.DataFrame:
    """Return the rows of the table of models that the registry named, and no others."""
    names = ("month", "training_key", "model_sha256")
    named = pl.DataFrame(
        [{name: getattr(each, name) for name in names} for each in champions],
        schema=dict.fromkeys(names, pl.String),
    )
    return models.join(named, on=names, how="semi", maintain_order="left")


def versions_by_month(champions: Sequence[Champion]) -> dict[str, int]:
    """Return the version that served each month, by ``YYYY-MM``."""
    return {champion.month[:7]: champion.version for champion in champions}
