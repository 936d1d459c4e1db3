"""The registry says which model was champion when; the bytes come from our own loader.

One registered model; each training is a version of it. An alias ``from-2010-05-01`` names the
version that is champion from that session on, until the next such alias: "the champion of a
session" is a look-up, whatever rule promoted it and however often models are retrained. The alias
``champion`` is the newest of them.

Two steps that know nothing of each other: ``register`` records trainings, ``promote`` moves an
alias and writes down who did it and why.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from ml import tracking
from ml.champions import REGISTERED_MODEL, Champion, Snapshot, agreed, in_place, reason_for
from ml.errors import ChampionConflictError, RegistryMissingError
from ml.model_card import Origin, describe, entry_of, version_tags
from ml.model_store import ModelStore, Registration
from ml.train import Training

if TYPE_CHECKING:
    from mlflow import MlflowClient

CHAMPION = "champion"
# The rule of today: whatever was trained for a month serves it. Another rule has another name.
RULE = "model-of-the-month/1"
VERSIONS_MAX = 10_000
_FROM = re.compile(r"from-(\d{4}-\d{2}-\d{2})")
_DESCRIPTION = (
    "Five outcome classes of each instrument's log return over the next sessions; one version per "
    "training. `from-<date>` names the version that evaluates the sessions from that date "
    "on, `champion` the newest. The platform loads the bytes from its own store, after their "
    "SHA-256 matched the tag `sha256`; there is nothing here for `pyfunc.load_model`."
)


class Registry:
    """MLflow's registry of one environment.

    Parameters
    ----------
    url : str
        Tracking URI, ``sqlite:///...`` or ``postgresql://...``.
    root : Path
        Directory of MLflow's artifacts and of the lock.
    store : ModelStore
        Where the models' bytes and trainings are.
    """

    def __init__(self, url: str, root: Path, store: ModelStore) -> None:
        self.url, self.root, self.store = url, root, store

    def record(self, models: pl.DataFrame, origin: Origin) -> list[Champion]:
        """Log and register the trainings behind ``models``, and make each its month's champion.

        What is known already is left alone: a training is never logged twice, by however many
        processes. A month trained on other data, or by another recipe, gets a new version, which
        becomes its champion; the old one stays, and says by what it was superseded and why.

        Parameters
        ----------
        models : pl.DataFrame
            ``train_models``' rows.
        origin : Origin
            Who asks.

        Returns
        -------
        list of Champion
            One per row, by month.

        Raises
        ------
        ModelRefusedError
            When a model's bytes do not match its row.
        ChampionConflictError
            When somebody changed the registry so that it contradicts what was trained.
        RegistryError
            When MLflow refuses.
        """
        rows = models.sort("month")
        keys = dict(rows.select("month", "training_key").iter_rows())
        if not keys:
            return []
        known = self.snapshot() if tracking.exists(self.url) else None
        if known is None or not in_place(known, keys):
            with tracking.turn(self.url, self.root):
                tracking.prepare(self.url)
                with tracking.session(self.url) as client:
                    known = self._write(client, keys, origin)
        return [self._noted(champion) for champion in agreed(known, rows)]

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
                remedy="restore it from its backup, or rebuild market_prediction/models from the "
                "first month on, which registers the models again",
            )
        with tracking.session(self.url) as client:
            return _read(client)

    def champions(self, models: pl.DataFrame) -> list[Champion]:
        """Return the champion of every session of the months in ``models``, one per month.

        Raises
        ------
        RegistryMissingError
            When there is no registry, or it has no champion for a month.
        ChampionConflictError
            When a champion is not the model of the table, see ``ml.champions.agreed``.
        """
        return agreed(self.snapshot(), models) if models.height else []

    def _write(self, client: MlflowClient, keys: Mapping[str, str], origin: Origin) -> Snapshot:
        known = _read(client)
        if not known.versions:
            _create_model(client)
        missing = [key for key in keys.values() if known.of_training(key) is None]
        if missing:
            experiment = tracking.experiment_id(client)
            for key in missing:
                self._register(client, experiment, known, key, origin)
            known = _read(client)
        for month, key in keys.items():
            _promote_model_of_month(client, known, month, key, origin)
        known = _read(client)
        newest = known.serving[-1][1]
        if known.newest != newest:
            client.set_registered_model_alias(REGISTERED_MODEL, CHAMPION, str(newest))
        return known

    def _register(
        self, client: MlflowClient, experiment: str, known: Snapshot, key: str, origin: Origin
    ) -> None:
        training = self.store.find(key, Training)
        if not isinstance(training, Training):
            raise RegistryMissingError(
                f"Nothing is remembered of training {key}.",
                remedy="materialise market_prediction/models for its month again",
            )
        data = self.store.get(training.model.model_sha256)
        run_id = tracking.finished_run(client, experiment, key)
        if run_id is None:
            entry = entry_of(training, data, origin)
            run_id = tracking.write_run(client, experiment, self.root, entry)
        elif (other := known.of_run(run_id)) is not None:
            raise ChampionConflictError(
                f"{REGISTERED_MODEL} version {other.version} is tagged training "
                f"{other.training_key or 'unknown'}; its run {run_id} logged {key}.",
                remedy="find out who changed the tag, and put it back in MLflow (`make mlflow`)",
            )
        client.create_model_version(
            REGISTERED_MODEL,
            source=f"runs:/{run_id}/model",
            run_id=run_id,
            tags=version_tags(training, origin),
            description=describe(training.model),
            await_creation_for=0,
        )

    def _noted(self, champion: Champion) -> Champion:
        place = Registration(
            champion.training_key, REGISTERED_MODEL, champion.version, champion.run_id
        )
        if self.store.registration(champion.training_key) != place:
            self.store.note_registration(place)
        return champion


def promote(
    client: MlflowClient, champion: Champion, *, start: str, by: str, because: str,
    instead_of: Champion | None = None,
) -> None:  # fmt: skip
    """Make a version champion from a session on, and write down who did it and why.

    The alias moves last: what a killed process leaves is a reason without effect, which the next
    one repeats.

    Parameters
    ----------
    start : str
        First session or day that it serves, ``YYYY-MM-DD``.
    by, because : str
        The rule or person, and the reason.
    instead_of : Champion, optional
        The version that served from ``start`` until now.
    """
    if instead_of is not None:
        left = {"superseded_by": str(champion.version), "superseded_because": because}
        line = f"superseded from {start} by version {champion.version}: {because} ({by})"
        _tag(client, instead_of, left | {"history": _appended(instead_of, line)})
    line = f"champion from {start}: {because} ({by})"
    gained = {"promoted_by": by, "promoted_because": because}
    _tag(client, champion, gained | {"history": _appended(champion, line)})
    client.set_registered_model_alias(REGISTERED_MODEL, f"from-{start}", str(champion.version))


def _promote_model_of_month(
    client: MlflowClient, known: Snapshot, month: str, key: str, origin: Origin
) -> None:
    """Today's rule: the training of a month is its champion, at once."""
    before, now = known.from_month(month), _certain(known.of_training(key), key)
    if before == now:
        return
    by = f"{RULE}, Dagster run {origin.run_id}"
    promote(client, now, start=month, by=by, because=reason_for(before, now), instead_of=before)


def _read(client: MlflowClient) -> Snapshot:
    found = client.search_registered_models(f"name = '{REGISTERED_MODEL}'", max_results=1)
    if not found:
        return Snapshot({}, (), None)
    versions = {}
    token = None
    while True:
        page = client.search_model_versions(
            f"name = '{REGISTERED_MODEL}'", max_results=VERSIONS_MAX, page_token=token
        )
        for each in page:
            versions[int(each.version)] = _champion(int(each.version), each.run_id, each.tags)
        token = page.token
        if not token:
            break
    aliases = {name: int(version) for name, version in found[0].aliases.items()}
    serving = sorted(
        (dt.date.fromisoformat(match[1]), version)
        for name, version in aliases.items()
        if (match := _FROM.fullmatch(name))
    )
    return Snapshot(versions, tuple(serving), aliases.get(CHAMPION))


def _champion(version: int, run_id: str | None, tags: Mapping[str, str]) -> Champion:
    # A version that someone made by hand has no tags of ours: it agrees with no table.
    return Champion(
        version=version,
        run_id=run_id or "",
        month=tags.get("month", ""),
        training_key=tags.get("training_key", ""),
        model_sha256=tags.get("sha256", ""),
        recipe=tags.get("recipe", ""),
        tags=dict(tags),
    )


def _create_model(client: MlflowClient) -> None:
    if not client.search_registered_models(f"name = '{REGISTERED_MODEL}'", max_results=1):
        client.create_registered_model(REGISTERED_MODEL, description=_DESCRIPTION)


def _certain(champion: Champion | None, key: str) -> Champion:
    if champion is None:
        raise RegistryMissingError(
            f"Training {key} is not registered.",
            remedy="materialise market_prediction/models for its month again",
        )
    return champion


def _tag(client: MlflowClient, champion: Champion, tags: Mapping[str, str]) -> None:
    for name, value in tags.items():
        if champion.tags.get(name) != value:
            client.set_model_version_tag(REGISTERED_MODEL, str(champion.version), name, value)


def _appended(champion: Champion, line: str) -> str:
    lines = champion.tags.get("history", "").splitlines()
    return "\n".join(lines if lines[-1:] == [line] else [*lines, line])
