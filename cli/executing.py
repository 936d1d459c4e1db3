"""`quantivista exec`: look at the execution service and give it commands."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from cli.acting import As, note, note_emergency
from cli.live import configs, execution_root, opening_lots, processes
from cli.venue_session import write_replay
from contracts.errors import ConfigurationError
from domain.compliance.people import Action
from execution.compact import compact_stopped
from execution.config import read_config
from execution.control import ServiceClient
from execution.processes import free_port
from execution.venue.control import VenueClient
from orchestration.base.ops import ops_store
from orchestration.base.settings import Settings, read_settings

app = typer.Typer(no_args_is_help=True, help="Look at the execution service, and command it.")
console = Console()


ORDER_COLUMNS = (
    "cl_ord_id", "instrument_id", "side", "qty_lots", "cum_lots", "state", "limit_price", "reason"
)  # fmt: skip


def _client() -> ServiceClient:
    return ServiceClient(execution_root(read_settings()) / "service")


def _table(rows: list[dict[str, Any]]) -> None:
    if not rows:
        console.print("None.")
        return
    shown = Table(*rows[0])
    for row in rows:
        shown.add_row(*(str(value) for value in row.values()))
    console.print(shown)


@app.command()
def status() -> None:
    """Show phase, counts and cursors of the service."""
    for name, value in _client().status().items():
        console.print(f"{name:20} {value}")


@app.command()
def orders() -> None:
    """Show the orders, oldest first."""
    _table([{name: row[name] for name in ORDER_COLUMNS} for row in _client().orders()])


@app.command()
def positions() -> None:
    """Show what the service traded, by instrument."""
    found = _client().positions()
    _table([{"instrument": name} | row for name, row in found.items()])


@app.command()
def cancel(
    cl_ord_id: Annotated[str, typer.Argument(help="From `quantivista exec orders`.")],
    reason: Annotated[str, typer.Option(help="Kept in the journal.")] = "cancelled by hand",
    as_: As = "",
) -> None:
    """Ask for an order's cancellation."""
    note(Action.ORDER_CANCEL, cl_ord_id, {"reason": reason}, as_)
    _client().cancel(cl_ord_id, reason)
    console.print(f"Cancellation of {cl_ord_id} requested.")


@app.command()
def kill(
    reason: Annotated[str, typer.Option(help="Kept with the switch.")] = "engaged by hand",
    as_: As = "",
) -> None:
    """Engage the kill switch: no new orders, open ones cancelled. It survives restarts."""
    _client().kill(reason)
    console.print("Kill switch engaged. `quantivista exec release` releases it.")
    # Stopping comes first: neither a role nor a database that is away stands before it.
    note_emergency(Action.KILL_SWITCH_ENGAGE, "execution service", {"reason": reason}, as_)


@app.command()
def release(
    reason: Annotated[str, typer.Option(help="Kept in the audit trail.")] = "released by hand",
    as_: As = "",
) -> None:
    """Release the kill switch."""
    note(Action.KILL_SWITCH_RELEASE, "execution service", {"reason": reason}, as_)
    _client().release()
    console.print("Kill switch released.")


@app.command()
def compact() -> None:
    """Replace a stopped service's journal by a snapshot; the old segments go to its archive."""
    config = execution_root(read_settings()) / "service" / "config.json"
    done = compact_stopped(read_config(config))
    if done.refusal:
        console.print(f"Not compacted: {done.refusal}.")
        raise typer.Exit(1)
    console.print(f"The journal had {done.bytes_before:,} bytes and has {done.bytes_after:,} now.")


@app.command()
def run() -> None:
    """Run the paper venue and the service on it until interrupted."""
    settings = read_settings()
    if settings.go_live_session is None:
        raise ConfigurationError(
            "This book only backtests.",
            remedy="set QUANTIVISTA_GO_LIVE_SESSION to the first session that is executed",
        )
    with trading(settings):
        until_interrupted()


@contextmanager
def trading(settings: Settings) -> Iterator[None]:
    """Keep a paper venue and a service on it up; both go on from where they stopped."""
    with ops_store(settings):
        pass  # the store's schema is current before the service opens it
    root = execution_root(settings)
    coming = settings.next_session()
    # Never the session on whose close the decisions were made: that would be trading on its past.
    n_bars = write_replay(settings, coming, root / "session.jsonl")
    if not n_bars:
        console.print(
            f"The vendor has no bars of {coming}: the venue is up, with nothing to trade."
        )
    venue, service = configs(settings, free_port(), opening_lots(settings))
    with processes(venue, service) as (_, child):
        console.print(f"Service {child.pid} is ready; `quantivista exec status` shows it.")
        yield
        console.print("Stopping: the service drains, then the venue ends.")


@app.command()
def replay() -> None:
    """Let the venue trade the session that it has loaded: open, run, close."""
    VenueClient(execution_root(read_settings()) / "venue").run()
    console.print("The venue replays its session; `quantivista exec orders` follows the orders.")


def until_interrupted() -> None:
    """Return on Ctrl-C or SIGTERM."""

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, stop)
    try:
        signal.pause()
    except KeyboardInterrupt:
        console.print()
