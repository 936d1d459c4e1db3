"""Our indicators against LEAN's fixtures of SPY, which other programs computed.

Tolerances are what the fixtures' printed digits allow; none was widened to fit. All values agree
from the fixture's first one on, with these differences of definition:

- RSI and EMA seed with a simple mean of the first window there as here (Wilder's own way), so no
  row differs. ``RSI 14`` without "Wilder" is another formula (simple means), and is not compared.
- MACD of 12 and 26: TA-Lib's ``MACD`` starts its fast average at the bar where the slow one starts,
  the fixture of 2013 starts each at its own first window. ``APO`` of TA-Lib does the latter, and
  agrees from its first row; ``MACD`` agrees from row 100 on, when the seeds are forgotten (74 bars
  after the seed, (25/27)^74 is 0.3 %). The fixture that begins in 1988 gives values from row 179 on
  only, and agrees from there.
- ATR of 14: the fixture is a simple mean of 14 true ranges, TA-Lib's is Wilder's average with that
  mean as its seed: they are one number in the first row. After it the true ranges are compared.
- OBV: the fixture's three digits and its start on an unstated bar leave the direction to compare.
"""

import csv
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from domain.instrument_analysis.indicator_catalogue import INDICATORS, Indicator
from domain.instrument_analysis.indicators import indicator_values

FIXTURES = Path(__file__).parents[3] / "shared" / "data" / "oracles" / "lean"
pytestmark = [
    pytest.mark.evaluation,
    pytest.mark.skipif(not FIXTURES.exists(), reason=f"no fixtures at {FIXTURES}"),
]
# As the fixtures have them, beside the catalogue's own lengths.
OF_14 = (
    Indicator("sma_14", "overlap", "SMA", ("close",), {"timeperiod": 14}, ("sma_14",), 13),
    Indicator("ema_14", "overlap", "EMA", ("close",), {"timeperiod": 14}, ("ema_14",), 13),
)


def fixture(name):
    """Columns of a fixture as arrays, NaN where it has no value; prices are its close if alone."""
    with (FIXTURES / name).open(encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file)
    return {
        key.strip(): np.array([float(row[place]) if row[place] else np.nan for row in rows])
        for place, key in enumerate(header)
        if place
    }


def ours(columns, *names):
    close = columns["Close"]
    prices = {name.lower(): columns.get(name, close) for name in ("Open", "High", "Low", "Close")}
    frame = pl.DataFrame({**prices, "volume": np.ones(len(close))})
    wanted = [one for one in INDICATORS if one.name in names]
    found = indicator_values(frame, np.array([len(close)]), indicators=(*wanted, *OF_14))
    return {one.name: one.fill_null(np.nan).to_numpy() for one in found}


def agree(found, expected, *, first, places, since=None):
    """All values from row ``since``, the fixture's ``first`` without it, agree as printed."""
    assert int(np.argmax(~np.isnan(expected))) == first
    rows = slice(first if since is None else since, None)
    assert not np.isnan(expected[rows]).any()
    # One unit of the last printed place: half of it is rounding, half what its inputs were rounded.
    assert found[rows] == pytest.approx(expected[rows], abs=10.0**-places, rel=0)


def test_bollinger_bands():
    columns = fixture("spy_bollinger_bands.txt")
    found = ours(columns, "bollinger", "sma_20")
    agree(found["sma_20"], columns["Moving Average 20"], first=19, places=6)
    for side, name in (("upper", "Top"), ("lower", "Bottom")):
        band = columns[f"Bollinger Bands® 20 2 {name}"]
        agree(found[f"bollinger_{side}"], band, first=19, places=4)


def test_macd_of_thirty_years():
    columns = fixture("spy_with_macd.txt")
    found = ours(columns, "macd")
    for name, theirs in (
        ("macd", "MACD"), ("macd_signal", "Signal"), ("macd_histogram", "Histogram")
    ):  # fmt: skip
        agree(found[name], columns[theirs], first=179, places=5)


def test_averages_and_wilders_rsi():
    columns = fixture("spy_with_indicators.txt")
    found = ours(columns, "rsi_14", "macd", "apo_12_26")
    # Its averages are of an index of 13,000 to 18,000, printed with two digits or fewer.
    agree(found["sma_14"], columns["SMA14"], first=13, places=2)
    agree(found["ema_14"], columns["EMA14"], first=13, places=2)
    agree(found["rsi_14"], columns["RSI 14 Wilder"], first=14, places=5)
    agree(found["apo_12_26"], columns["MACD 12 26"], first=25, places=3)
    agree(found["macd"], columns["MACD 12 26"], first=25, places=3, since=100)
    # The seeds differ, and it shows before.
    assert abs(found["macd"][33] - columns["MACD 12 26"][33]) > 1


def test_true_ranges_and_the_first_atr():
    columns = fixture("spy_atr.txt")
    found = ours(columns, "atr_14", "true_range")
    theirs = columns["Average True Range 14"]
    means = np.full(len(theirs), np.nan)
    windows = np.lib.stride_tricks.sliding_window_view(found["true_range"][1:], 14)
    means[14:] = windows.mean(axis=1)
    agree(means, theirs, first=14, places=5)
    assert found["atr_14"][14] == pytest.approx(theirs[14], abs=1e-5)


def test_on_balance_volume_rises_and_falls_with_the_close():
    columns = fixture("spy_with_indicators.txt")
    change = np.sign(np.diff(columns["OBV"]))
    assert np.array_equal(change[1:], np.sign(np.diff(columns["Close"]))[1:])
