"""For other processes on the same machine: look at a service, give it commands, wait for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from execution.kill_switch import KillFile
from execution.loopback import Loopback, wait_until


class ServiceClient:
    """Talks to the service that owns a state directory.

    The kill switch works without a running service; everything else needs one.
    """

    def __init__(self, state_dir: Path) -> None:
        self._http = Loopback(state_dir)
        self._kill_file = KillFile(state_dir)

    def health(self) -> dict[str, Any]:
        """Return whether orders could leave now, and if not, why."""
        return dict(self._http.get("/healthz"))

    def status(self) -> dict[str, Any]:
        """Return phase, counts and cursors."""
        return dict(self._http.get("/status"))

    def orders(self) -> list[dict[str, Any]]:
        """Return the orders, oldest first."""
        return list(self._http.get("/orders"))

    def positions(self) -> dict[str, dict[str, Any]]:
        """Return what was traded, by instrument."""
        return dict(self._http.get("/positions"))

    def cancel(self, cl_ord_id: str, reason: str) -> None:
        """Ask for an order's cancellation."""
        self._http.post("/cancel", {"cl_ord_id": cl_ord_id, "reason": reason})

    def replace(self, cl_ord_id: str, qty_lots: int, limit_price: str = "") -> None:
        """Ask for another total quantity, and another limit when given."""
        body = {"cl_ord_id": cl_ord_id, "qty_lots": qty_lots, "limit_price": limit_price}
        self._http.post("/replace", body)

    def resume(self, instrument_id: str, reason: str) -> None:
        """Allow orders again in an instrument that was halted."""
        self._http.post("/resume", {"instrument_id": instrument_id, "reason": reason})

    def resolve(self, cl_ord_id: str, reason: str) -> None:
        """Declare an UNKNOWN order dead, after the broker said so. See the runbook."""
        self._http.post("/resolve", {"cl_ord_id": cl_ord_id, "reason": reason})

    def kill(self, reason: str) -> None:
        """Engage the kill switch: no new orders, open ones cancelled."""
        self._kill_file.engage(reason)

    def release(self) -> None:
        """Release the kill switch."""
        self._kill_file.release()

    def is_killed(self) -> bool:
        """Whether the kill switch's file is there."""
        return self._kill_file.is_engaged()

    def wait_ready(self, timeout_s: float = 20.0) -> None:
        """Return once orders can leave: logged on and reconciled."""
        wait_until("ready", lambda: bool(self.health()["ok"]), timeout_s)

    def wait_decided(self, sequence: int, timeout_s: float = 20.0) -> None:
        """Return once everything up to an outbox sequence became an order or was refused."""

        def done() -> bool:
            status = self.status()
            is_received = int(status["received_sequence"]) >= sequence
            return is_received and not status["pending_decisions"]

        wait_until(f"decided up to sequence {sequence}", done, timeout_s)

    def wait_answered(self, sequence: int, timeout_s: float = 20.0) -> None:
        """Return once the broker answered each order up to an outbox sequence.

        An order that is decided may still be on its way: a market that closes meanwhile refuses it.
        """

        def done() -> bool:
            status = self.status()
            is_received = int(status["received_sequence"]) >= sequence
            unanswered = ("pending_new", "unknown")
            return (
                is_received
                and not status["pending_decisions"]
                and not any(status["orders"].get(state) for state in unanswered)
            )

        wait_until(f"answered up to sequence {sequence}", done, timeout_s)

    def wait_settled(self, sequence: int, timeout_s: float = 60.0) -> dict[str, Any]:
        """Return the status once all decisions up to ``sequence`` have their final reports.

        That is: each is received and decided, its order (if any) terminal, and every report
        copied into the operations store.
        """
        last: dict[str, Any] = {}

        def done() -> bool:
            last.update(self.status())
            return (
                last["received_sequence"] >= sequence
                and not last["pending_decisions"]
                and not last["open_orders"]
                and not last["copy_is_behind"]
            )

        wait_until(f"settled up to sequence {sequence}", done, timeout_s)
        return last
