"""`quantivista cash deposit` and `withdraw`: capital in, and out only by two people."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console

from cli.acting import As, acting
from contracts.clock import NS_PER_S, utc_datetime
from contracts.envelope import digest
from contracts.errors import ConfigurationError
from contracts.money import Money
from domain.cash_management.chart import CASH, account_in
from domain.cash_management.operations import (
    Occasion,
    deposit,
    release,
    request_withdrawal,
)
from domain.cash_management.payments import Party, Payment, PaymentBatch, Withdrawal
from domain.cash_management.transfers import Transfer
from domain.compliance.people import Action
from ops_store.records import CashPlan
from ops_store.store import OpsStore
from orchestration.base.ops import clock_of
from orchestration.base.settings import Settings, read_settings
from sources.payment_files import pain_001

console = Console()
ID_CHARS = 12
DAYS_TO_APPROVE = 5

Amount = Annotated[str, typer.Argument(help="In units of the currency, e.g. 250000.00")]
Reference = Annotated[str, typer.Option(help="What it rests on: the bank's or the client's name.")]
Currency = Annotated[str, typer.Option(help="ISO 4217.")]


def paid_in(amount: Amount, reference: Reference, currency: Currency = "USD", as_: As = "") -> None:
    """Book capital that came in; the book has it from the next session's open on."""
    settings = read_settings()
    at = _occasion(settings, "deposit", amount, reference, currency)
    cash = account_in(CASH, currency)
    legs = deposit(at, cash=cash, amount_minor=_minor(amount, currency))
    with acting(settings, as_) as (store, by):
        _require_live(store, settings)
        store.human_action(Action.DEPOSIT, cash, _said(amount, reference), by=by)
        store.carry_out(CashPlan((), legs, {}))
    console.print(f"Booked as {at.id[:ID_CHARS]}; it counts from the next session's open.")


def withdraw(
    amount: Amount, reference: Reference, currency: Currency = "USD", as_: As = ""
) -> None:
    """Reserve capital that is to leave, and ask a second person to approve it."""
    settings = read_settings()
    now_ns = clock_of(settings).now_ns()
    at = _occasion(settings, "withdrawal", amount, reference, currency)
    at = msgspec.structs.replace(at, event_time_ns=now_ns)
    with acting(settings, as_) as (store, by):
        _require_live(store, settings)
        (request,) = request_withdrawal(
            at, cash=account_in(CASH, currency), amount_minor=_minor(amount, currency),
            requested_by=by, expires_ns=now_ns + DAYS_TO_APPROVE * 24 * 3_600 * NS_PER_S,
        )  # fmt: skip
        if store.find_transfers([request.id]):
            raise ConfigurationError(
                f"A withdrawal of {amount} {currency} for {reference!r} was asked for since the "
                "last close.",
                remedy="see `quantivista approvals list`, or give another --reference",
            )
        asked = store.request_approval(
            Action.WITHDRAWAL, request, subject=request.id, by=by, reason=reference
        )
        store.carry_out(CashPlan((), (request,), {}))
    name, approval = request.id[:ID_CHARS], asked.approval_id[:ID_CHARS]
    console.print(
        f"Reserved as {name}. A second person approves {approval}; then "
        f"`quantivista cash pay {name} --approval {approval}`.",
        soft_wrap=True,
    )


def pay(
    withdrawal: Annotated[str, typer.Argument(help="The withdrawal's id, or how it begins.")],
    approval: Annotated[str, typer.Option(help="The id of what was approved.")],
    as_: As = "",
) -> None:
    """Post an approved withdrawal; the book is without it from the next session's open on."""
    with _settled(withdrawal, as_, "paid") as (store, by, request, at):
        store.pay_withdrawal(request, store.approval_id(approval), at, by=by)
    console.print(f"Paid {request.id[:ID_CHARS]}; it leaves with the next session's open.")


def payment(
    withdrawal: Annotated[str, typer.Argument(help="The withdrawal's id, or how it begins.")],
    out: Annotated[Path, typer.Option(help="The file to write, pain.001.001.09.")],
    creditor: Annotated[str, typer.Option(help="Who is paid.")],
    iban: Annotated[str, typer.Option(help="Where.")],
    debtor: Annotated[str, typer.Option(help="Who pays.")],
    debtor_iban: Annotated[str, typer.Option(help="From where.")],
    remittance: Annotated[str, typer.Option(help="What the other side reads.")],
) -> None:
    """Write a paid withdrawal as the message that the bank takes; twice it is the same one."""
    settings = read_settings()
    with acting(settings, "") as (store, _):
        request = _requested(store, withdrawal)
        paid = store.find_transfers([_settling(settings, request, "paid").id])
        if not paid:
            raise ConfigurationError(
                f"Withdrawal {request.id[:ID_CHARS]} has not been paid.",
                remedy="`quantivista cash pay` posts it, once a second person approved it",
            )
        (posted,) = paid.values()
    approved = Withdrawal(
        request.id, request.currency, posted.moved_minor, request.actor, posted.transfer.actor
    )
    one = Payment(approved, Party(creditor, iban), remittance)
    now_ns = clock_of(settings).now_ns()
    day = max(posted.value_date, utc_datetime(now_ns).date())
    batch = PaymentBatch(Party(debtor, debtor_iban), (one,), day, now_ns)
    out.write_bytes(pain_001(batch))
    console.print(f"{out}: message {batch.message_id}, to be executed on {day}.", soft_wrap=True)


def cancel(
    withdrawal: Annotated[str, typer.Argument(help="The withdrawal's id, or how it begins.")],
    as_: As = "",
) -> None:
    """Release what was reserved for a withdrawal that is not to be paid."""
    with _settled(withdrawal, as_, "cancelled") as (store, by, request, at):
        store.human_action(Action.WITHDRAWAL, request.id, {"cancelled": request.id}, by=by)
        store.carry_out(CashPlan((), release(at, reservation=request), {}))
    console.print(f"Released {request.id[:ID_CHARS]}.")


@contextmanager
def _settled(
    withdrawal: str, as_: str, how: str
) -> Iterator[tuple[OpsStore, str, Transfer, Occasion]]:
    """Yield the store, who acts, the withdrawal, and the occasion on which it is settled."""
    settings = read_settings()
    with acting(settings, as_) as (store, by):
        request = _requested(store, withdrawal)
        yield store, by, request, _settling(settings, request, how)


def _occasion(
    settings: Settings, what: str, amount: str, reference: str, currency: str
) -> Occasion:
    """Return an occasion of the next open; the same words on the same day are the same one."""
    session = settings.last_session().isoformat()
    return Occasion(
        id=digest((settings.book, what, session, amount, reference, currency)),
        currency=currency,
        event_time_ns=_next_open_ns(settings),
        reference=reference,
    )


def _settling(settings: Settings, request: Transfer, how: str) -> Occasion:
    return Occasion(
        id=digest((request.id, how)),
        currency=request.currency,
        event_time_ns=max(_next_open_ns(settings), request.event_time_ns),
        reference=request.reference,
    )


def _next_open_ns(settings: Settings) -> int:
    now_ns = clock_of(settings).now_ns()
    return next(entry.open_ns for entry in settings.session_times() if entry.open_ns >= now_ns)


def minor_units(amount: str, currency: str) -> int:
    """Return an amount as it was typed in minor units, exactly."""
    try:
        units = Decimal(amount)
    except ArithmeticError as error:
        raise ConfigurationError(
            f"{amount!r} is no amount.", remedy="write e.g. 250000.00"
        ) from error
    return Money(units, currency).exact_minor_units


def _minor(amount: str, currency: str) -> int:
    found = minor_units(amount, currency)
    if found <= 0:
        raise ConfigurationError(f"{amount} is nothing to move.", remedy="pass an amount above 0")
    return found


def _said(amount: str, reference: str) -> dict[str, str]:
    return {"amount": amount, "reference": reference}


def _requested(store: OpsStore, prefix: str) -> Transfer:
    """Return the one withdrawal whose id begins with a prefix, as it was requested."""
    found = [
        approval.subject
        for approval in store.approvals()
        if approval.action is Action.WITHDRAWAL and approval.subject.startswith(prefix)
    ]
    bookings = store.find_transfers(found)
    if len(bookings) != 1:
        raise ConfigurationError(
            f"{len(bookings)} withdrawals begin with {prefix!r}.",
            remedy="`quantivista approvals list` names them",
        )
    return next(iter(bookings.values())).transfer


def _require_live(store: OpsStore, settings: Settings) -> None:
    if store.opening(book=settings.book) is None:
        raise ConfigurationError(
            f"Book {settings.book!r} has not gone live: its capital is a figure of its policy.",
            remedy="the live ledger opens with the first hand-off",
        )
