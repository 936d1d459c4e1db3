"""The registry says which model was champion when; the bytes come from our own loader.

One registered model per horizon; each training is a version of it. An alias ``from-2010-05-01``
names the version that is champion from that session on, until the next such alias: "the champion
of a session" is a look-up, whatever promoted it and however often models are retrained. The alias
``champion`` is the newest of them, ``challenger`` the one that was held back last.

The rule, and people's decisions, are ``ml.registry.promotion``'s; here they are written down: who
serves from when, by whose word and why.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import polars as pl

from ml.errors import ChampionConflictError, RegistryMissingError
from ml.registry import tracking
from ml.registry.champions import (
    Champion,
    Snapshot,
    agreed,
    month_end,
    reason_for,
    registered_name,
    stray,
)
from ml.registry.model_card import Origin, describe, entry_of, version_tags
from ml.registry.model_store import ModelStore, Registration
from ml.registry.promotion import Judgement
from ml.training.train import Training

if TYPE_CHECKING:
    from mlflow import MlflowClient

CHAMPION, CHALLENGER = "champion", "challenger"
VERSIONS_MAX = 10_000
_FROM = re.compile(r"from-(\d{4}-\d{2}-\d{2})")
_DESCRIPTION = (
    "Outcome classes and relative return of each instrument over the next sessions; one version "
    "per training. `from-<date>` names the version that evaluates the sessions from that date "
    "on, `champion` the newest, `challenger` the one that the rule held back. The platform loads "
    "the bytes from its own store, after their SHA-256 matched the tags `sha256` and "
    "`sha256_return`; there is nothing here for `pyfunc.load_model`."
)


class Wanted(msgspec.Struct, frozen=True):
    """What the table of models asks of the registry.

    ``trainings`` by the month they were trained for; ``reigns`` by their first day; ``held_back``
    is the newest judgement, unless its training was promoted; ``end`` the first day after the
    table's last month.
    """

    trainings: tuple[str, ...]
    reigns: Mapping[dt.date, Mapping[str, Any]]
    held_back: Judgement | None
    end: dt.date


def wanted_by(models: pl.DataFrame) -> Wanted:
    """Read what the table of models, which is not empty, asks of the registry."""
    rows = models.sort("month", "serves_from").to_dicts()
    judged = {
        row["challenger_key"]: msgspec.json.decode(row["challenger_judgement"], type=Judgement)
        for row in rows
        if row["challenger_key"] is not None
    }
    trained = {(row["trained_for"], row["training_key"]) for row in rows}
    trained |= {(each.trained_for, key) for key, each in judged.items()}
    newest = judged.get(rows[-1]["challenger_key"])
    return Wanted(
        trainings=tuple(key for _, key in sorted(trained)),
        reigns={row["champion_since"]: row for row in rows},
        held_back=None if newest is None or newest.promoted else newest,
        end=month_end(rows[-1]["month"]),
    )


class Registry:
    """MLflow's registry of one environment and horizon.

    Parameters
    ----------
    horizon : int
        In sessions; it is in the registered model's name.
    url : str
        Tracking URI, ``sqlite:///...`` or ``postgresql://...``.
    root : Path
        Directory of MLflow's artifacts and of the lock.
    store : ModelStore
        Where the models' bytes and trainings are.
    """

    def __init__(self, horizon: int, url: str, root: Path, store: ModelStore) -> None:
        self.horizon, self.url, self.root, self.store = horizon, url, root, store
        self.name = registered_name(horizon)

    def record(self, models: pl.DataFrame, origin: Origin) -> list[Champion]:
        """Log and register the trainings behind ``models``, and let those serve that it names.

        What is known already is left alone: a training is never logged twice, by however many
        processes. A month trained on other data, or by another recipe, gets a new version; where
        that becomes champion, the old one stays, and says by what it was superseded and why.

        Parameters
        ----------
        models : pl.DataFrame
            ``train_models``' rows.
        origin : Origin
            Who asks.

        Returns
        -------
        list of Champion
            One per row, by month and first session.

        Raises
        ------
        ModelRefusedError
            When a model's bytes do not match its row.
        ChampionConflictError
            When somebody changed the registry so that it contradicts what was trained.
        RegistryError
            When MLflow refuses.
        """
        if models.is_empty():
            return []
        wanted = wanted_by(models)
        known = self.snapshot() if tracking.exists(self.url) else None
        if known is None or not _in_place(known, wanted):
            with tracking.turn(self.url, self.root):
                tracking.prepare(self.url)
                with tracking.session(self.url) as client:
                    known = self._write(client, wanted, origin)
        return [self._noted(champion) for champion in agreed(known, models)]

    def snapshot(self) -> Snapshot:
        """Read the registry.

        Raises
        ------
        RegistryMissingError
            When there is none.
        """
        if not tracking.exists(self.url):
            raise RegistryMissingError(
                f"There is no registry of models under {self.root}.",
                remedy="restore it from its backup, or rebuild market_prediction/models_"
                f"{self.horizon} from the first month on, which registers the models again",
            )
        with tracking.session(self.url) as client:
            return _read(client, self.name)

    def champions(self, models: pl.DataFrame) -> list[Champion]:
        """Return the champion of every row of ``models``, by month and first session.

        Raises
        ------
        RegistryMissingError
            When there is no registry, or it has no champion for a month.
        ChampionConflictError
            When a champion is not the model of the table, see ``ml.registry.champions.agreed``.
        """
        return agreed(self.snapshot(), models) if models.height else []

    def _write(self, client: MlflowClient, wanted: Wanted, origin: Origin) -> Snapshot:
        known = _read(client, self.name)
        if not known.versions:
            _create_model(client, self.name)
        missing = [key for key in wanted.trainings if known.of_training(key) is None]
        if missing:
            experiment = tracking.experiment_id(client)
            for key in missing:
                self._register(client, experiment, known, key, origin)
            known = _read(client, self.name)
        # Read anew after each: a version's history may gain a line from both.
        for day in stray(known, wanted.reigns, wanted.end):
            _dethrone(client, known, day, origin)
            known = _read(client, self.name)
        for day, row in sorted(wanted.reigns.items()):
            if _enthrone(client, known, day, row, origin):
                known = _read(client, self.name)
        newest = known.serving[-1]
        if known.newest != newest[1]:
            client.set_registered_model_alias(self.name, CHAMPION, str(newest[1]))
        if newest[0] < wanted.end:  # of the newest months: older ones have no challenger any more
            _name_challenger(client, known, wanted.held_back)
        return _read(client, self.name)

    def _register(
        self, client: MlflowClient, experiment: str, known: Snapshot, key: str, origin: Origin
    ) -> None:
        training = self.store.find(key, Training)
        if not isinstance(training, Training):
            raise RegistryMissingError(
                f"Nothing is remembered of training {key}.",
                remedy="materialise the models of its horizon again",
            )
        model = training.model
        boosters = [
            self.store.get(sha256) for sha256 in (model.model_sha256, model.return_model_sha256)
        ]
        run_id = tracking.finished_run(client, experiment, key)
        if run_id is None:
            entry = entry_of(training, boosters, origin)
            run_id = tracking.write_run(client, experiment, self.root, entry)
        elif (other := known.of_run(run_id)) is not None:
            raise ChampionConflictError(
                f"{self.name} version {other.version} is tagged training "
                f"{other.training_key or 'unknown'}; its run {run_id} logged {key}.",
                remedy="find out who changed the tag, and put it back in MLflow (`make mlflow`)",
            )
        client.create_model_version(
            self.name,
            source=f"runs:/{run_id}/model",
            run_id=run_id,
            tags=version_tags(training, origin),
            description=describe(model),
            await_creation_for=0,
        )

    def _noted(self, champion: Champion) -> Champion:
        place = Registration(champion.training_key, self.name, champion.version, champion.run_id)
        if self.store.registration(champion.training_key) != place:
            self.store.note_registration(place)
        return champion


def _in_place(known: Snapshot, wanted: Wanted) -> bool:
    """Tell whether all of it is registered and serves already."""
    serves = all(
        (champion := known.since(day)) is not None and champion.training_key == row["training_key"]
        for day, row in wanted.reigns.items()
    )
    registered = all(known.of_training(key) is not None for key in wanted.trainings)
    if not (serves and registered) or stray(known, wanted.reigns, wanted.end):
        return False
    newest = known.serving[-1]
    challenger = known.versions.get(known.challenger or 0)
    held_back = wanted.held_back and wanted.held_back.training_key
    return known.newest == newest[1] and (
        newest[0] >= wanted.end or (challenger and challenger.training_key) == held_back
    )


def _enthrone(
    client: MlflowClient, known: Snapshot, day: dt.date, row: Mapping[str, Any], origin: Origin
) -> bool:
    """Make a version champion from a day on, and write down who did it and why; tell if it was not.

    The alias moves last: what a killed process leaves is a reason without effect, which the next
    one repeats.
    """
    before, now = known.since(day), _certain(known.of_training(row["training_key"]), row)
    if before == now:
        return False
    by = f"{row['promoted_by']}, Dagster run {origin.run_id}"
    because = row["promoted_because"]
    if before is not None:
        because = f"{because}; {reason_for(before, now)}"
        left = {"superseded_by": str(now.version), "superseded_because": because}
        line = f"superseded from {day} by version {now.version}: {because} ({by})"
        _tag(client, known.name, before, left | {"history": _appended(before, line)})
    line = f"champion from {day}: {because} ({by})"
    gained = {"promoted_by": by, "promoted_because": because}
    _tag(client, known.name, now, gained | {"history": _appended(now, line)})
    client.set_registered_model_alias(known.name, f"from-{day}", str(now.version))
    return True


def _dethrone(client: MlflowClient, known: Snapshot, day: dt.date, origin: Origin) -> None:
    """Take away an alias that no reign stands behind any more."""
    champion = known.since(day)
    if champion is not None:
        line = f"not champion from {day} any more: judged anew (Dagster run {origin.run_id})"
        _tag(client, known.name, champion, {"history": _appended(champion, line)})
    client.delete_registered_model_alias(known.name, f"from-{day}")


def _name_challenger(client: MlflowClient, known: Snapshot, judged: Judgement | None) -> None:
    version = None if judged is None else known.of_training(judged.training_key)
    if judged is None or version is None:
        if known.challenger is not None:
            client.delete_registered_model_alias(known.name, CHALLENGER)
        return
    _tag(client, known.name, version, {"held_back_because": judged.because})
    if known.challenger != version.version:
        client.set_registered_model_alias(known.name, CHALLENGER, str(version.version))


def _read(client: MlflowClient, name: str) -> Snapshot:
    found = client.search_registered_models(f"name = '{name}'", max_results=1)
    if not found:
        return Snapshot(name, {}, (), None)
    versions = {}
    token = None
    while True:
        page = client.search_model_versions(
            f"name = '{name}'", max_results=VERSIONS_MAX, page_token=token
        )
        for each in page:
            versions[int(each.version)] = _champion(int(each.version), each.run_id, each.tags)
        token = page.token
        if not token:
            break
    aliases = {alias: int(version) for alias, version in found[0].aliases.items()}
    serving = sorted(
        (dt.date.fromisoformat(match[1]), version)
        for alias, version in aliases.items()
        if (match := _FROM.fullmatch(alias))
    )
    return Snapshot(name, versions, tuple(serving), aliases.get(CHAMPION), aliases.get(CHALLENGER))


def _champion(version: int, run_id: str | None, tags: Mapping[str, str]) -> Champion:
    # A version that someone made by hand has no tags of ours: it agrees with no table.
    return Champion(
        version=version,
        run_id=run_id or "",
        month=tags.get("month", ""),
        training_key=tags.get("training_key", ""),
        model_sha256=tags.get("sha256", ""),
        return_model_sha256=tags.get("sha256_return", ""),
        recipe=tags.get("recipe", ""),
        tags=dict(tags),
    )


def _create_model(client: MlflowClient, name: str) -> None:
    if not client.search_registered_models(f"name = '{name}'", max_results=1):
        client.create_registered_model(name, description=_DESCRIPTION)


def _certain(champion: Champion | None, row: Mapping[str, Any]) -> Champion:
    if champion is None:
        raise RegistryMissingError(
            f"Training {row['training_key']} is not registered.",
            remedy=f"materialise the models of its horizon for {row['month'][:7]} again",
        )
    return champion


def _tag(client: MlflowClient, name: str, champion: Champion, tags: Mapping[str, str]) -> None:
    for tag, value in tags.items():
        if champion.tags.get(tag) != value:
            client.set_model_version_tag(name, str(champion.version), tag, value)


def _appended(champion: Champion, line: str) -> str:
    lines = champion.tags.get("history", "").splitlines()
    return "\n".join(lines if lines[-1:] == [line] else [*lines, line])
