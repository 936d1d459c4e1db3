"""The models that serve a month, loaded only after their bytes and their features were checked."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from ml.errors import ModelRefusedError
from ml.registry.model_store import ModelStore
from ml.registry.promotion import CHAMPION_MONTHS_MAX
from ml.training.boosting import require_features
from ml.training.calibration import Calibration

if TYPE_CHECKING:
    import xgboost

Row = Mapping[str, Any]


class Serving(msgspec.Struct, frozen=True):
    """A row of the table of models with its boosters and its calibration."""

    row: Row
    outcome: xgboost.Booster
    returns: xgboost.Booster
    calibration: Calibration


def serving_for(
    row: Row,
    earlier: Sequence[Row],
    store: ModelStore,
    *,
    threads: int = 1,
    refused: Callable[[str], None] = lambda _: None,
) -> Serving:
    """Load a row's model; where it is refused, the champion before it that is not.

    Parameters
    ----------
    row : mapping
        Of the table of models.
    earlier : sequence of mapping
        The rows before it, ascending.
    store : ModelStore
        Holds the bytes.
    refused : callable, optional
        Is told, in words, what was refused and who serves instead.

    Raises
    ------
    ModelRefusedError
        When nobody is left: a model trained more than twelve months before the month is too old to
        stand in, and without a model nothing is evaluated, hence nothing traded.
    """
    try:
        return _loaded(row, store, threads)
    except ModelRefusedError as error:
        first = error
    month = dt.date.fromisoformat(row["month"])
    tried = {row["training_key"]}
    for candidate in reversed(earlier):
        trained = dt.date.fromisoformat(candidate["trained_for"])
        age = (month.year - trained.year) * 12 + month.month - trained.month
        if candidate["training_key"] in tried or age > CHAMPION_MONTHS_MAX:
            continue
        tried.add(candidate["training_key"])
        try:
            found = _loaded(candidate, store, threads)
        except ModelRefusedError:
            continue
        refused(
            f"{row['month'][:7]}: {first} {candidate['model_version']}, the last one approved "
            "before it that could be loaded, serves instead."
        )
        # Whose bytes they are is the candidate's; when they serve is the row's.
        return Serving(
            {**candidate, "month": row["month"], "serves_from": row["serves_from"]},
            found.outcome, found.returns, found.calibration,
        )  # fmt: skip
    raise first


def _loaded(row: Row, store: ModelStore, threads: int) -> Serving:
    version = row["model_version"]
    return Serving(
        row=row,
        outcome=require_features(store.load(row["model_sha256"], threads), "outcome", version),
        returns=require_features(
            store.load(row["return_model_sha256"], threads), "return", version
        ),
        calibration=msgspec.json.decode(row["calibration"], type=Calibration),
    )
