"""Alpha Vantage, against a local server that answers as the vendor's documentation says."""

import datetime as dt
import logging
import time

import polars as pl
import pytest
import stamina

from contracts.errors import ConfigurationError, SourceError
from domain.market_data.normalise import normalise
from sources.file_drops import RawDrop
from sources.market_data.alpha_vantage import AlphaVantage
from sources.market_data.errors import VendorCredentialError
from sources.market_data.http import HttpClient, HttpLimits
from sources.market_data.protocol import Refusal, Window
from tests.unit.source_cases import (
    DAILY_CSV,
    DAILY_HEADER,
    INTRADAY_CSV,
    Answer,
    daily_json,
    drop,
    vendor,
)

KEY = "K3Y0FTHEDESK"
WINDOW = Window(dt.date(2020, 8, 1), dt.date(2020, 8, 31))
NOTE = (
    b'{"Note": "Thank you for using Alpha Vantage! Our standard API call frequency is 5 calls per '
    b'minute and 500 calls per day."}'
)
QUOTA = (
    f'{{"Information": "We have detected your API key as {KEY} and our standard API rate limit is '
    f'25 requests per day."}}'
).encode()
BURST = (
    b'{"Information": "Please consider spreading out your free API requests more sparingly (1 '
    b'request per second). Subscribe to lift the free key rate limit (25 requests per day)."}'
)
WRONG_KEY = (
    b'{"Error Message": "the parameter apikey is invalid or missing. Please claim your free API '
    b'key."}'
)
UNKNOWN = (
    b'{"Error Message": "Invalid API call. Please retry or visit the documentation for '
    b'TIME_SERIES_DAILY_ADJUSTED."}'
)
PREMIUM = b'{"Information": "Thank you! This is a premium endpoint."}'
HTML = b"<html><body>502 Bad Gateway</body></html>"


@pytest.fixture(autouse=True)
def impatient():
    """Retries wait for nothing; how often they are made stays as it is."""
    with stamina.set_testing(True, attempts=4, cap=True):
        yield


def limits(**changes):
    return HttpLimits(
        **{"hosts": ("127.0.0.1",), "requests_per_minute": 1e6, "timeout_s": 2, **changes}
    )


def opened(url, http=None, **changes):
    config = AlphaVantage(key_env="AV_KEY", url=url, http=http or limits(), **changes)
    return config.open("av", {"AV_KEY": KEY})


def fetch(source, *symbols, window=WINDOW):
    found = list(source.fetch(window, symbols or ("AAPL",)))
    drops = [row for row in found if isinstance(row, RawDrop)]
    return drops, [row for row in found if isinstance(row, Refusal)]


def test_daily_bars_come_as_csv_and_feed_the_normaliser():
    with vendor(Answer(DAILY_CSV)) as (url, asked):
        source = opened(url)
        (came,), refused = fetch(source)
    assert not refused
    assert came.name == "AAPL/daily_adjusted.csv"
    assert came.data == DAILY_CSV
    assert asked == [
        {"function": "TIME_SERIES_DAILY_ADJUSTED", "symbol": "AAPL", "datatype": "csv",
         "outputsize": "full", "apikey": KEY}
    ]  # fmt: skip
    kind, rows, quarantine = source.read(came)
    assert kind == "bar_1d"
    assert quarantine.is_empty()
    assert rows["split_coefficient"].to_list() == [4.0, 1.0]
    assert rows["dividend_amount"].to_list() == [0.0, 0.82]
    bars = normalise(
        rows, source="av", sha256=came.sha256,
        sessions=pl.Series([dt.date(2020, 8, 28), dt.date(2020, 8, 31)]),
        volume_unit_shares=source.volume_unit_shares, price_basis=source.price_basis,
    ).bars  # fmt: skip
    assert bars["close"].to_list() == [499.23, 129.04]
    assert bars["volume_shares"].to_list() == [46_907_479, 225_702_688]
    assert bars["source_seq"].to_list() == [3, 2]


def test_json_says_the_same_as_csv():
    with vendor(Answer(daily_json())) as (url, asked):
        source = opened(url, format="json")
        (came,), refused = fetch(source)
    assert not refused
    assert asked[0]["datatype"] == "json"
    row = source.read(came).rows.drop("line", "raw").row(0)
    csv = opened(url).read(drop(DAILY_CSV, "AAPL/daily_adjusted.csv")).rows
    assert row == csv.drop("line", "raw").row(0)


def test_intraday_is_asked_for_by_month_and_placed_in_utc_on_both_sides_of_summer_time():
    window = Window(dt.date(2019, 12, 31), dt.date(2020, 3, 9))
    with vendor(Answer(INTRADAY_CSV)) as (url, asked):
        source = opened(url, series="intraday")
        came, refused = fetch(source, window=window)
    assert not refused
    assert [row["month"] for row in asked] == ["2019-12", "2020-01", "2020-02", "2020-03"]
    assert {row["adjusted"] for row in asked} == {"false"}
    assert [row.name for row in came][-1] == "AAPL/intraday_5min_2020-03.csv"
    kind, rows, _ = source.read(came[-1])
    assert kind == "bar_5m"
    # 09:35 in New York is 13:35 UTC in summer time, 09:30 is 14:30 before it began on 8 March.
    at = [
        dt.datetime(2020, 3, 9, 13, 35, tzinfo=dt.UTC),
        dt.datetime(2020, 3, 6, 14, 30, tzinfo=dt.UTC),
    ]
    assert rows["start_ns"].to_list() == [int(t.timestamp()) * 10**9 for t in at]
    assert (rows["end_ns"] - rows["start_ns"]).unique().to_list() == [300 * 10**9]


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        (Answer(NOTE), "asked too often"),
        (Answer(BURST), "asked too often"),
        (Answer(status=429, headers=(("Retry-After", "1"),)), "HTTP 429"),
        (Answer(status=503), "HTTP 503"),
        (Answer(HTML), "HTML"),
        (Answer(DAILY_CSV[:-9], length=len(DAILY_CSV)), "gave no whole answer"),
        (Answer(DAILY_CSV[:-9], length=None), "cut off"),
        (Answer(b""), "cut off"),
        (Answer(daily_json()[:-9], length=None), "cut off"),
        (Answer(b'{"a":' * 100_000), "cut off"),
    ],
)
def test_what_may_pass_is_asked_again(broken, reason):
    with vendor(broken, Answer(DAILY_CSV)) as (url, asked):
        came, refused = fetch(opened(url))
        assert (len(came), len(refused), len(asked)) == (1, 0, 2)
    with vendor(broken) as (url, asked):
        came, refused = fetch(opened(url))
        assert (len(came), len(asked)) == (0, 4)
        assert reason in refused[0].reason
        assert refused[0].name == "AAPL/daily_adjusted.csv"


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (Answer(UNKNOWN), "does not know"),
        (Answer(PREMIUM), "plan does not include"),
        (Answer(daily_json()), "not CSV"),
        (Answer(status=404), "HTTP 404"),
        (Answer(b"x" * 3_000_000 + b"\n"), "more than 1000000 bytes"),
        (Answer(status=503, headers=(("Retry-After", "86400"),)), "HTTP 503"),
    ],
)
def test_what_will_not_pass_is_refused_at_once_and_the_next_is_asked_for(answer, reason):
    with vendor(answer, Answer(DAILY_CSV)) as (url, asked):
        came, refused = fetch(opened(url, limits(bytes_max=1_000_000)), "NOPE", "AAPL")
    assert [row.name for row in came] == ["AAPL/daily_adjusted.csv"]
    assert [row.name for row in refused] == ["NOPE/daily_adjusted.csv"]
    assert reason in refused[0].reason
    assert len(asked) == 2


def test_after_the_quota_nothing_more_is_asked():
    with vendor(Answer(DAILY_CSV), Answer(QUOTA)) as (url, asked):
        came, refused = fetch(opened(url), "AAPL", "MSFT", "IBM")
    assert (len(came), len(asked)) == (1, 2)
    assert "used up" in refused[0].reason
    assert "was not asked for" in refused[1].reason


@pytest.mark.parametrize("answer", [Answer(WRONG_KEY), Answer(status=401), Answer(status=403)])
def test_a_wrong_key_stops_everything(answer):
    with vendor(answer) as (url, asked):
        with pytest.raises(VendorCredentialError, match="does not accept the key"):
            fetch(opened(url), "AAPL", "MSFT")
        assert len(asked) == 1


@pytest.mark.parametrize(
    "answer", [Answer(QUOTA), Answer(WRONG_KEY), Answer(DAILY_CSV), Answer(status=503),
               Answer(status=302, headers=(("Location", f"http://127.0.0.1:1/?apikey={KEY}"),)),
               Answer(f"<html>{KEY}</html>".encode())]
)  # fmt: skip
def test_the_key_is_nowhere(answer, caplog):
    caplog.set_level(logging.DEBUG)
    with vendor(answer) as (url, _):
        try:
            came, refused = fetch(opened(url))
        except SourceError as error:
            came, refused = [], [str(error), repr(error.__cause__), repr(error.__context__)]
    said = [*(row.name for row in came), *map(repr, refused), caplog.text]
    assert caplog.records
    assert not [text for text in said if KEY in text]


def test_a_slow_answer_is_given_up():
    trickle = Answer(DAILY_CSV * 200, pause_s=0.05)
    with vendor(trickle) as (url, _):
        began_s = time.monotonic()
        _, refused = fetch(opened(url, limits(total_s=0.1, attempts=1)))
        assert "needs more than 0.1 s" in refused[0].reason
        assert time.monotonic() - began_s < 5
    with vendor(Answer(DAILY_CSV, pause_s=1)) as (url, _):
        _, refused = fetch(opened(url, limits(timeout_s=0.1, attempts=1)))
        assert "ReadTimeout" in refused[0].reason


@pytest.mark.parametrize(
    ("location", "reason"),
    [
        ("http://evil.example/steal", "'evil.example' is not one of the hosts"),
        ("http://127.0.0.1.evil.example/", "is not one of the hosts"),
        ("http://user@evil.example/", "is not one of the hosts"),
        ("ftp://127.0.0.1/", "over 'ftp'"),
        ("/again", "redirects more than 3 times"),
    ],
)
def test_a_redirect_goes_to_listed_hosts_only(location, reason):
    with vendor(Answer(status=302, headers=(("Location", location),))) as (url, asked):
        _, refused = fetch(opened(url))
    assert reason in refused[0].reason
    assert len(asked) == (4 if location == "/again" else 1)


def test_a_redirect_on_the_same_host_is_followed():
    moved = Answer(status=307, headers=(("Location", "/new"),))
    with vendor(moved, Answer(DAILY_CSV)) as (url, _):
        came, refused = fetch(opened(url))
    assert (len(came), len(refused)) == (1, 0)


def test_a_key_would_not_be_sent_in_clear_or_to_a_stranger():
    with pytest.raises(ConfigurationError, match="readable"):
        HttpClient("http://www.alphavantage.co/query", limits(hosts=("www.alphavantage.co",)), KEY)
    with pytest.raises(ConfigurationError, match="not one of the hosts"):
        HttpClient("https://example.org/", limits(), KEY)
    with pytest.raises(ConfigurationError, match="no address"):
        HttpClient("http://127.0.0.1:port/", limits(), KEY)
    with pytest.raises(VendorCredentialError, match="not set"):
        AlphaVantage(key_env="AV_KEY").open("av", {})


def test_questions_keep_the_pace():
    waits = []
    with vendor(Answer(DAILY_CSV)) as (url, _):
        client = HttpClient(url, limits(requests_per_minute=60), KEY, waits.append)
        for _ in range(3):
            client.get({}, lambda body: None)
    assert len(waits) == 2
    assert 0.5 < waits[0] < 1 < waits[1] < 2


def test_a_retry_waits_as_long_as_the_vendor_says_and_no_longer_than_we_do():
    client = HttpClient("http://127.0.0.1/", limits(wait_s_max=100), KEY)
    said = []
    date = ("Date", "Wed, 21 Oct 2015 07:28:00 GMT")
    for headers in (
        (("Retry-After", "7"),), (("Retry-After", "Wed, 21 Oct 2015 07:28:30 GMT"), date),
        (("Retry-After", "soon"),), (("Retry-After", "101"),),
    ):  # fmt: skip
        with vendor(Answer(status=503, headers=headers)) as (url, _):
            asked = HttpClient(url, limits(attempts=1), KEY)
            with pytest.raises(SourceError) as caught:
                asked.get({}, lambda body: None)
        said.append(client._wait(caught.value))
    assert said[0] == 7
    assert said[1] == 30
    assert said[2:] == [True, False]


def test_a_plan_that_gives_only_the_newest_hundred_rows_is_reported():
    days = [dt.date(2020, 8, 31) - dt.timedelta(days=n) for n in range(100)]
    body = "\r\n".join([DAILY_HEADER, *(f"{day},1,1,1,1,1,1,0,1" for day in days), ""]).encode()
    with vendor(Answer(body)) as (url, _):
        came, refused = fetch(opened(url), window=Window(dt.date(2000, 1, 3), dt.date(2020, 8, 31)))
        assert len(came) == 1
        assert "partial: the newest 100 rows only, from 2020-05-24 on" in refused[0].reason
        assert fetch(opened(url), window=Window(days[-1], days[0]))[1] == []


def test_symbols_are_no_paths_and_must_be_named():
    with vendor(Answer(DAILY_CSV)) as (url, asked):
        came, refused = fetch(opened(url), "../../etc/passwd", "A B", "")
        assert (came, len(refused), asked) == ([], 3, [])
        with pytest.raises(SourceError, match="cannot be asked for all"):
            list(opened(url).fetch(WINDOW, []))


@pytest.mark.parametrize(
    ("name", "body", "reason"),
    [
        ("AAPL/daily_adjusted.json", daily_json(symbol="MSFT"), "is about 'MSFT'"),
        ("AAPL/daily_adjusted.json", daily_json(zone="UTC"), "zone 'UTC'"),
        ("AAPL/daily_adjusted.json", b'{"Meta Data": {}}', "without 'Meta Data'"),
        ("AAPL/daily_adjusted.json", b"[" * 100_000, "is no JSON"),
        ("AAPL/daily_adjusted.csv", INTRADAY_CSV, "has the columns"),
        ("AAPL/daily_adjusted.csv", DAILY_CSV.replace(b"close,", b"open,", 1), "(or twice)"),
        ("AAPL/weekly.csv", DAILY_CSV, "is no name of a drop"),
        ("AAPL/intraday_7min_2020-01.csv", INTRADAY_CSV, "is no name of a drop"),
    ],
)
def test_another_series_is_refused(name, body, reason):
    with pytest.raises(SourceError, match=reason.replace("(", r"\(").replace(")", r"\)")):
        opened("http://127.0.0.1/").read(drop(body, name))


def test_bad_lines_of_both_formats_are_set_aside_with_their_reason():
    source = opened("http://127.0.0.1/")
    body = (
        DAILY_CSV + b"2020-08-27,1,1,1\r\n2020-99-27,1,1,1,1,1,1,0,1\r\n2020-08-26,1,x,1,1,1,1,0,1"
    )
    _, rows, quarantine = source.read(drop(body, "AAPL/daily_adjusted.csv"))
    assert rows.height == 2
    assert quarantine.select("source_seq", "reason").rows() == [
        (4, "wrong_field_count"), (5, "unreadable_date"), (6, "not_a_number"),
    ]  # fmt: skip
    assert quarantine["raw"][0] == "2020-08-27,1,1,1"
    good = b'"2020-08-31": {'
    twice = daily_json().replace(good, b'"2020-08-31": 7, "2020-08-30": {"1. open": "1"}, ' + good)
    _, rows, quarantine = source.read(drop(twice, "AAPL/daily_adjusted.json"))
    assert rows["line"].to_list() == [3]
    assert quarantine["reason"].to_list() == ["wrong_field_count"] * 2
    assert quarantine["raw"].to_list() == [
        '{"2020-08-31": 7}', '{"2020-08-30": [["1. open", "1"]]}',
    ]  # fmt: skip
