"""Faults on request: what a venue may do wrong, so that a test can see what the service does."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from execution.errors import VenueError
from execution.fix.parse import Fields
from execution.observe import Snapshot
from execution.venue import wire
from execution.venue.acceptor import VenueAcceptor
from execution.venue.exchange import Exchange
from execution.venue.ledger import Filled
from execution.venue.wire import VenueOrder


class Faults:
    """Causes one fault at a time, by name.

    Parameters
    ----------
    exchange, acceptor
        What it misuses. The ledger stays right: it is the oracle.
    """

    def __init__(self, exchange: Exchange, acceptor: VenueAcceptor) -> None:
        self._exchange = exchange
        self._acceptor = acceptor
        self._swallow = 0
        self._causes: dict[str, Callable[[Snapshot], None]] = {
            "duplicate_exec": lambda _: self._repeat(is_possible_duplicate=False),
            "poss_dup_fill": lambda _: self._repeat(is_possible_duplicate=True),
            "unknown_fill": self._unknown_fill,
            "overfill": self._overfill,
            "bust": self._bust,
            "malformed": self._malformed,
            "disconnect": lambda _: self._acceptor.disconnect(),
            "sequence_gap": lambda body: self._acceptor.skip_sequence(int(body.get("count", 5))),
            "reject_logon": self._reject_logon,
            "swallow": self._swallow_next,
        }

    def cause(self, body: Snapshot) -> Snapshot:
        """Cause the fault named by ``kind``."""
        kind = str(body.get("kind"))
        cause = self._causes.get(kind)
        if cause is None:
            raise VenueError(f"No fault {kind!r}.", remedy=f"use one of {sorted(self._causes)}")
        cause(body)
        return {"caused": kind}

    def swallows(self, request: Fields) -> bool:
        """Whether a new order is to be lost without an answer, as if it had never come."""
        if self._swallow and request.get(35) == "D":
            self._swallow -= 1
            return True
        return False

    def _swallow_next(self, body: Snapshot) -> None:
        self._swallow = int(body.get("count", 1))

    def _reject_logon(self, body: Snapshot) -> None:
        self._acceptor.rejects_logons = bool(body.get("on", True))

    def _last_fill(self) -> tuple[VenueOrder, Filled]:
        if not self._exchange.fills:
            raise VenueError("There is no fill yet.", remedy="trade first")
        fill = self._exchange.fills[-1]
        return self._exchange.orders[fill.cl_ord_id], fill

    def _report(self, order: VenueOrder, fill: Filled, exec_type: str = "F") -> Fields:
        fields = wire.report(
            order, exec_type, fill.exec_id, self._exchange.header, self._exchange.now_ns
        )
        return fields | wire.trade(fill)

    def _repeat(self, *, is_possible_duplicate: bool) -> None:
        order, fill = self._last_fill()
        self._acceptor.send(self._report(order, fill), is_possible_duplicate=is_possible_duplicate)

    def _unknown_fill(self, body: Snapshot) -> None:
        order, fill = self._last_fill()
        stranger = msgspec.structs.replace(
            order, cl_ord_id=str(body.get("cl_ord_id", "STRANGER")), order_id="X1"
        )
        self._acceptor.send(
            self._report(stranger, msgspec.structs.replace(fill, exec_id="X-UNKNOWN"))
        )

    def _overfill(self, _body: Snapshot) -> None:
        order, fill = self._last_fill()
        more = msgspec.structs.replace(order, cum_lots=order.lots + fill.lots)
        self._acceptor.send(self._report(more, msgspec.structs.replace(fill, exec_id="X-OVER")))

    def _bust(self, _body: Snapshot) -> None:
        order, fill = self._last_fill()
        busted = msgspec.structs.replace(fill, exec_id="X-BUST")
        self._acceptor.send(self._report(order, busted, "H") | {19: fill.exec_id})

    def _malformed(self, body: Snapshot) -> None:
        order, fill = self._last_fill()
        order = self._exchange.orders.get(str(body.get("cl_ord_id", "")), order)
        fields = self._report(order, msgspec.structs.replace(fill, exec_id="X-BAD"))
        fields.pop(int(body.get("without", 17)), None)
        self._acceptor.send(fields)
