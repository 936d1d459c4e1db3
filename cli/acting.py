"""Who gives a command: the login of the operating system, or a person whom it acts as.

A login that is a person's own cannot act as somebody else. A login that several people share, e.g.
of a container, names the person with ``--as``, and the audit trail keeps both.
"""

from __future__ import annotations

import os
import pwd
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import sqlalchemy as sa
import typer
from rich.console import Console
from rich.markup import escape

from contracts.errors import QuantiVistaError
from domain.compliance.errors import PermissionDeniedError
from domain.compliance.people import Action
from ops_store.store import OpsStore
from orchestration.base.ops import incident_store
from orchestration.base.settings import Settings, read_settings

As = Annotated[
    str, typer.Option("--as", help="Whose action it is, where several people share a login.")
]
console = Console()


def login() -> str:
    """Return the name of the operating system's user; never what a variable says it is."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return f"uid {os.getuid()}"


@contextmanager
def acting(settings: Settings, person: str) -> Iterator[tuple[OpsStore, str]]:
    """Yield the operations store and the id of the person who acts.

    Raises
    ------
    PermissionDeniedError
        When the login is a person's, and the person named is another.
    """
    own = login()
    with incident_store(settings) as store:
        if person and person != own and store.person(own).roles:
            raise PermissionDeniedError(
                f"{own} cannot act as {person}.", remedy=f"let {person} give the command"
            )
        store.login = own
        yield store, person or own


def note(action: Action, subject: str, payload: Any, person: str) -> None:
    """Keep what a person is about to do; refuse it when they may not."""
    with acting(read_settings(), person) as (store, by):
        store.human_action(action, subject, payload, by=by)


def note_emergency(action: Action, subject: str, payload: Any, person: str) -> None:
    """Keep what was done to stop something; that it cannot be kept undoes nothing."""
    try:
        with acting(read_settings(), person) as (store, by):
            store.emergency_action(action, subject, payload, by=by)
    except (QuantiVistaError, sa.exc.SQLAlchemyError, OSError) as error:
        console.print(
            f"[yellow]It is done, but not in the audit trail:[/yellow] {escape(str(error))}"
        )
