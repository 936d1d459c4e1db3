"""Labelled rows in the order of their sessions, so that a slice of time is a view, not a copy."""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Sequence

import msgspec
import numpy as np
import polars as pl

from ml.features.compute import FeatureArray, feature_matrix
from ml.grid import FloatArray, IntArray

# Returns are taught in units of their volatility: beyond four it is news, not a pattern.
TARGET_MAX = 4.0


class Slice(msgspec.Struct, frozen=True):
    """Rows of some sessions, sorted by (session, instrument).

    ``values`` (n_rows, n_features) are finite or NaN; ``classes`` 0 .. 4; ``returns`` log, over the
    horizon; ``relative`` = (return - the session's mean) / volatility over the horizon: what the
    return model is taught.
    """

    keys: pl.DataFrame
    values: FeatureArray
    classes: IntArray
    returns: FloatArray
    relative: FloatArray

    @property
    def n_sessions(self) -> int:
        """How many sessions the rows come from."""
        return self.keys["session"].n_unique()


class LabelledRows:
    """All rows that may teach or calibrate, by session.

    Parameters
    ----------
    rows : pl.DataFrame
        From ``teachable``: features, ``forward_return``, ``rating_class``.
    horizon : int
        The labels' horizon in sessions.
    """

    def __init__(self, rows: pl.DataFrame, horizon: int) -> None:
        ordered = rows.sort("session", "instrument_id")
        self._keys = ordered.select("instrument_id", "session")
        self._values = feature_matrix(ordered)
        self._classes = ordered["rating_class"].to_numpy().astype(np.int64)
        self._returns = ordered["forward_return"].to_numpy().astype(np.float64)
        volatility = ordered["volatility_20"].cast(pl.Float64).to_numpy() * np.sqrt(float(horizon))
        days, starts = np.unique(ordered["session"].to_physical().to_numpy(), return_index=True)
        stops = [*starts[1:].tolist(), ordered.height][: starts.size]
        names = pl.Series(days, dtype=pl.Int32).cast(pl.Date).to_list()
        self._bounds = dict(zip(names, zip(starts.tolist(), stops, strict=True), strict=True))
        self._relative = self._standardised(volatility)
        self._digests: dict[dt.date, bytes] = {}

    def _standardised(self, volatility: FloatArray) -> FloatArray:
        found = np.zeros(self._returns.size)
        for start, stop in self._bounds.values():
            part = self._returns[start:stop]
            found[start:stop] = part - part.mean()
        # A price that did not move for twenty sessions has no scale: it teaches nothing.
        scaled = np.divide(found, volatility, out=np.zeros(found.size), where=volatility > 0)
        clipped: FloatArray = np.clip(scaled, -TARGET_MAX, TARGET_MAX)
        return clipped

    def sessions(self, names_min: int) -> list[dt.date]:
        """Return the sessions with at least so many rows, ascending."""
        return [day for day, (start, stop) in self._bounds.items() if stop - start >= names_min]

    def digest(self, day: dt.date) -> bytes:
        """Return the SHA-256 of a session's rows: names, features, classes and targets."""
        known = self._digests.get(day)
        if known is None:
            start, stop = self._bounds[day]
            names = self._keys["instrument_id"][start:stop].to_list()
            hasher = hashlib.sha256(f"{day};{len(names)};{','.join(names)};".encode())
            for values in (self._values, self._classes, self._returns, self._relative):
                hasher.update(np.ascontiguousarray(values[start:stop]).tobytes())
            known = self._digests[day] = hasher.digest()
        return known

    def slice(self, days: Sequence[dt.date]) -> Slice:
        """Return the rows of some sessions, which are among ``sessions``."""
        at = np.concatenate([np.arange(*self._bounds[day]) for day in days])
        return Slice(
            keys=self._keys[at],
            values=self._values[at],
            classes=self._classes[at],
            returns=self._returns[at],
            relative=self._relative[at],
        )
