"""The chart of accounts: what the operations book to, one account per currency."""

from __future__ import annotations

from domain.cash_management.accounts import Account, AccountKind, Limit

CAPITAL = "equity:capital"
FEE = "expense:fee"
INTEREST_PAID = "expense:interest"
INTEREST_EARNED = "income:interest"
DIVIDEND = "income:dividend"
WITHHOLDING_TAX = "expense:withholding_tax"
BORROW_COST = "expense:borrow"
EXCHANGE = "trading:fx"
_CHART = {
    CAPITAL: AccountKind.EQUITY,
    FEE: AccountKind.EXPENSE,
    INTEREST_PAID: AccountKind.EXPENSE,
    INTEREST_EARNED: AccountKind.INCOME,
    DIVIDEND: AccountKind.INCOME,
    WITHHOLDING_TAX: AccountKind.EXPENSE,
    BORROW_COST: AccountKind.EXPENSE,
    EXCHANGE: AccountKind.TRADING,
}


def account_in(name: str, currency: str) -> str:
    """Return the id of an account that each currency has one of, e.g. ``expense:fee:USD``."""
    return f"{name}:{currency}"


def chart(currency: str) -> tuple[Account, ...]:
    """Return the counterparts of cash that the operations here book to, for one currency."""
    return tuple(
        Account(id=account_in(name, currency), kind=kind, currency=currency)
        for name, kind in _CHART.items()
    )


def cash_account(id_: str, currency: str, *, parent: str = "") -> Account:
    """Return a cash account that can not be overdrawn, not even by what is reserved."""
    limit = Limit.CREDITS_MUST_NOT_EXCEED_DEBITS
    return Account(id=id_, kind=AccountKind.ASSET, currency=currency, limit=limit, parent=parent)
