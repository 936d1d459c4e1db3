"""A small ledger in two currencies, and short ways to write transfers."""

from domain.cash_management.accounts import Account, AccountKind, Limit
from domain.cash_management.chart import cash_account, chart
from domain.cash_management.ledger import LedgerState, apply, open_accounts
from domain.cash_management.operations import Occasion, deposit
from domain.cash_management.transfers import Transfer, TransferKind

BROKER, ALPHA, BETA, EUROS = "asset:broker:USD", "virtual:alpha", "virtual:beta", "asset:cash:EUR"
LOAN, CAPITAL, AAPL = "liability:loan:USD", "equity:capital:USD", "trading:AAPL"
ACCOUNTS = (
    cash_account(BROKER, "USD"),
    cash_account(ALPHA, "USD", parent=BROKER),
    cash_account(BETA, "USD", parent=BROKER),
    cash_account(EUROS, "EUR"),
    Account(
        id=LOAN, kind=AccountKind.LIABILITY, currency="USD",
        limit=Limit.DEBITS_MUST_NOT_EXCEED_CREDITS,
    ),
    Account(id=AAPL, kind=AccountKind.TRADING, currency="USD"),
    *chart("USD"),
    *chart("EUR"),
)  # fmt: skip
FUNDED_MINOR = 1_000


def transfer(
    id_: str, debit: str = AAPL, credit: str = ALPHA, amount: int = 10, **more
) -> Transfer:
    values = {"currency": "USD", "event_time_ns": 100, "cause": "trade"} | more
    return Transfer(
        id=id_, debit_account=debit, credit_account=credit, amount_minor=amount, **values
    )


def pending(id_: str, amount: int = 10, **more) -> Transfer:
    return transfer(id_, amount=amount, kind=TransferKind.PENDING, **more)


def post(id_: str, pending_id: str, amount: int = 0, **more) -> Transfer:
    return transfer(id_, amount=amount, kind=TransferKind.POST, pending_id=pending_id, **more)


def void(id_: str, pending_id: str, amount: int = 0, **more) -> Transfer:
    return transfer(id_, amount=amount, kind=TransferKind.VOID, pending_id=pending_id, **more)


def at(id_: str, currency: str = "USD", event_time_ns: int = 100, reference: str = "") -> Occasion:
    return Occasion(id=id_, currency=currency, event_time_ns=event_time_ns, reference=reference)


def funding() -> tuple[Transfer, ...]:
    return (
        *deposit(at("fund-alpha", event_time_ns=1), cash=ALPHA, amount_minor=FUNDED_MINOR),
        *deposit(at("fund-euro", "EUR", event_time_ns=1), cash=EUROS, amount_minor=FUNDED_MINOR),
    )


def funded() -> LedgerState:
    """Return a ledger with 10.00 at ALPHA, none at BETA, and 10.00 EUR, all booked at 10."""
    state, opened = open_accounts(LedgerState(), ACCOUNTS)
    assert {one.outcome for one in opened} == {"ok"}
    state, results = apply(state, funding(), 10)
    assert {one.outcome for one in results} == {"ok"}
    return state


def outcomes(results) -> list[str]:
    return [str(one.outcome) for one in results]
