"""`quantivista incidents`: what a person has to look at, and that it was looked at."""

from __future__ import annotations

import json
from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from cli.acting import As, acting
from contracts.clock import utc_minute
from ops_store.connection import sqlite_file_of
from ops_store.records import Incident
from orchestration.base.ops import incident_store
from orchestration.base.settings import Settings, read_settings

app = typer.Typer(help="List what a person has to look at, and close it.")
console = Console()
ID_CHARS = 12


def recorded(settings: Settings) -> list[Incident]:
    """Return all incidents, oldest first, without making a store where there is none."""
    file = sqlite_file_of(settings.ops_url)
    if file is not None and not file.exists():
        return []
    with incident_store(settings) as store:
        return store.incidents()


@app.callback(invoke_without_command=True)
def listed(
    context: typer.Context,
    *,
    every: Annotated[bool, typer.Option("--all", help="Closed ones, too.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """List the open incidents, oldest first."""
    if context.invoked_subcommand is not None:
        return
    found = [i for i in recorded(read_settings()) if every or i.closed_ns is None]
    if as_json:
        typer.echo(json.dumps([msgspec.structs.asdict(incident) for incident in found], indent=2))
        return
    if not found:
        console.print("No incident." if every else "No open incident.")
        return
    table = Table("id", "opened", "kind", "what", show_lines=True)
    for incident in found:
        table.add_row(
            incident.incident_id[:ID_CHARS], utc_minute(incident.opened_ns), incident.kind,
            escape(_story(incident)),
        )  # fmt: skip
    console.print(table)


@app.command()
def close(
    incident_id: Annotated[str, typer.Argument(help="Its id, or how it begins.")],
    note: Annotated[str, typer.Option(help="What was found, and done about it.")],
    as_: As = "",
) -> None:
    """Close an incident, saying why."""
    with acting(read_settings(), as_) as (store, by):
        closed = store.close_incident(incident_id, note=note, by=by)
    console.print(f"Closed {closed.incident_id[:ID_CHARS]}: {escape(closed.subject)}")


def _story(incident: Incident) -> str:
    story = f"{incident.subject}\n{incident.detail}"
    if incident.closed_ns is not None:
        story += f"\nclosed {utc_minute(incident.closed_ns)}: {incident.note or 'without a note'}"
    return story
