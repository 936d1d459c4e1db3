"""Execution quality in the graph: every order is measured, and how work is cut does not show."""

import shutil

import dagster as dg
import polars as pl
import pytest

from domain.book.policy import BookPolicy
from domain.trade_execution.scorecard import scorecard
from io_managers.canonical import canonical_hash
from io_managers.lake import Lake
from io_managers.verdicts import QUALITY, Judge
from orchestration.base.partitions import RANGE_END_TAG, RANGE_START_TAG
from orchestration.base.settings import Settings
from orchestration.definitions import build_defs
from tests.orchestration.chain import MONTHS

KEYS = {
    "execution_quality": ["cl_ord_id"], "broker_scorecard": ["month", "broker"],
    "venue_scorecard": ["month", "mic"],
}  # fmt: skip


def read(settings, name, group="trade_execution"):
    return Lake(settings.lake_root).read((group, name))


def rebuild(settings, month):
    """Measure a month again, alone."""
    assets = dg.AssetSelection.assets(*(["trade_execution", name] for name in KEYS))
    defs = build_defs(settings)
    job = dg.define_asset_job("measure", selection=assets)
    only = dg.Definitions(
        assets=defs.assets, asset_checks=defs.asset_checks, resources=defs.resources, jobs=[job],
        executor=dg.in_process_executor,
    )  # fmt: skip
    with dg.DagsterInstance.ephemeral() as instance:
        return only.resolve_job_def("measure").execute_in_process(
            instance=instance, tags={RANGE_START_TAG: month, RANGE_END_TAG: month}
        )


@pytest.fixture
def copied(whole, tmp_path):
    shutil.copytree(whole[0].lake_root, tmp_path / "home" / "lake")
    return Settings(home=tmp_path / "home", vendor_dir=whole[0].vendor_dir)


def test_every_order_is_measured_and_every_card_adds_up(whole):
    quality, orders = read(whole[0], "execution_quality"), read(whole[0], "orders")
    assert orders.height > 100
    assert sorted(quality["cl_ord_id"]) == sorted(orders["cl_ord_id"])
    filled = quality.filter(pl.col("n_fills") > 0)
    assert filled["shortfall_minor"].null_count() == 0
    # The simulated venue takes half the spread above the open: what the cost model expects.
    assert filled["realised_cost_minor"].sum() == pytest.approx(
        filled["predicted_cost_minor"].sum(), rel=0.02
    )
    trades = read(whole[0], "trades")
    assert filled["fees_minor"].sum() == trades["commission_minor"].sum()
    # A half spread is rounded up to a tick of 1e-4: a part in ten thousand more on 10 dollars.
    assert filled["execution_minor"].sum() == pytest.approx(
        trades["spread_cost_minor"].sum(), abs=trades.height
    )
    for by in ("broker", "mic"):
        name = {"broker": "broker_scorecard", "mic": "venue_scorecard"}[by]
        assert canonical_hash(read(whole[0], name), KEYS[name]) == canonical_hash(
            scorecard(quality, by), KEYS[name]
        )


def test_a_month_measured_alone_has_the_rows_of_the_range(whole, copied):
    month = MONTHS[5]
    assert rebuild(copied, month).success
    for name, key in KEYS.items():
        alone, ranged = read(copied, name), read(whole[0], name)
        assert ranged.filter(pl.col("month") == month).height > 0
        assert canonical_hash(alone, key) == canonical_hash(ranged, key)


def test_a_month_that_does_not_add_up_fails_its_check(copied):
    lake, month = Lake(copied.lake_root), MONTHS[5]
    rows = lake.read(QUALITY)
    off = rows.with_columns(
        pl.when(pl.col("month") == month)
        .then(pl.col("delay_minor") + 1)
        .otherwise("delay_minor")
        .alias("delay_minor")
    )
    lake.write(QUALITY, off, partition_column="month", partitions=list(MONTHS))
    verdicts = Judge(lake, BookPolicy()).execution_quality(list(MONTHS))
    assert [v.partition for v in verdicts if not v.passed] == [month]
