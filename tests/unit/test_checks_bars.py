"""The blocking check on bars watches over what the rules should have set aside."""

import polars as pl
import pytest

from domain.checks import check_bars
from domain.market_data.normalise import coverage_of
from tests.unit.quality_cases import SESSIONS, frame, market

NONE = pl.DataFrame(schema={"session": pl.Date})


def verdict(**changes):
    bars = frame(market(*range(10))).with_columns(
        pl.lit("0" * 64).alias("event_id"), pl.lit("USD").alias("currency")
    )
    first = pl.int_range(pl.len()) == 3
    changed = bars.with_columns(
        pl.when(first).then(pl.lit(value)).otherwise(pl.col(name)).alias(name)
        for name, value in changes.items()
    )
    coverage = coverage_of(bars, NONE, SESSIONS)
    return check_bars(changed, NONE, coverage, "2010-01-01").violations


def test_sound_bars_pass():
    assert verdict() == ()
    assert verdict(quality_flags="zero_volume,jump") == ()


@pytest.mark.parametrize(
    ("changes", "violation"),
    [
        (dict.fromkeys(("open", "high", "low", "close"), 1_000.0), "unit_factor: 2 rows"),
        ({"quality_flags": "jump,looks_odd"}, "flag_not_of_the_catalogue: 1 rows"),
        ({"quality_flags": None}, "flag_not_of_the_catalogue: 1 rows"),
        ({"currency": "GBX"}, "currencies_mixed"),
    ],
)
def test_what_slipped_through_blocks(changes, violation):
    assert verdict(**changes) == (violation,)
