"""One way to break each rule of the catalogue, and one to come close without breaking it."""

import datetime as dt
import io
from pathlib import Path

import polars as pl

from contracts.errors import SourceError
from domain.market_data.deliveries import delivery_findings
from domain.market_data.intraday.clock import time_zone_shift
from domain.market_data.intraday.rules import judge, rules_for
from domain.market_data.normalise import HEADER, coverage_of, normalise, read_rows
from domain.market_data.reference import CorporateAction
from domain.market_data.series_rules import series_findings
from domain.market_data.session_rules import session_findings
from domain.market_data.sessions import SessionTimes
from domain.market_data.vendor_reconciliation import prefer, switches
from sources.file_drops import make_drop
from sources.market_data.daily import rule_of
from sources.market_data.lean import LeanFiles
from sources.market_data.pystock import PystockFiles
from sources.market_data.table_files import CsvFiles, ParquetFiles
from tests.unit.quality_feed_cases import FEED_CASES
from tests.unit.source_cases import drop, tarred, zipped

# Ten sessions of early January 2010; the 9th is a Saturday.
DAYS = [dt.date(2010, 1, day) for day in (4, 5, 6, 7, 8, 11, 12, 13, 14, 15)]
SESSIONS = pl.Series(DAYS, dtype=pl.Date)
HEAD = ",".join(HEADER) + "\n"
GOOD = "20100104,AAPL,10,11,9,10.5,100"


def reasons(*lines, flags=False, **arguments):
    """What the normaliser says of lines: their reasons, or the flags of what is kept."""
    result = normalise(
        read_rows((HEAD + "\n".join(lines) + "\n").encode()),
        source="test", sha256="0" * 64, sessions=SESSIONS, **arguments,
    )  # fmt: skip
    if flags:
        return {flag for text in result.bars["quality_flags"] for flag in text.split(",") if flag}
    return set(result.quarantine["reason"])


def flagged(*lines, **arguments):
    return reasons(*lines, flags=True, **arguments)


def bar(day, close, *, open_=None, high=None, low=None, volume=1_000, line=None, symbol="A"):
    """A bar of a day given by its place in ``DAYS``."""
    open_ = close if open_ is None else open_
    high = max(open_, close) if high is None else high
    low = min(open_, close) if low is None else low
    return {
        "instrument_id": f"US.{symbol}", "symbol": symbol, "session": DAYS[day],
        "open": float(open_), "high": float(high), "low": float(low), "close": float(close),
        "volume_shares": volume, "price_basis": "raw", "quality_flags": "",
        "source_seq": day + 2 if line is None else line, "raw_sha256": "0" * 64,
    }  # fmt: skip


def closes(*values, **changes):
    """A series whose volume differs from day to day, so that nothing repeats."""
    return [bar(day, value, volume=1_000 + day, **changes) for day, value in enumerate(values)]


def frame(bars):
    return pl.DataFrame(bars).sort("instrument_id", "session")


def series(bars, *actions):
    return set(series_findings(frame(bars), SESSIONS, actions)["rule"])


def split(day, ratio, symbol="A"):
    return CorporateAction(f"US.{symbol}", DAYS[day], "split", ratio, None, None, "a test")


def delivery(data, before=None, **arguments):
    return {
        found.rule
        for found in delivery_findings(
            data, read_rows(data), None if before is None else read_rows(before), **arguments
        )
    }


def file(*, price=1.0, volume=1.0, names=20, days=2, first=0, cut=0):
    lines = [
        f"{DAYS[day]:%Y%m%d},S{chr(65 + name)},{10 * price},{11 * price},{9 * price},"
        f"{(10 + name / 10 + day / 100) * price},{(1_000 + name) * volume}\n"
        for name in range(names)
        for day in range(first, first + days)
    ]
    whole = (HEAD + "".join(lines)).encode()
    return whole[: len(whole) - cut] if cut else whole


def lean_zip(name, data):
    return LeanFiles(path=Path()).open("lean", {}).read(drop(data, name))


def refused(act):
    """The rule with which a whole file is refused."""
    try:
        act()
    except SourceError as error:
        return {rule_of(error)}
    return set()


def pystock(*, members=None, cut=0, bytes_max=10**6):
    prices = b"symbol,date,open,high,low,close,volume,adj_close\nA,2016-02-03,1,1,1,1,1,1\n"
    archive = tarred(members or {"prices.csv": prices})
    source = PystockFiles(path=".", bytes_max=bytes_max).open("pystock", {})
    return lambda: source.read(drop(archive[: len(archive) - cut], "20160203.tar.gz"))


def csv(text, header="symbol,date,open,high,low,close,volume\n"):
    source = CsvFiles(path=".").open("desk", {})
    return source.read(drop((header.encode() + text), "a.csv"))


def csv_reasons(text):
    return set(csv(text).quarantine["reason"])


def parquet_reasons(symbol):
    file_ = io.BytesIO()
    numbers = {name: [1.0] for name in ("open", "high", "low", "close", "volume")}
    pl.DataFrame(
        {"symbol": [symbol], "date": [DAYS[0]], **numbers}, schema_overrides={"symbol": pl.String}
    ).write_parquet(file_)
    source = ParquetFiles(path=".").open("desk", {})
    return set(source.read(drop(file_.getvalue(), "a.parquet")).quarantine["reason"])


def lean(name, line):
    """What a reader says of one line of a zip of LEAN's, given its path."""
    symbol, stem = name.split("/")[1], name.split("/")[2].removesuffix(".zip")
    day, what = stem.split("_")
    member = f"{day}_{symbol}_{name.split('/')[0]}_{what}.csv"
    source = LeanFiles(path=".").open("lean", {})
    return set(source.read(drop(zipped(member, line), name)).quarantine["reason"])


# 2010-11-26, the day after Thanksgiving, closes at 13:00 New York: 18:00 UTC.
HALF_DAY = dt.date(2010, 11, 26)
MIDNIGHT_NS = int(dt.datetime(2010, 11, 26, tzinfo=dt.UTC).timestamp()) * 10**9
HOUR_NS = 3_600 * 10**9
TIMES = [SessionTimes(HALF_DAY, MIDNIGHT_NS + 29 * HOUR_NS // 2, MIDNIGHT_NS + 18 * HOUR_NS)]


def minutes(first_h, last_h, *, shift_h=0):
    """Minute bars of the half-day from one hour of UTC to another, stamped beside it."""
    starts = range(int(first_h * 60), int(last_h * 60))
    return pl.DataFrame(
        {
            "line": list(range(1, len(starts) + 1)), "symbol": "A", "session": HALF_DAY,
            "start_ns": [MIDNIGHT_NS + (m + 60 * shift_h) * 60 * 10**9 for m in starts],
            **dict.fromkeys(("open", "high", "low", "close"), 1.0), "volume": 100.0,
        }
    ).with_columns(end_ns=pl.col("start_ns") + 60 * 10**9)  # fmt: skip


def hours(rows):
    rules = rules_for(
        "bar_1m", HALF_DAY, hours=TIMES[0], known_ns=TIMES[0].close_ns * 2, regular_hours_only=True
    )  # fmt: skip
    return set(judge(rows, rules).refused["reason"])


def zone(rows):
    return set() if time_zone_shift(rows, TIMES) is None else {"changed_time_zone"}


def covered(bars):
    empty = pl.DataFrame(schema={"session": pl.Date})
    return set(session_findings(coverage_of(frame(bars), empty, SESSIONS))["rule"])


def market(*days, names=4):
    return [
        bar(day, 10 + place / 10, volume=1_000 + day, symbol=f"S{chr(65 + place)}")
        for day in days
        for place in range(names)
    ]


def two_vendors(*, switch):
    primary = frame(closes(10, 10, 10)).with_columns(pl.lit("raw").alias("price_basis"))
    second = frame(closes(10, 10, 10, 10))
    first = primary if switch else second
    picked = prefer({"one": first, "two": second}, ["one", "two"])
    return set(switches(picked)["rule"])


ROWS = {
    "wrong_field_count": ([f"{GOOD},1"], [GOOD]),
    "unreadable_date": (["20100230,AAPL,10,11,9,10.5,100"], [GOOD]),
    "unknown_symbol": (["20100104,aapl,10,11,9,10.5,100"], ["20100104,BRK-B,10,11,9,10.5,100"]),
    "infinite": (["20100104,AAPL,10,inf,9,10.5,100"], ["20100104,AAPL,10,1e300,9,10.5,100"]),
    "not_a_number": (["20100104,AAPL,NaN,11,9,10.5,100"], ["20100104,AAPL,1e1,11,9,10.5,100"]),
    "price_negative": (["20100104,AAPL,10,11,-9,10.5,100"], ["20100104,AAPL,10,11,.01,10.5,1"]),
    "price_zero": (["20100104,AAPL,10,11,0,10.5,100"], ["20100104,AAPL,10,11,.01,10.5,1"]),
    "volume_negative": (["20100104,AAPL,10,11,9,10.5,-1"], ["20100104,AAPL,10,11,9,10.5,0"]),
    "not_a_session": (["20100109,AAPL,10,11,9,10.5,100"], ["20100108,AAPL,10,11,9,10.5,100"]),
    "high_below_low": (["20100104,AAPL,10,9,11,10,100"], ["20100104,AAPL,10,10,10,10,100"]),
    "outside_range": (["20100104,AAPL,10,11,9,11.5,100"], ["20100104,AAPL,11,11,9,9,100"]),
    "duplicate": ([GOOD, "20100104,AAPL,10,11,9,10.6,100"], [GOOD, GOOD.replace("04,", "05,")]),
    "duplicate_exact": ([GOOD, GOOD.replace("10.5", "10.50")], [GOOD, GOOD.replace("04,", "05,")]),
}
WARNED = {
    "zero_volume": ("20100104,AAPL,10,10,10,10,0", "20100104,AAPL,10,10,10,10,1"),
    "volume_saturated": ("20100104,AAPL,10,11,9,10,16777215", "20100104,AAPL,10,11,9,10,16777214"),
    "extreme_range": ("20100104,AAPL,10,11,4.9,10,1", "20100104,AAPL,10,11,5,10,1"),
    "sub_penny": ("20100104,AAPL,10,11,9,10.005,1", "20100104,AAPL,10.005,11,9,10.01,1"),
}
CASES = {name: (lambda b=b: reasons(*b), lambda c=c: reasons(*c)) for name, (b, c) in ROWS.items()}
CASES |= {name: (lambda b=b: flagged(b), lambda c=c: flagged(c)) for name, (b, c) in WARNED.items()}
CASES |= {
    "not_utf8": (
        lambda: csv_reasons(b"A,2010-01-04,1,1,1,1,\xff\n"),
        lambda: csv_reasons("Ä,2010-01-04,1,1,1,1,1\n".encode()),
    ),
    "future_time": (
        lambda: reasons(GOOD.replace("04,", "15,"), received=DAYS[-2]),
        lambda: reasons(GOOD.replace("04,", "15,"), received=DAYS[-1]),
    ),
    "no_symbol": (lambda: parquet_reasons(None), lambda: parquet_reasons("A")),
    # It is also without volume: what the flag adds is that the volume cannot be right.
    "range_without_volume": (
        lambda: flagged("20100104,AAPL,10,11,9,10,0") - {"zero_volume"},
        lambda: flagged("20100104,AAPL,10,10,10,10,0"),
    ),
    "time_outside_day": (
        lambda: lean("minute/spy/20131007_trade.zip", b"86400000,10000,10000,10000,10000,1\n"),
        lambda: lean("minute/spy/20131007_trade.zip", b"86399999,10000,10000,10000,10000,1\n"),
    ),
    "wall_clock_time_not_unique": (
        lambda: lean("minute/spy/20131103_trade.zip", b"5400000,10000,10000,10000,10000,1\n"),
        lambda: lean("minute/spy/20131103_trade.zip", b"9000000,10000,10000,10000,10000,1\n"),
    ),
    "unreadable_flag": (
        lambda: lean("tick/spy/20131007_trade.zip", b"1,10000,1,P,,2\n"),
        lambda: lean("tick/spy/20131007_trade.zip", b"1,10000,1,P,,1\n"),
    ),
    "crossed_book": (
        lambda: lean("tick/spy/20131007_quote.zip", b"1,10001,1,10000,1,P,,0\n"),
        lambda: lean("tick/spy/20131007_quote.zip", b"1,10000,1,10000,1,P,,0\n2,1,1,0,0,P,,0\n"),
    ),
    "outside_session_hours": (lambda: hours(minutes(18, 19)), lambda: hours(minutes(14.5, 18))),
    "unit_factor": (lambda: series(closes(10, 10, 1_000, 10)), lambda: series(closes(10, 10, 11))),
    "jump": (lambda: series(closes(10, 11.1)), lambda: series(closes(10, 10.9))),
    # A split is a jump, too.
    "split_unapplied": (
        lambda: series(closes(10, 5)) - {"jump"},
        lambda: series(closes(10, 5), split(1, 2.0)),
    ),
    "split_not_in_prices": (
        lambda: series(closes(10, 10), split(1, 2.0)) - {"jump"},
        lambda: series(closes(10, 5), split(1, 2.0)),
    ),
    "stale_repeat": (
        lambda: series([bar(0, 10), bar(1, 10)]),
        lambda: series([bar(0, 10), bar(1, 10, volume=1_001)]),
    ),
    "filled_gap": (
        lambda: series([bar(0, 10), bar(1, 10, volume=0)]),
        lambda: series([bar(0, 10), bar(1, 10, open_=10.1, volume=0)]),
    ),
    # The spike and its end are jumps, too.
    "spike_reverted": (
        lambda: series(closes(10, 13, 10)) - {"jump"},
        lambda: series(closes(10, 13, 13)) - {"jump"},
    ),
    "out_of_order": (
        lambda: series([bar(d, 10 + d / 100, line=n) for d, n in enumerate((2, 3, 5, 4, 6))]),
        lambda: series([bar(d, 10 + d / 100, line=9 - d) for d in range(5)]),
    ),
    "missing_session": (
        lambda: series([*market(0, 1, 2), bar(0, 5), bar(2, 5, volume=7)]),
        lambda: series(market(0, 2)),
    ),
    "source_switched": (lambda: two_vendors(switch=True), lambda: two_vendors(switch=False)),
    "session_missing": (
        lambda: covered(market(0, 1, *range(3, 10))),
        lambda: covered(market(*range(10))),
    ),
    "session_half_empty": (
        lambda: covered([*market(*range(9)), *market(9, names=1)]),
        lambda: covered([*market(*range(9)), *market(9, names=3)]),
    ),
    "empty_file": (
        lambda: refused(lambda: make_drop("desk", "a.csv", b" \n")),
        lambda: refused(lambda: make_drop("desk", "a.csv", b".\n")),
    ),
    "oversized_file": (
        lambda: refused(pystock(members={"prices.csv": b"x" * 200_000}, bytes_max=100_000)),
        lambda: refused(pystock()),
    ),
    "broken_archive": (lambda: refused(pystock(cut=9)), lambda: refused(pystock())),
    "wrong_encoding": (
        lambda: refused(lambda: read_rows((HEAD + GOOD).encode("utf-16"))),
        lambda: refused(lambda: read_rows(b"\xef\xbb\xbf" + (HEAD + GOOD).encode())),
    ),
    "unreadable_file": (
        lambda: refused(lambda: lean_zip("daily/spy.zip", zipped("ibm.csv", b"x"))),
        lambda: refused(lambda: lean_zip("daily/spy.zip", zipped("spy.csv", b"x"))),
    ),
    "changed_header": (
        lambda: refused(lambda: csv(b"", header="symbol,date,open,high,low,last,volume\n")),
        lambda: refused(lambda: csv(b"", header="date,symbol,open,low,high,close,volume,x\n")),
    ),
    "truncated_file": (
        lambda: delivery(file(cut=12), file()),
        # Whole, only without its newline.
        lambda: delivery(file(cut=1), file()),
    ),
    "shrunken_file": (
        lambda: delivery(file(names=9), file()), lambda: delivery(file(names=12), file()),
    ),
    "changed_unit": (
        lambda: delivery(file(price=100.0), file()), lambda: delivery(file(price=2.0), file()),
    ),
    "changed_time_zone": (
        lambda: zone(minutes(14.5, 18, shift_h=-5)), lambda: zone(minutes(14.5, 18)),
    ),
}  # fmt: skip
CASES |= FEED_CASES
