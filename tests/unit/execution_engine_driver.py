"""Drives the pure engine in tests: events in, effects checked and kept, records replayed."""

from typing import Any

import msgspec

from execution import risk
from execution.decisions import decision_of
from execution.engine import Engine
from execution.fix.parse import SOH
from execution.messages import (
    Append,
    DecisionReceived,
    Effect,
    Event,
    FixInbound,
    OpenIncident,
    SendMassStatus,
    SendOrder,
    SessionUp,
)
from execution.orders import Order
from execution.phases import Phase, Timing
from execution.records import AnyRecord, Decision, Intent, decode, encode
from execution.risk import Limits, Routing
from execution.state import State, apply
from ops_store.records import OutboxRow, payload_bytes, payload_sha256
from tests.unit.execution_builders import CONTENT_HASHES, EVIDENCE, NOW_NS, decision


def received(
    sequence: int, instrument: str = "US.AAPL", qty: int = 100, **changes: Any
) -> Decision:
    one = decision(instrument, qty, round_number=sequence, **changes)
    payload = payload_bytes(one)
    row = OutboxRow(
        sequence=sequence,
        book="main",
        mode=one.envelope.mode,
        symbol=instrument.split(".")[1],
        payload=payload,
        payload_sha256=payload_sha256(payload),
        content_hashes=CONTENT_HASHES,
        attestation_ids=tuple(EVIDENCE),
        attestations=EVIDENCE,
    )
    return decision_of(row)


def snapshot(state: State) -> dict[str, Any]:
    """Everything a replay must reproduce."""
    values = {name: value for name, value in vars(state).items() if name != "notes"}
    return {name: msgspec.to_builtins(value) for name, value in values.items()}


class Driver:
    """An engine, its journal in memory, and what it sent."""

    def __init__(
        self, limits: Limits | None = None, *, rules: risk.Compiled | None = None, **timing: int
    ) -> None:
        self.rules = rules or risk.compiled(limits or Limits(), "paper")
        self.timing = Timing(**timing)
        self.records: list[AnyRecord] = []
        self.effects: list[Effect] = []
        self.now_ns = NOW_NS
        self.seq = 0
        self.exec_count = 0
        self.token = 0
        self.restart()

    def restart(self) -> None:
        """Begin a new instance from the journal, as after a crash."""
        self.token += 1
        state = State()
        for record in self.records:
            apply(state, decode(encode(record)))
        self.engine = Engine(state, self.rules, Routing(), self.timing)
        self._took(self.engine.begin(self.token, "paper", self.now_ns))

    def handle(self, event: Event) -> list[Effect]:
        return self._took(self.engine.handle(event, self.now_ns))

    def _took(self, effects: list[Effect]) -> list[Effect]:
        intents = set()
        for effect in effects:
            if isinstance(effect, Append):
                self.records.append(effect.record)
                if isinstance(effect.record, Intent):
                    intents.add(effect.record.order.cl_ord_id)
            elif isinstance(effect, SendOrder):
                assert effect.order.cl_ord_id in intents, "sent before it was journaled"
        self.effects += effects
        return effects

    def sent(self) -> list[SendOrder]:
        return [effect for effect in self.effects if isinstance(effect, SendOrder)]

    def ready(self) -> "Driver":
        """Log on and let the broker say that it has no open orders."""
        effects = self.handle(SessionUp())
        (question,) = [one for one in effects if isinstance(one, SendMassStatus)]
        self.inbound({150: "I", 39: "8", 584: question.request_id, 911: "0", 912: "Y", 103: "5"})
        return self

    def decide(self, sequence: int, instrument: str = "US.AAPL", qty: int = 100) -> Order:
        self.handle(DecisionReceived(received(sequence, instrument, qty)))
        assert self.engine.phase is Phase.READY
        return self.sent()[-1].order

    def inbound(self, fields: dict[int, str], kind: str = "8") -> list[Effect]:
        self.seq += 1
        self.exec_count += 1
        base = {35: kind, 34: str(self.seq), 17: f"S{self.exec_count}", 55: "AAPL", 54: "1"}
        base |= {14: "0", 151: "0", 37: "NONE", 39: "0"}
        raw = SOH + SOH.join(f"{tag}={value}" for tag, value in (base | fields).items()) + SOH
        return self.handle(FixInbound(self.seq, raw.encode()))

    def report(self, order: Order, exec_type: str, **changes: Any) -> list[Effect]:
        """A report as a correct broker would send it, then changed."""
        fields = {
            11: order.cl_ord_id,
            37: f"V-{order.cl_ord_id}",
            150: exec_type,
            39: exec_type,
            55: order.symbol,
            54: "1" if order.side == "buy" else "2",
            14: str(self.order(order).cum_lots),
            151: str(self.order(order).leaves_lots),
        }
        return self.inbound(fields | {int(tag[1:]): value for tag, value in changes.items()})

    def fill(
        self, order: Order, lots: int, *, exec_id: str = "", price: str = "100", **changes: Any
    ) -> list[Effect]:
        current = self.order(order)
        cum = current.cum_lots + lots
        done = "2" if cum == current.qty_lots else "1"
        fields = {"t39": done, "t14": str(cum), "t151": str(current.qty_lots - cum)}
        fields |= {"t32": str(lots), "t31": price, "t12": "0.35"}
        if exec_id:
            fields["t17"] = exec_id
        return self.report(order, "F", **(fields | changes))

    def order(self, order: Order) -> Order:
        return self.engine.state.orders[order.cl_ord_id]

    def replayed(self) -> State:
        state = State()
        for record in self.records:
            apply(state, decode(encode(record)))
        return state


def incidents(driver: Driver) -> list[str]:
    """Kinds of the incidents that the engine wanted opened, in order."""
    return [effect.kind for effect in driver.effects if isinstance(effect, OpenIncident)]
