"""The evaluation data loads through the adapters that a desk uses, and its known defects show."""

import datetime as dt
from collections import Counter
from pathlib import Path

import polars as pl
import pytest

from domain.market_data.normalise import normalise
from orchestration.base.settings import Settings
from sources.market_data.alpha_vantage_series import read_series
from sources.market_data.lean import LeanFiles
from sources.market_data.protocol import Window
from sources.market_data.pystock import PystockFiles
from sources.market_data.table_files import ParquetFiles
from tests.unit.source_cases import ALWAYS, DAILY_HEADER, drop, fetch, lines_in

DATA = Path(__file__).parents[3] / "shared" / "data"
pytestmark = [
    pytest.mark.evaluation,
    pytest.mark.skipif(not DATA.exists(), reason=f"no evaluation data at {DATA}"),
]
# By kind: files, rows. No line of LEAN's is bad.
LEAN = {
    "bar_1d": (21, 70_025), "bar_1h": (10, 228_527), "bar_1m": (26, 12_896),
    "quote_bar_1m": (24, 14_642), "bar_1s": (14, 154_798), "quote_bar_1s": (12, 241_694),
    "trade": (12, 1_684_116), "quote": (6, 2_068_140),
}  # fmt: skip
PYSTOCK = {
    "20160201": 12_127, "20160202": 12_148, "20160203": 12_147, "20160204": 12_150,
    "20160205": 12_142, "20160208": 12_140, "20160209": 12_136, "20160210": 12_127,
    "20160211": 12_122, "20160212": 12_124,
}  # fmt: skip
# Hurricane Sandy, and Martin Luther King's day: rows without prices of days without trading.
CLOSED = {dt.date(2012, 10, 29), dt.date(2016, 1, 18)}


def judged(source, reading, came):
    """What the normaliser makes of daily rows, with the exchange's sessions of their years."""
    days = reading.rows["date"].str.to_date("%Y%m%d")
    return normalise(
        reading.rows, source=came.source, sha256=came.sha256,
        sessions=Settings().sessions_between(days.min(), days.max()),
        volume_unit_shares=source.volume_unit_shares, price_basis=source.price_basis,
    )  # fmt: skip


def test_every_zip_of_leans_equities_loads():
    source = LeanFiles(path=DATA / "lean" / "Data" / "equity" / "usa").open("lean", {})
    came, refused = fetch(source)
    assert refused == {}
    files, rows = Counter(), Counter()
    for received in came.values():
        found = source.read(received)
        assert found.quarantine.is_empty(), received.name
        files[found.kind] += 1
        rows[found.kind] += found.rows.height
        if found.kind != "bar_1d":
            at = pl.from_epoch(found.rows[found.rows.columns[3]], time_unit="ns")
            local = at.dt.replace_time_zone("UTC").dt.convert_time_zone("America/New_York")
            # All trading is between 4:00 and 20:00 in New York; a close is stamped on the hour.
            assert local.dt.date().equals(found.rows["session"], check_names=False)
            assert local.dt.hour().min() >= 4
            assert local.dt.time().max() <= dt.time(20, 0, 1)
    assert {kind: (files[kind], rows[kind]) for kind in files} == LEAN


def test_leans_minute_bars_are_its_ticks_in_price():
    # SPY, 2013-10-07: what the ticks of the regular session allow lies within the bars.
    source = LeanFiles(path=DATA / "lean" / "Data" / "equity" / "usa").open("lean", {})
    came, _ = fetch(source, Window(dt.date(2013, 10, 7), dt.date(2013, 10, 7)), ["SPY"])
    bars = source.read(came["minute/spy/20131007_trade.zip"]).rows
    ticks = source.read(came["tick/spy/20131007_trade.zip"]).rows
    minute = pl.col("time_ns") // 60_000_000_000 * 60_000_000_000
    built = ticks.filter(~pl.col("suspicious")).group_by(minute.alias("start_ns")).agg(
        pl.col("price").max().alias("tick_high"), pl.col("price").min().alias("tick_low")
    )  # fmt: skip
    both = bars.join(built, on="start_ns")
    assert both.height > 800
    inside = (both["high"] <= both["tick_high"]) & (both["low"] >= both["tick_low"])
    assert inside.sum() / both.height > 0.99


def test_every_archive_of_pystock_loads():
    source = PystockFiles(path=DATA / "pystock_raw").open("pystock", {})
    came, refused = fetch(source)
    assert refused == {}
    found = {name.split(".")[0]: source.read(received) for name, received in came.items()}
    assert {day: reading.rows.height for day, reading in found.items()} == PYSTOCK
    assert all(reading.quarantine.is_empty() for reading in found.values())
    newest = judged(source, found["20160212"], came["20160212.tar.gz"])
    # One symbol has two rows a day, equal to the number: one of them is kept.
    again = [("MSG", "duplicate_exact")] * 2
    assert newest.quarantine.select("symbol", "reason").rows() == again
    assert newest.bars.height == PYSTOCK["20160212"] - 2


def test_the_daily_files_of_two_vendors_load_and_show_their_defects():
    config = ParquetFiles(path=DATA / "daily", price_basis="split_adjusted")
    source = config.open("daily", {})
    came, refused = fetch(source)
    assert refused == {}
    found = {name: source.read(received) for name, received in came.items()}
    assert {name: (r.rows.height, r.quarantine.height) for name, r in found.items()} == {
        "pystock_sp500ever_as_received_201503_201603.parquet": (351_799, 0),
        "us_sp500_ohlcv_2010_2016.parquet": (846_692, 8),
        "vendor2_stooq_exmembers_2010_2016.parquet": (282_490, 0),
        "vendor2_stooq_overlap_2015_2016.parquet": (240_691, 0),
    }
    yahoo = found["us_sp500_ohlcv_2010_2016.parquet"]
    assert set(yahoo.quarantine["session"]) == CLOSED
    result = judged(source, yahoo, came["us_sp500_ohlcv_2010_2016.parquet"])
    assert result.quarantine.is_empty()
    assert {"US.BRK.B", "US.BF.B"} <= set(result.bars["instrument_id"])
    assert set(result.bars["price_basis"]) == {"split_adjusted"}


def test_alpha_vantages_sample_loads_as_its_csv_with_the_splits_of_apple():
    path = DATA / "corporate_actions" / "alphavantage_daily_adjusted_1999_2020.parquet"
    sample = pl.read_parquet(path).filter(pl.col("Name") == "AAPL").rename({"date": "timestamp"})
    body = sample.select(DAILY_HEADER.split(",")).write_csv(line_terminator="\r\n").encode()
    reading = read_series(drop(body, "AAPL/daily_adjusted.csv"))
    assert reading.rows.height + reading.quarantine.height == lines_in(body) - 1 == sample.height
    # The third is 7 for 1; the number is the vendor's.
    splits = reading.rows.filter(pl.col("split_coefficient") != 1)
    assert splits.sort("date").select("date", "split_coefficient").rows() == [
        ("20000621", 2.0), ("20050228", 2.0), ("20140609", 7.00000700001), ("20200831", 4.0),
    ]  # fmt: skip


def test_a_window_of_archives_holds_what_was_written_then():
    source = PystockFiles(path=DATA / "pystock_raw").open("pystock", {})
    came, _ = fetch(source, Window(dt.date(2016, 2, 5), dt.date(2016, 2, 8)))
    assert list(came) == ["20160205.tar.gz", "20160208.tar.gz"]
    assert len(fetch(source, ALWAYS)[0]) == len(PYSTOCK)
