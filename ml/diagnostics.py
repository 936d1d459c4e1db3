"""What a training leaves to be looked at: reliability, daily ICs, and the recipe it followed."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from typing import Any

import msgspec
import numpy as np
import polars as pl

from ml.grid import FloatArray, IntArray

RELIABILITY_BINS = 10


class ReliabilityBin(msgspec.Struct, frozen=True):
    """Probabilities that were close together, and how often what they announced came true."""

    n: int
    predicted: float
    observed: float


class Diagnostics(msgspec.Struct, frozen=True):
    """Of one model on its calibration slice.

    ``calibration_error`` is the mean absolute difference of announced and observed frequency over
    the bins, weighted by their rows. The temperature was chosen on the same slice: this is in
    sample, ``model_quality`` is not.
    """

    reliability: tuple[ReliabilityBin, ...]
    calibration_error: float
    ic_sessions: tuple[dt.date, ...]
    ics: tuple[float, ...]


def diagnose(probabilities: FloatArray, classes: IntArray, daily_ics: pl.DataFrame) -> Diagnostics:
    """Compare announced with observed frequencies, all classes pooled.

    Class-wise expected calibration error (Kull et al. 2019, "Beyond temperature scaling") over ten
    bins with equally many probabilities: those of five near-equal classes lie so close together
    that bins of equal width would be empty but for two.

    Parameters
    ----------
    probabilities : ndarray of shape (n_rows, n_classes)
        Finite, rows adding up to 1.
    classes : ndarray of shape (n_rows,)
        The class that came.
    daily_ics : pl.DataFrame
        From ``session_ics``.
    """
    announced = probabilities.ravel()
    came = (np.arange(probabilities.shape[1])[None, :] == classes[:, None]).ravel()
    order = np.argsort(announced, kind="stable")
    bins = [
        ReliabilityBin(
            n=part.size,
            predicted=float(announced[part].mean()),
            observed=float(came[part].mean()),
        )
        for part in np.array_split(order, RELIABILITY_BINS)
        if part.size
    ]
    error = sum(each.n * abs(each.predicted - each.observed) for each in bins)
    return Diagnostics(
        reliability=tuple(bins),
        calibration_error=error / max(announced.size, 1),
        ic_sessions=tuple(daily_ics["session"].to_list()),
        ics=tuple(daily_ics["ic"].to_list()),
    )


def recipe_digest(recipe: dict[str, Any]) -> str:
    """Return the SHA-256 of how a model was trained, whatever it was trained on."""
    return hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()
