"""`quantivista approvals`: a second person looks at what a first one asked for, and decides."""

from __future__ import annotations

import json
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from cli.acting import As, acting
from domain.compliance.approvals import Approval, ApprovalState
from domain.compliance.audit_export import instant
from orchestration.base.settings import read_settings

app = typer.Typer(no_args_is_help=True, help="List what waits for a second person, and decide.")
console = Console()
ID_CHARS = 12
Id = Annotated[str, typer.Argument(help="Its id, or how it begins.")]
Reason = Annotated[str, typer.Option(help="Kept with the decision.")]


@app.command("list")
def listed(
    *, every: Annotated[bool, typer.Option("--all", help="Decided ones, too.")] = False
) -> None:
    """List what waits for a second person, with exactly what they would approve."""
    with acting(read_settings(), "") as (store, _):
        found = store.approvals(None if every else ApprovalState.REQUESTED)
    if not found:
        console.print("None." if every else "Nothing waits for a second person.")
        return
    table = Table("id", "state", "what", "asked", "payload", show_lines=True)
    for one in found:
        table.add_row(one.approval_id[:ID_CHARS], one.state, *map(escape, _story(one)))
    console.print(table)


def _story(one: Approval) -> tuple[str, str, str]:
    asked = f"{one.requested_by}, {instant(one.requested_ns)[:16]}Z\n{one.reason}"
    if one.decided_by:
        asked += f"\n{one.decided_by}: {one.decision_reason}"
    until = f"until {instant(one.expires_ns)[:16]}Z"
    payload = json.dumps(json.loads(one.payload), indent=1)
    return f"{one.action}\n{one.subject}\n{until}", asked, payload


@app.command()
def approve(approval: Id, reason: Reason, as_: As = "") -> None:
    """Say yes to exactly what was asked."""
    _decide(approval, reason, as_, is_granted=True)


@app.command()
def reject(approval: Id, reason: Reason, as_: As = "") -> None:
    """Say no."""
    _decide(approval, reason, as_, is_granted=False)


def _decide(approval: str, reason: str, as_: str, *, is_granted: bool) -> None:
    with acting(read_settings(), as_) as (store, by):
        done = store.decide_approval(approval, by=by, is_granted=is_granted, reason=reason)
    console.print(
        f"{done.approval_id[:ID_CHARS]} is {done.state}: {done.action} of {done.subject}.",
        markup=False,
    )
