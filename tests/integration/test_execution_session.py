"""A real FIX session between the real processes: what works, and what goes wrong on the line."""

import signal
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from contracts.codec import from_json
from contracts.events import TradeExecutedEvent
from execution.processes import Child
from tests.integration.execution_harness import World, until, world
from tests.unit.execution_builders import decision

FAST = {"heartbeat_s": 1, "poss_dup_ttl_ms": 500}


@pytest.fixture
def line(tmp_path: Path) -> Iterator[World]:
    with world(tmp_path, fix=FAST) as made:
        yield made


def test_decisions_become_orders_and_fills_come_back_to_the_cent(line: World) -> None:
    line.trade(decision("US.AAPL", 70_000), decision("US.IBM", -300), decision("US.KO", 50))
    line.market.run(step_ms=2)
    status = line.settle()
    assert status["orders"] == {"filled": 3}
    line.assert_agreement()
    trades = [from_json(row.payload, TradeExecutedEvent) for row in line.reports("fill")]
    assert len(trades) > 3, "a large order is filled in parts"
    assert {trade.session.isoformat() for trade in trades} == {"2010-08-20"}
    assert {trade.settlement_date.isoformat() for trade in trades} == {"2010-08-25"}
    by_order = {trade.cl_ord_id: trade for trade in trades}
    assert all(trade.leaves_qty == 0 for trade in by_order.values())
    assert {trade.decision_id for trade in trades} == {
        one.envelope.event_id for one in line.store.issued(book="main")
    }
    assert line.store.cursor("execution") == 3
    assert line.incident_kinds() == set()


def test_an_order_nobody_meets_expires_at_the_close(line: World) -> None:
    line.trade(decision("US.AAPL", 100, price="50"))
    line.market.run(step_ms=1)
    assert line.settle()["orders"] == {"expired": 1}
    assert [row.kind for row in line.reports()] == ["sent", "acknowledged", "expired"]


def test_an_unknown_symbol_is_rejected_and_reported(line: World) -> None:
    line.trade(decision("US.NOPE", 100))
    assert line.settle()["orders"] == {"rejected": 1}
    assert [row.kind for row in line.reports()] == ["sent", "rejected"]


def test_orders_are_cancelled_and_replaced_on_request(line: World) -> None:
    line.trade(decision("US.AAPL", 100, price="50"), decision("US.IBM", 100, price="50"))
    until("acknowledged", lambda: line.client.status()["orders"] == {"new": 2})
    first, second = (order["cl_ord_id"] for order in line.client.orders())
    line.client.cancel(first, "changed our mind")
    line.client.replace(second, 40, "49.50")
    until("done", lambda: line.client.status()["orders"].get("replaced") == 1)
    until("cancelled", lambda: line.client.status()["orders"].get("canceled") == 1)
    successor = line.client.orders()[-1]
    assert (successor["qty_lots"], successor["limit_price"]) == (40, "49.5000")
    assert successor["cl_ord_id"] != second
    assert successor["decision_id"] == line.client.orders()[1]["decision_id"]
    line.market.run(step_ms=1)
    assert line.settle()["orders"] == {"canceled": 1, "replaced": 1, "expired": 1}


def test_the_kill_switch_is_seen_within_100_ms(line: World) -> None:
    took_s = []
    for _ in range(5):
        before_s = time.monotonic()
        line.client.kill("drill")
        until("engaged", lambda: line.client.status()["killed"] == "drill")
        took_s.append(time.monotonic() - before_s)
        line.client.release()
        until("released", lambda: line.client.status()["killed"] is None)
    # The best of five, with the question's own way in it: a busy test machine pauses processes.
    assert min(took_s) < 0.1, took_s


def test_the_kill_switch_stops_orders_at_once_and_cancels_and_survives(line: World) -> None:
    line.trade(decision("US.AAPL", 100, price="50"))
    until("acknowledged", lambda: line.client.status()["orders"] == {"new": 1})
    line.client.kill("drill")
    # Issued with no pause: the writer looks at the switch before every decision.
    line.trade(decision("US.IBM", 10))
    until("cancelled", lambda: line.client.status()["orders"] == {"canceled": 1})
    line.service.kill()
    line.start_service()
    line.trade(decision("US.KO", 10))
    assert line.client.status()["killed"] == "drill"
    until("copied", lambda: line.verdicts() == ["kill_switch", "kill_switch"])
    assert line.market.status()["received"]["D"] == 1
    line.client.release()
    until("released", lambda: line.client.status()["killed"] is None)
    line.trade(decision("US.GE", 10))
    until("sent", lambda: line.market.status()["received"]["D"] == 2)


def test_the_store_s_kill_switch_works_too(line: World) -> None:
    line.store.engage_kill_switch("from afar")
    until("engaged", lambda: line.client.status()["killed"] == "from afar")
    line.trade(decision("US.AAPL", 10))
    assert line.market.order_messages() == 0


def test_a_second_instance_is_refused(line: World) -> None:
    second = Child("execution", line.config)
    line.children.append(second)
    until("refused", lambda: second.exit_code is not None)
    assert second.exit_code == 3
    assert "LockHeldError" in (line.root / "service" / "log.jsonl").read_text()
    line.trade(decision("US.AAPL", 100))
    until("sent", lambda: line.market.order_messages() == 1)


def test_sigterm_drains_and_the_next_start_goes_on(line: World) -> None:
    line.trade(decision("US.AAPL", 100), decision("US.IBM", 100, price="50"))
    assert line.service.stop() == 0
    line.market.run(step_ms=1)
    line.market.wait_phase("closed")
    line.start_service()
    assert line.settle()["orders"] == {"filled": 1, "expired": 1}
    line.assert_agreement()


def test_a_lost_line_is_found_again_and_nothing_is_missed(line: World) -> None:
    line.trade(decision("US.AAPL", 20_000))
    line.market.fault("disconnect")
    line.market.run(step_ms=1)
    assert line.settle()["orders"] == {"filled": 1}
    line.assert_agreement()


def test_a_half_open_line_is_noticed_and_its_orders_are_asked_for(line: World) -> None:
    line.venue._process.send_signal(signal.SIGSTOP)
    line.issue(decision("US.AAPL", 100))
    until("down", lambda: line.client.status()["phase"] != "ready", timeout_s=10)
    assert line.client.health()["ok"] is False
    assert line.client.status()["orders"] == {"unknown": 1}
    line.venue._process.send_signal(signal.SIGCONT)
    line.client.wait_ready()
    line.market.run(step_ms=1)
    assert line.settle()["orders"] == {"filled": 1}
    line.assert_agreement()
    assert line.market.status()["orders"] == 1


def test_lost_sequence_numbers_are_made_good(line: World) -> None:
    line.trade(decision("US.AAPL", 100))
    line.market.fault("sequence_gap", count=7)
    line.market.run(step_ms=1)
    assert line.settle()["orders"] == {"filled": 1}
    line.assert_agreement()


@pytest.mark.parametrize("fault", ["duplicate_exec", "poss_dup_fill"])
def test_an_execution_that_comes_again_counts_once(line: World, fault: str) -> None:
    line.trade(decision("US.AAPL", 100))
    line.market.open()
    line.settle()
    line.market.fault(fault)
    until("seen", lambda: line.client.status()["duplicate_executions"] == 1)
    line.assert_agreement()
    assert line.incident_kinds() == set()


def test_a_fill_for_an_unknown_order_is_counted_and_halts_its_instrument(line: World) -> None:
    line.trade(decision("US.AAPL", 100))
    line.market.open()
    line.settle()
    line.market.fault("unknown_fill")
    until("counted", lambda: line.client.positions()["US.AAPL"]["lots"] == 200)
    until("told", lambda: line.incident_kinds() == {"fill_for_unknown_order"})
    line.trade(decision("US.AAPL", 10, round_number=1), decision("US.IBM", 10))
    until("copied", lambda: line.verdicts() == ["halted"])
    line.client.resume("US.AAPL", "booked by hand")
    until("resumed", lambda: not line.client.status()["halted"])
    line.trade(decision("US.AAPL", 10, round_number=2))
    until("sent", lambda: line.market.status()["received"]["D"] == 3)


@pytest.mark.parametrize("tag", [17, 32, 54, 150])
def test_a_malformed_report_costs_neither_the_session_nor_a_fill(line: World, tag: int) -> None:
    line.trade(decision("US.AAPL", 100), decision("US.IBM", 10, price="50"))
    line.market.open()
    until("filled", lambda: line.client.status()["orders"].get("filled") == 1)
    waiting = next(one for one in line.client.orders() if one["instrument_id"] == "US.IBM")
    line.market.fault("malformed", without=tag, cl_ord_id=waiting["cl_ord_id"])
    until("told", lambda: "malformed_message" in line.incident_kinds())
    # The order became UNKNOWN, the broker was asked, and says that it is still open.
    until("resolved", lambda: line.client.status()["orders"] == {"filled": 1, "new": 1})
    line.assert_agreement()
    assert line.client.health()["ok"] is True


def test_an_overfill_and_a_bust_halt_the_instrument(line: World) -> None:
    line.trade(decision("US.AAPL", 100))
    line.market.open()
    line.settle()
    line.market.fault("bust")
    until("taken back", lambda: line.client.positions()["US.AAPL"]["lots"] == 0)
    assert "US.AAPL" in line.client.status()["halted"]
    line.market.fault("overfill")
    until("told", lambda: {"trade_busted", "fill_does_not_fit"} <= line.incident_kinds())
    assert line.client.positions()["US.AAPL"]["lots"] == 100


def test_a_rejected_logon_sends_nothing_and_is_retried(tmp_path: Path) -> None:
    made = World(tmp_path, fix=FAST)
    try:
        made.start_venue()
        made.market.wait_listening()
        made.market.fault("reject_logon", on=True)
        made.start_service(ready=False)
        until("listening", lambda: (tmp_path / "service" / "endpoint.json").exists())
        made.issue(decision("US.AAPL", 100))
        until("tried", lambda: made.market.status()["received"].get("A", 0) >= 1)
        until("received", lambda: made.client.status()["received_sequence"] == 1)
        assert made.client.health()["ok"] is False
        assert made.market.order_messages() == 0
        made.market.fault("reject_logon", on=False)
        made.client.wait_ready()
        made.client.wait_decided(1)
        until("sent", lambda: made.market.order_messages() == 1)
    finally:
        made.stop()


def test_an_order_the_venue_lost_is_sent_again_under_the_same_id(tmp_path: Path) -> None:
    timing = {"ack_timeout_ms": 300, "sweep_interval_ms": 50}
    with world(tmp_path, fix=FAST, service={"timing": _timing(timing)}) as made:
        made.market.fault("swallow", count=1)
        made.trade(decision("US.AAPL", 100))
        made.client.wait_answered(made.sequence)
        assert made.client.status()["orders"] == {"new": 1}
        order = made.client.orders()[0]
        assert order["sends"] == 2
        made.market.open()
        made.settle()
        made.assert_agreement()
        assert [row.kind for row in made.reports()][:3] == ["sent", "unknown", "sent"]


def test_metrics_and_logs_tell_and_keep_secrets(line: World) -> None:
    endpoint = line.client._http.endpoint()
    base = f"http://127.0.0.1:{endpoint['port']}"
    with urlopen(f"{base}/metrics") as response:  # noqa: S310 - loopback
        text = response.read().decode()
    assert "quantivista_execution_session_ready 1" in text
    assert "quantivista_execution_orders_unknown 0" in text
    for headers, path, status in [
        ({}, "/cancel", 403),
        ({"X-QuantiVista-Token": "guess"}, "/resume", 403),
        ({"X-QuantiVista-Token": endpoint["token"]}, "/nothing", 404),
        ({"X-QuantiVista-Token": endpoint["token"]}, "/cancel", 400),
    ]:
        with pytest.raises(HTTPError) as refused:
            urlopen(Request(f"{base}{path}", data=b"{}", headers=headers))  # noqa: S310
        assert refused.value.code == status
        refused.value.close()
    assert (line.root / "service" / "endpoint.json").stat().st_mode & 0o077 == 0
    assert endpoint["token"] not in (line.root / "service" / "log.jsonl").read_text()


def test_a_restarted_venue_still_knows_its_orders(line: World) -> None:
    line.trade(decision("US.AAPL", 100))
    until("acknowledged", lambda: line.client.status()["orders"] == {"new": 1})
    line.venue.kill()
    line.venue.restart()
    line.market.wait_listening()
    until("asked again", lambda: line.market.status()["received"].get("AF") == 1)
    line.client.wait_ready()
    line.market.run(step_ms=1)
    assert line.settle()["orders"] == {"filled": 1}
    line.assert_agreement()


def _timing(values: dict[str, int]) -> object:
    from execution.phases import Timing

    return Timing(**values)


def test_a_journal_is_compacted_at_a_start_and_trading_goes_on(tmp_path: Path) -> None:
    with world(tmp_path, fix=FAST, service={"compact_bytes_min": 1}) as made:
        made.trade(decision("US.AAPL", 100), decision("US.IBM", -30))
        made.market.open()
        made.settle()
        before = made.client.positions()
        assert made.service.stop() == 0
        made.start_service()
        journal = tmp_path / "service" / "journal"
        assert [path.name for path in (journal / "archive").iterdir()] == ["0000000001.journal"]
        assert made.client.positions() == before
        # The same decisions again are no orders, and new ones are.
        made.issue(decision("US.AAPL", 100), decision("US.KO", 50))
        made.client.wait_decided(made.sequence)
        made.market.run(step_ms=1)
        made.settle()
        assert made.market.status()["orders"] == 3
        made.assert_agreement()
