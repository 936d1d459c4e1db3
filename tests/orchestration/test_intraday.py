"""A session's drops become its tables, without a drop they are empty, and no daily job waits."""

import datetime as dt

import dagster as dg
import polars as pl
import pytest

from io_managers.canonical import canonical_hash
from io_managers.lake import Lake
from orchestration.base.partitions import session_partitions
from orchestration.base.settings import Settings
from orchestration.definitions import build_defs
from sources.file_drops import DropStore, make_drop
from sources.market_data.receipts import Receipts
from tests.unit.source_cases import zipped

NOW = dt.datetime(2013, 10, 12, tzinfo=dt.UTC)
LATE = dt.datetime(2013, 12, 2, tzinfo=dt.UTC)
NOW_NS = int(NOW.timestamp()) * 10**9
TABLES = {
    "trades", "quotes", "intraday_bars", "intraday_quote_bars", "depth", "consolidated_quotes",
    "intraday_quarantine",
}  # fmt: skip
INDICATORS = ("instrument_analysis", "intraday_indicators")
# Milliseconds of the opening in New York.
OPEN = 34_200_000
DROPS = {
    "tick/spy/20131007_trade.zip": (
        "20131007_spy_Trade_Tick.csv",
        f"{OPEN},1674100,100,P,1,0\n{OPEN + 500},1674200,300,Q,1,0\n"
        f"{OPEN + 61_000},1674000,100,P,20000020,0\nbroken\n{OPEN},0,100,P,1,0\n",
    ),
    "tick/spy/20131007_quote.zip": (
        "20131007_spy_Quote_Tick.csv",
        f"{OPEN},1674000,500,0,0,P,1,0\n{OPEN},0,0,1674200,700,Q,1,0\n"
        f"{OPEN + 1},1674200,200,0,0,K,1,0\n{OPEN + 2},9990000,200,0,0,K,1,1\n",
    ),
    "minute/spy/20131007_trade.zip": (
        "20131007_spy_minute_trade.csv", f"{OPEN},1674100,1674200,1674100,1674200,400\n",
    ),
    "second/spy/20131008_quote.zip": (
        "20131008_spy_second_quote.csv", f"{OPEN},1,2,1,2,100,3,4,3,4,100\n",
    ),
    "tick/spy/20131009_trade.zip": ("other.csv", "1,1,1,P,1,0\n"),
}  # fmt: skip


@pytest.fixture
def desk(tmp_path):
    settings = Settings(home=tmp_path, now=NOW, history_start=dt.date(2013, 10, 1))
    settings.sources_file.write_text('[sources.lean]\ntype = "lean"\npath = "lean"\n')
    return settings


def receive(settings, drops=DROPS, now_ns=NOW_NS):
    receipts = Receipts(DropStore(settings.drops_root), "lean")
    for name, (member, text) in drops.items():
        receipts.receive(make_drop("lean", name, zipped(member, text.encode())), now_ns=now_ns)


def rebuild(settings, first, last):
    job = build_defs(settings).resolve_job_def("intraday_history")
    tags = {
        "dagster/asset_partition_range_start": first, "dagster/asset_partition_range_end": last
    }  # fmt: skip
    with dg.DagsterInstance.ephemeral() as instance:
        result = job.execute_in_process(instance=instance, tags=tags)
        assert result.success
        return {
            name: instance.get_latest_materialization_event(
                dg.AssetKey(["market_data", name])
            ).asset_materialization.metadata
            for name in TABLES
        }


def table(settings, name):
    return Lake(settings.lake_root).read(("market_data", name))


def test_the_drops_of_a_range_of_sessions_become_its_tables(desk):
    receive(desk)
    metadata = rebuild(desk, "2013-10-07", "2013-10-09")
    assert metadata["trades"]["drops"].value == 5
    trades = table(desk, "trades").sort("source_seq")
    assert trades.select("symbol", "session", "price", "size", "source_seq").rows() == [
        ("SPY", dt.date(2013, 10, 7), 167.41, 100.0, 1),
        ("SPY", dt.date(2013, 10, 7), 167.42, 300.0, 2),
        ("SPY", dt.date(2013, 10, 7), 167.40, 100.0, 3),
    ]
    assert trades["time"].item(0) == dt.datetime(2013, 10, 7, 13, 30, tzinfo=dt.UTC)
    assert set(trades["knowledge_time"]) == {NOW}
    assert set(trades["price_basis"]) == {"raw"}
    bars = (
        table(desk, "intraday_bars").filter(pl.col("kind") == "bar_1m").sort("origin", "end_time")
    )
    shown = bars.select("origin", "open", "high", "low", "close", "volume", "vwap", "trades")
    vwap = (167.41 * 100 + 167.42 * 300) / 400
    assert shown.rows() == [
        ("built", 167.41, 167.42, 167.41, 167.42, 400.0, pytest.approx(vwap), 2),
        ("built", 167.4, 167.4, 167.4, 167.4, 100.0, pytest.approx(167.4), 1),
        ("vendor", 167.41, 167.42, 167.41, 167.42, 400.0, None, None),
    ]
    assert table(desk, "intraday_bars")["kind"].value_counts().sort("kind").rows() == [
        ("bar_1m", 3), ("bar_1s", 2),
    ]  # fmt: skip
    assert table(desk, "intraday_quote_bars")["session"].to_list() == [dt.date(2013, 10, 8)]


def test_the_best_quotes_of_a_session_name_the_line_that_changed_them(desk):
    receive(desk)
    rebuild(desk, "2013-10-07", "2013-10-07")
    best = table(desk, "consolidated_quotes").sort("seq")
    columns = ("bid_price", "bid_exchange", "ask_price", "locked", "crossed", "source_seq")
    assert best.select(columns).rows() == [
        (167.4, "P", None, False, False, 1), (167.4, "P", 167.42, False, False, 2),
        (167.42, "K", 167.42, True, False, 3),
    ]  # fmt: skip
    assert table(desk, "quotes")["suspicious"].sum() == 1


def test_what_is_bad_is_in_the_quarantine_with_its_reason_and_text(desk):
    receive(desk)
    rebuild(desk, "2013-10-07", "2013-10-09")
    bad = table(desk, "intraday_quarantine").sort("session", "source_seq")
    assert bad.select("session", "source_seq", "reason").rows() == [
        (dt.date(2013, 10, 7), 4, "wrong_field_count"),
        (dt.date(2013, 10, 7), 5, "non_positive_price"),
        (dt.date(2013, 10, 9), 0, "unreadable_drop"),
    ]
    assert bad["raw"].item(0) == "broken"
    assert '"price":0.0' in bad["raw"].item(1)
    assert "does not announce" in bad["raw"].item(2)
    assert bad["raw_sha256"].null_count() == 0


def test_a_correction_replaces_the_session_and_the_same_drops_give_the_same_hash(desk):
    receive(desk)
    rebuild(desk, "2013-10-07", "2013-10-08")
    first = canonical_hash(table(desk, "trades"), ["raw_sha256", "source_seq"])
    rebuild(desk, "2013-10-07", "2013-10-07")
    assert canonical_hash(table(desk, "trades"), ["raw_sha256", "source_seq"]) == first
    name = "tick/spy/20131007_trade.zip"
    receive(desk, {name: (DROPS[name][0], f"{OPEN},1674300,5,P,1,0\n")}, now_ns=NOW_NS + 1000)
    rebuild(desk, "2013-10-07", "2013-10-07")
    assert table(desk, "trades")["price"].to_list() == [167.43]
    assert table(desk, "intraday_quote_bars").height == 1


def test_rows_of_a_day_without_a_session_and_from_the_future_are_refused(desk):
    text = f"{OPEN},1674100,100,P,1,0\n"
    receive(desk, {"tick/spy/20131006_trade.zip": ("20131006_spy_Trade_Tick.csv", text)})
    early = int(dt.datetime(2013, 10, 11, 13, tzinfo=dt.UTC).timestamp()) * 10**9
    drop = {"tick/spy/20131011_trade.zip": ("20131011_spy_Trade_Tick.csv", text)}
    receive(desk, drop, now_ns=early)
    rebuild(desk, "2013-10-06", "2013-10-11")
    bad = table(desk, "intraday_quarantine").sort("session")
    assert bad["reason"].to_list() == ["wrong_session", "future_time"]
    assert table(desk, "trades").is_empty()


def minutes(first, last):
    """One bar for each minute of New York's clock, as LEAN writes them."""
    return "".join(
        f"{minute * 60_000},10000,10000,10000,10000,100\n" for minute in range(first, last)
    )


def test_a_file_of_another_time_zone_and_rows_outside_the_hours_are_in_the_quarantine(desk):
    desk.sources_file.write_text(
        '[sources.lean]\ntype = "lean"\npath = "lean"\nregular_hours_only = true\n'
    )
    # One minute before the open, and one bar after the close; then the hours of UTC.
    receive(desk, {
        "minute/spy/20131007_trade.zip": ("20131007_spy_minute_trade.csv", minutes(569, 961)),
        "minute/spy/20131008_trade.zip": ("20131008_spy_minute_trade.csv", minutes(810, 1200)),
    })  # fmt: skip
    rebuild(desk, "2013-10-07", "2013-10-08")
    bad = table(desk, "intraday_quarantine").sort("session", "source_seq")
    assert bad.select("session", "source_seq", "reason").rows() == [
        (dt.date(2013, 10, 7), 1, "outside_session_hours"),
        (dt.date(2013, 10, 7), 392, "outside_session_hours"),
        (dt.date(2013, 10, 8), 0, "changed_time_zone"),
    ]
    assert "4 h after the exchange's" in bad["raw"].item(2)
    bars = table(desk, "intraday_bars")
    assert bars["session"].value_counts().rows() == [(dt.date(2013, 10, 7), 390)]


def test_without_a_source_the_tables_are_there_and_empty_and_say_so(tmp_path):
    settings = Settings(home=tmp_path, now=NOW, history_start=dt.date(2013, 10, 1))
    metadata = rebuild(settings, "2013-10-04", "2013-10-07")
    for name in TABLES:
        assert table(settings, name).is_empty()
    assert "no drop" in metadata["quotes"]["note"].value
    assert Lake(settings.lake_root).read(INDICATORS).is_empty()


def test_indicators_are_of_each_sources_own_bars_within_the_session(desk):
    lines = [f"{OPEN + 60_000 * i},{1674100 + 10 * i},{1674200 + 10 * i},1674000,1674100,400"
             for i in range(-5, 390)]  # fmt: skip
    # In 2013 the day after Thanksgiving closes at 13:00 in New York, 18:00 UTC.
    for day in ("20131007", "20131129"):
        text = "\n".join(lines) + "\n"
        receive(desk, {f"minute/spy/{day}_trade.zip": (f"{day}_spy_minute_trade.csv", text)},
                now_ns=int(LATE.timestamp()) * 10**9)  # fmt: skip
    late = desk.model_copy(update={"now": LATE})
    rebuild(late, "2013-10-07", "2013-11-29")
    found = Lake(late.lake_root).read(INDICATORS)
    counts = found.group_by("session", "timeframe").len().sort(pl.all()).rows()
    full, half = dt.date(2013, 10, 7), dt.date(2013, 11, 29)
    assert counts == [
        (full, "15m", 26), (full, "1h", 7), (full, "1m", 390), (full, "5m", 78),
        (half, "15m", 14), (half, "1h", 4), (half, "1m", 210), (half, "5m", 42),
    ]  # fmt: skip
    minute = found.filter(session=half, timeframe="1m").sort("start_time")
    assert minute["rsi_14"].null_count() == 210  # its close never moves
    assert minute["sma_20"].null_count() == 19
    assert minute["closed_at"][-1] == dt.datetime(2013, 11, 29, 18, tzinfo=dt.UTC)
    assert set(found["origin"]) == {"vendor"}


def test_every_day_is_a_key_up_to_the_platforms_and_none_goes_when_a_calendar_changes(tmp_path):
    settings = Settings(home=tmp_path, now=NOW, history_start=dt.date(2013, 10, 1))
    keys = session_partitions(settings).get_partition_keys()
    assert keys == [f"2013-10-{day:02}" for day in range(1, 13)]
    live = session_partitions(Settings(home=tmp_path, now="system"))
    before = dt.datetime.now(dt.UTC).date()
    newest = dt.date.fromisoformat(live.get_last_partition_key())
    assert before <= newest <= dt.datetime.now(dt.UTC).date()


def test_only_its_own_job_has_the_tables_of_sessions(tmp_path):
    defs = build_defs(Settings(home=tmp_path))
    keys = {dg.AssetKey(["market_data", name]) for name in TABLES} | {dg.AssetKey(INDICATORS)}
    for name in ("ingest", "backfill", "restate", "fills", "daily"):
        assert not keys & set(defs.resolve_job_def(name).asset_layer.executable_asset_keys), name
    job = defs.resolve_job_def("intraday_history")
    assert set(job.asset_layer.executable_asset_keys) == keys
