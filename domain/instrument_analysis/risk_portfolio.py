"""Ex-ante volatility of any weights, and what each factor and name adds to it."""

from __future__ import annotations

import math

import msgspec
import numpy as np
import polars as pl

from contracts.errors import ContractError
from domain.instrument_analysis.risk_exposures import STYLES
from domain.instrument_analysis.risk_panel import FloatArray
from domain.instrument_analysis.risk_regression import MARKET, SECTOR

SESSIONS_PER_YEAR = 252


class PortfolioRisk(msgspec.Struct, frozen=True, kw_only=True):
    """Volatilities are fractions per session; ``annualised`` is times sqrt(252).

    ``factors`` has a row per factor: ``factor``, ``exposure`` of the weights, ``contribution`` to
    volatility and its ``share``; the last is ``specific``. Contributions add to ``volatility``.
    ``uncovered_weight`` is the absolute weight of instruments that the model knows nothing of: they
    are **not** in the volatility, and who uses it must say so.
    """

    volatility: float
    factor_volatility: float
    specific_volatility: float
    uncovered_weight: float
    uncovered: tuple[str, ...]
    factors: pl.DataFrame

    @property
    def annualised(self) -> float:
        """Volatility per year of 252 sessions."""
        return self.volatility * math.sqrt(SESSIONS_PER_YEAR)


def portfolio_variance(
    weights: FloatArray, exposures: FloatArray, covariance: FloatArray, specific: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return factor exposures, factor variance and specific variance of portfolios.

    Grinold and Kahn (2000), *Active Portfolio Management*, ch. 3: V = X F X' + D.

    Parameters
    ----------
    weights : ndarray of shape (n_members, n_portfolios)
        Fractions of net asset value.
    exposures : ndarray of shape (n_members, n_factors)
    covariance : ndarray of shape (n_factors, n_factors)
    specific : ndarray of shape (n_members,)
        Specific volatilities.
    """
    loaded = exposures.T @ weights
    by_factor = (loaded * (covariance @ loaded)).sum(axis=0)
    own = ((weights * specific[:, None]) ** 2).sum(axis=0)
    return loaded, by_factor, own


def portfolio_risk(
    weights: pl.DataFrame,
    exposures: pl.DataFrame,
    covariance: pl.DataFrame,
    specific: pl.DataFrame,
) -> PortfolioRisk:
    """Forecast the volatility of a portfolio for the next session.

    Parameters
    ----------
    weights : pl.DataFrame
        ``instrument_id`` (unique) and ``weight``, fractions of net asset value, short ones
        negative. What is left to one is cash, without risk.
    exposures : pl.DataFrame
        One session's rows of ``risk_exposures``.
    covariance, specific : pl.DataFrame
        One day's rows of ``factor_covariance`` and ``specific_risk``.

    Raises
    ------
    ContractError
        For an instrument twice, a weight that is not finite, or no covariance.

    Notes
    -----
    By Euler's theorem a factor's contribution is x_k (F x)_k / sigma and that of specific risk
    sum(w^2 s^2) / sigma; volatility is homogeneous of degree one, so that they add to it. All are
    zero where volatility is.
    """
    if weights["instrument_id"].is_duplicated().any() or not weights["weight"].is_finite().all():
        raise ContractError(
            "An instrument has two weights, or one that is not a number.",
            remedy="pass each instrument once with a finite fraction of net asset value",
        )
    if covariance.is_empty():
        raise ContractError(
            "There is no factor covariance of that day.",
            remedy="the model needs 60 sessions of factor returns; take a later month",
        )
    names = tuple(covariance["factor_a"].unique(maintain_order=True).to_list())
    matrix = _square(covariance, names)
    columns = [f"exposure_{style}" for style in STYLES]
    known = exposures.drop_nulls(columns).select("instrument_id", "sector", *columns)
    held = (
        weights.filter(pl.col("weight") != 0)
        .join(known, on="instrument_id", how="left", maintain_order="left")
        .join(
            specific.select("instrument_id", "specific_volatility"),
            on="instrument_id", how="left", maintain_order="left",
        )
    )  # fmt: skip
    sectors = [name.removeprefix(SECTOR) for name in names if name.startswith(SECTOR)]
    covered = (
        pl.all_horizontal(pl.col(*columns, "specific_volatility").is_not_null())
        & pl.col("sector").is_in(sectors)
    ).fill_null(value=False)
    inside, outside = held.filter(covered).sort("instrument_id"), held.filter(~covered)
    loaded, by_factor, own = portfolio_variance(
        inside["weight"].to_numpy()[:, None],
        _design(inside, names),
        matrix,
        inside["specific_volatility"].to_numpy(),
    )
    return _split(names, loaded[:, 0], matrix, float(by_factor[0]), float(own[0]), outside)


def _split(
    names: tuple[str, ...],
    loaded: FloatArray,
    matrix: FloatArray,
    by_factor: float,
    own: float,
    outside: pl.DataFrame,
) -> PortfolioRisk:
    volatility = math.sqrt(max(by_factor, 0.0) + own)
    scale = 1.0 / volatility if volatility > 0 else 0.0
    contributions = np.append(loaded * (matrix @ loaded), own) * scale
    table = pl.DataFrame(
        {
            "factor": [*names, "specific"],
            "exposure": [*loaded.tolist(), None],
            "contribution": contributions,
            "share": contributions * scale,
        },
        schema_overrides={"exposure": pl.Float64},
    )
    return PortfolioRisk(
        volatility=volatility,
        factor_volatility=math.sqrt(max(by_factor, 0.0)),
        specific_volatility=math.sqrt(own),
        uncovered_weight=float(outside["weight"].abs().sum()),
        uncovered=tuple(sorted(outside["instrument_id"].to_list())),
        factors=table,
    )


def _design(held: pl.DataFrame, names: tuple[str, ...]) -> FloatArray:
    columns = []
    for name in names:
        if name == MARKET:
            columns.append(np.ones(held.height))
        elif name.startswith(SECTOR):
            inside = (held["sector"] == name.removeprefix(SECTOR)).to_numpy()
            columns.append(inside.astype(np.float64))
        else:
            columns.append(held[f"exposure_{name}"].to_numpy())
    return np.column_stack(columns)


def _square(covariance: pl.DataFrame, names: tuple[str, ...]) -> FloatArray:
    """Return the matrix of a table that has every ordered pair."""
    place = {name: number for number, name in enumerate(names)}
    matrix = np.full((len(names), len(names)), np.nan)
    for first, second, value in covariance.select("factor_a", "factor_b", "covariance").iter_rows():
        matrix[place[first], place[second]] = value
    return matrix
