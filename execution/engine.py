"""The engine: ``handle(event, now_ns) -> effects``. One writer calls it; it does no I/O.

It decides, records what it decided, and names what is to be sent, in that order: an effect that
sends always comes behind the record of its intent. Time comes in as an argument and ids are pure
functions, so the same events give the same effects.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from contracts import envelope
from execution import orders, risk
from execution.broker_reports import UNKNOWN_ORDER
from execution.errors import MalformedMessageError
from execution.fix.parse import Report, fields_of, report_of
from execution.messages import (
    Append,
    CallbackFailed,
    CancelOrder,
    DecisionReceived,
    Drain,
    Effect,
    Event,
    FixInbound,
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
from execution.orders import IN_FLIGHT, Order, OrderState
from execution.phases import Phase, Timing
from execution.records import (
    AnyRecord,
    CancelIntent,
    Decision,
    Doubted,
    Inbound,
    Intent,
    KillSwitched,
    Received,
    Refused,
    ReplaceIntent,
    Resolved,
    Resumed,
    Started,
    Unreached,
)
from execution.risk import Refusal, Verdict
from execution.state import State, apply

NS_PER_MS = 1_000_000
STATUS_REQUESTS_PER_SWEEP_MAX = 200
_STATUS_REPORT = b"\x01150=I\x01"
_CANCELLABLE = frozenset({OrderState.PENDING_NEW, OrderState.NEW, OrderState.PARTIALLY_FILLED})


class Engine:
    """Decides what to send.

    Parameters
    ----------
    state : State
        Rebuilt from the journal.
    rules : risk.Compiled
        Limits and the service's mode.
    routing : risk.Routing
        How a decision becomes an order.
    timing : Timing
        When silence becomes doubt.
    """

    def __init__(
        self, state: State, rules: risk.Compiled, routing: risk.Routing, timing: Timing
    ) -> None:
        self.state = state
        self.phase = Phase.DOWN
        self.is_draining = False
        self._rules = rules
        self._routing = routing
        self._timing = timing
        self._effects: list[Effect] = []
        self._now_ns = 0
        self._mass_id = ""
        self._mass_count = 0
        self._mass_sent_ns = 0
        self._in_mass: set[str] = set()
        self._asked_ns: dict[str, int] = {}
        self._swept_ns = 0
        self._is_report_lost = False
        self._handlers: dict[type, Callable[[Any], None]] = {
            DecisionReceived: self._on_decision,
            FixInbound: self._on_inbound,
            SessionUp: self._on_up,
            SessionDown: self._on_down,
            KillSwitch: self._on_kill_switch,
            CancelOrder: self._on_cancel,
            ReplaceOrder: self._on_replace,
            ResumeInstrument: self._on_resume,
            ResolveOrder: self._on_resolve,
            Drain: self._on_drain,
            Tick: self._on_tick,
            CallbackFailed: self._on_callback_failed,
            ReportRefused: self._on_report_refused,
        }

    def begin(self, token: int, broker: str, now_ns: int) -> list[Effect]:
        """Start an instance: every order whose last message has no answer becomes UNKNOWN."""
        self._now_ns = now_ns
        self._record(Started(now_ns, token, self._rules.mode, broker))
        self._doubt_in_flight("restart")
        return self._taken()

    def handle(self, event: Event, now_ns: int) -> list[Effect]:
        """Return what to do about an event, in order."""
        self._now_ns = now_ns
        self._handlers[type(event)](event)
        return self._taken()

    @property
    def has_in_flight(self) -> bool:
        """Whether an answer of the broker is still missing."""
        return any(self.state.orders[one].state in IN_FLIGHT for one in self.state.open)

    def _taken(self) -> list[Effect]:
        effects, self._effects = self._effects, []
        return effects

    def _record(self, record: AnyRecord) -> None:
        self._effects.append(Append(record))
        for note in apply(self.state, record):
            self._effects.append(OpenIncident(note.kind, note.subject, note.detail))

    # Decisions -----------------------------------------------------------------------------

    def _on_decision(self, event: DecisionReceived) -> None:
        decision = event.decision
        known = self.state.keys.get(decision.key)
        if known is not None:
            self._repeated(decision, is_same=known == decision.payload_sha256)
            return
        if self._is_used(decision.decision_id):
            self._repeated(decision, is_same=True)
            return
        self._record(Received(self._now_ns, decision))
        if self.state.killed is not None:
            self._refuse(decision, Refusal(Verdict.KILL_SWITCH, self.state.killed))
        elif self.phase is Phase.READY and not self.is_draining:
            self._decide(decision)

    def _is_used(self, decision_id: str) -> bool:
        """Whether another key brought this id before: the ClOrdID would be the same."""
        return decision_id in self.state.pending or envelope.cl_ord_id(decision_id) in (
            self.state.orders
        )

    def _repeated(self, decision: Decision, *, is_same: bool) -> None:
        if decision.sequence <= self.state.last_sequence and is_same:
            return  # the outbox was read again from an older cursor
        verdict = Verdict.DUPLICATE if is_same else Verdict.CONFLICT
        self._refuse(decision, Refusal(verdict, decision.key))
        if not is_same:
            detail = f"Sequence {decision.sequence} brings another payload for {decision.key}."
            self._effects.append(OpenIncident("decision_conflict", decision.key, detail))

    def _refuse(self, decision: Decision, refusal: Refusal) -> None:
        identity, verdict = decision.decision_id, refusal.verdict
        self._record(Refused(self._now_ns, decision.sequence, identity, verdict, refusal.detail))

    def _decide(self, decision: Decision) -> None:
        refusal = risk.judge_decision(decision, self.state, self._rules, self._now_ns)
        if refusal is None and self.state.position(decision.instrument_id).unknown_orders:
            refusal = Refusal(Verdict.HALTED, "an order in this instrument is UNKNOWN")
        if refusal is None:
            order = risk.order_for(decision, self._routing, self._now_ns)
            refusal = risk.judge_order(order, self.state, self._rules, self._now_ns)
        if refusal is not None:
            self._refuse(decision, refusal)
            return
        self._record(Intent(self._now_ns, order, is_resend=False))
        self._effects.append(SendOrder(order))

    # The session ---------------------------------------------------------------------------

    def _on_up(self, _event: SessionUp) -> None:
        self.phase = Phase.RECONCILING
        self._asked_ns.clear()
        self._ask_all()

    def _ask_all(self) -> None:
        self._mass_count += 1
        self._mass_id = f"M{self.state.token}-{self._mass_count}"
        self._mass_sent_ns = self._now_ns
        self._in_mass.clear()
        self._effects.append(SendMassStatus(self._mass_id))

    def _on_down(self, event: SessionDown) -> None:
        self.phase = Phase.DOWN
        self._asked_ns.clear()
        self._doubt_in_flight(event.reason or "session down")

    def _doubt_in_flight(self, reason: str) -> None:
        for cl_ord_id in list(self.state.open):
            if self.state.orders[cl_ord_id].state in IN_FLIGHT:
                self._record(Doubted(self._now_ns, cl_ord_id, reason))

    def _on_inbound(self, event: FixInbound) -> None:
        self._record(Inbound(self._now_ns, event.sequence_number, event.raw))
        if _STATUS_REPORT in event.raw:
            try:
                report = report_of(fields_of(event.raw.decode("ascii", errors="replace")))
            except MalformedMessageError:
                return  # noted when it was recorded; the sweep asks again
            self._on_status(report)

    def _on_status(self, report: Report) -> None:
        if report.mass_status_id:
            if report.mass_status_id != self._mass_id:
                return  # an answer to a question of an earlier instance
            self._in_mass.add(report.cl_ord_id)
            if report.is_last_of_mass:
                self._ask_for_missing()
        else:
            self._asked_ns.pop(report.cl_ord_id, None)
            order = self.state.orders.get(report.cl_ord_id)
            if order is not None and report.reject_reason == UNKNOWN_ORDER:
                self._on_absent(order)
        self._ready_if_reconciled()

    def _ask_for_missing(self) -> None:
        self._mass_id = ""
        for cl_ord_id in self.state.open:
            order = self.state.orders[cl_ord_id]
            if cl_ord_id not in self._in_mass or order.state is OrderState.UNKNOWN:
                self._ask(order)

    def _ask(self, order: Order) -> None:
        self._asked_ns[order.cl_ord_id] = self._now_ns
        self._effects.append(SendStatus(order))

    def _on_absent(self, order: Order) -> None:
        """Resolve an order the broker says it has never seen.

        FIX delivers in sequence, so nothing sent before the question is still on its way: the
        order can be sent again, under the same ClOrdID, or given up.
        """
        if order.is_terminal or order.state is OrderState.PENDING_NEW:
            return  # an answer to a question from before it was sent again
        if order.cum_lots or order.order_id:
            if order.state is not OrderState.UNKNOWN:
                self._record(Doubted(self._now_ns, order.cl_ord_id, "the broker forgot it"))
            detail = "The broker acknowledged this order before, and now does not know it."
            self._effects.append(OpenIncident("broker_forgot_order", order.cl_ord_id, detail))
            return
        if order.state is not OrderState.UNKNOWN:
            return
        decision = self.state.decisions.get(order.decision_id)
        if decision is None or order.sends >= self._timing.sends_max:
            refusal: Refusal | None = Refusal(Verdict.STALE, f"sent {order.sends} times")
        else:
            refusal = risk.judge_again(decision, order, self.state, self._rules, self._now_ns)
        if refusal is not None:
            reason = f"never reached the broker; {refusal.verdict}: {refusal.detail}"
            self._record(Unreached(self._now_ns, order.cl_ord_id, reason))
            return
        again = orders.sent_again(order, self._now_ns)
        self._record(Intent(self._now_ns, again, is_resend=True))
        self._effects.append(SendOrder(again, is_resend=True))

    def _ready_if_reconciled(self) -> None:
        if self.phase is not Phase.RECONCILING or self._mass_id or self._asked_ns:
            return
        self.phase = Phase.READY
        if self.state.killed is not None:
            self._cancel_all(self.state.killed)
        if not self.is_draining:
            for decision in list(self.state.pending.values()):
                self._decide(decision)

    # People --------------------------------------------------------------------------------

    def _on_kill_switch(self, event: KillSwitch) -> None:
        if event.engaged == (self.state.killed is not None):
            return
        self._record(KillSwitched(self._now_ns, event.engaged, event.reason))
        if not event.engaged:
            return
        for decision in list(self.state.pending.values()):
            self._refuse(decision, Refusal(Verdict.KILL_SWITCH, event.reason))
        if self.phase is Phase.READY:
            self._cancel_all(event.reason)

    def _cancel_all(self, reason: str) -> None:
        for cl_ord_id in list(self.state.open):
            self._cancel(cl_ord_id, reason)

    def _cancel(self, cl_ord_id: str, reason: str) -> None:
        order = self.state.orders.get(cl_ord_id)
        if order is None or order.state not in _CANCELLABLE or self.phase is not Phase.READY:
            return
        self._record(CancelIntent(self._now_ns, cl_ord_id, reason))
        self._effects.append(SendCancel(self.state.orders[cl_ord_id]))

    def _on_cancel(self, event: CancelOrder) -> None:
        self._cancel(event.cl_ord_id, event.reason)

    def _on_replace(self, event: ReplaceOrder) -> None:
        order = self.state.orders.get(event.cl_ord_id)
        live = {OrderState.NEW, OrderState.PARTIALLY_FILLED}
        if order is None or order.state not in live or self.phase is not Phase.READY:
            return
        wanted = msgspec.structs.replace(
            order, qty_lots=event.qty_lots, limit_ticks=event.limit_ticks or order.limit_ticks
        )
        refusal = risk.judge_order(wanted, self.state, self._rules, self._now_ns)
        if self.state.killed is not None:
            refusal = Refusal(Verdict.KILL_SWITCH, self.state.killed)
        if refusal is not None:
            detail = f"{refusal.verdict}: {refusal.detail}"
            self._effects.append(OpenIncident("replace_refused", order.cl_ord_id, detail))
            return
        self._record(
            ReplaceIntent(self._now_ns, order.cl_ord_id, wanted.qty_lots, wanted.limit_ticks)
        )
        self._effects.append(
            SendReplace(self.state.orders[order.cl_ord_id], wanted.qty_lots, wanted.limit_ticks)
        )

    def _on_resume(self, event: ResumeInstrument) -> None:
        if event.instrument_id in self.state.halted:
            self._record(Resumed(self._now_ns, event.instrument_id, event.reason))

    def _on_resolve(self, event: ResolveOrder) -> None:
        order = self.state.orders.get(event.cl_ord_id)
        if order is not None and order.state is OrderState.UNKNOWN:
            self._asked_ns.pop(event.cl_ord_id, None)
            self._record(Resolved(self._now_ns, event.cl_ord_id, event.reason))
            self._ready_if_reconciled()

    def _on_drain(self, _event: Drain) -> None:
        self.is_draining = True

    def _on_callback_failed(self, event: CallbackFailed) -> None:
        self._effects.append(OpenIncident("fix_callback_failed", event.where, event.error))

    def _on_report_refused(self, event: ReportRefused) -> None:
        self._effects.append(OpenIncident("report_refused", "", event.detail))
        self._is_report_lost = True

    # Time ----------------------------------------------------------------------------------

    def _on_tick(self, _event: Tick) -> None:
        if self._now_ns - self._swept_ns < self._timing.sweep_interval_ms * NS_PER_MS:
            return
        self._swept_ns = self._now_ns
        if self.phase is Phase.RECONCILING:
            patience_ns = self._timing.reconcile_timeout_ms * NS_PER_MS
            if self._now_ns - self._mass_sent_ns > patience_ns:
                detail = "The broker did not answer the status requests in time; asked again."
                self._effects.append(OpenIncident("reconciliation_slow", "", detail))
                self._asked_ns.clear()
                self._ask_all()
        elif self.phase is Phase.READY:
            self._sweep()

    def _sweep(self) -> None:
        """Doubt what has had no answer, ask about what is unknown, cancel what is past its time."""
        overdue_ns = self._now_ns - self._timing.ack_timeout_ms * NS_PER_MS
        asked = 0
        if self._is_report_lost and self._mass_sent_ns < overdue_ns:
            self._is_report_lost = False
            self._ask_all()
        for cl_ord_id in list(self.state.open):
            order = self.state.orders[cl_ord_id]
            if order.state in IN_FLIGHT and order.sent_ns < overdue_ns:
                self._record(Doubted(self._now_ns, cl_ord_id, "no answer in time"))
                order = self.state.orders[cl_ord_id]
            if order.state is OrderState.UNKNOWN:
                if self._asked_ns.get(cl_ord_id, 0) < overdue_ns:
                    self._ask(order)
                    asked += 1
            elif self._now_ns >= order.valid_until_ns and order.state in _CANCELLABLE:
                self._cancel(cl_ord_id, "past its validity")
            if asked >= STATUS_REQUESTS_PER_SWEEP_MAX:
                return
