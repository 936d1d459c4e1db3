import msgspec
import pytest

from contracts.envelope import cl_ord_id
from execution.messages import (
    CancelOrder,
    DecisionReceived,
    Drain,
    KillSwitch,
    OpenIncident,
    ReplaceOrder,
    ReportRefused,
    ResolveOrder,
    ResumeInstrument,
    SendCancel,
    SendMassStatus,
    SendOrder,
    SendReplace,
    SendStatus,
    SessionDown,
    SessionUp,
    Tick,
)
from execution.orders import OrderState
from execution.phases import Phase
from execution.records import Refused
from execution.reports import Origin, Projection, fee_minor
from tests.unit.execution_builders import DAY_NS, NOW_NS, attestation
from tests.unit.execution_engine_driver import Driver, incidents, received, snapshot

S = OrderState
MS = 1_000_000


def verdicts(driver: Driver) -> list[str]:
    return [record.verdict for record in driver.records if isinstance(record, Refused)]


def test_a_decision_becomes_one_limit_order_through_its_arrival_price() -> None:
    driver = Driver().ready()
    buy = driver.decide(1)
    sell = driver.decide(2, "US.IBM", -100)
    assert (buy.side, buy.qty_lots, buy.limit_ticks) == ("buy", 100, 1_030_000)
    assert (sell.side, sell.limit_ticks) == ("sell", 970_000)
    assert buy.cl_ord_id == cl_ord_id(buy.decision_id)


def test_nothing_is_sent_before_the_broker_has_said_what_it_knows() -> None:
    driver = Driver()
    driver.handle(DecisionReceived(received(1)))
    assert driver.sent() == []
    driver.handle(SessionUp())
    driver.handle(DecisionReceived(received(2, "US.IBM")))
    assert driver.sent() == []
    driver.ready()
    assert len(driver.sent()) == 2


def test_an_order_lives_through_partial_fills() -> None:
    driver = Driver().ready()
    order = driver.decide(1)
    driver.report(order, "0")
    assert driver.order(order).state is S.NEW
    driver.fill(order, 30)
    driver.fill(order, 70, price="101.5")
    assert driver.order(order).state is S.FILLED
    position = driver.engine.state.positions["US.AAPL"]
    assert (position.lots, position.fee_ticks) == (100, 7_000)
    assert position.cash_ticks == -(30 * 1_000_000 + 70 * 1_015_000 + 7_000)
    assert (position.open_buy_lots, position.exposure_ticks) == (0, 100 * 1_015_000)
    assert incidents(driver) == []


def test_the_same_sequence_again_is_nothing_and_a_copy_is_refused() -> None:
    driver = Driver().ready()
    one = received(1)
    for _ in range(50):
        driver.handle(DecisionReceived(one))
    assert len(driver.sent()) == 1
    copies = [
        msgspec.structs.replace(one, sequence=2),
        msgspec.structs.replace(one, sequence=3, key="another key"),
    ]
    for copy in copies:
        driver.handle(DecisionReceived(copy))
    assert len(driver.sent()) == 1
    assert verdicts(driver) == ["duplicate", "duplicate"]
    other = msgspec.structs.replace(one, sequence=4, payload_sha256="other", decision_id="other")
    driver.handle(DecisionReceived(other))
    assert verdicts(driver)[-1] == "conflict"
    assert incidents(driver) == ["decision_conflict"]
    driver.restart()
    driver.ready()
    driver.handle(DecisionReceived(one))
    assert len(driver.sent()) == 1


def test_after_a_crash_an_intent_without_evidence_is_unknown_and_asked_for() -> None:
    driver = Driver().ready()
    order = driver.decide(1)
    driver.restart()
    assert driver.order(order).state is S.UNKNOWN
    effects = driver.ready().effects
    assert isinstance(effects[-1], SendStatus)
    driver.handle(DecisionReceived(received(2, "US.IBM")))
    assert len(driver.sent()) == 1, "no new order before the old one is known"
    driver.report(order, "I", t39="0")
    assert driver.order(order).state is S.NEW
    assert driver.engine.phase is Phase.READY
    assert [one.order.instrument_id for one in driver.sent()] == ["US.AAPL", "US.IBM"]


def test_an_order_the_broker_never_saw_is_sent_again_under_the_same_id() -> None:
    driver = Driver().ready()
    order = driver.decide(1)
    driver.restart()
    driver.ready()
    driver.report(order, "I", t39="8", t103="5")
    again = driver.sent()[-1]
    assert (again.is_resend, again.order.cl_ord_id, again.order.sends) == (True, order.cl_ord_id, 2)
    assert driver.order(order).state is S.PENDING_NEW


@pytest.mark.parametrize("why", ["stale", "kill_switch", "sends"])
def test_an_order_the_broker_never_saw_is_given_up_when_it_may_not_go(why: str) -> None:
    driver = Driver(sends_max=1 if why == "sends" else 5).ready()
    order = driver.decide(1)
    driver.restart()
    if why == "stale":
        driver.now_ns += 2 * DAY_NS
    if why == "kill_switch":
        driver.handle(KillSwitch(engaged=True, reason="drill"))
    driver.ready()
    driver.report(order, "I", t39="8", t103="5")
    assert driver.order(order).state is S.REJECTED
    assert len(driver.sent()) == 1


def test_a_broker_that_forgot_an_acknowledged_order_is_not_sent_it_again() -> None:
    driver = Driver().ready()
    order = driver.decide(1)
    driver.report(order, "0")
    driver.handle(SessionDown())
    driver.ready()
    driver.report(order, "I", t39="8", t103="5")
    # The answers contradict each other, so a person decides.
    assert driver.order(order).state is S.UNKNOWN
    assert incidents(driver) == ["broker_forgot_order"]
    assert len(driver.sent()) == 1
    driver.handle(DecisionReceived(received(2)))
    assert verdicts(driver) == ["halted"]
    driver.handle(ResolveOrder(order.cl_ord_id, "the broker confirmed by telephone"))
    assert driver.order(order).state is S.CANCELED
    assert driver.handle(ResolveOrder(order.cl_ord_id, "again")) == []


def test_a_fill_the_broker_counts_and_we_do_not_halts_the_instrument() -> None:
    driver = Driver().ready()
    order = driver.decide(1)
    driver.report(order, "0")
    driver.handle(SessionDown())
    driver.ready()
    driver.report(order, "I", t39="1", t14="40", t151="60")
    assert driver.order(order).state is S.UNKNOWN
    assert incidents(driver) == ["filled_quantity_differs"]
    driver.handle(DecisionReceived(received(2)))
    assert verdicts(driver) == ["halted"]
    driver.fill(order, 40)
    assert driver.order(order).state is S.PARTIALLY_FILLED
    driver.handle(ResumeInstrument("US.AAPL", "explained"))
    driver.handle(DecisionReceived(received(3)))
    assert len(driver.sent()) == 2


def test_no_answer_in_time_is_doubt_then_a_question() -> None:
    driver = Driver(ack_timeout_ms=100, sweep_interval_ms=0).ready()
    order = driver.decide(1)
    driver.now_ns += 101 * MS
    assert isinstance(driver.handle(Tick())[-1], SendStatus)
    assert driver.order(order).state is S.UNKNOWN
    assert driver.handle(Tick()) == []
    driver.now_ns += 101 * MS
    assert isinstance(driver.handle(Tick())[-1], SendStatus)
    driver.report(order, "0")
    assert driver.order(order).state is S.NEW


def test_an_unanswered_reconciliation_is_asked_again_and_reported() -> None:
    driver = Driver(reconcile_timeout_ms=100, sweep_interval_ms=0)
    driver.handle(SessionUp())
    driver.now_ns += 101 * MS
    effects = driver.handle(Tick())
    assert [type(one) for one in effects] == [OpenIncident, SendMassStatus]
    assert driver.engine.phase is Phase.RECONCILING


def test_after_a_refused_report_every_order_is_asked_about_once() -> None:
    driver = Driver(ack_timeout_ms=100, sweep_interval_ms=0).ready()
    order = driver.decide(1)
    driver.report(order, "0")
    driver.now_ns += 101 * MS
    driver.handle(ReportRefused("tag 31 twice"))
    assert incidents(driver) == ["report_refused"]
    (question,) = driver.handle(Tick())
    assert isinstance(question, SendMassStatus)
    driver.now_ns += 101 * MS
    assert driver.handle(Tick()) == []
    # The refused report was a fill: the broker has more filled than we.
    mass = {"t584": question.request_id, "t911": "1", "t912": "Y", "t39": "1", "t14": "40"}
    driver.report(order, "I", **mass)
    assert "filled_quantity_differs" in incidents(driver)
    assert driver.order(order).state is S.UNKNOWN
    assert order.instrument_id in driver.engine.state.halted


def test_an_open_order_is_cancelled_when_its_validity_ends() -> None:
    driver = Driver(sweep_interval_ms=0).ready()
    order = driver.decide(1)
    driver.report(order, "0")
    driver.now_ns += DAY_NS
    assert isinstance(driver.handle(Tick())[-1], SendCancel)
    driver.report(order, "4", t11=driver.order(order).pending_id, t41=order.cl_ord_id)
    assert driver.order(order).state is S.CANCELED


def test_the_kill_switch_refuses_cancels_and_stays() -> None:
    driver = Driver().ready()
    order = driver.decide(1)
    driver.report(order, "0")
    effects = driver.handle(KillSwitch(engaged=True, reason="drill"))
    assert [one for one in effects if isinstance(one, SendCancel)]
    assert driver.handle(KillSwitch(engaged=True, reason="again")) == []
    driver.handle(DecisionReceived(received(2)))
    driver.restart()
    driver.ready()
    driver.handle(DecisionReceived(received(3)))
    assert verdicts(driver) == ["kill_switch", "kill_switch"]
    # The cancel had no answer before the restart: the order is still open, and cancelled again.
    driver.report(order, "I", t39="0")
    assert driver.order(order).state is S.PENDING_CANCEL
    assert driver.order(order).pending_id == cl_ord_id(order.decision_id, 2)
    driver.handle(KillSwitch(engaged=False, reason="over"))
    driver.handle(DecisionReceived(received(4, "US.IBM")))
    assert len(driver.sent()) == 2


def test_what_waited_for_the_session_is_refused_when_the_switch_is_engaged_meanwhile() -> None:
    driver = Driver()
    driver.handle(DecisionReceived(received(1)))
    driver.handle(KillSwitch(engaged=True, reason="drill"))
    driver.ready()
    assert (driver.sent(), verdicts(driver)) == ([], ["kill_switch"])


def test_a_rejected_cancel_brings_the_order_back() -> None:
    driver = Driver().ready()
    order = driver.decide(1)
    driver.report(order, "0")
    driver.handle(CancelOrder(order.cl_ord_id, "test"))
    pending = driver.order(order).pending_id
    driver.inbound({11: pending, 41: order.cl_ord_id, 102: "0", 434: "1"}, kind="9")
    assert driver.order(order).state is S.NEW
    driver.handle(CancelOrder(order.cl_ord_id, "test"))
    assert driver.order(order).pending_id != pending
    driver.inbound({11: driver.order(order).pending_id, 41: order.cl_ord_id, 102: "1"}, kind="9")
    assert driver.order(order).state is S.UNKNOWN
    assert driver.handle(CancelOrder("nobody", "test")) == []


def test_a_replacement_is_judged_like_an_order() -> None:
    driver = Driver().ready()
    order = driver.decide(1)
    driver.report(order, "0")
    driver.handle(ReplaceOrder(order.cl_ord_id, 10**7, None))
    assert incidents(driver) == ["replace_refused"]
    (append, send) = driver.handle(ReplaceOrder(order.cl_ord_id, 50, 990_000))
    assert isinstance(send, SendReplace)
    new = driver.order(order).pending_id
    driver.report(order, "5", t11=new, t41=order.cl_ord_id, t38="50", t44="99")
    assert driver.order(order).state is S.REPLACED
    successor = driver.engine.state.orders[new]
    assert (successor.state, successor.leaves_lots) == (S.NEW, 50)
    driver.fill(successor, 20)
    # A late execution that still quotes the old ClOrdID belongs to the successor.
    driver.fill(successor, 30, t11=order.cl_ord_id)
    assert driver.engine.state.orders[new].state is S.FILLED
    assert append is not None


def test_a_duplicate_clordid_reject_means_that_the_order_lives() -> None:
    driver = Driver().ready()
    order = driver.decide(1)
    driver.report(order, "8", t103="6")
    assert driver.order(order).state is S.UNKNOWN
    driver.report(order, "I", t39="0")
    assert driver.order(order).state is S.NEW


def test_rejects_of_messages_are_seen() -> None:
    driver = Driver().ready()
    order = driver.decide(1)
    driver.inbound({379: order.cl_ord_id, 372: "D", 58: "no"}, kind="j")
    assert driver.order(order).state is S.REJECTED
    driver.inbound({45: "9", 372: "D", 58: "no"}, kind="3")
    driver.inbound({}, kind="B")
    assert incidents(driver) == ["message_rejected", "message_rejected", "unexpected_message"]


def test_draining_begins_nothing_and_loses_nothing() -> None:
    driver = Driver().ready()
    driver.handle(Drain())
    driver.handle(DecisionReceived(received(1)))
    assert driver.sent() == []
    driver.restart()
    driver.ready()
    assert len(driver.sent()) == 1


def test_the_journal_alone_gives_the_same_state_and_the_same_reports() -> None:
    driver = Driver().ready()
    order = driver.decide(1)
    driver.report(order, "0")
    driver.fill(order, 40, exec_id="E1")
    driver.fill(order, 40, exec_id="E1")
    driver.handle(DecisionReceived(received(2, qty=0)))
    driver.restart()
    assert snapshot(driver.replayed()) == snapshot(driver.engine.state)
    origin = Origin(mode="paper", broker="b", mic="XNYS", currency="USD")
    runs = []
    for _ in range(2):
        projection = Projection(origin)
        rows = []
        for offset, record in enumerate(driver.records):
            rows += projection.fold((1, offset), record)
        runs.append(rows)
    assert runs[0] == runs[1]
    assert [row.kind for row in runs[0]] == ["sent", "acknowledged", "fill", "refused"]


def test_an_expired_attestation_is_noticed_when_the_decision_is_judged() -> None:
    driver = Driver()
    driver.handle(DecisionReceived(received(1, valid_until_ns=NOW_NS + 9 * DAY_NS)))
    driver.now_ns = attestation().expires_ns
    driver.ready()
    assert verdicts(driver) == ["attestation"]


def test_fees_round_half_to_even() -> None:
    assert [fee_minor(ticks) for ticks in (0, 50, 150, 151, -50)] == [0, 0, 2, 2, 0]


def test_a_send_carries_no_resend_flag_the_first_time() -> None:
    driver = Driver().ready()
    driver.decide(1)
    assert driver.sent() == [SendOrder(driver.sent()[0].order, is_resend=False)]
