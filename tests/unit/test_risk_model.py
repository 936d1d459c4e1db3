"""The risk model against another implementation, in a world that is known, without a future."""

import numpy as np
import polars as pl
import pytest
from threadpoolctl import threadpool_limits

from contracts.errors import ContractError
from domain.instrument_analysis.risk_exposures import STYLES, Exposures, descriptors, exposures_at
from domain.instrument_analysis.risk_model import (
    COVARIANCE_SCHEMA,
    EXPOSURE_SCHEMA,
    FACTOR_SCHEMA,
    SPECIFIC_SCHEMA,
    forecasts,
    history_of,
    model_days,
    month_forecasts,
)
from domain.instrument_analysis.risk_panel import panel_of, weighted_sums, window_sums
from domain.instrument_analysis.risk_quality import QUALITY_SCHEMA, model_quality
from domain.instrument_analysis.risk_regression import design, factor_names, fit
from io_managers.canonical import canonical_hash
from tests.unit.risk_cases import DAYS, FOLLOWING, SECTORS, months_of, world

N = 300
SESSIONS = DAYS[:N]
MONTHS = months_of(SESSIONS)


class Outcome:
    """All tables of the model."""

    def __init__(self, bars, instruments, sessions=SESSIONS, months=MONTHS):
        self.exposures, self.factors = model_days(bars, instruments, sessions, months)
        self.history = history_of(self.exposures, self.factors)
        self.covariance, self.specific = month_forecasts(self.history, months, FOLLOWING)
        self.quality = model_quality(self.history, months, book_of(bars))

    def hashes_until(self, day):
        month = day.strftime("%Y-%m-01")
        return {
            "exposures": canonical_hash(
                self.exposures.filter(pl.col("session") <= day), ("session", "instrument_id")
            ),
            "factors": canonical_hash(
                self.factors.filter(pl.col("session") <= day), ("session", "factor")
            ),
        } | {
            name: canonical_hash(getattr(self, name).filter(pl.col("month") <= month), ("month",))
            for name in ("covariance", "specific", "quality")
        }


def book_of(bars):
    """Three names held from first to last, a short one among them."""
    held = {"US.001": 0.5, "US.010": 0.3, "US.020": -0.2}
    mine = bars.filter(pl.col("instrument_id").is_in(list(held)))
    return mine.select(
        "session", "instrument_id",
        pl.col("instrument_id").replace_strict(held, return_dtype=pl.Float64).alias("weight"),
    )  # fmt: skip


@pytest.fixture(scope="module")
def case():
    return world(N, gaps=0.003)


@pytest.fixture(scope="module")
def made(case):
    return Outcome(*case[:2])


def test_tables_have_their_schemas_keys_and_order(made, case):
    assert dict(made.exposures.schema) == EXPOSURE_SCHEMA
    assert dict(made.factors.schema) == FACTOR_SCHEMA
    assert dict(made.covariance.schema) == COVARIANCE_SCHEMA
    assert dict(made.specific.schema) == SPECIFIC_SCHEMA
    assert dict(made.quality.schema) == QUALITY_SCHEMA
    # Every bar has its row, known or not.
    assert made.exposures.height == case[0].height
    assert made.exposures.equals(made.exposures.sort("session", "instrument_id"))
    assert not made.factors.select("session", "factor").is_duplicated().any()
    assert (made.covariance["usable_from"] > made.covariance["as_of"]).all()
    assert (made.specific["usable_from"] > made.specific["as_of"]).all()


def test_too_little_history_is_null_and_not_a_guess(made):
    first = made.exposures.drop_nulls("exposure_momentum")["session"].min()
    # 63 returns that end 21 sessions ago: the 85th close is the first, but for gaps.
    assert first == DAYS[84]
    assert made.exposures.filter(pl.col("session") < first)["exposure_beta"].is_null().all()
    assert made.factors["session"].min() == DAYS[85]
    early = made.covariance["month"].min()
    assert made.covariance.filter(month=early)["n_sessions"].min() >= 60


def test_descriptors_are_what_their_formulas_say(case):
    bars, _, _ = case
    panel = panel_of(bars, SESSIONS)
    raw = descriptors(panel)
    now, column = 290, 7
    returns = panel.returns[: now + 1, column]
    traded = panel.dollar_volume[now - 59 : now + 1, column]
    assert raw.weight[now, column] == pytest.approx(np.nanmean(traded))
    size, momentum, volatility = (raw.styles[i, now, column] for i in (1, 2, 3))
    assert size == pytest.approx(np.log(np.nanmean(traded)))
    past = np.log1p(panel.returns[now - 251 : now - 20, column])
    assert momentum == pytest.approx(np.nanmean(past), abs=1e-12)
    window = returns[-252:]
    ages = np.arange(251, -1, -1)
    there = ~np.isnan(window)
    squared = np.average(window[there] ** 2, weights=0.5 ** (ages[there] / 42))
    assert volatility == pytest.approx(np.sqrt(squared))
    market = np.full(now + 1, np.nan)
    for t in range(1, now + 1):
        known = ~np.isnan(panel.returns[t]) & ~np.isnan(raw.weight[t - 1])
        if known.any():
            market[t] = np.average(panel.returns[t, known], weights=raw.weight[t - 1, known])
    x, y = market[-252:], window
    both = ~np.isnan(x) & ~np.isnan(y)
    w = 0.5 ** (ages[both] / 63)
    slope = np.polyfit(x[both], y[both], 1, w=np.sqrt(w))[0]
    assert raw.styles[0, now, column] == pytest.approx(slope)


def test_window_sums_are_those_of_every_window():
    values = np.random.default_rng(1).normal(0, 1, (40, 3))
    values[5:9, 1] = np.nan
    total, count = window_sums(values, 10)
    weighted = weighted_sums(values, 4.0, 10)
    for now in (0, 6, 9, 10, 25, 39):
        part = values[max(now - 9, 0) : now + 1]
        assert total[now] == pytest.approx(np.nansum(part, axis=0))
        assert count[now].tolist() == (~np.isnan(part)).sum(axis=0).tolist()
        ages = np.arange(len(part) - 1, -1, -1)[:, None]
        assert weighted[now] == pytest.approx(np.nansum(part * 0.5 ** (ages / 4.0), axis=0))


def test_exposures_are_standardised_and_the_market_has_none(case):
    bars, _, truth = case
    raw = descriptors(panel_of(bars, SESSIONS))
    found = exposures_at(raw, 250, truth["sector"])
    assert found.styles.shape == (found.columns.size, len(STYLES))
    assert found.weight @ found.styles / found.weight.sum() == pytest.approx(np.zeros(4), abs=1e-12)
    assert found.styles.std(axis=0) == pytest.approx(np.ones(4))
    # Three robust deviations from the median, at most, in units of a deviation no larger.
    assert np.abs(found.styles).max() < 6
    # Volatility says nothing that beta has said.
    root = np.sqrt(found.weight)
    both = np.cov(found.styles[:, 0], found.styles[:, 3], aweights=root)
    assert abs(both[0, 1]) < 0.02
    # Beta was estimated, not told: it is the truth's order.
    order = np.corrcoef(found.styles[:, 0], truth["betas"][found.columns])[0, 1]
    assert order > 0.9


def drawn(seed, n=80, n_sectors=4, missing=0):
    random = np.random.default_rng(seed)
    exposures = Exposures(
        np.arange(n), random.normal(0, 1, (n, 4)), random.integers(0, n_sectors, n),
        np.exp(random.normal(15, 1.5, n)),
    )  # fmt: skip
    returns = random.normal(0, 0.02, n)
    returns[:missing] = np.nan
    return exposures, returns


@pytest.mark.parametrize("seed", range(6))
def test_factor_returns_are_those_of_lagranges_multiplier(seed):
    """Another implementation: all coefficients, and the constraint as an equation of its own."""
    exposures, returns = drawn(seed, missing=5)
    found = fit(exposures, returns, 4)
    there = ~np.isnan(returns)
    x, y, w = design(exposures, 4)[there], returns[there], np.sqrt(exposures.weight[there])
    share = np.zeros(9)
    for sector in range(4):
        share[5 + sector] = exposures.weight[there][exposures.sector[there] == sector].sum()
    share /= share.sum()
    system = np.block([[x.T @ (w[:, None] * x), share[:, None]], [share[None], np.zeros((1, 1))]])
    expected = np.linalg.solve(system, np.append(x.T @ (w * y), 0.0))[:9]
    assert found.factor_returns == pytest.approx(expected, abs=1e-12)
    # And numpy's lstsq, with the constraint as a row that outweighs all others.
    rows = np.vstack([x * np.sqrt(w)[:, None], 1e9 * share[None]])
    lstsq = np.linalg.lstsq(rows, np.append(y * np.sqrt(w), 0.0), rcond=None)[0]
    assert found.factor_returns == pytest.approx(lstsq, abs=1e-7)
    assert found.specific[there] == pytest.approx(y - x @ expected)
    assert np.isnan(found.specific[~there]).all()
    assert found.n_returns == 75


def test_a_sector_nobody_is_in_has_no_return_and_a_flat_style_none_either():
    exposures, returns = drawn(1, n_sectors=3)
    exposures.styles[:, 2] = 0.0
    found = fit(exposures, returns, 4)
    assert np.isnan(found.factor_returns[8])
    assert not np.isnan(found.factor_returns[[0, 1, 2, 4, 5, 6, 7]]).any()
    assert fit(*drawn(1, n=17), 4) is None
    assert fit(*drawn(1, n=18), 4) is not None
    assert fit(exposures, np.full(80, np.nan), 4) is None


def test_a_planted_world_s_factor_returns_are_recovered(made, case):
    _, _, truth = case
    market = made.factors.filter(factor="market")
    at = DAYS.search_sorted(market["session"]).to_numpy()
    # The market's return is that of names with the average beta and all sectors, by their weight.
    assert np.corrcoef(market["factor_return"], truth["market"][at])[0, 1] > 0.9
    for number, name in enumerate(SECTORS):
        sector = made.factors.filter(factor=f"sector:{name}")["factor_return"]
        apart = truth["sectors"][at, number] - truth["sectors"][at].mean(axis=1)
        assert np.corrcoef(sector, apart)[0, 1] > 0.85, name
    # A unit of beta exposure is one deviation of beta: 0.4 of the market's return.
    beta = made.factors.filter(factor="beta")["factor_return"].to_numpy()
    slope = np.polyfit(truth["market"][at], beta, 1)[0]
    assert slope == pytest.approx(0.4, abs=0.1)
    last = made.specific.filter(month=made.specific["month"].max())
    names = [int(name[-3:]) for name in last["instrument_id"]]
    assert np.corrcoef(last["specific_volatility"], truth["risk"][names])[0, 1] > 0.9
    assert last["specific_volatility"].to_numpy() == pytest.approx(truth["risk"][names], rel=0.4)


def test_returns_are_exposures_times_factors_and_the_rest(made, case):
    bars, _, _ = case
    panel = panel_of(bars, SESSIONS)
    history = made.history
    for now in (120, 200, 299):
        before = history.exposures(now - 1)
        explained = design(before, len(history.sectors)) @ np.nan_to_num(history.factors[now])
        whole = explained + history.specific[now, before.columns]
        there = ~np.isnan(whole)
        assert there.sum() > 80
        assert whole[there] == pytest.approx(panel.returns[now, before.columns][there])


def test_sector_returns_weighted_by_dollar_volume_add_to_nothing(made):
    history = made.history
    names = factor_names(history.sectors)
    for now in (150, 250):
        before = history.exposures(now - 1)
        there = ~np.isnan(history.specific[now, before.columns])
        total = sum(
            history.factors[now, names.index(f"sector:{name}")]
            * before.weight[there & (before.sector == number)].sum()
            for number, name in enumerate(history.sectors)
        )
        assert total / before.weight.sum() == pytest.approx(0.0, abs=1e-12)


def scrambled(bars, day, seed):
    """Other prices and volumes after a day, a tenth of the bars lost, and a newcomer."""
    random = np.random.default_rng(seed)
    past, future = bars.filter(pl.col("session") <= day), bars.filter(pl.col("session") > day)
    moved = pl.Series(np.exp(random.normal(0, 0.1, future.height)))
    changed = future.with_columns(
        (pl.col("adj_close") * moved).alias("adj_close"), (pl.col("close") * moved).alias("close"),
        pl.Series("volume_shares", random.integers(1_000, 10_000_000, future.height)),
    ).filter(pl.Series(random.random(future.height) > 0.1))  # fmt: skip
    late = changed.filter(pl.col("instrument_id") == "US.004").with_columns(
        pl.lit("US.0041").alias("instrument_id")
    )
    return pl.concat([past, changed, late])


@pytest.mark.parametrize(("at", "seed"), [(151, 1), (212, 2), (273, 3)])
def test_a_scrambled_future_changes_nothing_that_was_said(made, case, at, seed):
    bars, instruments, _ = case
    # A month's last session, so that the month's forecast is known; then all else changes.
    day = SESSIONS.filter(SESSIONS.dt.strftime("%Y-%m-01") == DAYS[at].strftime("%Y-%m-01"))[-1]
    other = Outcome(scrambled(bars, day, seed), instruments)
    assert other.hashes_until(day) == made.hashes_until(day)
    now, was = other.hashes_until(SESSIONS[-1]), made.hashes_until(SESSIONS[-1])
    assert all(now[name] != was[name] for name in was)


def test_a_month_alone_has_the_bits_that_it_has_in_the_whole(made, case):
    bars, instruments, _ = case
    month = MONTHS[-2]
    known = bars.filter(pl.col("session").dt.strftime("%Y-%m-01") <= month)
    alone = model_days(known, instruments, SESSIONS, [month])
    assert alone[0].equals(made.exposures.filter(month=month))
    assert alone[1].equals(made.factors.filter(month=month))
    covariance, specific = month_forecasts(made.history, [month], FOLLOWING)
    assert covariance.equals(made.covariance.filter(month=month))
    assert specific.equals(made.specific.filter(month=month))
    judged = model_quality(made.history, [month], book_of(bars))
    assert judged.equals(made.quality.filter(month=month))


def test_an_unfinished_month_s_forecast_is_that_of_its_last_session(made, case):
    bars, instruments, _ = case
    day = DAYS[250]
    assert day.month == DAYS[251].month
    early = Outcome(
        bars.filter(pl.col("session") <= day),
        instruments,
        SESSIONS[:251],
        months_of(SESSIONS[:251]),
    )
    position = made.history.sessions.search_sorted(day)
    (found,) = forecasts(made.history, [position])
    last = early.covariance.filter(as_of=day)
    names = last["factor_a"].unique(maintain_order=True).to_list()
    order = [factor_names(made.history.sectors).index(name) for name in names]
    expected = found.covariance[np.ix_(order, order)].ravel().tolist()
    assert last["covariance"].to_list() == expected
    assert early.specific.filter(as_of=day)["specific_volatility"].to_list() == (
        found.specific.tolist()
    )


def test_bits_do_not_depend_on_threads_or_on_the_order_of_bars(made, case):
    bars, instruments, _ = case
    with threadpool_limits(limits=2):
        other = Outcome(bars.sample(fraction=1, shuffle=True, seed=3), instruments)
    assert other.hashes_until(SESSIONS[-1]) == made.hashes_until(SESSIONS[-1])


def test_a_sector_that_comes_later_changes_no_earlier_bit(made, case):
    bars, instruments, _ = case
    late = bars.filter((pl.col("instrument_id") == "US.004") & (pl.col("session") > DAYS[181]))
    newcomer = late.with_columns(pl.lit("US.0041").alias("instrument_id"))
    listed = pl.concat(
        [instruments, pl.DataFrame({"instrument_id": ["US.0041"], "sector": ["Aerospace"]})]
    )
    found = Outcome(pl.concat([bars, newcomer]), listed)
    day = SESSIONS.filter(SESSIONS.dt.strftime("%Y-%m-01") == "2020-06-01")[-1]
    assert day <= DAYS[181]
    # The truth's own sectors are four; the newcomer's has one name, too few to be judged.
    assert found.hashes_until(day) == made.hashes_until(day)


def test_a_session_that_nobody_saw_breaks_nothing(case):
    bars, instruments, _ = case
    lost = DAYS[200:203]
    found = Outcome(bars.filter(~pl.col("session").is_in(lost.implode())), instruments)
    days = found.factors["session"].unique().sort()
    assert not set(days) & set(DAYS[200:204])
    assert DAYS[204] in days
    assert found.quality.filter(portfolio="equal_weight")["n_sessions"].max() > 100


def test_without_sectors_all_are_one_group(case):
    bars, _, _ = case
    nobody = pl.DataFrame(schema={"instrument_id": pl.String, "sector": pl.String})
    exposures, factors = model_days(bars, nobody, SESSIONS, MONTHS[-1:])
    assert exposures["sector"].unique().to_list() == ["unknown"]
    assert factors.filter(kind="sector")["factor_return"].to_numpy() == pytest.approx(
        0.0, abs=1e-15
    )


def test_no_bars_make_empty_tables(case):
    bars, instruments, _ = case
    exposures, factors = model_days(bars.clear(), instruments, SESSIONS, MONTHS)
    assert dict(exposures.schema) == EXPOSURE_SCHEMA
    assert dict(factors.schema) == FACTOR_SCHEMA
    history = history_of(exposures, factors)
    covariance, specific = month_forecasts(history, MONTHS, FOLLOWING)
    assert covariance.is_empty()
    assert specific.is_empty()
    assert model_quality(history, MONTHS).is_empty()


def test_a_bar_outside_the_calendar_is_refused(case):
    bars, _, _ = case
    with pytest.raises(ContractError, match="do not lie on"):
        panel_of(bars, SESSIONS[:-1])
    with pytest.raises(ContractError, match="do not lie on"):
        panel_of(bars, SESSIONS.filter(DAYS[10] != SESSIONS))
