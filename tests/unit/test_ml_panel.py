"""Window trees and the Alpha158 set against numpy, gaps included."""

import datetime as dt

import numpy as np
import polars as pl
import pytest

from ml.features.alpha158 import ALPHA158, alpha158
from ml.features.panel import (
    PADDING,
    VALID_MIN,
    WINDOWS,
    correlation,
    deviation,
    mean,
    panel_of,
    total,
    window_extremes,
    window_moments,
    window_ranks,
    window_sums,
)
from ml.grid import grid_of

N = 140
DAYS = pl.Series("session", [dt.date(2010, 1, 1) + dt.timedelta(days=i) for i in range(N)])
FIELDS = ("open", "high", "low", "close", "volume")


def market(seed=1, gaps=0.1):
    """Two names; the second starts late. Returns rows and, by name, arrays of all sessions."""
    random = np.random.default_rng(seed)
    frames, arrays = [], {}
    for name, start in (("US.A", 0), ("US.B", 50)):
        close = 40 * np.exp(np.cumsum(random.normal(0, 0.02, N)))
        close[60:64] = close[60]  # ties
        opened = close * np.exp(random.normal(0, 0.01, N))
        bars = {
            "open": opened,
            "high": np.maximum(opened, close) * 1.01,
            "low": np.minimum(opened, close) * 0.99,
            "close": close,
            "volume": random.integers(100, 9_000, N).astype(float),
        }
        lost = (random.random(N) < gaps) | (np.arange(N) < start)
        arrays[name] = {field: np.where(lost, np.nan, values) for field, values in bars.items()}
        frame = pl.DataFrame(bars).with_columns(pl.lit(name).alias("instrument_id"), DAYS)
        frames.append(frame.filter(pl.Series(~lost)))
    return pl.concat(frames), arrays


def cells_of(frame):
    panel = panel_of(grid_of(frame, DAYS), slice(0, frame.height))
    return panel, pl.DataFrame([panel.column(n, frame[n].to_numpy()) for n in FIELDS])


def windows(values, w, place):
    return values[max(place - w + 1, 0) : place + 1]


def before(values):
    return np.concatenate([[np.nan], values[:-1]])


def line(x, w, place):
    """Slope, R squared and the residual of the newest value, by numpy's polynomial fit."""
    part = windows(x, w, place)
    time = np.arange(part.size) - (part.size - 1.0)
    known = ~np.isnan(part)
    slope, level = np.polyfit(time[known], part[known], 1)
    r = np.corrcoef(time[known], part[known])[0, 1]
    return slope, r * r, x[place] - level


def reference(bars, w, place):
    """One session's windowed values, each formula written out again."""
    o, h, low, c, v = (bars[field] for field in FIELDS)
    del o
    with np.errstate(invalid="ignore", divide="ignore"):
        change, moved = c - before(c), np.abs(c / before(c) - 1) * v
        growth, flow = c / before(c), np.log(v / before(v) + 1)
        volume_change = v - before(v)
    wc, wh, wl, wv = (windows(x, w, place) for x in (c, h, low, v))
    d = windows(change, w, place)
    d, e = d[~np.isnan(d)], windows(volume_change, w, place)
    e, m = e[~np.isnan(e)], windows(moved, w, place)
    slope, r2, residual = line(c, w, place)
    known = wc[~np.isnan(wc)]
    top, bottom = np.nanmax(wh), np.nanmin(wl)
    short = w - wc.size  # sessions of the window before the first one
    imax, imin = short + np.nanargmax(wh) + 1, short + np.nanargmin(wl) + 1

    def corr(a, b):
        both = ~np.isnan(a) & ~np.isnan(b)
        return np.corrcoef(a[both], b[both])[0, 1]

    found = {
        "ma": known.mean() / c[place], "std": known.std(ddof=1) / c[place],
        "beta": slope / c[place], "rsqr": r2, "resi": residual / c[place],
        "max": top / c[place], "min": bottom / c[place],
        "qtlu": np.quantile(known, 0.8) / c[place], "qtld": np.quantile(known, 0.2) / c[place],
        "rank": ((known < c[place]).sum() + ((known == c[place]).sum() + 1) / 2) / known.size,
        "rsv": (c[place] - bottom) / (top - bottom),
        "imax": imax / w, "imin": imin / w, "imxd": (imax - imin) / w,
        "corr": corr(wc, np.log(wv + 1)),
        "cntp": (d > 0).mean(), "cntn": (d < 0).mean(), "cntd": np.sign(d).mean(),
        "vma": np.nanmean(wv) / v[place], "vstd": np.nanstd(wv, ddof=1) / v[place],
    }  # fmt: skip
    for prefix, x in (("sum", d), ("vsum", e)):
        whole = np.abs(x).sum()
        found |= {
            f"{prefix}p": x[x > 0].sum() / whole, f"{prefix}n": -x[x < 0].sum() / whole,
            f"{prefix}d": x.sum() / whole,
        }  # fmt: skip
    found["cord"] = corr(windows(growth, w, place), windows(flow, w, place))
    found["wvma"] = np.nanstd(m, ddof=1) / np.nanmean(m)
    return found


@pytest.mark.parametrize("w", WINDOWS)
def test_windowed_features_are_those_of_numpy_gaps_included(w):
    frame, arrays = market(gaps=0.1 if w > 5 else 0.02)
    panel, cells = cells_of(frame)
    found = frame.select("instrument_id", "session").hstack(panel.rows(alpha158(cells)))
    counted = 0
    for row in found.iter_rows(named=True):
        bars, place = arrays[row["instrument_id"]], DAYS.index_of(row["session"])
        changes = windows(bars["close"] - before(bars["close"]), w, place)
        if (~np.isnan(changes)).sum() < VALID_MIN[w]:
            continue
        for name, value in reference(bars, w, place).items():
            assert row[f"{name}{w}"] == pytest.approx(value, rel=1e-9, abs=1e-9), (name, row)
        earlier = place - w
        past = bars["close"][earlier] if earlier >= 0 else np.nan
        if np.isnan(past):
            assert row[f"roc{w}"] is None
        else:
            assert row[f"roc{w}"] == pytest.approx(past / bars["close"][place])
        counted += 1
    assert counted > 50


def test_one_bars_shape_by_hand():
    frame = pl.DataFrame({
        "instrument_id": ["US.A"], "session": [DAYS[0]], "open": [10.0], "high": [14.0],
        "low": [8.0], "close": [12.0], "volume": [100.0],
    })  # fmt: skip
    panel, cells = cells_of(frame)
    row = panel.rows(alpha158(cells)).row(0, named=True)
    expected = {
        "kmid": 0.2, "klen": 0.6, "kmid2": 1 / 3, "kup": 0.2, "kup2": 1 / 3, "klow": 0.2,
        "klow2": 1 / 3, "ksft": 0.2, "ksft2": 1 / 3, "open0": 10 / 12, "high0": 14 / 12,
        "low0": 8 / 12,
    }  # fmt: skip
    assert {name: row[name] for name in expected} == pytest.approx(expected)
    assert all(value is None for name, value in row.items() if name not in expected)


def test_too_few_valid_sessions_are_null():
    frame, arrays = market(gaps=0.35)
    panel, cells = cells_of(frame)
    found = frame.select("instrument_id", "session").hstack(panel.rows(alpha158(cells)))
    for w in WINDOWS:
        for row in found.iter_rows(named=True):
            close = arrays[row["instrument_id"]]["close"]
            known = (~np.isnan(windows(close, w, DAYS.index_of(row["session"])))).sum()
            assert (row[f"ma{w}"] is not None) == (known >= VALID_MIN[w])
            assert (row[f"rank{w}"] is not None) == (known >= VALID_MIN[w])


def test_moments_of_large_offsets_lose_no_digits():
    """A thousand million plus noise: a running sum of squares would keep nothing of it."""
    noise = np.random.default_rng(3).normal(size=200)
    frame = pl.DataFrame({"x": 1e9 + noise, "y": 1e9 - noise})
    moments = window_moments(frame, pl.col("x"), pl.col("y"))
    found = moments.select(deviation(60).alias("d"), correlation(60).alias("c")).row(-1)
    assert found[0] == pytest.approx(noise[-60:].std(ddof=1), rel=1e-6)
    assert found[1] == pytest.approx(-1.0, abs=1e-9)


def test_constants_have_no_deviation_and_no_correlation():
    frame = pl.DataFrame({"x": [0.1] * 80, "y": np.arange(80.0)})
    moments = window_moments(frame, pl.col("x"), pl.col("y"))
    assert moments.select(deviation(30)).to_series()[-1] == 0.0
    assert moments.select(correlation(30)).to_series()[-1] is None


def test_sums_extremes_and_ranks_by_hand():
    values = [3.0, 1.0, None, 3.0, 2.0, 2.0]
    frame = pl.DataFrame({"x": values, "y": [1.0] * 6})
    sums = window_sums(frame, {"x": pl.col("x"), "y": pl.col("y")})
    assert sums["x_n_5"].to_list() == [1, 2, 2, 3, 4, 4]
    assert sums["x_sum_5"].to_list() == [3, 4, 4, 7, 9, 8]
    assert sums.select(total("x", 5)).to_series().to_list() == [None] * 6  # 4 of 5 at most
    assert sums.select(mean("y", 5)).to_series().to_list() == [None] * 4 + [1.0, 1.0]
    top = window_extremes(frame, {"x": pl.col("x")}, largest=True)
    # Of two equal highs the older: at the end the window is [1, -, 3, 2, 2].
    assert top["x_best_5"].to_list()[-2:] == [3.0, 3.0]
    assert top["x_place_5"].to_list()[-2:] == [1.0, 3.0]
    low = window_extremes(frame, {"x": pl.col("x")}, largest=False)
    assert low["x_place_5"].to_list()[-2:] == [2.0, 1.0]
    assert window_ranks(frame, pl.col("x"))["rank_5"].to_list()[-2:] == [2.0, 2.5]


def test_the_padding_is_as_long_as_the_longest_reach():
    """The first session of a name sees nothing of the name before it."""
    frame, _ = market(gaps=0.0)
    alone = frame.filter(instrument_id="US.B")
    panel, cells = cells_of(frame)
    both = panel.rows(alpha158(cells))[-alone.height :]
    panel, cells = cells_of(alone)
    assert panel.rows(alpha158(cells)).equals(both)
    assert max(f.horizon_sessions for f in ALPHA158) <= PADDING
