"""Bloomberg through its library: what is asked, what becomes of each kind of answer."""

import datetime as dt
import sys

import polars as pl
import pytest
import stamina

from contracts.errors import ConfigurationError, SourceError
from domain.market_data.normalise import normalise
from sources.market_data.bloomberg import Bloomberg
from sources.market_data.errors import VendorCredentialError, VendorSessionError
from sources.market_data.protocol import Window
from sources.market_data.vendor_library import LibraryLimits, encode_answer
from tests.unit.blpapi_cases import (
    DAILY,
    BlpapiError,
    Event,
    Terminal,
    bars,
    error_info,
    history,
    response_error,
    whole,
)
from tests.unit.source_cases import drop, fetch

YEAR = Window(dt.date(2020, 8, 1), dt.date(2020, 8, 31))
DAY = Window(dt.date(2020, 3, 9), dt.date(2020, 3, 9))
DROP = "AAPL/daily_2020.json"
HISTORY = "HistoricalDataResponse"


@pytest.fixture(autouse=True)
def impatient():
    with stamina.set_testing(True, attempts=3, cap=True):
        yield


def opened(environ=None, timeout_s=0.2, **changes):
    limits = LibraryLimits(requests_per_minute=1e6, timeout_s=timeout_s)
    return Bloomberg(limits=limits, **changes).open("bbg", environ or {})


def read(*messages, name=DROP, **changes):
    content = [{"type": kind, "content": said} for kind, said in messages]
    return opened(**changes).read(drop(encode_answer(content), name))


def test_daily_bars_are_asked_for_as_traded_and_feed_the_normaliser(monkeypatch):
    terminal = Terminal(monkeypatch, whole(history()))
    source = opened()
    came, refusals = fetch(source, YEAR, ["AAPL"])
    assert refusals == {}
    assert terminal.options == {"host": "localhost", "port": 8194, "attempts": 1}
    assert terminal.asked == [("HistoricalDataRequest", {
        "securities": ["AAPL US Equity"],
        "fields": ["PX_OPEN", "PX_HIGH", "PX_LOW", "PX_LAST", "PX_VOLUME"],
        "startDate": "20200101", "endDate": "20201231", "periodicityAdjustment": "ACTUAL",
        "periodicitySelection": "DAILY", "nonTradingDayFillOption": "ACTIVE_DAYS_ONLY",
        "adjustmentFollowDPDF": False, "adjustmentNormal": False, "adjustmentAbnormal": False,
        "adjustmentSplit": False,
    })]  # fmt: skip
    assert terminal.n_open == 0
    assert list(came) == [DROP]
    assert source.is_daily(DROP)
    assert source.written_ns(DROP) is None
    kind, rows, quarantine = source.read(came[DROP])
    assert (kind, quarantine.height) == ("bar_1d", 0)
    normal = normalise(
        rows, source="bbg", sha256=came[DROP].sha256,
        sessions=pl.Series([dt.date(2020, 8, 28), dt.date(2020, 8, 31)]),
        volume_unit_shares=source.volume_unit_shares, price_basis=source.price_basis,
    ).bars  # fmt: skip
    assert normal["close"].to_list() == [499.23, 129.04]
    assert normal["volume_shares"].to_list() == [46_907_479, 225_702_688]


def test_an_answer_in_parts_is_one_drop(monkeypatch):
    parts = [(Event.PARTIAL_RESPONSE, history(DAILY[:1])), (Event.ADMIN, ("SlowConsumer", {})),
             (Event.RESPONSE, history(DAILY[1:], sequenceNumber=1))]  # fmt: skip
    Terminal(monkeypatch, parts)
    came, refusals = fetch(opened(), YEAR, ["AAPL"])
    assert refusals == {}
    rows = opened().read(came[DROP]).rows
    assert rows.select("line", "close").rows() == [(1, 499.23), (2, 129.04)]
    assert b'"sequenceNumber":1' in came[DROP].data


def test_minutes_are_asked_for_in_utc_by_the_exchanges_day(monkeypatch):
    terminal = Terminal(monkeypatch, whole(bars()))
    source = opened(series="intraday")
    came, refusals = fetch(source, DAY, ["AAPL"])
    assert refusals == {}
    ((kind, settings),) = terminal.asked
    assert kind == "IntradayBarRequest"
    assert {name: settings[name] for name in ("security", "eventType", "interval")} == {
        "security": "AAPL US Equity", "eventType": "TRADE", "interval": 1,
    }  # fmt: skip
    # 9 March 2020 is the first day of summer time: midnight in New York is 4:00 UTC.
    assert settings["startDateTime"] == dt.datetime(2020, 3, 9, 4)  # noqa: DTZ001
    assert settings["endDateTime"] == dt.datetime(2020, 3, 10, 4)  # noqa: DTZ001
    assert settings["adjustmentFollowDPDF"] is False
    (name,) = came
    assert name == "AAPL/1min_2020-03-09.json"
    assert not source.is_daily(name)
    reading = source.read(came[name])
    assert (reading.kind, reading.quarantine.height) == ("bar_1m", 0)
    at_ns = int(dt.datetime(2020, 3, 9, 13, 30, tzinfo=dt.UTC).timestamp()) * 10**9
    assert reading.rows["start_ns"].to_list() == [at_ns, at_ns + 60 * 10**9]
    assert reading.rows["volume"].to_list() == [1030, 1031]
    assert reading.rows["session"].unique().to_list() == [dt.date(2020, 3, 9)]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({name: value for name, value in DAILY[0].items() if name != "PX_VOLUME"}, "not_a_number"),
        ({**DAILY[0], "PX_OPEN": None}, "not_a_number"),
        ({**DAILY[0], "PX_OPEN": float("nan")}, "not_a_number"),
        ({**DAILY[0], "PX_OPEN": float("inf")}, "infinite"),
        ({**DAILY[0], "date": "soon"}, "unreadable_date"),
        (7, "wrong_field_count"),
    ],
)
def test_a_bar_that_cannot_be_used_is_set_aside_with_its_text(row, reason):
    _, rows, quarantine = read(history([DAILY[1], row, DAILY[0]]))
    assert rows["line"].to_list() == [1, 3]
    assert quarantine.select("source_seq", "symbol", "reason").row(0) == (2, "AAPL", reason)
    assert quarantine["raw"].null_count() == 0


def test_a_field_that_did_not_come_is_told_beside_the_drop(monkeypatch):
    exception = {"fieldId": "PX_VOLUME", "errorInfo": error_info("BAD_FLD", "Field not valid")}
    Terminal(monkeypatch, whole(history(fieldExceptions=[exception])))
    came, refusals = fetch(opened(), YEAR, ["AAPL"])
    assert list(came) == [DROP]
    assert refusals == {DROP: "has no PX_VOLUME: BAD_FLD: Field not valid"}


def test_an_answer_without_bars_takes_nothing_back(monkeypatch):
    Terminal(monkeypatch, whole(history([])))
    assert fetch(opened(), YEAR, ["AAPL"]) == ({}, {DROP: "has no rows"})


UNKNOWN = error_info("BAD_SEC", "Unknown/Invalid security [nid:247]", "INVALID_SECURITY")
REFUSALS = [
    (whole(history([], securityError=UNKNOWN)), "BAD_SEC INVALID_SECURITY"),
    (whole(response_error(HISTORY, "BAD_ARGS", "Invalid end date specified")), "Invalid end date"),
    (whole(response_error(HISTORY, "NO_AUTH", "User not entitled", "NOT_ENTITLED")),
     "does not entitle"),
    ([(Event.REQUEST_STATUS,
       ("RequestFailure", {"reason": {"category": "IO_ERROR", "description": "no way"}}))],
     "IO_ERROR : no way"),
]  # fmt: skip


@pytest.mark.parametrize(("answer", "said"), REFUSALS)
def test_what_one_security_is_refused_for_leaves_the_others(monkeypatch, answer, said):
    other = whole(history(security="MSFT US Equity"))
    terminal = Terminal(monkeypatch, answer, other)
    came, refusals = fetch(opened(), YEAR, ["AAPL", "MSFT"])
    assert list(came) == ["MSFT/daily_2020.json"]
    assert said in refusals[DROP]
    assert (len(terminal.asked), terminal.n_open) == (2, 0)


def test_a_used_up_account_is_asked_nothing_more(monkeypatch):
    said = response_error(HISTORY, "LIMIT", "Daily capacity reached", "DAILY_CAPACITY_REACHED")
    terminal = Terminal(monkeypatch, whole(said))
    came, refusals = fetch(opened(), YEAR, ["AAPL", "MSFT"])
    assert came == {}
    assert "Daily capacity reached" in refusals[DROP]
    assert refusals["MSFT/daily_2020.json"].startswith("was not asked for")
    assert len(terminal.asked) == 1


def test_no_whole_answer_in_time_is_given_up_and_asked_for_again(monkeypatch):
    half = [(Event.PARTIAL_RESPONSE, history(DAILY[:1]))]
    terminal = Terminal(monkeypatch, half, whole(history()))
    came, refusals = fetch(opened(), YEAR, ["AAPL"])
    assert (list(came), refusals) == ([DROP], {})
    assert opened().read(came[DROP]).rows.height == 2
    assert terminal.cancelled == [1]
    assert max(terminal.waits) <= 200
    terminal = Terminal(monkeypatch, half)
    came, refusals = fetch(opened(timeout_s=0.05), YEAR, ["AAPL"])
    assert came == {}
    assert "no whole answer in 0.05 s" in refusals[DROP]
    assert (terminal.cancelled, terminal.n_open) == ([1, 2, 3], 0)


def test_what_a_given_up_request_says_late_is_no_answer_to_the_next(monkeypatch):
    terminal = Terminal(monkeypatch, [], whole(history()))
    send = terminal.sendRequest

    def late(request, correlationId):  # noqa: N803
        if terminal.asked:
            send_late = type(correlationId)(1)
            terminal.answers.insert(0, whole(history([DAILY[0]], security="LATE US Equity")))
            send(request, send_late)
            terminal.asked.pop()
        send(request, correlationId)

    terminal.sendRequest = late
    came, refusals = fetch(opened(), YEAR, ["AAPL"])
    assert refusals == {}
    assert b"LATE" not in came[DROP].data


def test_a_lost_session_ends_the_asking_and_is_stopped(monkeypatch):
    reason = {"reason": {"description": "logged out"}}
    lost = [(Event.SESSION_STATUS, ("SessionTerminated", reason))]
    terminal = Terminal(monkeypatch, lost)
    came, refusals = fetch(opened(), YEAR, ["AAPL", "MSFT"])
    assert came == {}
    assert "logged out" in refusals[DROP]
    assert refusals["MSFT/daily_2020.json"].startswith("was not asked for")
    assert (len(terminal.asked), terminal.n_open) == (1, 0)
    terminal = Terminal(monkeypatch, BlpapiError("session is down"))
    _, refusals = fetch(opened(), YEAR, ["AAPL"])
    assert "session is down" in refusals[DROP]
    assert terminal.n_open == 0


FAILED = ("SessionStartupFailure", {"reason": {"description": "no route"}})


@pytest.mark.parametrize(
    ("told", "error", "said"),
    [
        ({"starts": FAILED}, VendorSessionError, "SessionStartupFailure: .*no route"),
        ({"starts": None}, VendorSessionError, "says no SessionStarted in 0.05 s"),
        ({"opens": ("ServiceOpenFailure", {})}, VendorSessionError, "ServiceOpenFailure"),
        ({"opens": None}, VendorSessionError, "says no ServiceOpened"),
        ({"starts": ("AuthorizationFailure", {"reason": {"message": "no DESK:APP here"}})},
         VendorCredentialError, "no <key> here"),
    ],
)  # fmt: skip
def test_no_session_is_told_in_time_and_stopped(monkeypatch, told, error, said):
    terminal = Terminal(monkeypatch, whole(history()), **told)
    source = opened({"BLP_APP": "DESK:APP"}, timeout_s=0.05, app_env="BLP_APP")
    with pytest.raises(error, match=said):
        fetch(source, YEAR, ["AAPL"])
    assert terminal.options["identity"] == ("app", "DESK:APP")
    assert terminal.n_open == 0


def test_symbols_become_securities(monkeypatch):
    terminal = Terminal(monkeypatch, whole(history()))
    source = opened(securities={"VOD": "VOD LN Equity"})
    _, refusals = fetch(source, YEAR, ["BRK.B", "VOD", "AAPL US Equity", "../X"])
    assert [one["securities"] for _, one in terminal.asked] == [
        ["BRK/B US Equity"], ["VOD LN Equity"],
    ]  # fmt: skip
    assert "is no plain symbol" in refusals["AAPL US Equity"]
    assert "is no plain symbol" in refusals["../X"]
    rows = read(history(security="BRK/B US Equity"), name="BRK.B/daily_2020.json").rows
    assert rows["symbol"].unique().to_list() == ["BRK.B"]


@pytest.mark.parametrize(
    ("basis", "adjusted"),
    [("split_adjusted", (False, False, True)), ("total_return", (True, True, True))],
)
def test_prices_are_adjusted_where_that_is_configured(monkeypatch, basis, adjusted):
    terminal = Terminal(monkeypatch, whole(history()))
    source = opened(price_basis=basis)
    fetch(source, YEAR, ["AAPL"])
    settings = terminal.asked[0][1]
    names = ("adjustmentNormal", "adjustmentAbnormal", "adjustmentSplit")
    assert tuple(settings[name] for name in names) == adjusted
    assert source.price_basis == basis


def test_an_answer_of_another_layout_is_refused_whole():
    with pytest.raises(SourceError, match="about 'MSFT US Equity'"):
        read(history(security="MSFT US Equity"))
    with pytest.raises(SourceError, match="is not IntradayBarResponse with barData"):
        read(history(), name="AAPL/1min_2020-03-09.json")
    with pytest.raises(SourceError, match="is not a list of bars"):
        read(history({"date": 1}))
    with pytest.raises(SourceError, match="is not a list of messages"):
        opened().read(drop(b"{}", DROP))
    with pytest.raises(SourceError, match="is not HistoricalDataResponse"):
        opened().read(drop(b"[7]", DROP))


def test_what_is_missing_is_told_before_anything_is_asked(monkeypatch):
    with pytest.raises(VendorCredentialError, match="not set") as unset:
        opened(app_env="BLP_APP")
    assert "BLP_APP" in unset.value.remedy
    with pytest.raises(ConfigurationError, match="no time zone"):
        opened(time_zone="Mars/Base")
    monkeypatch.setitem(sys.modules, "blpapi", None)
    with pytest.raises(ConfigurationError, match="'blpapi' cannot be imported") as absent:
        fetch(opened(), YEAR, ["AAPL"])
    assert absent.value.remedy == "install Bloomberg's blpapi into this environment"
