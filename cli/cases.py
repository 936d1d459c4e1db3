"""`quantivista cases`: what surveillance and the rules found, and what people made of it."""

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
from domain.compliance.cases import Case, Disposition, State, assign, close, escalate
from ops_store.connection import sqlite_file_of
from orchestration.base.ops import incident_store
from orchestration.base.settings import Settings, read_settings

app = typer.Typer(help="Look at compliance cases, and decide them.", no_args_is_help=True)
console = Console()
ID_CHARS = 12

CaseId = Annotated[str, typer.Argument(help="The case's id, or how it begins.")]
Reason = Annotated[str, typer.Option(help="Why, in a sentence that an examiner understands.")]
AsJson = Annotated[bool, typer.Option("--json", help="For programs.")]


def recorded(settings: Settings, state: State | None = None) -> list[Case]:
    """Return the cases, oldest first, without making a store where there is none."""
    file = sqlite_file_of(settings.ops_url)
    if file is not None and not file.exists():
        return []
    with incident_store(settings) as store:
        return store.cases(state=state)


@app.command("list")
def listed(
    *,
    every: Annotated[bool, typer.Option("--all", help="Closed ones, too.")] = False,
    state: Annotated[State | None, typer.Option(help="Only cases in this state.")] = None,
    as_json: AsJson = False,
) -> None:
    """List the cases that are not closed, oldest first."""
    found = recorded(read_settings(), state)
    if not every and state is None:
        found = [case for case in found if case.state != "closed"]
    if as_json:
        typer.echo(json.dumps([msgspec.to_builtins(case) for case in found], indent=2))
        return
    if not found:
        console.print("No case." if every or state else "No open case.")
        return
    table = Table("id", "opened", "state", "owner", "kind", "what", show_lines=True)
    for case in found:
        table.add_row(
            case.case_id[:ID_CHARS], utc_minute(case.opened_ns), _state(case),
            case.owner or "nobody", case.kind, escape(case.summary),
        )  # fmt: skip
    console.print(table)


@app.command()
def show(case_id: CaseId, *, as_json: AsJson = False) -> None:
    """Show one case: its evidence and its history."""
    with incident_store(read_settings()) as store:
        case, events = store.case(case_id)
    if as_json:
        shown = {"case": msgspec.to_builtins(case), "history": msgspec.to_builtins(events)}
        shown["case"]["evidence"] = json.loads(case.evidence)
        typer.echo(json.dumps(shown, indent=2))
        return
    console.print(f"{case.case_id}\n{case.kind}, {_state(case)}, about {', '.join(case.subjects)}")
    console.print(escape(case.summary))
    console.print_json(case.evidence)
    table = Table("", "when", "who", "did", "to", "reason")
    for event in events:
        table.add_row(
            str(event.sequence), utc_minute(event.at_ns), escape(event.actor), event.action,
            escape(event.owner or ""), escape(event.reason or ""),
        )  # fmt: skip
    console.print(table)


@app.command("assign")
def assign_command(
    case_id: CaseId,
    to: Annotated[str, typer.Option("--to", help="Who looks at it from now on.")],
    as_: As = "",
) -> None:
    """Give a case to somebody; whoever it is about may not."""
    with acting(read_settings(), as_) as (store, by):
        case = store.act_on_case(
            case_id, lambda case, now_ns: assign(case, actor=by, owner=to, at_ns=now_ns)
        )
    _say(case)


@app.command("escalate")
def escalate_command(
    case_id: CaseId,
    to: Annotated[str, typer.Option("--to", help="Who decides about it.")],
    reason: Reason,
    as_: As = "",
) -> None:
    """Hand a case to somebody who decides more."""
    with acting(read_settings(), as_) as (store, by):
        case = store.act_on_case(
            case_id,
            lambda case, now_ns: escalate(case, actor=by, owner=to, reason=reason, at_ns=now_ns),
        )
    _say(case)


@app.command("close")
def close_command(
    case_id: CaseId,
    disposition: Annotated[Disposition, typer.Option(help="What it was.")],
    reason: Reason,
    as_: As = "",
) -> None:
    """Close a case, saying what it was and why; only its owner can."""
    with acting(read_settings(), as_) as (store, by):
        case = store.act_on_case(
            case_id,
            lambda case, now_ns: close(
                case, actor=by, disposition=disposition, reason=reason, at_ns=now_ns
            ),
        )
    _say(case)


def _say(case: Case) -> None:
    console.print(
        f"Case {case.case_id[:ID_CHARS]} is {_state(case)}, with {escape(case.owner or 'nobody')}."
    )


def _state(case: Case) -> str:
    return f"{case.state}, {case.disposition}" if case.disposition else case.state
