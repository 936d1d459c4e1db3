"""Splits that prices show: found with their evidence, and ordinary nights left alone."""

import datetime as dt

import polars as pl
import pytest

from domain.market_data.ratios import clean_ratio
from domain.market_data.reference import CorporateAction
from domain.market_data.split_findings import FINDINGS_SCHEMA, split_findings
from tests.unit.test_adjust import DAY, bars


def series(*pairs):
    return bars(*pairs).with_columns(volume_shares=pl.Series([1_000, *[2_000] * (len(pairs) - 1)]))


def acted(kind="split", ratio=2.0, day=1):
    ex = DAY + dt.timedelta(days=day)
    return CorporateAction("US.A", ex, kind, ratio, 50.0 if ratio is None else None, None, "t")


@pytest.mark.parametrize(
    ("opened", "ratio"),
    [(50, "2:1"), (51.5, "2:1"), (33, "3:1"), (67, "3:2"), (14.2, "7:1"), (1_000, "1:10"),
     (205, "1:2")],
)  # fmt: skip
def test_an_unapplied_split_is_found_with_its_evidence(opened, ratio):
    row = split_findings(series((100, 100), (opened, opened)), []).row(0, named=True)
    assert (row["finding"], row["ratio"], row["persists"]) == ("unapplied_split", ratio, True)
    assert row["overnight_ratio"] == pytest.approx(opened / 100)
    assert row["volume_ratio"] == 2.0
    assert f"close 100.0 -> open {float(opened)}" in row["evidence"]
    assert row["month"] == "2010-01-01"


@pytest.mark.parametrize("opened", [100, 90, 75, 58, 130, 150])
def test_an_ordinary_night_and_a_takeover_are_no_split(opened):
    assert split_findings(series((100, 100), (opened, opened)), []).is_empty()


def test_a_split_that_was_told_of_is_no_finding():
    assert split_findings(series((100, 100), (50, 50)), [acted()]).is_empty()
    # Nor is a spin-off that takes half of the price.
    assert split_findings(series((100, 100), (50, 50)), [acted("spin_off")]).is_empty()
    # An ordinary dividend explains no halving.
    assert split_findings(series((100, 100), (50, 50)), [acted("cash_dividend", None)]).height == 1


def test_a_split_that_the_prices_hold_already_is_found():
    found = split_findings(series((100, 100), (101, 102)), [acted(ratio=7.0)])
    row = found.row(0, named=True)
    assert (row["finding"], row["ratio"], row["ratio_value"]) == ("doubled_split", "7.0:1", 7.0)
    # Half of it happened: neither applied nor missed.
    assert split_findings(series((100, 100), (70, 70)), [acted(ratio=2.0)]).is_empty()


def test_a_bad_print_does_not_persist():
    row = split_findings(series((100, 100), (50, 99)), []).row(0, named=True)
    assert row["persists"] is False


def test_no_bars_give_no_findings():
    assert split_findings(series((1, 1)).clear(), []).schema == pl.Schema(FINDINGS_SCHEMA)


@pytest.mark.parametrize(
    ("given", "meant"),
    [(7.00000700001, 7.0), (1.999999, 2.0), (0.05, 0.05), (1 / 30 * 1.00001, 1 / 30), (1.5, 1.5),
     (1.0027, 1.0027), (1.00005, 1.00005), (0.016783, 0.016783)],
)  # fmt: skip
def test_a_rounded_ratio_is_the_one_that_was_meant(given, meant):
    assert clean_ratio(given) == pytest.approx(meant, rel=1e-12)
