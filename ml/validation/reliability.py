"""Whether announced probabilities came true, class by class, out of sample."""

from __future__ import annotations

import math

import msgspec
import numpy as np

from contracts.errors import ContractError
from ml.grid import FloatArray, IntArray

RELIABILITY_BINS = 10


class ReliabilityBin(msgspec.Struct, frozen=True):
    """Probabilities that were close together, and how often what they announced came true."""

    n: int
    predicted: float
    observed: float


class Reliability(msgspec.Struct, frozen=True):
    """Announced against observed frequencies.

    ``classwise_error`` is the mean over the classes of ``class_errors``; each of these the mean
    absolute difference of announced and observed frequency over the class's bins, weighted by
    their rows. ``bins`` has one tuple of bins per class, in the order of the classes. An error of
    0.01 says that a probability announced as 20 % came true in 19 or 21 % of the cases. Noise
    alone makes it positive: it is never zero on finite data.
    """

    n_rows: int
    classwise_error: float
    class_errors: tuple[float, ...]
    bins: tuple[tuple[ReliabilityBin, ...], ...]


def reliability_of(probabilities: FloatArray, classes: IntArray) -> Reliability:
    """Measure the class-wise expected calibration error.

    Kull et al. (2019), "Beyond temperature scaling", equation 5, over up to ten bins per class
    with equally many rows (Nguyen & O'Connor 2015): bins of equal width would be empty but for
    two. Equal probabilities always share a bin.

    Parameters
    ----------
    probabilities : ndarray of shape (n_rows, n_classes)
        Finite.
    classes : ndarray of shape (n_rows,)
        The class that came, 0 .. n_classes - 1.
    """
    if probabilities.shape[0] != classes.shape[0] or not classes.size:
        raise ContractError(
            f"{probabilities.shape[0]} rows of probabilities for {classes.size} outcomes.",
            remedy="pass one row of probabilities per outcome, at least one",
        )
    bins = tuple(
        reliability_bins(probabilities[:, k], (classes == k).astype(np.float64))
        for k in range(probabilities.shape[1])
    )
    errors = tuple(
        math.fsum(each.n * abs(each.predicted - each.observed) for each in group) / classes.size
        for group in bins
    )
    return Reliability(
        n_rows=classes.size,
        classwise_error=math.fsum(errors) / len(errors),
        class_errors=errors,
        bins=bins,
    )


def bin_edges(probabilities: FloatArray) -> FloatArray:
    """Return the inner edges of up to ten bins with equally many of ``probabilities``.

    Ascending and distinct: repeated values leave fewer bins. A value lies in bin
    ``searchsorted(edges, value, side="right")``.
    """
    ordered = np.sort(probabilities)
    places = np.arange(1, RELIABILITY_BINS) * ordered.size // RELIABILITY_BINS
    found = np.unique(ordered[places])
    # An edge at the smallest value would leave the first bin empty.
    edges: FloatArray = found[found > ordered[0]]
    return edges


def reliability_bins(announced: FloatArray, came: FloatArray) -> tuple[ReliabilityBin, ...]:
    """Return the bins of probabilities, ascending; ``came`` is 1 where they came true, else 0."""
    edges = bin_edges(announced)
    place = np.searchsorted(edges, announced, side="right")
    found = []
    for index in range(edges.size + 1):
        inside = place == index
        n = int(inside.sum())
        found.append(
            ReliabilityBin(
                n=n,
                predicted=math.fsum(announced[inside]) / n,
                observed=math.fsum(came[inside]) / n,
            )
        )
    return tuple(found)
