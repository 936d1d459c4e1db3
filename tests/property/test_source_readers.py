"""Whatever a vendor sends: a reader refuses the file with a reason, or loses no line of it."""

import io
import json
import tempfile
from contextlib import suppress
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from contracts.errors import SourceError
from domain.market_data.normalise import HEADER
from sources.file_drops import DropStore, make_drop
from sources.market_data.alpha_vantage import AlphaVantage
from sources.market_data.alpha_vantage_bodies import require_answer
from sources.market_data.bloomberg import Bloomberg
from sources.market_data.frames import QUARANTINE, schema_of
from sources.market_data.lean import LeanFiles
from sources.market_data.lseg import Lseg
from sources.market_data.pystock import COLUMNS, PystockFiles
from sources.market_data.receipts import Receipts
from sources.market_data.table_files import CsvFiles, ParquetFiles
from sources.market_data.vendor_library import encode_answer
from tests.unit.blpapi_cases import bars, history
from tests.unit.lseg_cases import raw
from tests.unit.source_cases import (
    DAILY_CSV,
    DAILY_HEADER,
    daily_json,
    lines_in,
    tarred,
    zipped,
)

LEAN = LeanFiles(path=Path()).open("lean", {})
PYSTOCK = PystockFiles(path=Path()).open("pystock", {})
CSV = CsvFiles(path=Path()).open("csv", {})
PARQUET = ParquetFiles(path=Path()).open("parquet", {})
VANTAGE = AlphaVantage(key_env="AV_KEY").open("av", {"AV_KEY": "k"})
VARIABLES = dict.fromkeys(("key_env", "user_env", "secret_env"), "A_KEY")
REUTERS = Lseg(**VARIABLES).open("reuters", {"A_KEY": "k"})
TERMINAL = Bloomberg().open("bbg", {})

# Lines that are nearly right get further than noise does.
CELL = st.one_of(
    st.sampled_from(
        ["", "0", "1", "-1", "127.58", "34200000", "86400000", "1e400", "nan", "inf", "2020-03-08",
         "20140309 02:00", "2020-03-08 02:30:00", "9999-12-31", "0001-01-01", "SPY", "1_0", " 1 ",
         "\x00", "\x01", '"', "é"]
    ),
    st.integers(-(10**20), 10**20).map(str),
)  # fmt: skip
LINE = st.one_of(
    st.lists(CELL, max_size=12).map(lambda cells: ",".join(cells).encode()),
    st.binary(max_size=40),
)
TEXT = st.lists(LINE, max_size=12).map(lambda lines: b"\n".join([*lines, b""]))
LEAN_NAMES = [
    ("daily/spy.zip", "spy.csv"), ("hour/spy.zip", "spy.csv"),
    *((f"{r}/spy/20140309_{w}.zip", f"20140309_spy_{r}_{w}.csv")
      for r in ("minute", "second", "tick") for w in ("trade", "quote")),
]  # fmt: skip
BOUNDED = settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])


def drop(data, name):
    return make_drop("vendor", name, data)


def require_whole(reading, n_lines):
    """Rows and quarantine hold each line once, typed as declared."""
    schema = schema_of(reading.kind)
    assert dict(reading.quarantine.schema) == QUARANTINE
    assert dict(list(reading.rows.schema.items())[: len(schema)]) == schema
    seen = [*reading.rows["line"], *reading.quarantine["source_seq"]]
    assert len(seen) == len(set(seen)) == n_lines
    assert reading.quarantine["reason"].null_count() == 0
    needed = [name for name in schema if not name.startswith(("bid_", "ask_"))]
    assert reading.rows.select(needed).null_count().sum_horizontal().item() == 0
    floats = reading.rows.select(pl.col(pl.Float64))
    assert all(column.drop_nulls().is_finite().all() for column in floats)


@given(text=TEXT, place=st.sampled_from(LEAN_NAMES))
@BOUNDED
def test_lean_loses_no_line(text, place):
    name, member = place
    require_whole(LEAN.read(drop(zipped(member, text), name)), lines_in(text))


@given(text=TEXT)
@BOUNDED
def test_pystock_loses_no_line(text):
    prices = ",".join(COLUMNS).encode() + b"\r\n" + text
    archive = drop(tarred({"prices.csv": prices}), "20160203.tar.gz")
    require_whole(PYSTOCK.read(archive), lines_in(text))


@given(text=TEXT)
@BOUNDED
def test_csv_loses_no_line(text):
    header = b"symbol,date,open,high,low,close,volume\n"
    require_whole(CSV.read(drop(header + text, "a.csv")), lines_in(text))


@given(text=TEXT)
@BOUNDED
def test_alpha_vantages_csv_loses_no_line(text):
    body = DAILY_HEADER.encode() + b"\n" + text
    require_whole(VANTAGE.read(drop(body, "SPY/daily_adjusted.csv")), lines_in(text))
    body = b"timestamp,open,high,low,close,volume\n" + text
    require_whole(VANTAGE.read(drop(body, "SPY/intraday_5min_2020-03.csv")), lines_in(text))


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=5), CELL),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(["1. open", "2. high", "4. close", "6. volume", "x", ""]), inner,
            max_size=4,
        ),
    ),
    max_leaves=8,
)  # fmt: skip


@given(
    entries=st.dictionaries(CELL, JSON, max_size=6), values=st.lists(CELL, min_size=8, max_size=8)
)
@BOUNDED
def test_alpha_vantages_json_loses_no_entry(entries, values):
    whole = json.loads(daily_json("SPY"))["Time Series (Daily)"]["2020-08-31"]
    entries["2020-08-31"] = dict(zip(whole, values, strict=True))
    body = daily_json("SPY", entries=entries)
    require_whole(VANTAGE.read(drop(body, "SPY/daily_adjusted.json")), len(entries))


# What the vendors' libraries give in the place of a day, an instant or a number.
VALUE = st.one_of(
    JSON, st.floats(),
    st.sampled_from(["2020-03-09", "2020-03-09T13:30:00.000000000Z", "2020-03-09T13:30:00+00:00",
                     "9999-12-31T23:59:59.999999999Z", "0001-01-01T00:00:00"]),
)  # fmt: skip
ROW = st.one_of(st.lists(VALUE, min_size=6, max_size=6), st.lists(VALUE, max_size=7), JSON)


@given(rows=st.lists(ROW, max_size=6))
@BOUNDED
def test_lseg_loses_no_row(rows):
    for interval, name in (("P1D", "daily_2020"), ("PT1M", "1min_2020-03-09")):
        answer = encode_answer({**raw(ric="SPY.N", interval=interval), "data": rows})
        require_whole(REUTERS.read(drop(answer, f"SPY.N/{name}.json")), len(rows))


@given(rows=st.lists(ROW, max_size=6))
@BOUNDED
def test_bloomberg_loses_no_bar(rows):
    daily = ("date", "PX_OPEN", "PX_HIGH", "PX_LOW", "PX_LAST", "PX_VOLUME")
    within = ("time", "open", "high", "low", "close", "volume")
    cases = (
        (daily, lambda said: history(said, security="SPY US Equity"), "daily_2020"),
        (within, bars, "1min_2020-03-09"),
    )
    for columns, message, name in cases:
        named = [dict(zip(columns, row, strict=False)) if isinstance(row, list) else row
                 for row in rows]  # fmt: skip
        kind, content = message(named)
        answer = encode_answer([{"type": kind, "content": content}])
        require_whole(TERMINAL.read(drop(answer, f"SPY/{name}.json")), len(rows))


@given(noise=st.binary(min_size=1, max_size=200))
@BOUNDED
def test_noise_is_refused_with_a_reason(noise):
    names = {
        LEAN: "daily/spy.zip", PYSTOCK: "20160203.tar.gz", CSV: "a.csv", PARQUET: "a.parquet",
        VANTAGE: "SPY/daily_adjusted.json", REUTERS: "SPY.N/daily_2020.json",
        TERMINAL: "SPY/1min_2020-03-09.json",
    }  # fmt: skip
    for source, name in names.items():
        with pytest.raises(SourceError):
            # A drop that is only blanks is refused when it is made.
            source.read(drop(noise, name))
    with suppress(SourceError):
        require_answer(noise, wants_csv=True, hide=str)


def mutated(data, edits, cut):
    found = bytearray(data)
    for place, value in edits:
        found[place % len(found)] = value
    return bytes(found[: max(1, len(found) - cut)])


def a_parquet():
    file = io.BytesIO()
    row = {name.lower(): ["1"] for name in HEADER}
    pl.DataFrame({**row, "symbol": ["A"], "date": ["2016-02-03"]}).write_parquet(file)
    return file.getvalue()


WHOLE = {
    "daily/spy.zip": (LEAN, zipped("spy.csv", b"20131007 00:00,1,2,1,2,5\n" * 9)),
    "20160203.tar.gz": (PYSTOCK, tarred({"prices.csv": ",".join(COLUMNS).encode() + b"\na\nb"})),
    "SPY/daily_adjusted.csv": (VANTAGE, DAILY_CSV),
    "SPY/daily_adjusted.json": (VANTAGE, daily_json("SPY")),
    "a.parquet": (PARQUET, a_parquet()),
}


@given(
    name=st.sampled_from(sorted(WHOLE)),
    edits=st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), max_size=4),
    cut=st.integers(0, 40),
)
@settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow])
def test_a_file_damaged_on_the_way_never_crashes_a_reader(name, edits, cut):
    source, data = WHOLE[name]
    with suppress(SourceError):
        source.read(drop(mutated(data, edits, cut), name))


@given(
    received=st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from([b"1", b"2"])), max_size=8),
    torn=st.binary(max_size=10).filter(lambda left: b"\n" not in left),
)
@settings(max_examples=40)
def test_a_receipt_says_what_is_new_under_a_name_whatever_a_crash_left(received, torn):
    with tempfile.TemporaryDirectory() as root:
        store, expected = DropStore(Path(root)), []
        for at_ns, (name, data) in enumerate(received):
            new = Receipts(store, "desk").receive(drop(data, name), now_ns=at_ns)
            assert new == (data != {n: d for n, d, _ in expected}.get(name))
            if new:
                expected.append((name, data, at_ns))
            with (Path(root) / "receipts" / "desk.jsonl").open("ab") as file:
                file.write(torn)
        rows = Receipts(store, "desk").rows()
        assert [(r.name, store.get(r.sha256), r.received_ns) for r in rows] == expected
