"""Commands for people at a terminal. Each prints what it did and where the result is."""

import os
from pathlib import Path
from typing import Annotated

import dagster as dg
import polars as pl
import typer
from rich.console import Console
from rich.table import Table

from contracts.errors import QuantiVistaError
from io_managers.lake import Lake
from orchestration.base.partitions import monthly
from orchestration.base.settings import Settings
from orchestration.definitions import build_defs

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
console = Console()

# A trading platform does not phone home.
DAGSTER_YAML = "telemetry:\n  enabled: false\n"

RANGE_START_TAG = "dagster/asset_partition_range_start"
RANGE_END_TAG = "dagster/asset_partition_range_end"


def _instance(settings: Settings) -> dg.DagsterInstance:
    home = Path(os.environ.setdefault("DAGSTER_HOME", str(settings.home / "dagster")))
    home.mkdir(parents=True, exist_ok=True)
    config = home / "dagster.yaml"
    if not config.exists():
        config.write_text(DAGSTER_YAML)
    return dg.DagsterInstance.get()


def _execute(
    job: str, settings: Settings, tags: dict[str, str], instance: dg.DagsterInstance
) -> None:
    result = (
        build_defs(settings)
        .resolve_job_def(job)
        .execute_in_process(instance=instance, tags=tags, raise_on_error=False)
    )
    if not result.success:
        failures = [
            event.step_failure_data.error.to_string()
            for event in result.all_node_events
            if event.is_step_failure and event.step_failure_data.error
        ]
        console.print(f"[red]Job {job} failed.[/red]\n" + "\n".join(failures))
        raise typer.Exit(1)


def _backfill(settings: Settings, first: str, last: str) -> None:
    with _instance(settings) as instance:
        console.print("Keeping the vendor's file ...")
        _execute("ingest", settings, {}, instance)
        console.print(f"Building {first} to {last} in one run ...")
        _execute("backfill", settings, {RANGE_START_TAG: first, RANGE_END_TAG: last}, instance)


def _summary(settings: Settings) -> None:
    lake = Lake(settings.lake_root)
    bars = lake.read(("market_data", "bars"))
    quarantine = lake.read(("market_data", "quarantine"))
    shown = Table("what", "how much", title="QuantiVista, embedded data")
    shown.add_row("sessions with data", f"{bars['session'].n_unique()}")
    shown.add_row("exchange sessions in that range", f"{_sessions_between(settings, bars)}")
    shown.add_row("instruments", f"{bars['instrument_id'].n_unique()}")
    shown.add_row("bars", f"{bars.height:,}")
    for reason, count in quarantine["reason"].value_counts().sort("reason").iter_rows():
        shown.add_row(f"quarantined: {reason}", f"{count:,}")
    for key in (("market_data", "adjusted_bars"), ("instrument_analysis", "indicators")):
        shown.add_row(f"rows of {'/'.join(key)}", f"{lake.read(key).height:,}")
    console.print(shown)
    console.print(f"Lake: {settings.lake_root}\nVendor files: {settings.drops_root}")


def _sessions_between(settings: Settings, bars: pl.DataFrame) -> int:
    span = bars.select(first=pl.col("session").min(), last=pl.col("session").max()).row(0)
    return len([day for day in settings.sessions() if span[0] <= day <= span[1]])


@app.command()
def init() -> None:
    """Create the home directory's configuration."""
    with _instance(Settings()):
        console.print("Home directory is ready.")


@app.command()
def demo() -> None:
    """Run what exists of the chain on the embedded data and print a summary."""
    settings = Settings()
    months = monthly(settings).get_partition_keys()
    _backfill(settings, months[0], months[-1])
    _summary(settings)


@app.command()
def backfill(
    first: Annotated[str, typer.Argument(help="First month, e.g. 2009-08-01.")],
    last: Annotated[str, typer.Argument(help="Last month, e.g. 2010-08-01.")],
) -> None:
    """Rebuild a range of months in one run."""
    settings = Settings()
    keys = monthly(settings).get_partition_keys()
    for key in (first, last):
        if key not in keys:
            console.print(f"[red]{key!r} is not one of the months {keys[0]} .. {keys[-1]}.[/red]")
            raise typer.Exit(2)
    if first > last:
        console.print(f"[red]{first} lies after {last}; pass the earlier month first.[/red]")
        raise typer.Exit(2)
    _backfill(settings, first, last)
    _summary(settings)


def main() -> None:
    """Run the command line, turning expected errors into one clear line and exit code 1."""
    try:
        app()
    except QuantiVistaError as error:
        console.print(f"[red]{error}[/red]")
        raise SystemExit(1) from error


if __name__ == "__main__":
    main()
