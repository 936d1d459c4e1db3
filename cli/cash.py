"""`quantivista cash`: what the ledger holds, what has yet to settle, and whether all agree."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Annotated

import polars as pl
import typer
from rich.console import Console
from rich.table import Table

from cli import capital, statements
from cli.capital import minor_units
from contracts.clock import datetime_ns
from contracts.errors import DisagreementError
from domain.book.policy import BookPolicy
from domain.cash_management.balances import trial_balance
from domain.cash_management.chart import CASH, account_in
from domain.cash_management.forecast import TargetBand, flows_of, proposals
from domain.cash_management.forecast import forecast as project
from domain.cash_management.tables import LOOK_BACK, open_settlements
from domain.cash_management.transfers import TIME_NS_MAX
from io_managers.lake import Lake
from orchestration.base.ops import ops_store
from orchestration.base.settings import Settings, read_settings

app = typer.Typer(help="Cash: balances, settlement, statements, breaks.", no_args_is_help=True)
app.command("deposit")(capital.paid_in)
app.command("withdraw")(capital.withdraw)
app.command("pay")(capital.pay)
app.command("cancel")(capital.cancel)
app.command("payment")(capital.payment)
app.command("load")(statements.load)
app.command("breaks")(statements.breaks)
app.command("assign")(statements.assign)
app.command("explain")(statements.explain)
console = Console()

TRIAL_BALANCE = ("cash_management", "trial_balance")
LADDER = ("cash_management", "settlement_ladder")
TRADES = ("trade_execution", "trades")
EQUITY = ("portfolio_management", "equity")
RECONCILIATION = ("cash_management", "reconciliation")
INSTRUMENTS = "trading:"
AsOf = Annotated[
    dt.datetime | None, typer.Option(formats=["%Y-%m-%dT%H:%M:%S"], help="By value time, UTC.")
]
KnownAt = Annotated[
    dt.datetime | None, typer.Option(formats=["%Y-%m-%dT%H:%M:%S"], help="As known then, UTC.")
]


@app.command()
def balances(as_of: AsOf = None, known_at: KnownAt = None) -> None:
    """Show the live ledger's accounts, now or as they were; instruments are summed."""
    settings = read_settings()
    with ops_store(settings) as store:
        names = sorted(store.balances()) if store is not None else []
        if store is None or not names:
            console.print("The live ledger is empty: this book has not gone live.")
            return
        accounts = [
            store.balance(name, as_of_ns=_ns(as_of), known_at_ns=_ns(known_at)) for name in names
        ]
        differences = store.ledger_differences()
    table = Table("account", "balance", "reserved", "available", title="Live ledger")
    for row in accounts:
        if row.id.startswith(INSTRUMENTS):
            continue
        reserved_minor = row.balance_minor - row.available_minor
        table.add_row(
            row.id, *map(_money, (row.balance_minor, reserved_minor, row.available_minor))
        )
    traded = [row for row in accounts if row.id.startswith(INSTRUMENTS)]
    table.add_row(
        f"trading, {len(traded)} instruments", _money(sum(row.balance_minor for row in traded)),
        "", "",
    )  # fmt: skip
    console.print(table)
    off = trial_balance(accounts).differences() or differences
    console.print("Debits equal credits." if not off else f"The ledger does not add up: {off}")
    if off:
        raise typer.Exit(1)


@app.command()
def ladder() -> None:
    """Show what has yet to settle after the newest session."""
    lake = Lake(read_settings().lake_root)
    # A session after which nothing is open has no rows: an older one is not the newest.
    last = lake.read(EQUITY, columns=["session"])["session"].max()
    newest = lake.read(LADDER).filter(pl.col("session") == last)
    if newest.is_empty():
        console.print("Nothing has yet to settle.")
        return
    first = newest.row(0, named=True)
    table = Table("settles", "in", "out", "trades", title=f"After {first['session']}")
    for row in newest.sort("settlement_date").iter_rows(named=True):
        table.add_row(
            str(row["settlement_date"]), _money(row["in_minor"]), _money(row["out_minor"]),
            str(row["n_settlements"]),
        )  # fmt: skip
    console.print(table)
    console.print(
        f"Settled {_money(first['settled_minor'])}; {_money(first['available_minor'])} without "
        f"proceeds that have not settled; projected {_money(first['projected_minor'])} "
        f"{first['currency']}."
    )


@app.command()
def forecast(
    floor: Annotated[str, typer.Option(help="What the account should not fall below.")] = "0",
    target: Annotated[str, typer.Option(help="What it is brought to.")] = "0",
    ceiling: Annotated[str, typer.Option(help="Above it, the rest is swept; else target.")] = "",
    counter_account: Annotated[str, typer.Option(help="Where the rest is kept.")] = "",
) -> None:
    """Project cash over the next ten sessions; with a band, propose what to move. Nothing moves."""
    settings = read_settings()
    lake, currency = Lake(settings.lake_root), BookPolicy().currency
    equity = lake.read(EQUITY).sort("session")
    if equity.is_empty():
        console.print("The book has no session yet.")
        return
    as_of, cash_minor = equity["session"][-1], int(equity["cash_minor"][-1])
    trades = lake.read(TRADES, where=pl.col("session") > as_of - LOOK_BACK)
    account = account_in(CASH, currency)
    flows = flows_of(open_settlements(trades, as_of))
    # The book counts a trade's cash when it executes.
    settled_minor = cash_minor - sum(flow.amount_minor for flow in flows)
    calendar = [entry.session for entry in settings.session_times()]
    days = project({(account, currency): settled_minor}, flows, calendar, as_of)
    table = Table("session", "opening", "in", "out", "closing", title=f"{account} after {as_of}")
    for day in days:
        amounts = (day.opening_minor, day.in_minor, day.out_minor, day.closing_minor)
        table.add_row(str(day.session), *map(_money, amounts))
    console.print(table)
    if counter_account:
        low, middle, high = (
            minor_units(text, currency) for text in (floor, target, ceiling or target)
        )
        band = TargetBand(account, currency, low, middle, high, 1, counter_account)
        for one in proposals(days, [band]):
            console.print(
                f"{one.kind} {_money(one.amount_minor)} {one.currency} from {one.from_account} to "
                f"{one.to_account} by {one.by}: {one.reason}",
                markup=False,
            )


@app.command()
def reconciliation() -> None:
    """Show whether book, live ledger and broker agree, session by session."""
    frame = Lake(read_settings().lake_root).read(RECONCILIATION)
    table = Table("session", "book", "ledger", "broker's change", "agree", "differences")
    for row in frame.sort("session").iter_rows(named=True):
        stated = row["broker_change_minor"]
        table.add_row(
            str(row["session"]), _money(row["book_cash_minor"]), _money(row["ledger_cash_minor"]),
            "no statement" if stated is None else _money(stated), "yes" if row["agree"] else "NO",
            row["differences"],
        )  # fmt: skip
    console.print(table if frame.height else "No session has been executed by a broker.")


def cash_agreement(settings: Settings, session: dt.date) -> str:
    """Return in a sentence that book, live ledger and broker agree on a session's cash.

    Raises
    ------
    DisagreementError
        When they do not, naming where.
    """
    lake = Lake(settings.lake_root)
    found = lake.read(RECONCILIATION, where=pl.col("session") == session)
    if found.is_empty() or not found["agree"][0]:
        what = "there is no reconciliation" if found.is_empty() else found["differences"][0]
        raise DisagreementError(
            f"The cash of {session} does not reconcile: {what}.", remedy="see docs/cash.md"
        )
    row = found.row(0, named=True)
    return (
        f"Book, live ledger and venue agree on cash: {_money(row['book_cash_minor'])} "
        f"{row['currency']}, of it {_money(row['broker_change_minor'])} by this session's trading."
    )


def trial_balance_lines(lake: Lake) -> list[tuple[str, str]]:
    """Return the newest month's trial balance for the summary, and what it sums to."""
    if not lake.exists(TRIAL_BALANCE):
        return []
    frame = lake.read(TRIAL_BALANCE)
    newest = frame.filter(pl.col("month") == pl.col("month").max())
    signed = newest.with_columns(
        net=pl.col("debits_posted_minor") - pl.col("credits_posted_minor"),
        account=pl.when(pl.col("account_id").str.starts_with(INSTRUMENTS))
        .then(pl.lit("trading, all instruments"))
        .otherwise(pl.col("account_id")),
    )
    rows = [
        (account, _money(net))
        for account, net in signed.group_by("account")
        .agg(pl.col("net").sum())
        .sort("account")
        .rows()
        if net
    ]
    total = int(signed["net"].sum())
    return [*rows, ("trial balance", f"sums to {_money(total)}")]


def _money(minor: int) -> str:
    return f"{Decimal(minor).scaleb(-2):,.2f}"


def _ns(instant: dt.datetime | None) -> int | None:
    # What is later than any instant of the ledger is the same as its last one.
    return (
        None if instant is None else min(datetime_ns(instant.replace(tzinfo=dt.UTC)), TIME_NS_MAX)
    )
