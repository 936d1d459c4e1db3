"""Features on the session grid, against formulas written out again."""

import datetime as dt
import hashlib

import numpy as np
import polars as pl
import pytest

from contracts.errors import ContractError
from domain.instrument_analysis.indicators import compute_indicators
from ml.features import (
    FEATURE_NAMES,
    FEATURES,
    FEATURES_VERSION,
    compute_features,
    feature_catalogue,
    feature_hashes,
    feature_matrix,
    percentile_ranks,
)
from ml.grid import grid_of, lagged, rolling_max, rolling_mean, rolling_std

FIRST = dt.date(2010, 1, 1)
DAYS = pl.Series("session", [FIRST + dt.timedelta(days=i) for i in range(100)])


def bars(seed, instrument="US.A", missing=(), length=100, first=0):
    random = np.random.default_rng(seed)
    close = 50 * np.exp(np.cumsum(random.normal(0, 0.02, length)))
    opened = close * np.exp(random.normal(0, 0.005, length))
    frame = pl.DataFrame(
        {
            "instrument_id": instrument,
            "session": DAYS[first : first + length],
            "month": "2010-01-01",
            "close": close,
            "volume_shares": random.integers(1_000, 9_000, length),
            "factor": 1.0,
            "adj_open": opened,
            "adj_high": np.maximum(opened, close) * 1.01,
            "adj_low": np.minimum(opened, close) * 0.99,
            "adj_close": close,
            "unexplained_jump": False,
        }
    )
    gaps = [DAYS[place] for place in missing]
    return frame.filter(~pl.col("session").is_in(gaps))


def features_of(frame, days=DAYS):
    return compute_features(frame, compute_indicators(frame), days)


def at(frame, place, instrument="US.A"):
    return frame.row(
        by_predicate=(pl.col("session") == DAYS[place]) & (pl.col("instrument_id") == instrument),
        named=True,
    )


def test_every_feature_is_declared_once_and_comes_out_in_order():
    found = features_of(bars(1))
    assert found.columns == [
        "instrument_id",
        "session",
        "month",
        *FEATURE_NAMES,
        "unexplained_jump_recent",
    ]
    assert len(set(FEATURE_NAMES)) == len(FEATURES) == len(feature_catalogue()) == 30
    assert set(found.select(FEATURE_NAMES).dtypes) == {pl.Float64}


def test_returns_and_volatility_by_numpy():
    frame = bars(2)
    row, close = at(features_of(frame), 90), frame["adj_close"].to_numpy()
    one = np.diff(np.log(close))
    assert row["ret_20"] == pytest.approx(np.log(close[90] / close[70]))
    assert row["ret_60"] == pytest.approx(np.log(close[90] / close[30]))
    assert row["momentum_20_5"] == pytest.approx(row["ret_20"] - row["ret_5"])
    assert row["volatility_20"] == pytest.approx(one[70:90].std(ddof=1))
    assert row["max_return_20"] == pytest.approx(one[70:90].max())
    assert row["reversal_5"] == pytest.approx(-row["ret_5"] / (row["volatility_20"] * 5**0.5))
    dollars = (frame["close"] * frame["volume_shares"]).to_numpy()
    assert row["illiquidity_20"] == pytest.approx(
        np.log(np.mean(np.abs(one[70:90]) / dollars[71:91]))
    )
    volume = frame["volume_shares"].to_numpy()
    assert row["volume_ratio_20"] == pytest.approx(np.log(volume[90] / volume[71:91].mean()))


def test_a_window_counts_exchange_sessions_not_bars():
    frame = bars(3, missing=(80,))
    found = features_of(frame)
    close = dict(frame.select("session", "adj_close").iter_rows())
    assert at(found, 81)["ret_1"] is None
    assert at(found, 85)["ret_5"] is None
    expected = np.log(close[DAYS[84]] / close[DAYS[79]])
    assert at(found, 84)["ret_5"] == pytest.approx(expected)
    assert at(found, 90)["volatility_20"] is not None


def test_volatility_is_null_with_fewer_than_fourteen_valid_returns():
    six_returns_lost = features_of(bars(4, missing=range(80, 85)))
    seven_returns_lost = features_of(bars(4, missing=range(80, 86)))
    assert at(six_returns_lost, 90)["volatility_20"] is not None
    assert at(seven_returns_lost, 90)["volatility_20"] is None


def test_values_are_finite_or_null_where_formulas_are_undefined():
    still = bars(5).with_columns(
        *(pl.lit(10.0).alias(f"adj_{name}") for name in ("open", "high", "low", "close")),
        pl.lit(0).alias("volume_shares"),
    )
    found = features_of(still)
    matrix = feature_matrix(found)
    assert not np.isinf(matrix).any()
    row = at(found, 90)
    assert row["close_location"] is None
    assert row["reversal_5"] is None
    assert row["log_dollar_volume"] is None
    assert row["ret_20"] == 0.0


def test_later_rows_and_other_instruments_leave_bits_alone():
    both = pl.concat([bars(6), bars(7, "US.B")])
    found = features_of(both)
    earlier = both.filter(pl.col("session") <= DAYS[60])
    assert features_of(earlier, DAYS[:61]).equals(found.filter(pl.col("session") <= DAYS[60]))
    newcomer = pl.concat([both, bars(8, "US.AA", length=20, first=80)])
    now = features_of(newcomer).filter(pl.col("session") < DAYS[80])
    assert now.equals(found.filter(pl.col("session") < DAYS[80]))


def test_a_jump_is_remembered_for_five_sessions():
    frame = bars(9).with_columns((pl.col("session") == DAYS[50]).alias("unexplained_jump"))
    flagged = features_of(frame).filter("unexplained_jump_recent")["session"].to_list()
    assert flagged == DAYS[50:55].to_list()


def test_the_history_digest_is_carried_through():
    frame = bars(10).with_columns(pl.col("session").cast(pl.String).alias("history_digest"))
    assert features_of(frame)["history_digest"].to_list() == frame["history_digest"].to_list()


def test_ranks_average_ties_and_skip_what_is_missing():
    found = percentile_ranks(np.array([[3.0, 1.0, np.nan, 3.0], [np.nan] * 4]))
    assert found[0].tolist()[:2] == [pytest.approx(2.0 / 3), pytest.approx(0.5 / 3)]
    assert found[0, 3] == found[0, 0]
    assert np.isnan(found[0, 2])
    assert np.isnan(found[1]).all()


def test_rolling_reductions_against_numpy():
    values = np.random.default_rng(1).normal(size=(40, 3))
    values[10, 1] = np.nan
    window = values[5:25]
    assert rolling_mean(values, 20, 15)[24] == pytest.approx(np.nanmean(window, axis=0))
    assert rolling_std(values, 20, 15)[24] == pytest.approx(np.nanstd(window, axis=0, ddof=1))
    assert rolling_max(values, 20, 15)[24].tolist() == np.nanmax(window, axis=0).tolist()
    assert np.isnan(rolling_mean(values, 20, 20)[24, 1])
    assert np.isnan(lagged(values, 40)).all()


def test_hashes_ignore_the_sign_of_zero_and_the_payload_of_nan():
    plain = np.array([[0.0, np.nan, 1.5]])
    odd = np.array([[-0.0, -np.nan, 1.5]])
    assert feature_hashes(plain) == feature_hashes(odd)
    assert feature_hashes(plain) != feature_hashes(plain + 1e-12)
    head = "\n".join((FEATURES_VERSION, *FEATURE_NAMES)).encode()
    assert feature_hashes(plain) == [hashlib.sha256(head + plain.tobytes()).hexdigest()]


def test_infinite_or_missing_features_are_refused():
    found = features_of(bars(11))
    with pytest.raises(ContractError, match="ret_1"):
        feature_matrix(found.with_columns(pl.lit(float("inf")).alias("ret_1")))
    with pytest.raises(ContractError, match="rsi_14"):
        feature_matrix(found.drop("rsi_14"))


def test_rows_off_the_calendar_or_twice_are_refused():
    frame = bars(12)
    with pytest.raises(ContractError, match="not among"):
        grid_of(frame, DAYS[:50])
    with pytest.raises(ContractError, match="repeat"):
        grid_of(pl.concat([frame, frame[:1]]), DAYS)
    with pytest.raises(ContractError, match="same rows"):
        compute_features(frame, compute_indicators(frame[:50]), DAYS)
