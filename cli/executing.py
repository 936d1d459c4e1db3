"""`quantivista exec`: look at the execution service and give it commands."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from cli.live import configs, execution_root, processes
from contracts.errors import ConfigurationError
from execution.control import ServiceClient
from execution.processes import free_port
from orchestration.base.ops import ops_store
from orchestration.base.settings import Settings, read_settings

app = typer.Typer(no_args_is_help=True, help="Look at the execution service, and command it.")
console = Console()


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
    _table(_client().orders())


@app.command()
def positions() -> None:
    """Show what the service traded, by instrument."""
    found = _client().positions()
    _table([{"instrument": name} | row for name, row in found.items()])


@app.command()
def cancel(
    cl_ord_id: Annotated[str, typer.Argument(help="From `quantivista exec orders`.")],
    reason: Annotated[str, typer.Option(help="Kept in the journal.")] = "cancelled by hand",
) -> None:
    """Ask for an order's cancellation."""
    _client().cancel(cl_ord_id, reason)
    console.print(f"Cancellation of {cl_ord_id} requested.")


@app.command()
def kill(
    reason: Annotated[str, typer.Option(help="Kept with the switch.")] = "engaged by hand",
) -> None:
    """Engage the kill switch: no new orders, open ones cancelled. It survives restarts."""
    _client().kill(reason)
    console.print("Kill switch engaged. `quantivista exec release` releases it.")


@app.command()
def release() -> None:
    """Release the kill switch."""
    _client().release()
    console.print("Kill switch released.")


@app.command()
def run(
    seconds: Annotated[float | None, typer.Option(help="Stop after so long.")] = None,
) -> None:
    """Run the paper venue and the service on it until interrupted."""
    settings = read_settings()
    if settings.go_live_session is None:
        raise ConfigurationError(
            "This book only backtests.",
            remedy="set QUANTIVISTA_GO_LIVE_SESSION to the first session that is executed",
        )
    run_until_interrupted(settings, seconds)


def run_until_interrupted(settings: Settings, seconds: float | None = None) -> None:
    """Keep venue and service up; a session file in the execution directory is replayed."""
    with ops_store(settings):  # bring the store's schema up before the service opens it
        venue, service = configs(settings, free_port())
    with processes(venue, service) as (_, child):
        console.print(f"Service {child.pid} is ready; `quantivista exec status` shows it.")
        _wait(seconds)


def _wait(seconds: float | None) -> None:
    import signal

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, stop)
    try:
        if seconds is None:
            signal.pause()
        else:
            signal.setitimer(signal.ITIMER_REAL, seconds)
            signal.signal(signal.SIGALRM, stop)
            signal.pause()
    except KeyboardInterrupt:
        console.print("Stopping: the service drains, then the venue ends.")
