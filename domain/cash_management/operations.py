"""What a desk does with cash, each as the transfers to submit. Nothing here books anything.

Several transfers of one operation are linked, so that a ledger takes all of them or none. Ids
follow from the operation's: submitting an operation again books nothing twice.
"""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Decimal

import msgspec

from contracts.errors import QuantiVistaError
from contracts.money import MINOR_UNIT_EXPONENT
from domain.cash_management.accounts import Account
from domain.cash_management.chart import (
    BORROW_COST,
    CAPITAL,
    DIVIDEND,
    EXCHANGE,
    FEE,
    INTEREST_EARNED,
    INTEREST_PAID,
    WITHHOLDING_TAX,
    account_in,
)
from domain.cash_management.transfers import Booking, Transfer, TransferKind


class OperationRefusedError(QuantiVistaError):
    """An operation's figures contradict each other."""


class FourEyesError(OperationRefusedError):
    """Who approves a movement of cash is who asked for it, or nobody."""


class Occasion(msgspec.Struct, frozen=True, kw_only=True):
    """What the transfers of one operation have in common.

    Parameters
    ----------
    id : str
        The operation's, made by the client; the same one again is the same operation.
    currency : str
        ISO 4217.
    event_time_ns : int
        Value time, UTC.
    reference : str
        What it rests on: an order, a statement's entry, a request.
    """

    id: str
    currency: str
    event_time_ns: int
    reference: str = ""


def _leg(
    at: Occasion, debit: str, credit: str, amount_minor: int, cause: str, *, part: str = ""
) -> Transfer:
    return Transfer(
        id=f"{at.id}:{part}" if part else at.id,
        debit_account=debit,
        credit_account=credit,
        amount_minor=amount_minor,
        currency=at.currency,
        event_time_ns=at.event_time_ns,
        cause=cause,
        reference=at.reference,
    )


def _linked(*legs: Transfer) -> tuple[Transfer, ...]:
    if len(legs) < 2:
        return legs
    return tuple(msgspec.structs.replace(leg, link=legs[0].id) for leg in legs)


def deposit(at: Occasion, *, cash: str, amount_minor: int) -> tuple[Transfer, ...]:
    """Book capital that came in."""
    capital = account_in(CAPITAL, at.currency)
    return (_leg(at, cash, capital, amount_minor, "deposit"),)


def request_withdrawal(
    at: Occasion, *, cash: str, amount_minor: int, requested_by: str, expires_ns: int
) -> tuple[Transfer, ...]:
    """Reserve capital that is to leave; nothing leaves before somebody else approves.

    Raises
    ------
    FourEyesError
        When nobody is named: nobody could then be told from who approves.
    """
    if not requested_by.strip():
        raise FourEyesError(
            f"Withdrawal {at.id} is requested by {requested_by!r}.", remedy="name who asks for it"
        )
    leg = _leg(at, account_in(CAPITAL, at.currency), cash, amount_minor, "withdrawal")
    return (
        msgspec.structs.replace(
            leg, kind=TransferKind.PENDING, expires_ns=expires_ns, actor=requested_by
        ),
    )


def approve_withdrawal(
    at: Occasion, *, request: Transfer, requested_by: str, approved_by: str
) -> tuple[Transfer, ...]:
    """Post a reserved withdrawal, approved by another person than asked for it.

    Raises
    ------
    FourEyesError
        When both are the same person, nobody approves, or the request names another.
    """
    one, other = _person(requested_by), _person(approved_by)
    if not other or one == other:
        raise FourEyesError(
            f"Withdrawal {request.id} was requested by {requested_by!r} and is approved by "
            f"{approved_by!r}.",
            remedy="let another person approve it",
        )
    if one != _person(request.actor) or request.cause != "withdrawal":
        raise FourEyesError(
            f"{request.id} is a {request.cause} by {request.actor!r}, not a withdrawal by "
            f"{requested_by!r}.",
            remedy="pass the request as the ledger has it",
        )
    post = _settling(at, request, TransferKind.POST, 0, "withdrawal")
    return (msgspec.structs.replace(post, actor=approved_by),)


def _person(name: str) -> str:
    return " ".join(name.split()).casefold()


def release(at: Occasion, *, reservation: Transfer) -> tuple[Transfer, ...]:
    """Void what is left of a reservation: a withdrawal refused, an order cancelled."""
    return (_settling(at, reservation, TransferKind.VOID, 0, reservation.cause),)


def _settling(
    at: Occasion, reservation: Transfer, kind: TransferKind, amount_minor: int, cause: str,
) -> Transfer:  # fmt: skip
    leg = _leg(at, reservation.debit_account, reservation.credit_account, amount_minor, cause)
    return msgspec.structs.replace(leg, kind=kind, pending_id=reservation.id)


def internal_transfer(
    at: Occasion, *, source: str, target: str, amount_minor: int
) -> tuple[Transfer, ...]:
    """Move cash between two accounts of the desk: two strategies, or bank and broker."""
    return (_leg(at, target, source, amount_minor, "internal"),)


def fee(at: Occasion, *, cash: str, amount_minor: int) -> tuple[Transfer, ...]:
    """Book a fee that was charged."""
    return (_leg(at, account_in(FEE, at.currency), cash, amount_minor, "fee"),)


def interest(at: Occasion, *, cash: str, amount_minor: int) -> tuple[Transfer, ...]:
    """Book interest: earned when positive, paid when negative, nothing when zero."""
    if amount_minor > 0:
        return (_leg(at, cash, account_in(INTEREST_EARNED, at.currency), amount_minor, "interest"),)
    if amount_minor < 0:
        paid = account_in(INTEREST_PAID, at.currency)
        return (_leg(at, paid, cash, -amount_minor, "interest"),)
    return ()


def dividend(
    at: Occasion, *, cash: str, gross_minor: int, withholding_rate: Decimal
) -> tuple[Transfer, ...]:
    """Book a dividend: what arrives in cash, and the tax that was withheld from it.

    Parameters
    ----------
    at : Occasion
        When and why.
    cash : str
        Where the net amount arrives.
    gross_minor : int
        Before tax.
    withholding_rate : Decimal
        From 0 to 1; the tax is rounded half to even to minor units.

    Raises
    ------
    OperationRefusedError
        When the rate is no fraction.
    """
    if not (withholding_rate.is_finite() and 0 <= withholding_rate <= 1):
        raise OperationRefusedError(
            f"A withholding rate of {withholding_rate}.", remedy="pass a fraction, 0.15 for 15 %"
        )
    tax_minor = _rounded(gross_minor * withholding_rate)
    income = account_in(DIVIDEND, at.currency)
    tax = account_in(WITHHOLDING_TAX, at.currency)
    net = _leg(at, cash, income, gross_minor - tax_minor, "dividend", part="net")
    withheld = _leg(at, tax, income, tax_minor, "withholding", part="tax")
    # The ledger refuses amounts of zero; a dividend of nothing is refused there as it should be.
    if tax_minor == 0:
        return (net,)
    return (withheld,) if tax_minor == gross_minor else _linked(net, withheld)


def borrow_cost(at: Occasion, *, cash: str, amount_minor: int) -> tuple[Transfer, ...]:
    """Book what borrowing shares cost."""
    return (_leg(at, account_in(BORROW_COST, at.currency), cash, amount_minor, "borrow"),)


def margin_call(at: Occasion, *, cash: str, margin: str, amount_minor: int) -> tuple[Transfer, ...]:
    """Set cash aside as margin: initial, or a variation that is called for."""
    return (_leg(at, margin, cash, amount_minor, "margin"),)


def margin_release(
    at: Occasion, *, cash: str, margin: str, amount_minor: int
) -> tuple[Transfer, ...]:
    """Take margin back that is no longer required."""
    return (_leg(at, cash, margin, amount_minor, "margin"),)


def exchange(
    at: Occasion, *, sell: str, buy: str, buy_currency: str, amount_minor: int, rate: Decimal
) -> tuple[Transfer, ...]:
    """Sell an amount of the occasion's currency for another, at a rate that both legs keep.

    Each leg is in one currency, against the position account that this currency has in exchanges:
    what those hold is the open position in it.

    Parameters
    ----------
    at : Occasion
        Its currency is the one sold.
    sell, buy : str
        Cash accounts of the sold and of the bought currency.
    buy_currency : str
        ISO 4217.
    amount_minor : int
        Of the sold currency.
    rate : Decimal
        Units of the bought currency for one of the sold; the bought amount is rounded half to even.

    Raises
    ------
    OperationRefusedError
        When the rate is not positive, or a currency is unknown or the same.
    """
    known = {at.currency, buy_currency} <= MINOR_UNIT_EXPONENT.keys()
    if not (rate.is_finite() and rate > 0) or not known or at.currency == buy_currency:
        raise OperationRefusedError(
            f"An exchange of {at.currency} for {buy_currency} at {rate}.",
            remedy=f"pass a positive rate and two of {sorted(MINOR_UNIT_EXPONENT)}",
        )
    shift = MINOR_UNIT_EXPONENT[buy_currency] - MINOR_UNIT_EXPONENT[at.currency]
    bought_minor = _rounded((amount_minor * rate).scaleb(shift))
    bought_at = msgspec.structs.replace(at, currency=buy_currency)
    position = account_in(EXCHANGE, at.currency)
    other_position = account_in(EXCHANGE, buy_currency)
    legs = _linked(
        _leg(at, position, sell, amount_minor, "exchange", part="sold"),
        _leg(bought_at, buy, other_position, bought_minor, "exchange", part="bought"),
    )
    return tuple(msgspec.structs.replace(leg, rate=rate) for leg in legs)


def _rounded(amount: Decimal) -> int:
    return int(amount.to_integral_value(rounding=ROUND_HALF_EVEN))


def reserve_order(
    at: Occasion, *, cash: str, trading: str, side: str, amount_minor: int, expires_ns: int
) -> tuple[Transfer, ...]:
    """Reserve an order's worth: what a buy may cost, or what a sale is to bring.

    ``side`` is ``buy`` or ``sell``. What a buy reserves is no longer available to other orders;
    what a sale reserves is not available yet.
    """
    debit, credit = _sides(at, side=side, cash=cash, trading=trading)
    leg = _leg(at, debit, credit, amount_minor, "trade")
    return (msgspec.structs.replace(leg, kind=TransferKind.PENDING, expires_ns=expires_ns),)


def settle_fill(
    at: Occasion,
    *,
    reservation: Transfer,
    left_minor: int,
    amount_minor: int,
    fee_minor: int,
    cash: str,
) -> tuple[Transfer, ...]:
    """Post a fill against its order's reservation, with its fee.

    What the fill exceeds the reservation by (a market order that slipped) is moved beside it: the
    trade happened, and the ledger refuses it whole only where the account's limit does.

    Parameters
    ----------
    at : Occasion
        The fill; its value time is when it settles.
    reservation : Transfer
        As ``reserve_order`` made it.
    left_minor : int
        What is left of it, see ``Reservation.left_minor``.
    amount_minor, fee_minor : int
        Of the fill.
    cash : str
        What the fee is paid from.
    """
    within_minor = min(amount_minor, left_minor)
    legs = []
    if within_minor:
        legs.append(_settling(at, reservation, TransferKind.POST, within_minor, "trade"))
    if amount_minor > within_minor:
        debit, credit = reservation.debit_account, reservation.credit_account
        excess_minor = amount_minor - within_minor
        legs.append(_leg(at, debit, credit, excess_minor, "trade", part="excess"))
    if fee_minor:
        charged = account_in(FEE, at.currency)
        legs.append(_leg(at, charged, cash, fee_minor, "fee", part="fee"))
    return _linked(*legs)


def _sides(at: Occasion, *, side: str, cash: str, trading: str) -> tuple[str, str]:
    if side not in {"buy", "sell"}:
        raise OperationRefusedError(f"Side {side!r} of {at.id}.", remedy="pass buy or sell")
    return (trading, cash) if side == "buy" else (cash, trading)


def sweep(
    at: Occasion, *, account: Account, pool: Account, keep_minor: int, least_minor: int = 1
) -> tuple[Transfer, ...]:
    """Bring an account to what it is to keep: the excess to the pool, a shortfall from it.

    Parameters
    ----------
    at : Occasion
        When and why.
    account, pool : Account
        As the ledger has them. Only what is available moves, so a shortfall that the pool does not
        cover is covered in part.
    keep_minor : int
        What stays available at the account.
    least_minor : int
        Smaller movements are not worth their fee, and none is made.
    """
    excess_minor = account.available_minor - keep_minor
    if excess_minor >= least_minor:
        return (_leg(at, pool.id, account.id, excess_minor, "sweep"),)
    lacking_minor = min(-excess_minor, pool.available_minor)
    if lacking_minor >= least_minor:
        return (_leg(at, account.id, pool.id, lacking_minor, "funding"),)
    return ()


def reversal(at: Occasion, *, booked: Booking, actor: str = "") -> tuple[Transfer, ...]:
    """Take a booked movement back, whole: the only way to correct one.

    The correction's value time is the occasion's: the original's to correct the past as of then,
    a later one to leave it as it was.
    """
    original = booked.transfer
    leg = _leg(at, original.credit_account, original.debit_account, booked.moved_minor, "reversal")
    return (msgspec.structs.replace(leg, reverses=original.id, actor=actor),)
