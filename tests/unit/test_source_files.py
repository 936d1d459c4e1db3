"""Files as vendors drop them: what is read, what is set aside, what is refused."""

import datetime as dt
import io
import tarfile

import polars as pl
import pytest

from contracts.errors import ConfigurationError, SourceError
from domain.market_data.normalise import normalise, read_rows
from sources.file_drops import DropStore, embedded_drop
from sources.market_data.configuration import read_sources
from sources.market_data.protocol import Window
from sources.market_data.pystock import PystockFiles
from sources.market_data.receipts import Receipts
from sources.market_data.table_files import Columns, CsvFiles, ParquetFiles
from tests.unit.source_cases import drop, fetch, tarred, write

PRICES = (
    b"symbol,date,open,high,low,close,volume,adj_close\r\n"
    b"AIII,2016-02-03,1.23,1.25,1.20,1.24,000,1.24\r\n"
)


def test_pystock_reads_the_prices_and_keeps_the_adjusted_close():
    archive = tarred({"symbols.txt": b"x", "prices.csv": PRICES + b"ACU,2016-02-03,x\n\xff\n"})
    source = PystockFiles(path=".").open("pystock", {})
    _, rows, quarantine = source.read(drop(archive, "20160203.tar.gz"))
    assert rows.select("symbol", "date", "volume", "adj_close").rows() == [
        ("AIII", "20160203", 0.0, 1.24)
    ]
    assert quarantine.select("reason", "raw").rows() == [
        ("wrong_field_count", "ACU,2016-02-03,x"), ("not_utf8", r"\xff"),
    ]  # fmt: skip


@pytest.mark.parametrize("prices", [b"", PRICES.split(b"A")[0], b"\r\n"])
def test_an_empty_pystock_drop_has_no_rows(prices):
    source = PystockFiles(path=".").open("pystock", {})
    found = source.read(drop(tarred({"prices.csv": prices}), "20160203.tar.gz"))
    assert found.rows.is_empty()
    assert found.quarantine.is_empty()


def a_link(info):
    info.type, info.linkname, info.size = tarfile.SYMTYPE, "/etc/passwd", 0


def a_hard_link(info):
    info.type, info.linkname, info.size = tarfile.LNKTYPE, "other", 0


def a_device(info):
    info.type, info.size = tarfile.CHRTYPE, 0


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"no gzip", "no gzip"),
        (tarred({"prices.csv": PRICES})[:-9], "cut off"),
        (tarred({"prices.csv": PRICES}) + b"more", "something follows"),
        (tarred({"prices.csv": b"x" * 200_000}), "more than 100000 bytes"),
        (tarred({"other.csv": PRICES}), "0 times"),
        (tarred({"../prices.csv": PRICES}), "leaves its directory"),
        (tarred({"prices.csv": PRICES, "/etc/x": b"x"}), "leaves its directory"),
        (tarred({"prices.csv": PRICES}, a_link), "link"),
        (tarred({"prices.csv": PRICES}, a_hard_link), "link"),
        (tarred({"prices.csv": PRICES}, a_device), "device"),
        (tarred({f"{n}": b"" for n in range(1_001)}), "more than 1000 members"),
        (tarred({"prices.csv": PRICES.replace(b"close", b"last", 1)}), "has the columns"),
    ],
)
def test_an_unsafe_or_broken_archive_is_refused(data, reason):
    source = PystockFiles(path=".", bytes_max=100_000 if "100000" in reason else 10**7)
    with pytest.raises(SourceError, match=reason):
        source.open("pystock", {}).read(drop(data, "20160203.tar.gz"))


def test_pystock_archives_are_chosen_by_the_day_in_their_name(tmp_path):
    write(tmp_path, {"2016/20160203.tar.gz": b"1", "20160204.tar.gz": b"2", "all.tar.gz": b"3"})
    source = PystockFiles(path=tmp_path).open("pystock", {})
    came, refused = fetch(source, Window(dt.date(2016, 2, 3), dt.date(2016, 2, 3)))
    assert list(came) == ["2016/20160203.tar.gz"]
    assert list(refused) == ["all.tar.gz"]


def test_a_link_out_of_the_directory_and_a_large_file_are_not_taken(tmp_path):
    inside = tmp_path / "in"
    write(tmp_path, {"in/a.csv": b"small", "in/b.csv": b"x" * 200, "secret.csv": b"secret"})
    (inside / "c.csv").symlink_to(tmp_path / "secret.csv")
    (inside / "d.csv").symlink_to(inside / "nowhere")
    came, refused = fetch(CsvFiles(path=inside, bytes_max=100).open("desk", {}))
    assert list(came) == ["a.csv"]
    assert "`bytes_max` is 100" in refused["b.csv"]
    assert "leaves the directory" in refused["c.csv"]
    assert "cannot be read" in refused["d.csv"]
    with pytest.raises(SourceError, match="does not exist"):
        fetch(CsvFiles(path=tmp_path / "absent").open("desk", {}))


def test_the_demo_vendors_layout_is_a_csv_like_any_other():
    columns = Columns(symbol="Symbol", date="Date", open="Open", high="High", low="Low",
                      close="Close", volume="Volume")  # fmt: skip
    source = CsvFiles(path=".", columns=columns, date_format="%Y%m%d", volume_unit_shares=100)
    embedded = embedded_drop()
    sample = drop(b"\n".join(embedded.data.split(b"\n")[:2_001]), "bars.csv")
    _, rows, quarantine = source.open("demo", {}).read(sample)
    assert rows.height + quarantine.height == 2_000
    sessions = rows["date"].str.to_date("%Y%m%d").unique()
    judged = {"source": "demo", "sha256": "0", "sessions": sessions}
    ours, theirs = normalise(rows, **judged), normalise(read_rows(sample.data), **judged)
    assert ours.bars.equals(theirs.bars)


def table(**changes):
    return pl.DataFrame(
        {"Ticker": ["A", "B", None], "Day": [dt.date(2016, 2, 3)] * 3, "o": [42.39, None, 1.0],
         "h": [43.0, 1.0, 1.0], "l": [42.0, 1.0, 1.0], "c": [42.5, 1.0, 1.0], "v": [100, 1, 1],
         "more": ["x"] * 3, **changes},
        schema_overrides={"o": pl.Float32},
    )  # fmt: skip


def read_parquet(frame, **changes):
    columns = Columns(symbol="Ticker", date="Day", open="o", high="h", low="l", close="c",
                      volume="v")  # fmt: skip
    file = io.BytesIO()
    frame.write_parquet(file)
    source = ParquetFiles(path=".", columns=columns, **changes).open("desk", {})
    return source.read(drop(file.getvalue(), "a.parquet"))


def test_parquet_columns_are_mapped_and_single_precision_is_no_other_number():
    _, rows, quarantine = read_parquet(table())
    assert rows.select("symbol", "date", "open", "volume").rows() == [("A", "20160203", 42.39, 100)]
    assert quarantine.select("source_seq", "reason", "raw").rows() == [
        (2, "not_a_number", "B,2016-02-03,,1.0,1.0,1.0,1"),
        (3, "no_symbol", ",2016-02-03,1.0,1.0,1.0,1.0,1"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("day", "changes"),
    [
        (["03.02.2016"] * 3, {"date_format": "%d.%m.%Y"}),
        ([dt.datetime(2016, 2, 3, 16)] * 3, {}),  # noqa: DTZ001 - as pandas writes dates
    ],
)
def test_a_parquet_date_may_be_text_or_a_timestamp(day, changes):
    assert read_parquet(table(Day=day), **changes).rows["date"].to_list() == ["20160203"]


def test_parquet_of_another_layout_is_refused():
    with pytest.raises(SourceError, match=r"without \(or twice\) c"):
        read_parquet(table().drop("c"))
    with pytest.raises(SourceError, match="has the type Int64"):
        read_parquet(table(Day=[1, 2, 3]))
    with pytest.raises(SourceError, match="unpacks to"):
        read_parquet(table(), bytes_max=10)
    with pytest.raises(SourceError, match="cannot be read as Parquet"):
        ParquetFiles(path=".").open("desk", {}).read(drop(b"PAR1 no PAR1", "a.parquet"))


def test_a_csv_without_its_header_is_refused():
    source = CsvFiles(path=".").open("desk", {})
    with pytest.raises(SourceError, match="first line"):
        source.read(drop(b"\nsymbol,date\n", "a.csv"))
    with pytest.raises(SourceError, match=r"without \(or twice\) open"):
        source.read(drop(b"symbol,date,open,open,high,low,close,volume\n", "a.csv"))


def test_sources_are_configured_in_toml_with_paths_from_its_directory(tmp_path):
    path = tmp_path / "sources.toml"
    assert read_sources(path) == {}
    path.write_text(
        '[sources.lean]\ntype = "lean"\npath = "lean"\n'
        '[sources.av]\ntype = "alpha_vantage"\nkey_env = "AV_KEY"\n'
        "[sources.av.http]\nrequests_per_minute = 75\n"
    )
    found = read_sources(path)
    assert found["lean"].path == tmp_path / "lean"
    assert found["av"].http.requests_per_minute == 75
    assert found["av"].open("av", {"AV_KEY": "k"}).name == "av"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[sources.a", "does not fit"),
        ("[other]", "none of"),
        ('[sources.A]\ntype = "lean"\npath = "x"', "'A' is no name"),
        ('[sources."../a"]\ntype = "lean"\npath = "x"', "is no name"),
        ('[sources.a]\ntype = "fax"', r"\[sources.a\]: Invalid value 'fax'"),
        ('[sources.a]\ntype = "lean"', "missing required field `path`"),
        ('[sources.a]\ntype = "lean"\npath = 7', r"\$.path"),
        ('[sources.a]\ntype = "csv"\npath = "x"\npattren = "*"', "unknown field `pattren`"),
        ('[sources.a]\ntype = "csv"\npath = "x"\nvolume_unit_shares = 0', "volume_unit_shares"),
        ('[sources.a]\ntype = "alpha_vantage"\nkey_env = "K3Y0FTHEDESK"', "key_env"),
    ],
)
def test_a_wrong_configuration_names_its_place_and_no_value(tmp_path, text, reason):
    path = tmp_path / "sources.toml"
    path.write_text(text)
    with pytest.raises(ConfigurationError, match=reason) as caught:
        read_sources(path)
    assert "K3Y0FTHEDESK" not in str(caught.value)


def test_a_window_has_its_days_in_order():
    with pytest.raises(SourceError, match="lies after"):
        Window(dt.date(2020, 1, 2), dt.date(2020, 1, 1))


def test_receipts_outlive_a_crash_and_note_bytes_once(tmp_path):
    store = DropStore(tmp_path)
    receipts = Receipts(store, "desk")
    first, second = drop(b"one", "a.csv"), drop(b"two", "a.csv")
    assert receipts.receive(first, now_ns=1)
    assert not receipts.receive(first, now_ns=2)
    path = tmp_path / "receipts" / "desk.jsonl"
    path.write_bytes(path.read_bytes() + b'{"source": "desk", "na')
    after = Receipts(store, "desk")
    assert not after.receive(first, now_ns=3)
    assert after.receive(second, now_ns=4)
    rows = Receipts(store, "desk").rows()
    assert [(row.name, row.sha256, row.received_ns) for row in rows] == [
        ("a.csv", first.sha256, 1), ("a.csv", second.sha256, 4),
    ]  # fmt: skip
    assert store.get(rows[1].sha256) == b"two"
    path.write_bytes(b"damaged\n")
    with pytest.raises(SourceError, match="is damaged"):
        Receipts(store, "desk")
