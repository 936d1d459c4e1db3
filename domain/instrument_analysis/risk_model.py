"""The sector-and-style risk model as tables: its days, and its forecasts at each month's end.

A daily cross-sectional factor model in the manner of Barra: Menchero, Orr and Wang (2011), *USE4
Methodology Notes*; Grinold and Kahn (2000), *Active Portfolio Management*, ch. 3. Of it there are
neither the eigenfactor adjustment nor the volatility regime adjustment. Sectors are those that the
instrument master has now; who has none is in a group of its own, ``unknown``.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Iterator, Mapping, Sequence

import msgspec
import numpy as np
import polars as pl
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from domain.instrument_analysis.risk_exposures import (
    STYLES,
    Descriptors,
    Exposures,
    descriptors,
    exposures_at,
    numbered,
)
from domain.instrument_analysis.risk_forecast import (
    State,
    advance,
    factor_covariance,
    no_history,
    own_volatility,
    specific_volatility,
)
from domain.instrument_analysis.risk_panel import FloatArray, IntArray, Panel, panel_of, places
from domain.instrument_analysis.risk_regression import MARKET, SECTOR, Fit, factor_names, fit

UNKNOWN = "unknown"
_Schema = dict[str, pl.DataType | type[pl.DataType]]
EXPOSURE_SCHEMA: _Schema = {
    "month": pl.String,
    "session": pl.Date,
    "instrument_id": pl.String,
    "sector": pl.String,
    "beta": pl.Float64,
    "mean_dollar_volume": pl.Float64,
    **{f"exposure_{style}": pl.Float64 for style in STYLES},
    "specific_return": pl.Float64,
}
FACTOR_SCHEMA: _Schema = {
    "month": pl.String,
    "session": pl.Date,
    "factor": pl.String,
    "kind": pl.String,
    "factor_return": pl.Float64,
    "n_returns": pl.Int64,
    "r_squared": pl.Float64,
}
_DATES: _Schema = {"month": pl.String, "as_of": pl.Date, "usable_from": pl.Date}
COVARIANCE_SCHEMA: _Schema = _DATES | {
    "factor_a": pl.String,
    "factor_b": pl.String,
    "covariance": pl.Float64,
    "n_sessions": pl.Int64,
}
SPECIFIC_SCHEMA: _Schema = _DATES | {
    "instrument_id": pl.String,
    "specific_volatility": pl.Float64,
    "own_volatility": pl.Float64,
    "n_returns": pl.Int64,
}


class RiskHistory(msgspec.Struct, frozen=True):
    """The model's days as matrices: what its tables ``risk_exposures`` and ``factor_returns`` say.

    ``styles`` has shape (n_styles, n_sessions, n_instruments), ``weight`` (mean dollar volume) and
    ``specific`` (n_sessions, n_instruments), ``factors`` (n_sessions, n_factors) in the order of
    ``factor_names(sectors)``; NaN where there is nothing.
    """

    sessions: pl.Series
    instruments: tuple[str, ...]
    sectors: tuple[str, ...]
    sector: IntArray
    styles: FloatArray
    weight: FloatArray
    specific: FloatArray
    factors: FloatArray

    def exposures(self, position: int) -> Exposures | None:
        """Return one session's universe; None where it has no members."""
        values = self.styles[:, position]
        members = np.flatnonzero(~np.isnan(values).any(axis=0))
        if not members.size:
            return None
        return Exposures(
            members,
            np.ascontiguousarray(values[:, members].T),
            self.sector[members],
            self.weight[position, members],
        )


class Forecast(msgspec.Struct, frozen=True):
    """What the model says at one session's close of the next session's risk.

    ``covariance`` is of the factors, ``specific`` the volatility of the universe's members.
    """

    position: int
    exposures: Exposures
    covariance: FloatArray
    specific: FloatArray
    state: State


def model_days(
    bars: pl.DataFrame, instruments: pl.DataFrame, sessions: pl.Series, months: Collection[str]
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Compute exposures at each session's close, and each session's factor returns.

    Parameters
    ----------
    bars : pl.DataFrame
        As for ``panel_of``, from the history's first bar on.
    instruments : pl.DataFrame
        ``instrument_id`` and ``sector``.
    sessions : pl.Series
        Exchange sessions from the first bar on, ascending.
    months : collection of str
        Months to return, first days ``YYYY-MM-DD``.

    Returns
    -------
    exposures : pl.DataFrame
        ``EXPOSURE_SCHEMA``, a row for each bar: exposures known at its close, null where history
        is too short, and the part of the session's own return that the exposures of the session
        before do not explain. By session and instrument.
    factor_returns : pl.DataFrame
        ``FACTOR_SCHEMA``, by session and factor; sessions without a regression have no rows, nor
        have sectors without members.
    """
    with threadpool_limits(limits=1):
        panel = panel_of(bars, sessions)
        named = dict(instruments.select("instrument_id", "sector").iter_rows())
        sectors, sector = numbered([named.get(name) or UNKNOWN for name in panel.instruments])
        raw = descriptors(panel)
        wanted = np.flatnonzero(
            sessions.dt.strftime("%Y-%m-01").is_in(list(months)).to_numpy()
            & raw.present.any(axis=1)
        )
        days = list(_days(panel, raw, wanted, sector))
    exposures = [_exposure_rows(panel, raw, day) for day in days]
    factors = [
        _factor_rows(sessions[day.position], sectors, day.fit)
        for day in days
        if day.fit is not None
    ]
    names, known = (
        pl.Series(panel.instruments, dtype=pl.String),
        pl.Series(sectors, dtype=pl.String),
    )
    stacked = {
        name: np.concatenate([part[name] for part in exposures]) if exposures else np.array([])
        for name in ("column", "position", *_MEASURED)
    }
    column = stacked["column"].astype(np.int64)
    session = sessions.gather(stacked["position"].astype(np.int64))
    table = pl.DataFrame(
        {
            "month": session.dt.strftime("%Y-%m-01"),
            "session": session,
            "instrument_id": names.gather(column),
            "sector": known.gather(sector[column]),
            **{name: stacked[name] for name in _MEASURED},
        },
        schema=EXPOSURE_SCHEMA,
    ).with_columns(pl.col(*_MEASURED).fill_nan(None))
    return table, pl.DataFrame(
        [row for rows in factors for row in rows], schema=FACTOR_SCHEMA, orient="row"
    )


_MEASURED = tuple(name for name, kind in EXPOSURE_SCHEMA.items() if kind == pl.Float64)


class _Day(msgspec.Struct, frozen=True):
    """A session's universe at its close, the one of the session before, and its regression."""

    position: int
    exposures: Exposures | None
    before: Exposures | None
    fit: Fit | None


def _days(panel: Panel, raw: Descriptors, wanted: IntArray, sector: IntArray) -> Iterator[_Day]:
    n_sectors = int(sector.max(initial=-1)) + 1
    known: dict[int, Exposures | None] = {}
    for now in wanted.tolist():
        # Most days follow the one before, whose exposures are there already.
        known = {
            place: known[place] if place in known else exposures_at(raw, place, sector)
            for place in range(max(now - 1, 0), now + 1)
        }
        before = known.get(now - 1)
        found = None
        if before is not None:
            found = fit(before, panel.returns[now, before.columns], n_sectors)
        yield _Day(now, known[now], before, found)


def _exposure_rows(panel: Panel, raw: Descriptors, day: _Day) -> Mapping[str, FloatArray]:
    columns = np.flatnonzero(raw.present[day.position])
    spread = np.full((len(STYLES) + 1, len(panel.instruments)), np.nan)
    if day.exposures is not None:
        spread[:-1, day.exposures.columns] = day.exposures.styles.T
    if day.before is not None and day.fit is not None:
        spread[-1, day.before.columns] = day.fit.specific
    styles = {f"exposure_{name}": spread[place, columns] for place, name in enumerate(STYLES)}
    return {
        "column": columns.astype(np.float64),
        "position": np.full(columns.size, float(day.position)),
        "beta": raw.styles[STYLES.index("beta"), day.position, columns],
        "mean_dollar_volume": raw.weight[day.position, columns],
        **styles,
        "specific_return": spread[-1, columns],
    }


def _factor_rows(
    session: dt.date, sectors: tuple[str, ...], found: Fit
) -> list[tuple[str, dt.date, str, str, float, int, float]]:
    return [
        (
            session.strftime("%Y-%m-01"), session, name, kind_of(name), float(value),
            found.n_returns, found.r_squared,
        )
        for name, value in sorted(zip(factor_names(sectors), found.factor_returns, strict=True))
        if not np.isnan(value)
    ]  # fmt: skip


def kind_of(factor: str) -> str:
    """Return ``market``, ``style`` or ``sector``."""
    return "market" if factor == MARKET else "sector" if factor.startswith(SECTOR) else "style"


def history_of(exposures: pl.DataFrame, factor_returns: pl.DataFrame) -> RiskHistory:
    """Put the model's two tables back into matrices; both from the first session on."""
    sessions = exposures["session"].unique().sort()
    names = exposures["instrument_id"].unique().sort()
    rows, columns = places(exposures, sessions, names)
    # Of a sector that the master has changed since, the latest holds.
    latest = exposures.select("session", "instrument_id", "sector").sort("session")
    kinds = latest.unique("instrument_id", keep="last", maintain_order=True)
    sectors, sector = numbered(kinds.sort("instrument_id")["sector"].to_list())

    def matrix(name: str) -> FloatArray:
        cells = np.full((sessions.len(), names.len()), np.nan)
        cells[rows, columns] = exposures[name].to_numpy()
        return cells

    factors = np.full((sessions.len(), len(factor_names(sectors))), np.nan)
    number = {name: place for place, name in enumerate(factor_names(sectors))}
    known = factor_returns.filter(pl.col("factor").is_in(list(number)))
    factors[
        sessions.search_sorted(known["session"]).to_numpy(),
        known["factor"].replace_strict(number, return_dtype=pl.Int64).to_numpy(),
    ] = known["factor_return"].to_numpy()
    return RiskHistory(
        sessions,
        tuple(names.to_list()),
        sectors,
        sector,
        np.stack([matrix(f"exposure_{style}") for style in STYLES]),
        matrix("mean_dollar_volume"),
        matrix("specific_return"),
        factors,
    )


def forecasts(history: RiskHistory, wanted: Collection[int]) -> Iterator[Forecast]:
    """Yield the model's forecast at the close of some sessions, on nothing later.

    A session with too little behind it has none; see ``factor_covariance``.
    """
    chosen, last = set(wanted), max(wanted, default=-1)
    state = no_history(history.factors.shape[1], len(history.instruments))
    for now in range(last + 1):
        if not np.isnan(history.factors[now]).all():
            state = advance(state, history.factors[now], history.specific[now])
        if now not in chosen:
            continue
        exposures, covariance = history.exposures(now), factor_covariance(state)
        if exposures is None or covariance is None:
            continue
        specific = specific_volatility(
            own_volatility(state)[exposures.columns],
            exposures.styles[:, STYLES.index("size")],
            exposures.weight,
        )
        yield Forecast(now, exposures, covariance, specific, state)


def last_positions(sessions: pl.Series, months: Collection[str]) -> dict[int, str]:
    """Return the place of each month's last session that has data, with its month."""
    ends = dict(zip(sessions.dt.strftime("%Y-%m-01"), range(sessions.len()), strict=True))
    return {place: month for month, place in sorted(ends.items()) if month in set(months)}


def month_forecasts(
    history: RiskHistory, months: Collection[str], following: Mapping[dt.date, dt.date]
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return the factor covariance and the specific risk of each month's last session.

    Parameters
    ----------
    history : RiskHistory
        From the first session on.
    months : collection of str
        The newest may be unfinished: its last session so far counts.
    following : mapping of date to date
        Each session's next one: the first whose decisions may use the forecast.

    Returns
    -------
    covariance : pl.DataFrame
        ``COVARIANCE_SCHEMA``, every ordered pair of factors, squared fractions per session.
    specific : pl.DataFrame
        ``SPECIFIC_SCHEMA``, a row for each member of the universe, fractions per session;
        ``own_volatility`` is the estimate before shrinkage, null under 40 returns.
    """
    ends = last_positions(history.sessions, months)
    names = factor_names(history.sectors)
    covariances, specifics = [], []
    with threadpool_limits(limits=1):
        for found in forecasts(history, ends):
            as_of = history.sessions[found.position]
            dates = (ends[found.position], as_of, following[as_of])
            covariances += _covariance_rows(dates, names, found)
            own = own_volatility(found.state)
            specifics += [
                (*dates, history.instruments[column], float(found.specific[place]),
                 None if np.isnan(own[column]) else float(own[column]),
                 int(found.state.specific_count[column]))
                for place, column in enumerate(found.exposures.columns)
            ]  # fmt: skip
    return (
        pl.DataFrame(covariances, schema=COVARIANCE_SCHEMA, orient="row"),
        pl.DataFrame(specifics, schema=SPECIFIC_SCHEMA, orient="row").sort(
            "month", "instrument_id"
        ),
    )


def _covariance_rows(
    dates: tuple[str, dt.date, dt.date], names: Sequence[str], found: Forecast
) -> list[tuple[object, ...]]:
    known = np.diag(found.state.weights[0]) > 0
    order = sorted((name, place) for place, name in enumerate(names) if known[place])
    return [
        (*dates, first, second, float(found.covariance[a, b]), found.state.n_sessions)
        for first, a in order
        for second, b in order
    ]
