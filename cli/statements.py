"""`quantivista cash load` and the breaks: a bank's statement against the live ledger."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from assets.cash_management import BREAKS_OWNER
from contracts.errors import ConfigurationError, ReconciliationError
from domain.cash_management.balances import EFFECTS
from domain.cash_management.breaks import Break, age_sessions, ageing
from domain.cash_management.cash_items import CashItem
from domain.cash_management.matching import bank_items, match
from domain.cash_management.transfers import Booking
from ops_store.store import OpsStore
from orchestration.base.ops import all_bookings, ops_store
from orchestration.base.settings import Settings, read_settings
from sources.bank_statements.files import read_bank_file
from sources.file_drops import DropStore, make_drop

console = Console()
ID_CHARS = 12
SOURCE = "bank"

BreakId = Annotated[str, typer.Argument(help="The break's id, or how it begins.")]


def load(
    file: Annotated[Path, typer.Argument(help="camt.052/053/054, MT940 or MT942.")],
    account: Annotated[str, typer.Option(help="The ledger's account that the bank keeps.")],
) -> None:
    """Keep a bank's statement, match it with the live ledger, and carry the breaks over."""
    settings = read_settings()
    data = file.read_bytes()
    drop = make_drop(SOURCE, file.name, data)
    DropStore(settings.drops_root).put(drop)
    read = read_bank_file(drop)
    with ops_store(settings) as store:
        store = _live(store)
        store.load_statements(read.statements, read.refused, file_sha256=drop.sha256)
        for refused in read.refused:
            console.print(f"refused: {refused.reason}: {refused.message}", markup=False)
        if read.statements:
            _match(store, settings, account, {page.account for page in read.statements})


def _match(store: OpsStore, settings: Settings, account: str, at_bank: set[str]) -> None:
    """Match what the bank ever said of an account with everything that the ledger holds of it."""
    if account not in store.balances([account]):
        raise ReconciliationError(
            f"The file is kept, and matched with nothing: the ledger has no account {account!r}.",
            remedy="load it again with one that `quantivista cash balances` lists",
        )
    if len(at_bank) > 1:
        raise ReconciliationError(
            f"The file is kept, and is of {len(at_bank)} accounts at the bank, which are not one "
            f"account of the ledger: {', '.join(sorted(at_bank))}.",
            remedy="load a file for each",
        )
    pages = [page for name in at_bank for page in store.statements(account=name)]
    final = [page for page in pages if page.kind == "statement"]
    bank = [
        msgspec.structs.replace(item, account=account)
        for page in final
        for item in bank_items(page)
    ]
    books = [item for one in all_bookings(store) if (item := _item(one, account)) is not None]
    session = settings.last_session()
    found = match(bank, books, session)
    currencies = {item.currency for item in (*bank, *books)}
    store.roll_breaks(
        found.findings, [(account, one) for one in currencies], session=session, owner=BREAKS_OWNER
    )
    rules = Counter(one.rule for one in found.matches)
    console.print(
        f"{len(bank)} entries of the bank, {len(books)} of the ledger: "
        + (
            ", ".join(f"{count} matched by {rule}" for rule, count in sorted(rules.items()))
            or "none matched"
        )
        + f"; {len(found.findings)} breaks, {len(found.not_due)} not due."
    )


def _item(booking: Booking, account: str) -> CashItem | None:
    transfer = booking.transfer
    posted = EFFECTS[transfer.kind][0] * booking.moved_minor
    sign = (transfer.debit_account == account) - (transfer.credit_account == account)
    if not posted or not sign:
        return None
    return CashItem(
        item_id=transfer.id,
        account=account,
        currency=transfer.currency,
        amount_minor=sign * posted,
        value_date=booking.value_date,
        references=tuple(name for name in (transfer.reference, transfer.id) if name),
    )


def breaks(
    *, every: Annotated[bool, typer.Option("--all", help="Resolved ones, too.")] = False
) -> None:
    """List the breaks with bank and broker, the oldest first."""
    settings = read_settings()
    with ops_store(settings) as store:
        found = store.breaks(unresolved_only=not every) if store is not None else []
    sessions, now = settings.sessions().to_list(), settings.last_session()
    table = Table("id", "opened", "age", "kind", "account", "difference", "state", "owner", "note")
    for row in found:
        table.add_row(
            row.break_id[:ID_CHARS], str(row.opened), str(age_sessions(row, sessions, now)),
            row.kind, row.account, f"{row.difference_minor / 100:,.2f} {row.currency}", row.state,
            row.owner, row.note,
        )  # fmt: skip
    console.print(table if found else "No break.")
    for one in ageing(found, sessions, now):
        worth = f"{one.gross_minor / 100:,.2f} {one.currency}"
        console.print(f"{one.breaks} aged {one.bucket} sessions, {worth} in all.")


def assign(break_id: BreakId, owner: Annotated[str, typer.Argument(help="Who.")]) -> None:
    """Give a break to somebody."""
    with ops_store(read_settings()) as store:
        _say(_live(store).assign_break(break_id, owner))


def explain(
    break_id: BreakId, note: Annotated[str, typer.Argument(help="Why it is there.")]
) -> None:
    """Explain a break; it ages until both sides say the same."""
    with ops_store(read_settings()) as store:
        _say(_live(store).explain_break(break_id, note))


def _say(row: Break) -> None:
    console.print(f"{row.break_id[:ID_CHARS]} is {row.state}, owned by {row.owner}.", markup=False)


def _live(store: OpsStore | None) -> OpsStore:
    if store is None:
        raise ConfigurationError(
            "This book only backtests: it has no live ledger.", remedy="set go_live_session"
        )
    return store
