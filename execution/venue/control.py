"""For other processes on the same machine: replay a session at the venue, and ask what it did."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from execution.loopback import Loopback, wait_until


class VenueClient:
    """Talks to the venue that owns a state directory."""

    def __init__(self, state_dir: Path) -> None:
        self._http = Loopback(state_dir)

    def status(self) -> dict[str, Any]:
        """Return phase, step, and counts of orders, fills and messages received by type."""
        return dict(self._http.get("/status"))

    def positions(self) -> dict[str, dict[str, int]]:
        """Return shares, cash and fees per symbol, in ticks of 1e-4."""
        return dict(self._http.get("/positions"))

    def fills(self) -> list[dict[str, Any]]:
        """Return all executions, oldest first."""
        return list(self._http.get("/fills"))

    def load(self, bars: Path) -> None:
        """Load the next session's bars; orders are accepted into its opening auction."""
        self._replay("load", path=str(bars))

    def open(self) -> None:
        """Run the opening auctions."""
        self._replay("open")

    def step(self, count: int = 1) -> None:
        """Move prices on."""
        self._replay("step", count=count)

    def close(self) -> None:
        """End the session; what is open expires."""
        self._replay("close")

    def run(self, step_ms: float = 5.0) -> None:
        """Open if need be, go through all steps, close; returns at once."""
        self._replay("run", step_ms=step_ms)

    def fault(self, kind: str, **details: Any) -> None:
        """Cause a fault."""
        self._http.post("/fault", {"kind": kind, **details})

    def order_messages(self) -> int:
        """Return how many new orders, cancels and replaces have reached the venue's session."""
        received = self.status()["received"]
        return sum(int(received.get(kind, 0)) for kind in ("D", "F", "G"))

    def wait_listening(self, timeout_s: float = 20.0) -> None:
        """Return once it answers."""
        wait_until("listening", lambda: bool(self.status()), timeout_s)

    def wait_phase(self, phase: str, timeout_s: float = 60.0) -> None:
        """Return once the replay is in a phase."""
        wait_until(f"in phase {phase}", lambda: self.status()["phase"] == phase, timeout_s)

    def _replay(self, action: str, **details: Any) -> None:
        self._http.post("/replay", {"action": action, **details})
