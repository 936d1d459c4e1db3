"""What a model may know about an instrument at the close of a session, declared as data.

A feature at session t uses bars up to and including t and, but for indicators, no bar older than
its declared horizon: a session can be updated from the last 61 with the bits of a full run. Only
the declared cross-sectional features look at other instruments, and only at the same session.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import itertools
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import polars as pl

from contracts.errors import ContractError
from ml.features.alpha158 import ALPHA158, alpha158
from ml.features.cross_section import CROSS_SECTION_FEATURES, UNKNOWN_SECTOR, cross_section_features
from ml.features.feature import Feature
from ml.features.indicators import INDICATOR_COLUMNS, INDICATOR_FEATURES, indicator_features
from ml.features.news import NEWS_COLUMNS, NEWS_FEATURES, news_features
from ml.features.panel import LOOKBACK_SESSIONS, PADDING, Panel, panel_of
from ml.features.prices import PRICE_FEATURES, price_features
from ml.grid import Grid, grid_of

FeatureArray = npt.NDArray[np.float32]

# Bump it when a formula changes: it is part of every feature hash and every training key.
FEATURES_VERSION = "features/2"
JUMP_MEMORY_SESSIONS = 5
_OWN = (*PRICE_FEATURES, *INDICATOR_FEATURES, *ALPHA158, *NEWS_FEATURES)
FEATURES: tuple[Feature, ...] = (*_OWN, *CROSS_SECTION_FEATURES)
FEATURE_NAMES = tuple(feature.name for feature in FEATURES)
# Stored as XGBoost reads them; volatility_20 is also the scale of expected returns and risk.
FEATURE_DTYPES: Mapping[str, pl.DataType | type[pl.DataType]] = {
    name: pl.Float64 if name == "volatility_20" else pl.Float32 for name in FEATURE_NAMES
}
# A row is warm when the slowest indicator (MACD, 34 bars) and the scale of its risk are known.
WARM_COLUMNS = ("volatility_20", "macd_histogram_to_close", "adx_14")
KEYS = ("instrument_id", "session")
# Instruments go through in blocks whose columns stay in the processor's cache.
_BLOCK_CELLS = 65_536
_MATRIX_ROWS = 65_536
_PRICES = ("open", "high", "low", "close")


def compute_features(
    adjusted: pl.DataFrame,
    indicators: pl.DataFrame,
    sessions: pl.Series,
    *,
    instruments: pl.DataFrame | None = None,
    news: pl.DataFrame | None = None,
    since: dt.date | None = None,
) -> pl.DataFrame:
    """Compute every declared feature for every bar.

    Parameters
    ----------
    adjusted : pl.DataFrame
        Forward-adjusted bars: ``instrument_id``, ``session``, ``month``, ``close`` (raw),
        ``volume_shares``, ``factor``, ``adj_open`` .. ``adj_close``, ``unexplained_jump``;
        optionally ``history_digest``, which is carried through.
    indicators : pl.DataFrame
        ``compute_indicators``' rows of the same bars, computed from each first bar on.
    sessions : pl.Series
        Exchange sessions, ascending, covering the bars.
    instruments : pl.DataFrame, optional
        ``instrument_id``, ``sector``. Without it the features relative to a sector are null.
    news : pl.DataFrame, optional
        ``NEWS_COLUMNS``; one row per instrument and covered session. Without it its features are
        null. News of a session without a bar are not counted.
    since : date, optional
        Return only rows from this session on, from the 60 sessions before it alone: with the same
        bits as without it. The frames may then start there.

    Returns
    -------
    pl.DataFrame
        Sorted by (instrument_id, session): ``instrument_id``, ``session``, ``month``, one column
        per entry of ``FEATURES`` (``FEATURE_DTYPES``: ``Float32``, ``volatility_20`` ``Float64``),
        ``unexplained_jump_recent`` (a jump in the last 5 sessions) and ``history_digest`` where it
        was given. Finite or null, never NaN: null while a window has too few valid sessions
        (``ml.features.panel.VALID_MIN``), across a gap for an end point that is missing, and where
        a formula is undefined (a zero range, a zero volume).

    Raises
    ------
    ContractError
        When the two frames hold different rows, a row is no exchange session's or occurs twice, or
        the news do not have their declared columns.
    """
    days, wanted = _tail(sessions, since)
    inside = pl.col("session") >= days[0] if days.len() else pl.lit(value=True)
    bars = adjusted.filter(inside).sort(KEYS)
    computed = indicators.filter(inside).sort(KEYS)
    if not bars.select(KEYS).equals(computed.select(KEYS)):
        raise ContractError(
            f"{bars.height} bars and {computed.height} indicator rows are not the same rows.",
            remedy="compute the indicators from the bars passed",
        )
    grid = grid_of(bars, days)
    inputs = _inputs(bars, computed, news)
    keep = grid.positions >= wanted
    own = pl.concat(
        [_of_block(inputs, grid, rows, keep) for rows in blocks(grid)]
        or [_of_block(inputs, grid, slice(0, 0), keep)]
    )
    kept = bars.select(*KEYS, "month", *(n for n in ("history_digest",) if n in bars.columns))
    rows = kept.filter(pl.Series(keep)).hstack(own)
    compared = rows.with_columns(_sectors(rows, instruments))
    crossed = cross_section_features(compared).select(_stored(CROSS_SECTION_FEATURES))
    carried = [name for name in ("history_digest",) if name in rows.columns]
    return rows.hstack(crossed).select(
        *KEYS, "month", *FEATURE_NAMES, "unexplained_jump_recent", *carried
    )


def _tail(sessions: pl.Series, since: dt.date | None) -> tuple[pl.Series, int]:
    """Return the sessions to read, and the place among them of the first one to return."""
    if since is None:
        return sessions, 0
    first = int((sessions < since).sum())
    start = max(first - LOOKBACK_SESSIONS, 0)
    return sessions[start:], first - start


def _inputs(
    bars: pl.DataFrame, computed: pl.DataFrame, news: pl.DataFrame | None
) -> dict[str, npt.NDArray[np.float64]]:
    """Return what the features are made of, one array of shape (n_rows,) each, null as NaN."""
    columns = {name: bars[f"adj_{name}"].cast(pl.Float64) for name in _PRICES}
    # A bar with a price missing or not positive is none.
    whole = pl.all_horizontal(pl.col(name).is_finite() & (pl.col(name) > 0) for name in _PRICES)
    frame = pl.DataFrame(columns)
    priced = frame.select(pl.when(whole).then(pl.col(name)).alias(name) for name in _PRICES)
    shares = bars["volume_shares"].cast(pl.Float64)
    arrays = {name: priced[name].to_numpy() for name in _PRICES}
    arrays["volume"] = (shares / bars["factor"].cast(pl.Float64)).to_numpy()
    arrays["dollars"] = (bars["close"].cast(pl.Float64) * shares).to_numpy()
    arrays["jump"] = bars["unexplained_jump"].cast(pl.Float64).to_numpy()
    arrays |= {name: computed[name].cast(pl.Float64).to_numpy() for name in INDICATOR_COLUMNS}
    written = _news_rows(bars, news)
    arrays |= {name: written[name].cast(pl.Float64).to_numpy() for name in written.columns}
    return arrays


def _news_rows(bars: pl.DataFrame, news: pl.DataFrame | None) -> pl.DataFrame:
    values = [name for name in NEWS_COLUMNS if name not in KEYS]
    found = pl.DataFrame(schema=NEWS_COLUMNS) if news is None else news
    missing = [name for name in NEWS_COLUMNS if name not in found.columns]
    if missing or found.select(KEYS).is_duplicated().any():
        raise ContractError(
            f"The news lack the columns {missing} or repeat an (instrument_id, session).",
            remedy="pass one row per instrument and session, as ml.features.news declares",
        )
    joined = bars.select(KEYS).join(
        found.select(*KEYS, *values), on=KEYS, how="left", maintain_order="left"
    )
    return joined.select(values)


def blocks(grid: Grid) -> list[slice]:
    """Cut the rows, sorted by instrument, into runs of whole instruments."""
    per_block = max(_BLOCK_CELLS // (grid.shape[0] + PADDING), 1)
    firsts = np.arange(0, grid.shape[1], per_block)
    cuts = [*np.searchsorted(grid.columns, firsts).tolist(), grid.columns.size]
    return [slice(start, stop) for start, stop in itertools.pairwise(cuts)]


def _of_block(
    inputs: Mapping[str, npt.NDArray[np.float64]],
    grid: Grid,
    rows: slice,
    keep: npt.NDArray[np.bool_],
) -> pl.DataFrame:
    """Compute everything that needs no other instrument, for one block's rows that are kept."""
    panel = panel_of(grid, rows)
    cells = pl.DataFrame([panel.column(name, values[rows]) for name, values in inputs.items()])
    chosen = Panel(panel.height, panel.cells[keep[rows]])
    jump = pl.sum_horizontal(
        pl.col("jump").fill_null(0.0).shift(lag, fill_value=0.0)
        for lag in range(JUMP_MEMORY_SESSIONS)
    )
    parts = [cells.select((jump > 0).alias("unexplained_jump_recent"))]
    parts += [make(cells) for make in (price_features, indicator_features, alpha158, news_features)]
    found = [chosen.rows(part) for part in parts]
    return pl.concat(found, how="horizontal").select("unexplained_jump_recent", *_stored(_OWN))


def _stored(features: tuple[Feature, ...]) -> list[pl.Expr]:
    """Cast to what is stored; what is undefined or too large for it is null."""
    expressions = []
    for feature in features:
        value = pl.col(feature.name).cast(FEATURE_DTYPES[feature.name])
        # Adding zero would be optimised away: -0.0 and 0.0 are one value.
        finite = pl.when(value == 0).then(0.0).when(value.is_finite()).then(value)
        expressions.append(finite.cast(FEATURE_DTYPES[feature.name]).alias(feature.name))
    return expressions


def _sectors(rows: pl.DataFrame, instruments: pl.DataFrame | None) -> pl.Series:
    if instruments is None:
        return pl.repeat(UNKNOWN_SECTOR, rows.height, eager=True).alias("sector")
    named = instruments.select("instrument_id", pl.col("sector").cast(pl.String))
    ids = rows.select("instrument_id")
    return ids.join(named, on="instrument_id", how="left", maintain_order="left")["sector"]


def feature_matrix(features: pl.DataFrame) -> FeatureArray:
    """Return the declared features as a C-ordered float32 array (n_rows, n_features), null as NaN.

    Raises
    ------
    ContractError
        When a column is missing, not of ``FEATURE_DTYPES``, or holds NaN or infinity.
    """
    wrong = [name for name, dtype in FEATURE_DTYPES.items() if features.schema.get(name) != dtype]
    if wrong:
        raise ContractError(
            f"Features {wrong} are missing or not of their declared type.",
            remedy="pass the frame that compute_features returned",
        )
    chosen = features.select(FEATURE_NAMES)
    finite = chosen.select(pl.all().is_finite().fill_null(value=True).all())
    bad = [name for name in FEATURE_NAMES if not finite[name].all()]
    if bad:
        raise ContractError(
            f"Features {bad} hold NaN or infinity.",
            remedy="make undefined values null: XGBoost aborts on infinity",
        )
    values = np.empty((chosen.height, len(FEATURE_NAMES)), dtype=np.float32)
    # By runs of rows: a whole column at a time would touch every page for each feature.
    for start in range(0, chosen.height, _MATRIX_ROWS):
        part = chosen.slice(start, _MATRIX_ROWS).cast(pl.Float32)
        values[start : start + part.height] = part.to_numpy()
    return values


def feature_hashes(values: FeatureArray) -> list[str]:
    """Return one SHA-256 per row over the features' version, names and float32 bytes.

    The bytes are what the model sees. Little-endian; NaN (null) in one bit pattern and -0.0 as
    +0.0, so that equal values hash equally on every machine.
    """
    plain = np.where(np.isnan(values), np.nan, np.where(values == 0, 0.0, values)).astype("<f4")
    head = hashlib.sha256("\n".join((FEATURES_VERSION, *FEATURE_NAMES)).encode())
    hashes = []
    for row in np.ascontiguousarray(plain):
        hasher = head.copy()
        hasher.update(row.tobytes())
        hashes.append(hasher.hexdigest())
    return hashes


def feature_catalogue() -> Mapping[str, str]:
    """Return each feature's formula by name, for metadata and documentation."""
    return {feature.name: feature.formula for feature in FEATURES}
