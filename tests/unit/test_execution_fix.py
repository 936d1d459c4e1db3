from pathlib import Path
from typing import Any

import msgspec
import pytest
import quickfix

from contracts.errors import ConfigurationError
from execution.errors import MalformedMessageError
from execution.fix.encode import Encoder, utc_now_text
from execution.fix.parse import FIELDS_MAX, fields_of, report_of, utc_ns
from execution.fix.secrets import redact_store
from execution.fix.session import FixSession
from execution.fix.settings import FixConfig, initiator_text
from execution.messages import CallbackFailed, Event, FixInbound, ReportRefused, SendOrder
from execution.prices import to_decimal, to_increment, to_text, to_ticks
from execution.venue.acceptor import acceptor_text
from execution.venue.config import VenueConfig
from tests.unit.test_execution_orders import order

FILL = (
    "8=FIX.4.4|9=1|35=8|34=7|37=V1|11=C1|17=E1|150=F|39=1|55=AAPL|54=1|38=100|14=40|151=60"
    "|31=12.5|32=40|12=0.14|60=20100820-13:30:00.123456|75=20100820|64=20100825|30=XNYS|851=2|"
)
CONFIG = FixConfig(host="127.0.0.1", port=1, sender_comp_id="Q", target_comp_id="V")


def raw(text: str) -> str:
    return text.replace("|", "\x01")


def without(tag: int) -> str:
    return "|".join(part for part in FILL.split("|") if not part.startswith(f"{tag}="))


def test_a_fill_is_read() -> None:
    report = report_of(fields_of(raw(FILL)))
    assert (report.last_lots, report.last_ticks, report.fee_ticks) == (40, 125_000, 1_400)
    assert (report.trade_date, report.settlement_date) == ("2010-08-20", "2010-08-25")
    assert report.transact_time_ns == 1_282_311_000_123_456_000
    assert report.liquidity == "removed"


@pytest.mark.parametrize("tag", [14, 17, 31, 32, 39, 54, 55, 150, 151])
def test_a_fill_without_a_required_field_is_malformed(tag: int) -> None:
    with pytest.raises(MalformedMessageError):
        report_of(fields_of(raw(without(tag))))


IMPOSSIBLE = (
    *("32=0", "32=-5", "32=1.5", "32=ten", "14=99999999999999"),
    *("31=0", "31=-1", "31=NaN", "31=1e99", "31=1.00001"),
    *("54=7", "60=yesterday", "75=2010"),
    # Found by mutation: digits beyond what int() takes, a number that takes seconds to write out,
    # digits of other scripts, a month that there is not, an instant beyond 64 bits.
    *("32=" + "9" * 6_000, "31=" + "9" * 6_000, "31=1e99999", "31=1_000", "31=\u0663", "31= 7"),
    *("75=20101399", "64=20100230", "60=99991231-23:59:59", "60=20100820-13:30:00.-1"),
)


@pytest.mark.parametrize("field", IMPOSSIBLE)
def test_a_fill_with_an_impossible_value_is_malformed(field: str) -> None:
    tag = int(field.split("=")[0])
    with pytest.raises(MalformedMessageError):
        report_of(fields_of(raw(without(tag) + field + "|")))


def test_whole_quantities_may_be_written_as_decimals() -> None:
    assert report_of(fields_of(raw(without(32) + "32=40.00|"))).last_lots == 40


def test_fields_are_bounded_and_junk_is_skipped() -> None:
    assert fields_of(raw("nonsense|=1|x=2|55=A|55=B")) == {55: "A"}
    with pytest.raises(MalformedMessageError, match="limit"):
        fields_of(raw("1=1|" * (FIELDS_MAX + 1)))


def test_prices_are_exact() -> None:
    assert to_ticks("12.3456") == 123_456
    assert (to_text(-5), to_text(1_000_000)) == ("-0.0005", "100.0000")
    assert to_decimal(123_456) * 10_000 == 123_456
    assert (to_increment(155, 100, up=True), to_increment(155, 100, up=False)) == (200, 100)
    assert utc_ns(utc_now_text()) > 0


def test_a_reused_message_keeps_nothing_of_the_order_before() -> None:
    encoder = Encoder("ACC")
    first = fields_of(encoder.new_order(order(), is_resend=False).toString())
    assert (first[38], first[44], first[40], first[54]) == ("100", "100.0000", "2", "1")
    market = msgspec.structs.replace(order(), limit_ticks=None, side="sell")
    second = fields_of(encoder.new_order(market, is_resend=False).toString())
    assert (second[40], second[54]) == ("1", "2")
    assert 44 not in second
    assert 97 not in second
    assert fields_of(encoder.new_order(order(), is_resend=True).toString())[97] == "Y"
    assert 97 not in fields_of(encoder.new_order(order(), is_resend=False).toString())


def test_settings_cannot_be_injected() -> None:
    for bad in ("", "A\nSocketConnectHost=evil", "A=B", "x" * 65):
        config = FixConfig(host="127.0.0.1", port=1, sender_comp_id=bad, target_comp_id="V")
        with pytest.raises(ConfigurationError):
            initiator_text(config, Path("store"))


def session(tmp_path: Path, events: list[Event], *, killed: bool = False) -> FixSession:
    return FixSession(CONFIG, tmp_path, events.append, lambda: killed)


def outgoing(kind: str = "D", *, repeat_of: str = "") -> quickfix.Message:
    message = quickfix.Message()
    message.getHeader().setField(35, kind)
    if repeat_of:
        message.getHeader().setField(43, "Y")
        message.getHeader().setField(122, repeat_of)
    return message


def test_no_order_is_handed_to_quickfix_while_logged_out(tmp_path: Path) -> None:
    one = session(tmp_path, [])
    assert one.send(SendOrder(order())) is False


def test_orders_are_withheld_when_killed_or_repeated_too_late(tmp_path: Path) -> None:
    free, killed = session(tmp_path, []), session(tmp_path / "2", [], killed=True)
    free.toApp(outgoing(), None)
    free.toApp(outgoing(repeat_of=utc_now_text()), None)
    killed.toApp(outgoing("F"), None)
    killed.toApp(outgoing(), None)
    for one, message in [
        (free, outgoing(repeat_of="20100820-13:30:00")),
        (free, outgoing(repeat_of="not a time")),
        (killed, outgoing(repeat_of=utc_now_text())),
        (killed, outgoing("G", repeat_of=utc_now_text())),
    ]:
        with pytest.raises(quickfix.DoNotSend):
            one.toApp(message, None)
    assert (free.withheld_count, killed.withheld_count) == (2, 2)


def test_a_message_that_the_session_refuses_is_told(tmp_path: Path) -> None:
    events: list[Event] = []
    reject = quickfix.Message()
    reject.getHeader().setField(35, "3")
    reject.setField(45, "7")
    reject.setField(58, "Tag appears more than once")
    session(tmp_path, events).toAdmin(reject, None)
    (event,) = events
    assert isinstance(event, ReportRefused)
    assert "|45=7|" in event.detail


def test_no_exception_leaves_a_callback(tmp_path: Path) -> None:
    events: list[Event] = []
    one = session(tmp_path, events)

    class Broken:
        def __getattr__(self, name: str) -> Any:
            raise ValueError(name)

    one.fromApp(Broken(), None)
    one.fromAdmin(Broken(), None)
    one.toAdmin(Broken(), None)
    assert [type(event) for event in events] == [CallbackFailed] * 3
    assert all(isinstance(event, CallbackFailed) for event in events)
    with pytest.raises(quickfix.DoNotSend):
        one.toApp(Broken(), None)


def test_an_inbound_message_is_copied_whole(tmp_path: Path) -> None:
    events: list[Event] = []
    message = quickfix.Message()
    message.getHeader().setField(35, "8")
    message.getHeader().setField(34, "12")
    message.setField(11, "C1")
    session(tmp_path, events).fromApp(message, None)
    (event,) = events
    assert isinstance(event, FixInbound)
    assert event.sequence_number == 12
    assert b"\x0111=C1\x01" in event.raw


def logon(number: int, password: str) -> bytes:
    fields = ["35=A", f"34={number}", "553=desk", f"554={password}", "108=10"]
    body = "".join(f"{one}\x01" for one in fields).encode()
    whole = b"8=FIX.4.4\x019=%d\x01" % len(body) + body
    return whole + b"10=%03d\x01" % (sum(whole) % 256)


def test_a_store_forgets_passwords_and_nothing_else(tmp_path: Path) -> None:
    order = b"8=FIX.4.4\x019=20\x0135=D\x0158=554=kept\x0110=001\x01"
    store = tmp_path / "s.body"
    store.write_bytes(order + logon(1, "hunter2") + order)
    end = redact_store(store)
    assert store.read_bytes() == order + logon(1, "*******") + order
    with store.open("ab") as file:
        file.write(logon(2, "another") + order)
    assert redact_store(store, end) == store.stat().st_size
    stars = order + logon(1, "*" * 7) + order + logon(2, "*" * 7) + order
    assert store.read_bytes() == stars
    assert redact_store(store) == len(stars)
    assert store.read_bytes() == stars
    assert redact_store(tmp_path / "absent.body") == 0


def test_every_setting_is_one_that_quickfix_knows(tmp_path: Path) -> None:
    # It ignores an unknown one in silence: a misspelt CA file would switch verification off.
    known = {value for name in dir(quickfix) if isinstance(value := getattr(quickfix, name), str)}
    ours = initiator_text(msgspec.structs.replace(CONFIG, tls_ca_file="ca.pem"), tmp_path)
    venue = VenueConfig(state_dir="v", fix_port=1, tls_cert_file="c", tls_key_file="k")
    for text in (ours, acceptor_text(venue, tmp_path)):
        keys = {line.partition("=")[0] for line in text.splitlines() if "=" in line}
        assert len(keys) > 10
        assert keys <= known, keys - known
