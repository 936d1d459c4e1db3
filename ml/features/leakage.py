"""Does anything said at t know what came after t? Two alarms for whatever computes features.

`scan` is the proof: it gives the past another future and looks for a value that noticed. It finds
any look-ahead, however weak, and names the first session that knew. `implausible_ics` is the
suspicion, for features whose making one cannot repeat: a rank correlation with what follows that
no honest feature of daily bars has.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence

import msgspec
import numpy as np
import polars as pl
from scipy import stats  # type: ignore[import-untyped]

from contracts.errors import ContractError
from ml.grid import FloatArray
from ml.labels.forward import CROSS_SECTION_MIN
from ml.training.calibration import hac_t, spearman

KEYS = ("instrument_id", "session")
ROWS = "(rows)"
# Published daily cross-sectional signals have rank ICs of a few hundredths.
IC_IMPLAUSIBLE = 0.2
_LOST_SHARE = 0.1
_MOVE = 0.05

Compute = Callable[[pl.DataFrame], pl.DataFrame]


class Leak(msgspec.Struct, frozen=True):
    """A column that changed with the future.

    ``first_session`` is the earliest session whose value changed, ``n_values`` how many did. The
    future began after ``cut``; ``future`` says what was done to it. ``name`` is ``(rows)`` where
    rows of the past came or went.
    """

    name: str
    cut: dt.date
    future: str
    first_session: dt.date
    n_values: int


class Scan(msgspec.Struct, frozen=True):
    """What a scan found; ``untested`` are columns that no scramble ever moved after a cut."""

    leaks: tuple[Leak, ...]
    untested: tuple[str, ...]

    def names(self) -> tuple[str, ...]:
        """Return the columns that leak, sorted."""
        return tuple(sorted({leak.name for leak in self.leaks}))


def scrambled(bars: pl.DataFrame, after: dt.date, seed: int) -> pl.DataFrame:
    """Return adjusted bars whose rows after a session are others.

    Prices move by some 5 % each (highs and lows stay highest and lowest), volumes are drawn anew,
    a tenth of the rows is lost, and jumps are flagged at random. Rows up to ``after`` stay.
    """
    random = np.random.default_rng(seed)
    past = bars.filter(pl.col("session") <= after)
    future = bars.filter(pl.col("session") > after)
    draws = {name: np.exp(random.normal(0, _MOVE, future.height)) for name in ("o", "h", "l", "c")}
    opened = future["adj_open"].to_numpy() * draws["o"]
    close = future["adj_close"].to_numpy() * draws["c"]
    top, bottom = np.maximum(opened, close), np.minimum(opened, close)
    volume = random.integers(1_000, 10_000_000, future.height)
    changed = future.with_columns(
        pl.Series("adj_open", opened),
        pl.Series("adj_close", close),
        pl.Series("adj_high", top * np.maximum(draws["h"], 1.0)),
        pl.Series("adj_low", bottom * np.minimum(draws["l"], 1.0)),
        pl.col("close") * pl.Series(draws["c"]),
        pl.Series("volume_shares", volume).cast(future.schema["volume_shares"]),
        pl.Series("unexplained_jump", random.random(future.height) < _LOST_SHARE),
    ).filter(pl.Series(random.random(future.height) >= _LOST_SHARE))
    return pl.concat([past, changed]).sort(KEYS)


def scan(compute: Compute, bars: pl.DataFrame, cuts: Sequence[dt.date], *, seed: int = 0) -> Scan:
    """Compare what is said of the past under several futures, to the bit.

    Parameters
    ----------
    compute : callable
        Bars to a frame with ``instrument_id``, ``session`` and any columns.
    bars : pl.DataFrame
        Forward-adjusted bars, as `ml.features.compute.compute_features` takes them.
    cuts : sequence of date
        The last sessions of the pasts to hold fixed. After each, the future is once scrambled and
        once absent.
    seed : int
        Of the scrambles.

    Returns
    -------
    Scan
        Leaks by column, cut and future. A column in ``untested`` was the same after every cut too:
        nothing was learnt of it.

    Raises
    ------
    ContractError
        When a cut leaves no past or no future: such a scan cannot fail.
    """
    truth = compute(bars).sort(KEYS)
    names = [name for name in truth.columns if name not in KEYS]
    leaks: list[Leak] = []
    moved: set[str] = set()
    for number, cut in enumerate(cuts):
        until = pl.col("session") <= cut
        if bars.filter(until).is_empty() or bars.filter(~until).is_empty():
            raise ContractError(
                f"No bars on one side of {cut}.", remedy="cut inside the history of the bars"
            )
        other = compute(scrambled(bars, cut, seed + number)).sort(KEYS)
        absent = compute(bars.filter(until)).sort(KEYS)
        for future, found in (("scrambled", other), ("absent", absent)):
            leaks += _leaks(truth.filter(until), found.filter(until), names, cut, future)
        moved |= _changed(truth.filter(~until), other.filter(~until), names).keys()
    untested = tuple(name for name in names if name not in moved)
    return Scan(tuple(leaks), untested)


def _leaks(
    was: pl.DataFrame, now: pl.DataFrame, names: Sequence[str], cut: dt.date, future: str
) -> list[Leak]:
    found = []
    keys = was.select(KEYS)
    if not keys.equals(now.select(KEYS)):
        strays = pl.concat([
            keys.join(now, on=KEYS, how="anti"), now.select(KEYS).join(keys, on=KEYS, how="anti")
        ])  # fmt: skip
        first = strays["session"].min()
        if isinstance(first, dt.date):
            found.append(Leak(ROWS, cut, future, first, strays.height))
    for name, days in _changed(was, now, names).items():
        first = days.min()
        if isinstance(first, dt.date):
            found.append(Leak(name, cut, future, first, days.len()))
    return found


def _changed(was: pl.DataFrame, now: pl.DataFrame, names: Sequence[str]) -> dict[str, pl.Series]:
    """Return the sessions of the rows that both frames hold with different values, by column."""
    both = was.join(now, on=list(KEYS), how="inner", suffix=" now", maintain_order="left")
    changed = both.select(
        "session", *(pl.col(name).ne_missing(pl.col(f"{name} now")).alias(name) for name in names)
    )
    found = {name: changed["session"].filter(changed[name]) for name in names}
    return {name: days for name, days in found.items() if days.len()}


def implausible_ics(
    features: pl.DataFrame,
    labels: pl.DataFrame,
    names: Sequence[str],
    *,
    ic_max: float = IC_IMPLAUSIBLE,
    every: int = 1,
) -> pl.DataFrame:
    """Find features whose rank correlation with the forward return is too good to be honest.

    Parameters
    ----------
    features : pl.DataFrame
        ``instrument_id``, ``session`` and the columns ``names``, numeric.
    labels : pl.DataFrame
        ``instrument_id``, ``session``, ``horizon_sessions``, ``forward_return``
        (`ml.labels.forward`).
    names : sequence of str
        Features to judge.
    ic_max : float
        The mean daily rank IC, in absolute value, from which on a feature is suspect.
    every : int
        Look at every n-th session only.

    Returns
    -------
    pl.DataFrame
        ``feature``, ``ic_mean``, ``ic_t_hac`` (null where undefined), ``n_sessions``: the suspects,
        the worst first. Sessions with fewer than 50 names with both values do not count.
    """
    horizons = labels["horizon_sessions"].unique().to_list()
    outcome = labels.select(*KEYS, "forward_return").drop_nulls()
    joined = features.select(*KEYS, *names).join(outcome, on=list(KEYS)).sort("session", KEYS[0])
    days = joined["session"].unique().sort()[::every]
    daily = [
        _session_ics(part, names)
        for part in joined.filter(pl.col("session").is_in(days.implode())).partition_by("session")
    ]
    matrix = np.array(daily).reshape(-1, len(names))
    lag = max((max(horizons, default=1) - 1) // every, 0)
    rows = []
    for column, name in enumerate(names):
        ics = matrix[:, column][~np.isnan(matrix[:, column])]
        if ics.size and abs(float(ics.mean())) >= ic_max:
            rows.append((name, float(ics.mean()), hac_t(ics, lag), ics.size))
    rows.sort(key=lambda row: (-abs(row[1]), row[0]))
    schema = {
        "feature": pl.String, "ic_mean": pl.Float64, "ic_t_hac": pl.Float64, "n_sessions": pl.Int64
    }  # fmt: skip
    return pl.DataFrame(rows, schema=schema, orient="row")


def _session_ics(part: pl.DataFrame, names: Sequence[str]) -> FloatArray:
    """Return each feature's rank correlation with the forward return; NaN with too few names."""
    found = np.full(len(names), np.nan)
    outcome = part["forward_return"].to_numpy()
    values = part.select(pl.col(names).cast(pl.Float64)).to_numpy()
    known = ~np.isnan(values)
    whole = known.all(axis=0) & (outcome.size >= CROSS_SECTION_MIN)
    if whole.any():
        ranks = stats.rankdata(values[:, whole], axis=0)
        ranks = ranks - ranks.mean(axis=0)
        wanted = stats.rankdata(outcome)
        wanted = wanted - wanted.mean()
        scale = np.sqrt((ranks**2).sum(axis=0) * (wanted**2).sum())
        with np.errstate(invalid="ignore", divide="ignore"):
            found[whole] = np.where(scale > 0, wanted @ ranks / scale, np.nan)
    for column in np.flatnonzero(~whole):
        at = known[:, column]
        if int(at.sum()) >= CROSS_SECTION_MIN:
            ic = spearman(values[at, column], outcome[at])
            found[column] = np.nan if ic is None else ic
    return found
