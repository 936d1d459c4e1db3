"""Deciles and the long-short book as pictures: labelled with their own numbers, deterministic."""

import datetime as dt
import json
import re

import polars as pl
import pytest

from domain.reporting.charts import cumulative_long_short, decile_returns, to_svg

DAYS = pl.DataFrame(
    {
        "session": [dt.date(2016, 1, 4) + dt.timedelta(days=d) for d in range(40)],
        "gross_return": [0.004, -0.001] * 20,
        "net_return": [0.002, -0.003] * 20,
    }
)
DECILES = pl.DataFrame(
    {"decile": range(1, 11), "return_bps": [float(d * 3 - 16) for d in range(10)]}
)


def inline(chart):
    """The rows behind a chart's layers, however Altair files them."""
    texts = re.findall(r'"((?:\\.|[^"\\])*)"', json.dumps(chart.to_dict()))
    return [json.loads(json.loads(f'"{text}"')) for text in texts if text.startswith("[{")]


def test_deciles_keep_their_order_and_say_how_long_they_were_held():
    drawn = to_svg(decile_returns(DECILES[::-1], 5))
    assert "Return over 5 sessions less the mean (bps)" in drawn
    assert "decile of the score" in drawn
    assert drawn == to_svg(decile_returns(DECILES, 5))
    assert "Return over 1 session less" in to_svg(decile_returns(DECILES, 1))
    # Losses have another colour than gains.
    assert "#D55E00" in drawn
    assert "#0072B2" in drawn


def test_returns_are_added_up_and_labelled_at_their_end():
    drawn = to_svg(cumulative_long_short(DAYS))
    assert "Gross +6.0%" in drawn
    assert "Net −2.0%" in drawn
    assert drawn == to_svg(cumulative_long_short(DAYS[::-1]))
    lines = [rows for rows in inline(cumulative_long_short(DAYS)) if "net" in rows[-1]]
    assert lines[0][1]["net"] == pytest.approx(-0.001)
    assert lines[0][-1]["gross"] == pytest.approx(0.06)
