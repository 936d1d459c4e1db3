"""Clusters of instruments that move together, with the same labels every time."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from domain.instrument_analysis.correlation_estimators import FloatArray

# As many as there are GICS sectors, so that the two can be compared.
CLUSTERS = 11


def clusters(correlation: FloatArray, count: int = CLUSTERS) -> npt.NDArray[np.int64]:
    """Return each instrument's cluster by hierarchical clustering.

    Parameters
    ----------
    correlation : ndarray of shape (n_instruments, n_instruments)
        Positive semi-definite, unit diagonal; instruments in ascending order of their ids.
    count : int
        How many clusters, at most one for each instrument.

    Returns
    -------
    ndarray of shape (n_instruments,)
        1 .. count, numbered by the first instrument of each: the labels depend on who is together,
        not on the order of the merges.

    Notes
    -----
    The distance is sqrt((1 - rho) / 2): Mantegna (1999), "Hierarchical structure in financial
    markets", scaled to [0, 1]. For a positive semi-definite matrix it is the Euclidean distance of
    standardised series, for which Ward's method is made; single and average linkage leave nearly
    all stocks in one cluster.
    """
    # scipy.cluster takes a quarter of a second to import.
    from scipy.cluster.hierarchy import fcluster, linkage  # type: ignore[import-untyped]
    from scipy.spatial.distance import squareform  # type: ignore[import-untyped]

    if correlation.shape[0] < 2:
        return np.ones(correlation.shape[0], dtype=np.int64)
    distance = np.sqrt(np.maximum(1.0 - correlation, 0.0) / 2.0)
    np.fill_diagonal(distance, 0.0)
    tree = linkage(squareform(distance, checks=False), method="ward")
    found = fcluster(tree, t=count, criterion="maxclust")
    _, first, which = np.unique(found, return_index=True, return_inverse=True)
    rank = np.argsort(np.argsort(first))
    return (rank[which] + 1).astype(np.int64)
