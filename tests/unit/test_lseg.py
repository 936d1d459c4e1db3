"""LSEG through its library: what is asked, what becomes of each kind of answer."""

import datetime as dt
import subprocess
import sys

import httpx
import polars as pl
import pytest
import stamina

from cli.market_sources import _key
from contracts.errors import ConfigurationError, SourceError
from domain.market_data.normalise import normalise
from sources.market_data.bloomberg import Bloomberg
from sources.market_data.configuration import read_sources
from sources.market_data.errors import VendorCredentialError, VendorSessionError
from sources.market_data.lseg import Lseg
from sources.market_data.protocol import Window
from sources.market_data.vendor_library import LibraryLimits, encode_answer
from tests.unit.lseg_cases import DAILY, MINUTES, Library, raw, refused, status
from tests.unit.source_cases import drop, fetch

# By what the settings name, in the order of `key_env`, `user_env` and `secret_env`.
ENVIRON = {"RDP_APP_KEY": "K3YOFTHEDESK", "RDP_ID": "GE-A-1", "RDP_SECRET": "S3CRET"}
YEAR = Window(dt.date(2020, 8, 1), dt.date(2020, 8, 31))
DAY = Window(dt.date(2020, 3, 9), dt.date(2020, 3, 9))
UNKNOWN = "TS.Interday.UserRequestError.70005", "The universe is not found."
DENIED = "TS.Interday.UserNotPermission.70112", "User does not have permission for this universe"


@pytest.fixture(autouse=True)
def impatient():
    with stamina.set_testing(True, attempts=3, cap=True):
        yield


def opened(environ=None, **changes):
    variables = dict(zip(("key_env", "user_env", "secret_env"), ENVIRON, strict=True))
    config = Lseg(
        **{**variables, **changes}, limits=LibraryLimits(requests_per_minute=1e6, timeout_s=7)
    )  # fmt: skip
    return config.open("reuters", ENVIRON if environ is None else environ)


def read(content, name="AAPL.O/daily_2020.json", **changes):
    return opened(**changes).read(drop(encode_answer(content), name))


def test_daily_bars_are_asked_for_by_the_year_as_traded_and_feed_the_normaliser(monkeypatch):
    library = Library(monkeypatch, raw())
    source = opened()
    came, refusals = fetch(source, YEAR, ["AAPL.O"])
    assert refusals == {}
    (asked,) = library.asked
    assert asked.pop("extended_params") == {
        "start": dt.datetime(2020, 1, 1, tzinfo=dt.UTC),
        "end": dt.datetime(2020, 12, 31, tzinfo=dt.UTC), "count": 10_000,
    }  # fmt: skip
    assert asked == {
        "universe": "AAPL.O", "interval": "P1D", "adjustments": ["unadjusted"],
        "fields": ["OPEN_PRC", "HIGH_1", "LOW_1", "TRDPRC_1", "ACVOL_UNS"],
    }  # fmt: skip
    assert library.grants == [("K3YOFTHEDESK", "client_credentials", "GE-A-1", "S3CRET")]
    assert library.settings == {
        "sessions.platform.default.auto-reconnect": False, "http.request-timeout": 7,
    }  # fmt: skip
    assert (library.n_opened, library.n_open) == (1, 0)
    (name,) = came
    assert name == "AAPL.O/daily_2020.json"
    assert source.is_daily(name)
    assert source.written_ns(name) is None
    kind, rows, quarantine = source.read(came[name])
    assert kind == "bar_1d"
    assert quarantine.is_empty()
    bars = normalise(
        rows, source="reuters", sha256=came[name].sha256,
        sessions=pl.Series([dt.date(2020, 8, 28), dt.date(2020, 8, 31)]),
        volume_unit_shares=source.volume_unit_shares, price_basis=source.price_basis,
    ).bars  # fmt: skip
    assert bars["symbol"].unique().to_list() == ["AAPL"]
    assert bars["close"].to_list() == [499.23, 129.04]
    assert bars["volume_shares"].to_list() == [46_907_479, 225_702_688]


def test_the_drop_is_the_vendors_answer_whatever_the_order_of_its_keys(monkeypatch):
    answer = raw()
    Library(monkeypatch, answer, dict(reversed(answer.items())))
    first, _ = fetch(opened(), YEAR, ["AAPL.O"])
    second, _ = fetch(opened(), YEAR, ["AAPL.O"])
    assert first == second
    # A key that nothing reads today is kept.
    assert b'"qos":{"timeliness":"delayed"}' in first["AAPL.O/daily_2020.json"].data


def test_minutes_are_asked_for_by_the_exchanges_day_and_placed_in_utc(monkeypatch):
    library = Library(monkeypatch, raw(MINUTES, interval="PT1M"))
    source = opened(series="intraday")
    came, refusals = fetch(source, DAY, ["AAPL.O"])
    assert refusals == {}
    # 9 March 2020 is the first day of summer time: midnight in New York is 4:00 UTC.
    assert library.asked[0]["extended_params"] == {
        "start": dt.datetime(2020, 3, 9, 4, tzinfo=dt.UTC),
        "end": dt.datetime(2020, 3, 10, 4, tzinfo=dt.UTC), "count": 10_000,
    }  # fmt: skip
    (name,) = came
    assert name == "AAPL.O/1min_2020-03-09.json"
    assert not source.is_daily(name)
    kind, rows, quarantine = source.read(came[name])
    assert (kind, quarantine.height) == ("bar_1m", 0)
    at_ns = int(dt.datetime(2020, 3, 9, 13, 31, tzinfo=dt.UTC).timestamp()) * 10**9
    assert rows["start_ns"].to_list() == [at_ns, at_ns - 60 * 10**9]
    assert (rows["end_ns"] - rows["start_ns"]).unique().to_list() == [60 * 10**9]
    assert rows["session"].unique().to_list() == [dt.date(2020, 3, 9)]


def test_a_bar_that_is_labelled_by_its_end_begins_earlier():
    answer = raw(MINUTES[:1], interval="PT60M", summaryTimestampLabel="endPeriod")
    rows = read(answer, "AAPL.O/60min_2020-03-09.json", series="intraday").rows
    began = dt.datetime(2020, 3, 9, 12, 31, tzinfo=dt.UTC)
    assert rows["start_ns"].to_list() == [int(began.timestamp()) * 10**9]
    with pytest.raises(SourceError, match="labelled 'middle'"):
        read(raw(MINUTES, interval="PT1M", summaryTimestampLabel="middle"),
             "AAPL.O/1min_2020-03-09.json", series="intraday")  # fmt: skip


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (["2020-08-27", None, 505.77, 498.31, 499.23, 1], "not_a_number"),
        (["2020-08-27", 504.05, 505.77, 498.31, 499.23, None], "not_a_number"),
        (["2020-08-27", 504.05, "n/a", 498.31, 499.23, 1], "not_a_number"),
        (["2020-08-27", 504.05, float("inf"), 498.31, 499.23, 1], "infinite"),
        (["2020-08-27", 504.05, True, 498.31, 499.23, 1], "not_a_number"),
        (["2020-02-30", 504.05, 505.77, 498.31, 499.23, 1], "unreadable_date"),
        ([None, 504.05, 505.77, 498.31, 499.23, 1], "unreadable_date"),
        (["2020-08-27", 504.05], "wrong_field_count"),
        (None, "wrong_field_count"),
    ],
)
def test_a_row_that_cannot_be_used_is_set_aside_with_its_text(row, reason):
    answer = raw()
    answer["data"].insert(1, row)
    _, rows, quarantine = read(answer)
    assert rows["line"].to_list() == [1, 3]
    assert quarantine.select("source_seq", "symbol", "reason").row(0) == (2, "AAPL", reason)
    assert quarantine["raw"][0].startswith("null" if row is None else "[")


def test_a_bar_within_the_day_that_comes_twice_is_kept_once():
    answer = raw([*MINUTES, MINUTES[1]], interval="PT1M")
    _, rows, quarantine = read(answer, "AAPL.O/1min_2020-03-09.json", series="intraday")
    assert rows["line"].to_list() == [1, 2]
    assert quarantine.select("source_seq", "reason").row(0) == (3, "duplicate_exact")


def test_only_the_newest_rows_are_kept_and_said_to_be_partial(monkeypatch):
    Library(monkeypatch, raw())
    came, refusals = fetch(opened(rows_max=2), YEAR, ["AAPL.O"])
    assert list(came) == list(refusals) == ["AAPL.O/daily_2020.json"]
    assert refusals["AAPL.O/daily_2020.json"] == (
        "is partial: the newest 2 rows only, from 2020-08-28 on"
    )
    Library(monkeypatch, raw(MINUTES, interval="PT1M"))
    _, refusals = fetch(opened(rows_max=2, series="intraday"), DAY, ["AAPL.O"])
    assert "from 2020-03-09 13:30:00+00:00 on" in refusals["AAPL.O/1min_2020-03-09.json"]


def test_an_answer_with_an_error_beside_it_is_kept_and_the_error_told(monkeypatch):
    said = status("TS.Interday.UserRequestError.70007", "The universe does not support: [X].")
    Library(monkeypatch, raw(**said))
    came, refusals = fetch(opened(), YEAR, ["AAPL.O"])
    assert opened().read(came["AAPL.O/daily_2020.json"]).rows.height == 2
    assert "70007: The universe does not support" in refusals["AAPL.O/daily_2020.json"]


def test_an_answer_without_rows_takes_nothing_back(monkeypatch):
    Library(monkeypatch, raw(data=[]))
    came, refusals = fetch(opened(), YEAR, ["AAPL.O"])
    assert (came, refusals) == ({}, {"AAPL.O/daily_2020.json": "has no rows"})


@pytest.mark.parametrize(
    ("code", "said"), [(UNKNOWN, "universe is not found"), (DENIED, "does not entitle"),
                       ((403, "access denied"), "does not entitle")]
)  # fmt: skip
def test_what_one_instrument_is_refused_for_leaves_the_others(monkeypatch, code, said):
    library = Library(monkeypatch, refused(*code), raw(ric="MSFT.O"))
    came, refusals = fetch(opened(), YEAR, ["AAPL.O", "MSFT.O"])
    assert list(came) == ["MSFT.O/daily_2020.json"]
    assert said in refusals["AAPL.O/daily_2020.json"]
    assert len(library.asked) == 2


@pytest.mark.parametrize(
    "broken",
    [
        refused(429, "Too many requests, please try again later."), refused(503, "unavailable"),
        httpx.ReadTimeout("timed out"), httpx.ConnectError("refused"),
    ],
)  # fmt: skip
def test_what_may_pass_is_asked_again_and_then_refused(monkeypatch, broken):
    library = Library(monkeypatch, broken, raw())
    came, refusals = fetch(opened(), YEAR, ["AAPL.O"])
    assert (list(came), refusals) == (["AAPL.O/daily_2020.json"], {})
    assert len(library.asked) == 2
    library = Library(monkeypatch, broken)
    came, refusals = fetch(opened(), YEAR, ["AAPL.O"])
    assert (came, list(refusals)) == ({}, ["AAPL.O/daily_2020.json"])
    assert len(library.asked) == 3
    assert library.n_open == 0


def test_a_session_that_is_not_opened_says_why_without_the_secret(monkeypatch):
    library = Library(monkeypatch, raw(), says="Invalid client GE-A-1 with S3CRET.")
    with pytest.raises(
        VendorSessionError, match="session: Invalid client <key> with <key>"
    ) as error:
        fetch(opened(), YEAR, ["AAPL.O"])
    assert "RDP_SECRET" in error.value.remedy
    assert library.asked == []


def test_a_session_that_is_no_longer_accepted_ends_the_fetch_and_is_closed(monkeypatch):
    library = Library(monkeypatch, refused(401, "token expired"))
    with pytest.raises(VendorCredentialError, match="token expired"):
        fetch(opened(), YEAR, ["AAPL.O", "MSFT.O"])
    assert (len(library.asked), library.n_open) == (1, 0)


def test_rics_become_symbols(monkeypatch):
    library = Library(monkeypatch, raw())
    symbols = {"VOD.L": "VOD_LN", "BACpB.N": "BAC-B"}
    fetch(opened(symbols=symbols), YEAR, ["BRKb.N", "VOD_LN", "BACpB.N", "AAPL", ".SPX", "../x.O"])
    assert [one["universe"] for one in library.asked] == ["BRKb.N", "VOD.L", "BACpB.N"]
    _, refusals = fetch(opened(), YEAR, ["AAPL", ".SPX", "../x.O", "BACpB.N"])
    assert list(refusals) == ["AAPL", ".SPX", "../x.O", "BACpB.N"]
    assert "is no RIC whose symbol is plain" in refusals["AAPL"]
    rows = read(raw(ric="BRKb.N"), "BRKb.N/daily_2020.json").rows
    assert rows["symbol"].unique().to_list() == ["BRK.B"]
    # A table that is mended later counts for the drops that are there.
    mended = {"BRKb.N": "BRK-B"}
    rows = read(raw(ric="BRKb.N"), "BRKb.N/daily_2020.json", symbols=mended).rows
    assert rows["symbol"].unique().to_list() == ["BRK-B"]


def test_prices_are_adjusted_where_that_is_configured_and_never_mixed(monkeypatch):
    adjusted = raw(adjustments=("exchangeCorrection", "manualCorrection", "CCH"))
    library = Library(monkeypatch, adjusted)
    source = opened(price_basis="split_adjusted")
    came, _ = fetch(source, YEAR, ["AAPL.O"])
    assert source.price_basis == "split_adjusted"
    assert library.asked[0]["adjustments"] == ["exchangeCorrection", "manualCorrection", "CCH"]
    assert source.read(came["AAPL.O/daily_2020.json"]).rows.height == 2
    with pytest.raises(SourceError, match="adjusted for 'exchangeCorrection, manualCorrection"):
        read(adjusted)
    with pytest.raises(SourceError, match="prices are split_adjusted"):
        read(raw(), price_basis="split_adjusted")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (raw(ric="MSFT.O"), "about 'MSFT.O'"),
        (raw(interval="P1W"), "every 'P1W'"),
        ({**raw(), "headers": None}, "without 'headers' and 'data'"),
        ({**raw(), "headers": raw()["headers"][:-1]}, "ACVOL_UNS"),
        ([raw()], "about 'None'"),
        ({"universe": {"ric": "AAPL.O"}, "interval": 3}, "every '3'"),
    ],
)
def test_an_answer_of_another_layout_is_refused_whole(content, message):
    with pytest.raises(SourceError, match=message):
        read(content)


def test_what_is_no_answer_is_refused_whole():
    with pytest.raises(SourceError, match="is no JSON"):
        opened().read(drop(b"<html>", "AAPL.O/daily_2020.json"))
    with pytest.raises(SourceError, match="no name of a drop"):
        read(raw(), "AAPL.O/daily.json")


def test_a_changed_layout_keeps_the_bytes(monkeypatch):
    Library(monkeypatch, {"universe": {"ric": "AAPL.O"}, "rows": [1]})
    came, _ = fetch(opened(), YEAR, ["AAPL.O"])
    assert came["AAPL.O/daily_2020.json"].data == b'{"rows":[1],"universe":{"ric":"AAPL.O"}}'


def test_what_is_missing_is_told_before_anything_is_asked(monkeypatch):
    with pytest.raises(VendorCredentialError, match="not set") as unset:
        opened({**ENVIRON, "RDP_SECRET": " "})
    assert "RDP_SECRET" in unset.value.remedy
    with pytest.raises(ConfigurationError, match="no time zone"):
        opened(time_zone="Mars/Base")
    with pytest.raises(SourceError, match="cannot be asked for all"):
        fetch(opened(), YEAR, [])
    monkeypatch.setitem(sys.modules, "lseg.data", None)
    with pytest.raises(ConfigurationError, match=r"'lseg.data' cannot be imported") as absent:
        fetch(opened(), YEAR, ["AAPL.O"])
    assert "install lseg-data" in absent.value.remedy


def test_a_window_without_end_is_refused(monkeypatch):
    library = Library(monkeypatch, raw())
    window = Window(dt.date(1990, 1, 1), dt.date(2020, 1, 1))
    _, refusals = fetch(opened(series="intraday"), window, ["AAPL.O"])
    assert "more than 400 parts" in refusals["AAPL.O"]
    assert library.n_opened == 0


def test_the_file_names_variables_and_holds_no_keys(tmp_path):
    path = tmp_path / "sources.toml"
    text = '[sources.reuters]\ntype = "lseg"\nkey_env = "{}"\nuser_env = "A_B"\nsecret_env = "C_D"'
    path.write_text(text.format("RDP_APP_KEY"))
    assert read_sources(path)["reuters"].key_env == "RDP_APP_KEY"
    path.write_text(text.format("3f9a0c11d2"))
    with pytest.raises(ConfigurationError) as error:
        read_sources(path)
    assert "3f9a0c11d2" not in str(error.value)


def test_every_credential_that_is_not_set_is_listed(monkeypatch):
    for variable in ENVIRON:
        monkeypatch.setenv(variable, "x")
    monkeypatch.delenv("RDP_SECRET")
    assert _key(opened().config) == "RDP_APP_KEY is set, RDP_ID is set, RDP_SECRET is NOT set"
    assert _key(Bloomberg()) == "none needed"


def test_the_platform_starts_without_any_vendors_library():
    script = """
import sys
class Watch:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("lseg", "blpapi"):
            print(name)
sys.meta_path.insert(0, Watch())
import cli.market_sources, sources.market_data.desk, orchestration.definitions
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, ""), done.stderr[-2_000:]


def test_the_limits_of_asking_keep_the_pace(monkeypatch):
    Library(monkeypatch, raw(DAILY))
    source, waited = opened(), []
    source.limits = LibraryLimits(requests_per_minute=30)
    source._sleep = waited.append
    fetch(source, Window(dt.date(2018, 1, 1), dt.date(2020, 1, 1)), ["AAPL.O"])
    assert [round(wait) for wait in waited] == [2, 4]
