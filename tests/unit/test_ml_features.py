"""Features on the session grid, against formulas written out again."""

import datetime as dt
import hashlib
from collections import Counter

import numpy as np
import polars as pl
import pytest

from contracts.errors import ContractError
from docs.features import PAGE, page
from domain.instrument_analysis.indicators import OUTPUTS, compute_indicators
from ml.features.compute import (
    FEATURE_DTYPES,
    FEATURE_NAMES,
    FEATURES,
    FEATURES_VERSION,
    WARM_COLUMNS,
    compute_features,
    feature_catalogue,
    feature_hashes,
    feature_matrix,
)
from ml.features.indicators import INDICATOR_FEATURES
from ml.features.panel import LOOKBACK_SESSIONS
from ml.grid import grid_of

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
    assert len(set(FEATURE_NAMES)) == len(FEATURES) == len(feature_catalogue())
    assert found.select(FEATURE_NAMES).schema == pl.Schema(FEATURE_DTYPES)
    assert found.schema["volatility_20"] == pl.Float64
    assert set(WARM_COLUMNS) <= set(FEATURE_NAMES)
    families = Counter(feature.family for feature in FEATURES)
    # 158 of Qlib's without VWAP0.
    assert families["alpha158"] == 157
    assert set(families) == {"alpha158", "price", "indicator", "news", "cross-section", "sector"}
    for feature in FEATURES:
        assert feature.formula, feature.name
        assert feature.source, feature.name
        assert feature.horizon_sessions is None or (
            0 <= feature.horizon_sessions <= LOOKBACK_SESSIONS
        )


def test_returns_and_volatility_by_numpy():
    frame = bars(2)
    row, close = at(features_of(frame), 90), frame["adj_close"].to_numpy()
    one = np.diff(np.log(close))
    assert row["ret_20"] == pytest.approx(np.log(close[90] / close[70]))
    assert row["ret_60"] == pytest.approx(np.log(close[90] / close[30]))
    assert row["momentum_20_5"] == pytest.approx(row["ret_20"] - row["ret_5"], abs=1e-7)
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


def same_session(values):
    """One session of many names whose returns since the day before are ``values``."""
    frames = []
    for i, value in enumerate(values):
        frame = bars(0, f"US.{i:02d}", length=60)
        last = pl.col("session") == DAYS[59]
        moved = pl.when(last).then(50 * np.exp(value)).otherwise(50.0)
        frames.append(frame.with_columns(moved.alias("adj_close")))
    return pl.concat(frames).with_columns(
        pl.max_horizontal("adj_open", "adj_close", "adj_high").alias("adj_high"),
        pl.min_horizontal("adj_open", "adj_close", "adj_low").alias("adj_low"),
    )


def test_ranks_average_ties():
    found = features_of(same_session([0.03, 0.01, 0.03, 0.02])).filter(session=DAYS[59])
    assert found["rank_ret_1"].to_list() == [0.75, 0.125, 0.75, 0.375]


def test_a_sector_of_five_names_is_compared_with_its_median():
    values = [0.01, 0.02, 0.03, 0.04, 0.05, 0.06, 0.07]
    frame = same_session(values)
    sectors = ["Energy"] * 5 + ["Health Care", "unknown"]
    instruments = pl.DataFrame(
        {"instrument_id": [f"US.{i:02d}" for i in range(7)], "sector": sectors}
    )
    found = compute_features(frame, compute_indicators(frame), DAYS, instruments=instruments)
    relative = found.filter(session=DAYS[59])["ret_1_to_sector"].to_list()
    assert relative[:5] == pytest.approx([-0.02, -0.01, 0.0, 0.01, 0.02], abs=1e-7)
    assert relative[5:] == [None, None]
    assert features_of(frame)["ret_1_to_sector"].null_count() == frame.height


def test_news_count_only_where_somebody_watched():
    frame = bars(13)
    items = [(DAYS[i], i % 3, 0.5 * (i % 3)) for i in range(60, 100)]
    news = pl.DataFrame(
        items, schema={"session": pl.Date, "n_items": pl.Int64, "score_sum": pl.Float64},
        orient="row",
    ).with_columns(pl.lit("US.A").alias("instrument_id"))  # fmt: skip
    found = compute_features(frame, compute_indicators(frame), DAYS, news=news)
    assert at(found, 59)["news_items_log"] is None
    assert at(found, 60)["news_items_log"] == 0.0
    assert at(found, 60)["news_score"] is None
    assert at(found, 61)["news_score"] == 0.5
    assert at(found, 63)["news_score_5"] is None
    assert at(found, 64)["news_score_5"] == pytest.approx(0.5)
    assert at(found, 98)["news_items_ratio_20"] == pytest.approx(2 / np.mean(
        [i % 3 for i in range(79, 99)]
    ))  # fmt: skip
    with pytest.raises(ContractError, match="score_sum"):
        compute_features(frame, compute_indicators(frame), DAYS, news=news.drop("score_sum"))


def test_prices_and_volumes_in_other_units_leave_features_alone():
    """No feature but the logarithm of dollars and of what it divides knows the price's scale."""
    frame = bars(14)
    scaled = frame.with_columns(pl.col("^adj_.*$", "close") * 16.0, pl.col("volume_shares") * 8)
    found, other = features_of(frame), features_of(scaled)
    scale = {"log_dollar_volume": np.log(16 * 8), "illiquidity_20": -np.log(16 * 8)}
    # ln(V + 1) is all but ln V.
    near = {f"corr{w}": 2e-4 for w in (5, 10, 20, 30, 60)}
    for name in FEATURE_NAMES:
        was, now = found[name].to_numpy(), other[name].to_numpy() - scale.get(name, 0.0)
        tolerance = near.get(name, 2e-6)
        np.testing.assert_allclose(now, was, rtol=tolerance, atol=tolerance, err_msg=name)


def test_hashes_ignore_the_sign_of_zero_and_the_payload_of_nan():
    plain = np.array([[0.0, np.nan, 1.5]], dtype=np.float32)
    odd = np.array([[-0.0, -np.nan, 1.5]], dtype=np.float32)
    assert feature_hashes(plain) == feature_hashes(odd)
    assert feature_hashes(plain) != feature_hashes(plain + np.float32(1e-6))
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


def test_the_page_of_features_is_fresh():
    assert PAGE.read_text(encoding="utf-8") == page(), (
        "run `python -m docs.features` and commit the page"
    )


def test_every_indicator_is_a_feature():
    assert len(INDICATOR_FEATURES) == len(OUTPUTS) + 1  # and the place between the bands
    for output, feature in zip(OUTPUTS, INDICATOR_FEATURES, strict=False):
        assert output in feature.formula


def test_nothing_asked_for_is_an_empty_frame_of_the_same_columns():
    frame = bars(15)
    indicators = compute_indicators(frame)
    full = compute_features(frame, indicators, DAYS)
    later = compute_features(frame, indicators, DAYS, since=DAYS[-1] + dt.timedelta(days=1))
    none = compute_features(frame[:0], indicators[:0], DAYS)
    nothing = compute_features(frame[:0], indicators[:0], DAYS[:0], since=DAYS[0])
    for found in (later, none, nothing):
        assert found.height == 0
        assert found.schema == full.schema
    before = compute_features(frame, indicators, DAYS, since=DAYS[0] - dt.timedelta(days=9))
    assert before.equals(full)
