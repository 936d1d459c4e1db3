"""Commands for people at a terminal. Each prints what it did and where the result is."""

import os
import shutil
import signal
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from assets.marts import marts_store
from cli import (
    approvals,
    audit,
    cases,
    cash,
    executing,
    incidents,
    market_sources,
    models,
    people,
    rules,
)
from cli.backup import back_up, restore
from cli.blast_radius import blast_radius
from cli.correlation import correlation
from cli.demo import demo_settings, run_demo
from cli.doctor import doctor
from cli.explain import explain
from cli.instance import OWNED, instance_of
from cli.marts import dbt_docs, marts, print_example, sql
from cli.mlflow_server import serve
from cli.runs import execute, fingerprint, sole_run
from cli.summary import print_summary
from contracts.errors import ConfigurationError, QuantiVistaError
from io_managers.expectations import BarsSuite
from io_managers.lake import Lake
from ml.registry.model_store import ModelStore
from ml.registry.tracking import UI_PORT
from orchestration.base.ops import ops_store
from orchestration.base.partitions import RANGE_END_TAG, RANGE_START_TAG, monthly
from orchestration.base.settings import Settings, read_settings
from sources.venue_reports import all_reports, report_month

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
app.add_typer(executing.app, name="exec")
app.command()(sql)
app.command()(marts)
app.command("dbt-docs")(dbt_docs)
app.add_typer(incidents.app, name="incidents")
app.add_typer(people.app, name="people")
app.add_typer(approvals.app, name="approvals")
app.add_typer(rules.app, name="rules")
app.add_typer(audit.app, name="audit")
app.add_typer(cases.app, name="cases")
app.add_typer(cash.app, name="cash")
app.add_typer(market_sources.app, name="sources")
app.add_typer(models.app, name="models")
app.command()(doctor)
app.command("blast-radius")(blast_radius)
app.command()(correlation)
console = Console()
STATES = ("portfolio_management", "book_states")
VENUE_REPORTS = ("trade_execution", "venue_reports")


def _backfill(settings: Settings, first: str, last: str) -> None:
    with sole_run(settings) as instance:
        execute("ingest", settings, instance, console)
        tags = {RANGE_START_TAG: first, RANGE_END_TAG: last}
        execute("backfill", settings, instance, console, tags=tags)


@app.command()
def init() -> None:
    """Create the home directory's configuration."""
    settings = read_settings()
    with instance_of(settings):
        console.print(f"Home directory {settings.home} is ready.", soft_wrap=True)


@app.command()
def demo() -> None:
    """Run the whole chain on the embedded data and print a summary."""
    settings = demo_settings()
    done = settings.home / "demo.fingerprint"
    current = fingerprint(settings)
    reported = Lake(settings.lake_root).exists(("reporting", "reports"))
    complete = reported and marts_store(settings).path.exists()
    if complete and done.exists() and done.read_text() == current:
        console.print("Nothing has changed since the last run: no work to do.")
    else:
        run_demo(settings, console)
        done.write_text(current)
    print_summary(settings, console)
    print_example(settings)


@app.command()
def ingest() -> None:
    """Keep the vendor's files and the instruments that they name."""
    settings = read_settings()
    with sole_run(settings) as instance:
        execute("ingest", settings, instance, console)


@app.command()
def daily() -> None:
    """Take in the newest session: new vendor files, then the newest month."""
    settings = read_settings()
    month = monthly(settings).get_partition_keys()[-1]
    with sole_run(settings) as instance:
        late = _late_month(settings, month)
        if late is not None:
            console.print(f"Execution reported of {late}: the book is rebuilt from there first.")
            tags = {RANGE_START_TAG: late, RANGE_END_TAG: month}
            execute("fills", settings, instance, console, tags=tags)
        execute("daily", settings, instance, console, partition=month)
    audit.sign_daily(settings)
    print_summary(settings, console)


def _late_month(settings: Settings, newest: str) -> str | None:
    """Return the earliest month before ``newest`` with reports that the lake does not hold yet."""
    lake = Lake(settings.lake_root)
    with ops_store(settings) as store:
        if store is None or not lake.exists(VENUE_REPORTS):
            return None
        held = set(lake.read(VENUE_REPORTS, columns=["segment", "record_offset"]).iter_rows())
        fresh = (r for r in all_reports(store) if (r.segment, r.offset) not in held)
        month = min((month for r in fresh if (month := report_month(r))), default=newest)
    return max(month, settings.history_start.isoformat()) if month < newest else None


@app.command()
def backfill(
    first: Annotated[str, typer.Argument(help="First month, e.g. 2009-08-01.")],
    last: Annotated[str, typer.Argument(help="Last month, e.g. 2010-08-01.")],
) -> None:
    """Rebuild a range of months in one run, and the later ones that rest on it."""
    settings = read_settings()
    keys = monthly(settings).get_partition_keys()
    for key in (first, last):
        if key not in keys:
            raise typer.BadParameter(f"{key!r} is not one of the months {keys[0]} .. {keys[-1]}.")
    if first > last:
        raise typer.BadParameter(f"{first} lies after {last}; pass the earlier month first.")
    lake = Lake(settings.lake_root)
    months = lake.read(STATES)["month"].to_list() if lake.exists(STATES) else []
    built = max(months, default=last)
    if built > last:
        console.print(f"The book reaches {built}: a month is rebuilt with all that follow it.")
        last = built
    _backfill(settings, first, last)
    print_summary(settings, console)


@app.command()
def dev(port: Annotated[int, typer.Option(help="Of the Dagster UI.")] = 3000) -> None:
    """Run the Dagster UI and daemon on loopback, and service and venue of a book that is live.

    One Ctrl-C stops all.
    """
    settings = read_settings()
    live = settings.go_live_session is not None
    with instance_of(settings), executing.trading(settings) if live else nullcontext():
        console.print(f"Dagster starts on http://127.0.0.1:{port}; Ctrl-C stops everything.")
        command = [sys.executable, "-m", "dagster", "dev", "-h", "127.0.0.1", "-p", str(port)]
        with subprocess.Popen(  # noqa: S603
            [*command, "-w", "workspace.yaml"], cwd=Path(__file__).parent.parent,
            start_new_session=True,
        ) as dagster:  # fmt: skip
            executing.until_interrupted()
            os.killpg(dagster.pid, signal.SIGINT)


@app.command()
def mlflow(port: Annotated[int, typer.Option(help="Of MLflow's UI.")] = UI_PORT) -> None:
    """Open MLflow's UI on loopback: every training, and which model served when."""
    settings = read_settings()
    with instance_of(settings):
        serve(settings, port, console)


@app.command()
def backup(file: Annotated[Path, typer.Argument(help="A new file, e.g. desk.tar.gz.")]) -> None:
    """Write all state of the home directory, and of its database, into one archive."""
    made = back_up(read_settings(), file)
    size_mb = file.stat().st_size / 1_000_000
    console.print(f"{len(made.files):,} files in {file}, {size_mb:,.1f} MB.", soft_wrap=True)


@app.command("restore")
def restore_command(
    file: Annotated[Path, typer.Argument(help="An archive that `backup` made.")],
) -> None:
    """Make an empty home directory what it was when an archive was made."""
    settings = read_settings()
    made = restore(settings, file, console)
    console.print(
        f"{len(made.files):,} files of {made.created}, each with its hash, are in {settings.home}.",
        soft_wrap=True,
    )


@app.command()
def data_docs() -> None:
    """Print where the Data Docs of the suite over the bars lie: open it in a browser."""
    settings = read_settings()
    index = BarsSuite(settings.data_docs_root).index
    if not index.exists():
        raise ConfigurationError(
            f"{index} does not exist.", remedy="the first run that writes bars makes it"
        )
    typer.echo(index.as_uri())


@app.command("explain")
def explain_command(
    identity: Annotated[str, typer.Argument(help="Of a fill, an order or a decision.")],
    *,
    json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """Walk from a fill, order or decision back to the vendor's bytes."""
    settings = read_settings()
    walk = explain(Lake(settings.lake_root), identity, ModelStore(settings.models_root))
    if json:
        typer.echo(walk.to_json())
    else:
        console.print(walk.to_tree())


@app.command()
def clean() -> None:
    """Delete the platform's state: everything below the home directory that it made."""
    settings = read_settings()
    home = settings.home
    if not home.is_dir():
        console.print(f"Nothing to delete: {home} does not exist.", soft_wrap=True)
        return
    if not (home / OWNED).exists() and any(home.iterdir()):
        raise ConfigurationError(
            f"{home} was not made by this command.",
            remedy="point QUANTIVISTA_HOME at the platform's own directory, or delete it by hand",
        )
    with sole_run(settings):
        shutil.rmtree(home)
    console.print(f"Deleted {home}.", soft_wrap=True)


def main() -> None:
    """Run the command line, turning expected errors into one clear message and exit code 1."""
    try:
        app(prog_name="quantivista")
    except QuantiVistaError as error:
        console.print(f"[red]{escape(error.message)}[/red]", soft_wrap=True)
        console.print(f"Remedy: {escape(error.remedy)}", soft_wrap=True)
        raise SystemExit(1) from error
    except OSError as error:
        console.print(f"[red]{escape(str(error))}[/red]", soft_wrap=True)
        console.print("Remedy: check the path, its permissions and the free space.")
        raise SystemExit(1) from error


if __name__ == "__main__":
    main()
