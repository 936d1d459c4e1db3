"""`quantivista people`: who may do what."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from cli.acting import As, acting
from domain.compliance.people import PERMISSIONS, Role
from orchestration.base.settings import read_settings

app = typer.Typer(no_args_is_help=True, help="List who may do what, grant roles, revoke them.")
console = Console()
Name = Annotated[str, typer.Argument(help="The person's login.")]
RoleName = Annotated[Role, typer.Argument(help="What they are at the desk.")]


@app.command("list")
def listed(
    *,
    permissions: Annotated[
        bool, typer.Option("--permissions", help="What each role may do, instead.")
    ] = False,
) -> None:
    """List everybody who has a role."""
    if permissions:
        table = Table("action", "may ask", "may approve")
        for action, one in PERMISSIONS.items():
            table.add_row(action, ", ".join(sorted(one.request)), ", ".join(sorted(one.approve)))
        console.print(table)
        return
    with acting(read_settings(), "") as (store, _):
        found = store.people()
    if not found:
        console.print("Nobody has a role yet: `quantivista people grant NAME admin` as NAME.")
        return
    table = Table("person", "roles")
    for person in found:
        table.add_row(escape(person.person_id), ", ".join(sorted(person.roles)))
    console.print(table)


@app.command()
def grant(person: Name, role: RoleName, as_: As = "") -> None:
    """Give somebody a role. The first admin takes the role; after that nobody grants their own."""
    with acting(read_settings(), as_) as (store, by):
        after = store.grant_role(person, role, by=by)
    console.print(f"{person} is now {', '.join(sorted(after.roles))}.", markup=False)


@app.command()
def revoke(person: Name, role: RoleName, as_: As = "") -> None:
    """Take a role away from somebody."""
    with acting(read_settings(), as_) as (store, by):
        after = store.revoke_role(person, role, by=by)
    roles = ", ".join(sorted(after.roles)) or "without a role"
    console.print(f"{person} is now {roles}.", markup=False)
