"""What the vendor sent day by day is known as it was on each of these days."""

import datetime as dt

import polars as pl
import pytest

from domain.market_data.revisions import CONTENT, KEY, Delivery, as_of, nothing_known, revise
from orchestration.base.settings import Settings
from sources.market_data.desk import Desk
from sources.market_data.protocol import Window
from sources.market_data.reception import receive
from tests.integration.test_vendor_samples import DATA

pytestmark = [
    pytest.mark.evaluation,
    pytest.mark.skipif(not DATA.exists(), reason=f"no evaluation data at {DATA}"),
]
AS_RECEIVED = DATA / "daily" / "pystock_sp500ever_as_received_201503_201603.parquet"
ALL = Window(dt.date(1990, 1, 1), dt.date(2099, 12, 31))


def end_of(day):
    return dt.datetime.combine(day, dt.time(), dt.UTC) + dt.timedelta(days=1)


def last_received(rows, day):
    """The plain answer: of each bar what the last archive until then says."""
    return (
        rows.filter(pl.col("file_date") <= day)
        .sort("file_date")
        .unique(["symbol", "date"], keep="last")
        .sort("symbol", "date")
    )


def test_the_state_of_each_day_is_reproduced_from_the_vendors_archives(tmp_path):
    (tmp_path / "sources.toml").write_text(
        f'[sources.pystock]\ntype = "pystock"\npath = "{DATA / "pystock_raw"}"\n'
        '[bars]\ndaily = ["pystock"]\n'
    )
    settings = Settings(home=tmp_path)
    desk = Desk(settings.sources_file, None, settings.drops_root, {})
    receipts = desk.receipts("pystock")
    came = list(receive(desk.source("pystock"), receipts, ALL, [], now_ns=1))
    history = desk.daily(settings.times_between)["pystock"]
    # The vendor's own list of what these archives said, of the members of the index.
    names = {found.drop.name[-15:-7] for found in came}
    days = sorted(dt.date(int(n[:4]), int(n[4:6]), int(n[6:])) for n in names)
    said = pl.read_parquet(AS_RECEIVED).filter(pl.col("file_date").is_in(days))
    n_compared = 0
    for day in said["file_date"].unique().sort():
        known = as_of(history.revisions, end_of(day)).select(
            "symbol", pl.col("session").alias("date"), "open", "high", "low", "close",
            pl.col("volume_shares").alias("volume"),
        )  # fmt: skip
        expected = last_received(said, day)
        both = expected.join(known, on=["symbol", "date"], suffix="_known")
        for name in ("open", "high", "low", "close"):
            assert (both[name] - both[f"{name}_known"].cast(pl.Float32)).abs().max() < 1e-3
        assert (both["volume"] - both["volume_known"]).abs().max() == 0
        # What is not known is quarantined: nothing is lost.
        absent = expected.join(known, on=["symbol", "date"], how="anti")
        refused = history.quarantine.select("symbol", pl.col("session").alias("date")).unique()
        assert absent.join(refused, on=["symbol", "date"], how="anti").is_empty()
        n_compared += both.height
    assert n_compared > 20_000
    # Read again, it is what was kept.
    again = desk.daily(settings.times_between)["pystock"]
    assert again.revisions.equals(history.revisions)


def test_a_years_restatements_are_each_known_from_their_day_on():
    rows = pl.read_parquet(AS_RECEIVED).unique(["symbol", "date", "file_date"])
    calendar = Settings().times_between(dt.date(2015, 1, 1), dt.date(2017, 1, 1))
    closes = {entry.session: entry.close_ns for entry in calendar}
    bars = rows.filter(pl.col("date").is_in(list(closes))).select(
        pl.col("symbol").alias("instrument_id"), pl.col("date").alias("session"),
        *(pl.col(name).cast(pl.Float64) for name in ("open", "high", "low", "close")),
        pl.col("volume").alias("volume_shares"), pl.lit("USD").alias("currency"),
        pl.lit("raw").alias("price_basis"), pl.lit("pystock").alias("source"), "file_date",
    ).sort(KEY)  # fmt: skip
    by_day = bars.partition_by("file_date", as_dict=True, include_key=False)
    history, days = nothing_known(bars.drop("file_date")), sorted(day for (day,) in by_day)
    for number, day in enumerate(days, start=1):
        known_ns = int(end_of(day).timestamp()) * 10**9
        delivery = Delivery(number, f"{day}.tar.gz", known_ns, is_initial=False)
        history = revise(history, by_day[(day,)], delivery, closes)
    restated = history.revisions.filter(pl.col("revision") > 1).height
    assert restated > 1_000, "the vendor restated bars, and none was noticed"
    for day in days[:: len(days) // 12]:
        known = as_of(history.revisions, end_of(day)).select(*KEY, *CONTENT).sort(KEY)
        plain = (
            bars.filter(pl.col("file_date") <= day)
            .sort("file_date").unique(KEY, keep="last").select(*KEY, *CONTENT).sort(KEY)
        )  # fmt: skip
        assert known.equals(plain)
