"""Who was champion when: pure look-ups in what the registry holds, and the refusal to guess.

No MLflow here: ``ml.registry.registry`` reads and writes it.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import msgspec
import polars as pl

from ml.errors import ChampionConflictError, RegistryMissingError


def registered_name(horizon: int) -> str:
    """Return the registry's name of the models of a horizon, in sessions."""
    return f"instrument-evaluation-{horizon}-sessions"


def models_table(horizon: int) -> tuple[str, str]:
    """Return the asset key of a horizon's table of models."""
    return ("market_prediction", f"models_{horizon}")


class Champion(msgspec.Struct, frozen=True):
    """A registered version, as its tags describe it; ``month`` is the one it was trained for."""

    version: int
    run_id: str
    month: str
    training_key: str
    model_sha256: str
    return_model_sha256: str
    recipe: str
    tags: Mapping[str, str]


class Snapshot(msgspec.Struct, frozen=True):
    """One registered model at one moment: versions by number, from when each champion serves.

    ``newest`` is who the alias ``champion`` names, ``challenger`` whom the rule held back last.
    """

    name: str
    versions: Mapping[int, Champion]
    serving: tuple[tuple[dt.date, int], ...]
    newest: int | None
    challenger: int | None = None

    def of_training(self, training_key: str) -> Champion | None:
        """Return the version that a training made, the first if someone registered it again."""
        found = [each for each in self.versions.values() if each.training_key == training_key]
        return min(found, key=lambda each: each.version, default=None)

    def of_session(self, session: dt.date) -> Champion | None:
        """Return the champion of a session; ``None`` before the first, or when it was deleted."""
        before = [version for start, version in self.serving if start <= session]
        return self.versions.get(before[-1]) if before else None

    def since(self, day: dt.date) -> Champion | None:
        """Return the version that became champion on a day."""
        return next((self.versions.get(v) for start, v in self.serving if start == day), None)

    def of_run(self, run_id: str) -> Champion | None:
        """Return the version whose training an MLflow run logged."""
        return next((each for each in self.versions.values() if each.run_id == run_id), None)


def agreed(known: Snapshot, models: pl.DataFrame) -> list[Champion]:
    """Return the champion of every row of the table of models, in its order.

    Parameters
    ----------
    models : pl.DataFrame
        The table of models: it says what was trained and judged, the registry what serves.

    Raises
    ------
    RegistryMissingError
        When a row's sessions have no champion.
    ChampionConflictError
        When their champion is not the model of the row: another training, other bytes, or another
        from a day within them.
    """
    rows = models.sort("month", "serves_from").to_dicts()
    without = [row["month"] for row in rows if known.of_session(row["serves_from"]) is None]
    if without:
        raise RegistryMissingError(
            f"{known.name} has no champion for the sessions of {len(without)} months, "
            f"{without[0][:7]} to {without[-1][:7]}.",
            remedy="restore the registry from its backup, or materialise the models of its horizon "
            f"for these months (`make backfill FROM={without[0]} TO={without[-1]}`), which "
            "registers them",
        )
    return [
        _agreed(known, row, rows[place + 1] if place + 1 < len(rows) else None)
        for place, row in enumerate(rows)
    ]


def _agreed(
    known: Snapshot, row: Mapping[str, Any], following: Mapping[str, Any] | None
) -> Champion:
    month, start = row["month"], row["serves_from"]
    end = month_end(month)
    if following is not None and following["month"] == month:
        end = following["serves_from"]
    champion = known.of_session(start)
    if champion is None or known.of_session(end - dt.timedelta(days=1)) != champion:
        raise ChampionConflictError(
            f"The champion of {known.name} changes between {start} and {end}, where the table of "
            "models has one.",
            remedy="take the alias away, and let `quantivista models promote` decide",
        )
    name = f"{known.name} version {champion.version}, champion of {month[:7]},"
    if champion.training_key != row["training_key"]:
        raise ChampionConflictError(
            f"{name} comes from training {champion.training_key or 'unknown'}; the table of models "
            f"says {row['training_key']}.",
            remedy="find out who changed the registry; then materialise the models of its horizon "
            f"for {month[:7]}, which makes that training champion again",
        )
    tagged = (champion.month, champion.model_sha256, champion.return_model_sha256)
    if tagged != (row["trained_for"], row["model_sha256"], row["return_model_sha256"]):
        raise ChampionConflictError(
            f"{name} is tagged month {champion.month or 'unknown'} and SHA-256 "
            f"{champion.model_sha256 or 'unknown'}, {champion.return_model_sha256 or 'unknown'}; "
            f"the table of models says {row['trained_for']} and {row['model_sha256']}, "
            f"{row['return_model_sha256']}.",
            remedy="find out who changed the tags, and put them back in MLflow (`make mlflow`)",
        )
    return champion


def month_end(month: str) -> dt.date:
    """Return the first day after a month, which is named by its first, ``YYYY-MM-DD``."""
    return (dt.date.fromisoformat(month) + dt.timedelta(days=32)).replace(day=1)


def stray(known: Snapshot, reigns: Collection[dt.date], end: dt.date) -> list[dt.date]:
    """Return the days since the first reign from which somebody serves who should not.

    What the table of models said once, before its data were corrected.
    """
    first = min(reigns)
    return [day for day, _ in known.serving if first <= day < end and day not in reigns]


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
    named = {(each.training_key, each.model_sha256) for each in champions}
    rows = models.select("training_key", "model_sha256").iter_rows()
    return models.filter(pl.Series([row in named for row in rows], dtype=pl.Boolean))


def versions_by_month(models: pl.DataFrame, champions: Sequence[Champion]) -> dict[str, int]:
    """Return the version that served each month last, by ``YYYY-MM``; one champion per row."""
    months = models.sort("month", "serves_from")["month"].to_list()
    return {month[:7]: each.version for month, each in zip(months, champions, strict=True)}
