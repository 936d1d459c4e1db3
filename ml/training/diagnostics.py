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
from ml.validation.reliability import ReliabilityBin, reliability_bins, reliability_of


class Diagnostics(msgspec.Struct, frozen=True):
    """Of one model on its calibration slice.

    ``reliability`` has the bins of all classes pooled, for the eye; ``calibration_error`` is the
    class-wise one, in which classes cannot make up for each other. The calibration was fitted on
    the same slice: this is in sample, ``model_quality`` is not.
    """

    reliability: tuple[ReliabilityBin, ...]
    calibration_error: float
    ic_sessions: tuple[dt.date, ...]
    ics: tuple[float, ...]


def diagnose(probabilities: FloatArray, classes: IntArray, daily_ics: pl.DataFrame) -> Diagnostics:
    """Compare announced with observed frequencies; see ``ml.validation.reliability``.

    Parameters
    ----------
    probabilities : ndarray of shape (n_rows, n_classes)
        Finite, rows adding up to 1.
    classes : ndarray of shape (n_rows,)
        The class that came.
    daily_ics : pl.DataFrame
        From ``session_ics``.
    """
    came = np.arange(probabilities.shape[1])[None, :] == classes[:, None]
    return Diagnostics(
        reliability=reliability_bins(probabilities.ravel(), came.ravel().astype(np.float64)),
        calibration_error=reliability_of(probabilities, classes).classwise_error,
        ic_sessions=tuple(daily_ics["session"].to_list()),
        ics=tuple(daily_ics["ic"].to_list()),
    )


def recipe_digest(recipe: dict[str, Any]) -> str:
    """Return the SHA-256 of how a model was trained, whatever it was trained on."""
    return hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()
