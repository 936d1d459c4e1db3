"""`quantivista rules`: propose a rule set, see what it would have blocked, and apply it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from cli.acting import As, acting
from contracts.errors import ConfigurationError
from domain.book.policy import BookPolicy
from domain.compliance.audit_export import instant
from domain.compliance.errors import RuleSetError
from domain.compliance.people import Action
from domain.compliance.rules import (
    TICKS_PER_UNIT,
    RuleSet,
    Stage,
    in_force,
    read_rules,
    require_currency,
)
from domain.compliance.what_if import occasions_of, summary
from io_managers.lake import Lake
from orchestration.base.ops import clock_of
from orchestration.base.settings import read_settings

app = typer.Typer(no_args_is_help=True, help="Look at the desk's rules, and change them.")
console = Console()
ID_CHARS = 12
VERDICTS = ("compliance", "verdicts")
File = Annotated[Path, typer.Argument(help="The rule set, in TOML; see docs/compliance-rules.md.")]


def _read(path: Path) -> RuleSet:
    try:
        return read_rules(path.read_text(encoding="utf-8"))
    except UnicodeDecodeError as error:
        raise RuleSetError(f"{path} is no text: {error}.", remedy="save it as UTF-8") from error


def _proposed(path: Path) -> RuleSet:
    """Return a rule set that is to apply: one in another currency would stop book and service."""
    rule_set = _read(path)
    require_currency(rule_set, BookPolicy().currency)
    return rule_set


@app.command("list")
def listed() -> None:
    """List the approved rule sets, and which of them is in force."""
    settings = read_settings()
    with acting(settings, "") as (store, _):
        found = store.rule_sets()
    if not found:
        console.print("No rule set is approved: only the service's own limits apply.")
        return
    current = in_force(found, clock_of(settings).now_ns())
    table = Table("version", "name", "effective", "rules", "in force")
    for one in found:
        table.add_row(
            one.version[:ID_CHARS], escape(one.name), instant(one.effective_ns)[:16] + "Z",
            str(len(one.rules)), "yes" if one == current else "",
        )  # fmt: skip
    console.print(table)


@app.command()
def propose(
    file: File,
    reason: Annotated[str, typer.Option(help="Why; the second person reads it.")],
    as_: As = "",
) -> None:
    """Ask a second person to approve a rule set."""
    rule_set = _proposed(file)
    with acting(read_settings(), as_) as (store, by):
        asked = store.request_approval(
            Action.RULE_CHANGE, rule_set, subject=rule_set.name, by=by, reason=reason
        )
    console.print(f"Asked as {asked.approval_id[:ID_CHARS]}: a second person approves it.")


@app.command()
def apply(
    file: File,
    approval: Annotated[str, typer.Option(help="The id of what was approved.")],
    as_: As = "",
) -> None:
    """Store an approved rule set; it applies from its own instant on."""
    rule_set = _proposed(file)
    with acting(read_settings(), as_) as (store, by):
        store.change_rules(rule_set, store.approval_id(approval), by=by)
    console.print(
        f"Rule set {rule_set.version[:ID_CHARS]} applies from "
        f"{instant(rule_set.effective_ns)[:16]}Z. "
        "A running execution service reads it when it is started again.",
        soft_wrap=True,
    )


def _kept(lake: Lake) -> list[tuple[str, str]]:
    """Return what the verdicts of the book's decisions had looked at."""
    if not lake.exists(VERDICTS):
        raise ConfigurationError(
            "No decision was judged yet.", remedy="run `quantivista daily` or `backfill` first"
        )
    columns = ["session", "decision_id", "rule_id", "inputs"]
    found = lake.read(VERDICTS, columns=columns).sort("session", "decision_id", "rule_id")
    return list(found.select("decision_id", "inputs").iter_rows())


@app.command("what-if")
def what_if(
    file: File,
    stage: Annotated[Stage, typer.Option(help="Where it would have been asked.")] = Stage.DECISION,
) -> None:
    """Say what a rule set would have blocked of all decisions that the book has judged."""
    rule_set = _read(file)
    found = summary(rule_set, stage, occasions_of(_kept(Lake(read_settings().lake_root))))
    worth = found.blocked_ticks / TICKS_PER_UNIT
    console.print(
        f"Of {found.n_intents:,} intents it would have blocked {found.n_blocked:,}, "
        f"worth {worth:,.2f} {rule_set.currency}."
    )
    table = Table("rule", "kind", "passed", "warned", "blocked", "it alone", "unknown", "e.g.")
    for one in found.tallies:
        counts = (one.n_pass, one.n_warn, one.n_block, one.n_alone, one.n_unknown)
        examples = " ".join(name[:ID_CHARS] for name in one.examples)
        table.add_row(escape(one.rule_id), one.kind, *(f"{count:,}" for count in counts), examples)
    console.print(table)
