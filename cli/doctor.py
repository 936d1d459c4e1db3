"""`quantivista doctor`: what works here, what does not, and what to do about it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from typing import Annotated, TypeVar

import msgspec
import typer
from rich.console import Console
from rich.markup import escape

from cli.doctor_cash import CHECKS
from cli.doctor_data import DATA
from cli.doctor_environment import ENVIRONMENT, INSTALLATION
from cli.doctor_state import STATE
from cli.findings import Finding, Patient, Status, fail
from contracts.errors import ConfigurationError, QuantiVistaError
from orchestration.base.settings import read_settings

P = TypeVar("P")
# What Postgres holds where it is configured.
IN_DATABASE = {"dagster", "runs", "ops_store", "ledger"}
console = Console()
COLOURS = {Status.OK: "green", Status.WARN: "yellow", Status.FAIL: "red"}


def examine(*, full: bool = False, port: int = 3000) -> list[Finding]:
    """Return what all checks found; a check that breaks is a finding itself."""
    try:
        settings = read_settings()
    except ConfigurationError as error:
        # A bad setting must not hide what the installation lacks.
        bad = fail("settings", error.message, error.remedy)
        return [*_run(INSTALLATION, None), bad]
    patient = Patient(settings, full, port)
    found = [*_run(INSTALLATION, None), *_run(ENVIRONMENT, patient)]
    is_away = any(f.check == "postgres" and f.status is Status.FAIL for f in found)
    # Each would wait a minute for the database, only to say the same again.
    asked = [entry for entry in (*STATE, *CHECKS) if not (is_away and entry[0] in IN_DATABASE)]
    return [*found, *_run((*asked, *DATA), patient)]


def _run(
    checks: Iterable[tuple[str, Callable[[P], Iterator[Finding]]]], patient: P
) -> Iterable[Finding]:
    for name, check in checks:
        try:
            yield from check(patient)
        except QuantiVistaError as error:
            yield fail(name, error.message, error.remedy)
        # What nobody thought of must not keep the other checks from being made.
        except Exception as error:  # noqa: BLE001
            message = str(error).splitlines()[0] if str(error) else "without a message"
            yield fail(name, f"{type(error).__name__}: {message}", "report it with this line")


def doctor(
    *,
    full: Annotated[bool, typer.Option("--full", help="Read all content, not samples.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
    port: Annotated[int, typer.Option(help="Of the Dagster UI.")] = 3000,
) -> None:
    """Check the environment, and say what to mend; exit with 1 where something fails."""
    found = examine(full=full, port=port)
    if as_json:
        typer.echo(json.dumps([msgspec.to_builtins(finding) for finding in found], indent=2))
    else:
        for finding in found:
            _print(finding)
    if any(finding.status is Status.FAIL for finding in found):
        raise typer.Exit(1)


def _print(finding: Finding) -> None:
    colour = COLOURS[finding.status]
    console.print(
        f"[{colour}]{finding.status.upper():5}[/{colour}] {finding.check:12} "
        f"{escape(finding.message)}", soft_wrap=True,
    )  # fmt: skip
    if finding.remedy:
        console.print(f"      {'':12} Remedy: {escape(finding.remedy)}", soft_wrap=True)
