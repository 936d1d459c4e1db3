"""What HTTP shows of a running service, and the commands it takes."""

from __future__ import annotations

from typing import Any

import msgspec

from execution.engine import Engine
from execution.errors import ExecutionError
from execution.fix.session import FixSession
from execution.journal import Journal
from execution.messages import CancelOrder, ReplaceOrder, ResolveOrder, ResumeInstrument
from execution.observe import Command, Query, Snapshot
from execution.orders import OrderState
from execution.outbox import Copier, Poller
from execution.phases import Phase
from execution.prices import to_decimal, to_ticks
from execution.reports import fee_minor
from execution.state import State
from execution.writer import Writer

ORDERS_SHOWN_MAX = 10_000


def order_rows(state: State) -> list[Snapshot]:
    """Return the newest orders, oldest of them first, as plain values."""
    rows = []
    for order in list(state.orders.values())[-ORDERS_SHOWN_MAX:]:
        row = msgspec.to_builtins(order)
        row["leaves_lots"] = order.leaves_lots
        row["limit_price"] = "" if order.limit_ticks is None else str(to_decimal(order.limit_ticks))
        rows.append(row)
    return rows


def position_rows(state: State) -> dict[str, Snapshot]:
    """Return what was traded per instrument: shares, cash, fees; money in the currency's units."""
    return {
        instrument_id: {
            "lots": position.lots,
            "opening_lots": state.opening_lots.get(instrument_id, 0),
            "cash": str(to_decimal(position.cash_ticks)),
            "fees_minor": fee_minor(position.fee_ticks),
            "open_buy_lots": position.open_buy_lots,
            "open_sell_lots": position.open_sell_lots,
        }
        for instrument_id, position in sorted(state.positions.items())
    }


class Views:
    """Answers questions on the writer's thread, so that nobody reads half a change."""

    def __init__(
        self,
        writer: Writer,
        journal: Journal,
        poller: Poller,
        copier: Copier,
        session: FixSession,
        token: int,
    ) -> None:
        self._writer = writer
        self._journal = journal
        self._poller = poller
        self._copier = copier
        self._session = session
        self._token = token

    def queries(self) -> dict[str, Query]:
        """Return the pages by path."""
        return {
            "/healthz": self.health,
            "/status": self.status,
            "/orders": lambda: self._writer.ask(lambda engine: order_rows(engine.state)),
            "/positions": lambda: self._writer.ask(lambda engine: position_rows(engine.state)),
        }

    def commands(self) -> dict[str, Command]:
        """Return the commands by path."""
        return {
            "/cancel": self._cancel,
            "/replace": self._replace,
            "/resume": self._resume,
            "/resolve": self._resolve,
        }

    def health(self) -> Snapshot:
        """Say whether orders could leave now, and if not, why."""
        phase = self._writer.ask(lambda engine: engine.phase)
        problems = []
        if phase is not Phase.READY:
            why = self._session.problem
            problems.append(f"session {phase}: {why}" if why else f"session {phase}")
        if self._journal.failure:
            problems.append(f"journal: {self._journal.failure}")
        if not (self._poller.is_reachable and self._copier.is_reachable):
            problems.append("ops store unreachable")
        return {"ok": not problems, "phase": str(phase), "problems": problems}

    def status(self) -> Snapshot:
        """Return the numbers an operator looks at first."""
        numbers = self._writer.ask(_status)
        return numbers | {
            "token": self._token,
            "sent": self._writer.sent_count,
            "unsent": self._writer.unsent_count,
            "withheld": self._session.withheld_count,
            "copied": self._copier.copied_count,
            # Asked after the engine: once this is false, all of the numbers above are copied.
            "copy_is_behind": self._copier.is_behind,
            "polled_sequence": self._poller.cursor,
            "journal_end": list(self._journal.end),
            "journal_durable": list(self._journal.durable),
        }

    def metrics(self) -> dict[str, float]:
        """Return every number of the status by name."""
        status = self.status()
        values = {
            name: float(value) for name, value in status.items() if isinstance(value, int | float)
        }
        for state in OrderState:
            values[f"orders_{state}"] = float(status["orders"].get(str(state), 0))
        values["session_ready"] = float(status["phase"] == str(Phase.READY))
        values["killed"] = float(status["killed"] is not None)
        values["inbox"] = float(self._writer.inbox.qsize())
        return values

    def _cancel(self, body: Snapshot) -> Snapshot:
        cl_ord_id = _text(body, "cl_ord_id")
        self._require_order(cl_ord_id)
        self._writer.put(CancelOrder(cl_ord_id, _text(body, "reason")))
        return {"accepted": cl_ord_id}

    def _replace(self, body: Snapshot) -> Snapshot:
        cl_ord_id = _text(body, "cl_ord_id")
        self._require_order(cl_ord_id)
        limit = to_ticks(_text(body, "limit_price")) if body.get("limit_price") else None
        self._writer.put(ReplaceOrder(cl_ord_id, int(body["qty_lots"]), limit))
        return {"accepted": cl_ord_id}

    def _resume(self, body: Snapshot) -> Snapshot:
        instrument_id = _text(body, "instrument_id")
        self._writer.put(ResumeInstrument(instrument_id, _text(body, "reason")))
        return {"accepted": instrument_id}

    def _resolve(self, body: Snapshot) -> Snapshot:
        cl_ord_id = _text(body, "cl_ord_id")
        self._require_order(cl_ord_id)
        self._writer.put(ResolveOrder(cl_ord_id, _text(body, "reason")))
        return {"accepted": cl_ord_id}

    def _require_order(self, cl_ord_id: str) -> None:
        if not self._writer.ask(lambda engine: cl_ord_id in engine.state.orders):
            raise ExecutionError(
                f"No order {cl_ord_id!r}.", remedy="take a ClOrdID from `quantivista exec orders`"
            )


def _text(body: Snapshot, name: str) -> str:
    value = body[name]
    if not isinstance(value, str) or not value:
        raise ExecutionError(f"{name}={value!r} is no text.", remedy="pass a non-empty string")
    return value


def _status(engine: Engine) -> dict[str, Any]:
    state = engine.state
    by_state: dict[str, int] = {}
    for order in state.orders.values():
        by_state[str(order.state)] = by_state.get(str(order.state), 0) + 1
    return {
        "phase": str(engine.phase),
        "killed": state.killed,
        "is_draining": engine.is_draining,
        "orders": by_state,
        "open_orders": len(state.open),
        "pending_decisions": len(state.pending),
        "received_sequence": state.last_sequence,
        "refused": state.refused_count,
        "executions": len(state.executions),
        "duplicate_executions": state.duplicate_count,
        "halted": dict(state.halted),
    }
