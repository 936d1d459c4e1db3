"""What a desk does with cash, booked on a ledger and seen in its accounts."""

from decimal import Decimal

import msgspec
import pytest

from domain.cash_management import operations
from domain.cash_management.chart import cash_account
from domain.cash_management.ledger import LedgerState, apply, open_accounts
from domain.cash_management.operations import FourEyesError, OperationRefusedError
from tests.unit.ledger_cases import (
    AAPL,
    ALPHA,
    BETA,
    CAPITAL,
    EUROS,
    at,
    funded,
    outcomes,
    transfer,
)


def booked(state: LedgerState, transfers, now_ns: int = 100) -> LedgerState:
    after, results = apply(state, transfers, now_ns)
    assert set(outcomes(results)) <= {"ok"}, results
    again, results = apply(after, transfers, now_ns)
    assert set(outcomes(results)) <= {"exists"}, "an operation again is the same operation"
    assert again == after
    return after


def balances(state: LedgerState, *ids: str) -> list[int]:
    return [state.accounts[id_].balance_minor for id_ in ids]


def test_a_withdrawal_leaves_when_a_second_person_approves() -> None:
    (request,) = operations.request_withdrawal(
        at("w"), cash=ALPHA, amount_minor=300, requested_by="Ann Lee", expires_ns=500
    )
    state = booked(funded(), (request,))
    assert state.accounts[ALPHA].available_minor == 700
    for approver in ("Ann Lee", "  ann   LEE ", "", " "):
        with pytest.raises(FourEyesError, match="another person"):
            operations.approve_withdrawal(
                at("ok"), request=request, requested_by="Ann Lee", approved_by=approver
            )
    # Whoever asked cannot be hidden by naming somebody else.
    with pytest.raises(FourEyesError, match="by 'Ann Lee'"):
        operations.approve_withdrawal(
            at("ok"), request=request, requested_by="Bob", approved_by="Ann Lee"
        )
    approval = operations.approve_withdrawal(
        at("ok"), request=request, requested_by="Ann Lee", approved_by="Bob"
    )
    state = booked(state, approval)
    assert balances(state, ALPHA, CAPITAL) == [700, 700]
    assert state.bookings["ok"].transfer.actor == "Bob"
    with pytest.raises(FourEyesError, match="name who asks"):
        operations.request_withdrawal(
            at("x"), cash=ALPHA, amount_minor=1, requested_by=" ", expires_ns=0
        )


def test_an_order_is_no_withdrawal_to_approve() -> None:
    (order,) = operations.reserve_order(
        at("o"), cash=ALPHA, trading=AAPL, side="buy", amount_minor=5, expires_ns=0
    )
    order = msgspec.structs.replace(order, actor="Ann")
    with pytest.raises(FourEyesError, match="not a withdrawal"):
        operations.approve_withdrawal(at("a"), request=order, requested_by="Ann", approved_by="Bob")


def test_a_withdrawal_that_is_refused_or_forgotten_stays() -> None:
    (request,) = operations.request_withdrawal(
        at("w"), cash=ALPHA, amount_minor=300, requested_by="Ann", expires_ns=500
    )
    state = booked(funded(), (request,))
    refused = booked(state, operations.release(at("no"), reservation=request))
    forgotten, _ = apply(state, (), 500)
    for after in (refused, forgotten):
        assert after.accounts[ALPHA].available_minor == 1_000


def test_costs_and_income_of_a_month() -> None:
    state = funded()
    for transfers in (
        operations.fee(at("fee"), cash=ALPHA, amount_minor=10),
        operations.interest(at("earned"), cash=ALPHA, amount_minor=7),
        operations.interest(at("paid"), cash=ALPHA, amount_minor=-3),
        operations.interest(at("none"), cash=ALPHA, amount_minor=0),
        operations.borrow_cost(at("borrow"), cash=ALPHA, amount_minor=2),
    ):
        state = booked(state, transfers)
    assert balances(
        state, ALPHA, "expense:fee:USD", "income:interest:USD", "expense:interest:USD",
        "expense:borrow:USD",
    ) == [992, 10, 7, 3, 2]  # fmt: skip


@pytest.mark.parametrize(
    ("gross", "rate", "tax"),
    [(1_000, "0.15", 150), (50, "0.15", 8), (10, "0.15", 2), (30, "0.15", 4), (9, "0", 0),
     (9, "1", 9)],
)  # fmt: skip
def test_a_dividend_arrives_less_its_tax(gross: int, rate: str, tax: int) -> None:
    transfers = operations.dividend(
        at("d"), cash=ALPHA, gross_minor=gross, withholding_rate=Decimal(rate)
    )
    state = booked(funded(), transfers)
    found = balances(state, ALPHA, "income:dividend:USD", "expense:withholding_tax:USD")
    assert found == [1_000 + gross - tax, gross, tax]


@pytest.mark.parametrize("rate", ["15", "-0.1", "NaN"])
def test_a_withholding_rate_is_a_fraction(rate: str) -> None:
    with pytest.raises(OperationRefusedError, match=rate):
        operations.dividend(at("d"), cash=ALPHA, gross_minor=1, withholding_rate=Decimal(rate))


def test_margin_is_set_aside_and_taken_back() -> None:
    state, _ = open_accounts(funded(), (cash_account("asset:margin:USD", "USD"),))
    margin = {"cash": ALPHA, "margin": "asset:margin:USD"}
    state = booked(state, operations.margin_call(at("call"), **margin, amount_minor=400))
    state = booked(state, operations.margin_release(at("back"), **margin, amount_minor=150))
    assert balances(state, ALPHA, "asset:margin:USD") == [750, 250]
    _, results = apply(state, operations.margin_release(at("x"), **margin, amount_minor=251), 100)
    assert outcomes(results) == ["exceeds_debits"]


def test_an_exchange_is_two_movements_at_one_rate_or_none() -> None:
    rate = Decimal("1.0875")
    swap = operations.exchange(
        at("fx", "EUR"), sell=EUROS, buy=ALPHA, buy_currency="USD", amount_minor=333, rate=rate
    )
    state = booked(funded(), swap)
    assert balances(state, EUROS, ALPHA) == [667, 1_362]
    assert {state.bookings[one.id].transfer.rate for one in swap} == {rate}
    assert [state.accounts[f"trading:fx:{one}"].balance_minor for one in ("EUR", "USD")] == [
        333, -362,
    ]  # fmt: skip
    much = operations.exchange(
        at("fx2", "EUR"), sell=EUROS, buy=ALPHA, buy_currency="USD", amount_minor=668, rate=rate
    )
    after, results = apply(state, much, 100)
    assert outcomes(results) == ["exceeds_debits", "linked_transfer_failed"]
    assert after.accounts == state.accounts


def test_an_exchange_knows_that_yen_have_no_cents() -> None:
    sold, bought = operations.exchange(
        at("fx"), sell=ALPHA, buy="asset:cash:JPY", buy_currency="JPY", amount_minor=10_000,
        rate=Decimal("151.237"),
    )  # fmt: skip
    assert (sold.amount_minor, bought.amount_minor) == (10_000, 15_124)
    for currency, rate in (("USD", "1"), ("JPY", "0"), ("JPY", "NaN"), ("ZZZ", "1")):
        with pytest.raises(OperationRefusedError, match="two of"):
            operations.exchange(
                at("fx"), sell=ALPHA, buy="b", buy_currency=currency, amount_minor=1,
                rate=Decimal(rate),
            )  # fmt: skip


@pytest.mark.parametrize("side", ["buy", "sell"])
def test_an_order_is_reserved_filled_in_parts_and_the_rest_released(side: str) -> None:
    (order,) = operations.reserve_order(
        at("o"), cash=ALPHA, trading=AAPL, side=side, amount_minor=600, expires_ns=0
    )
    state = booked(funded(), (order,))
    assert state.accounts[ALPHA].available_minor == (400 if side == "buy" else 1_000)

    def fill(id_: str, amount: int):
        left = state.reservations["o"].left_minor
        return operations.settle_fill(
            at(id_),
            reservation=order,
            left_minor=left,
            amount_minor=amount,
            fee_minor=1,
            cash=ALPHA,
        )

    state = booked(state, fill("f1", 200))
    state = booked(state, fill("f2", 300))
    assert state.reservations["o"].left_minor == 100
    released = booked(state, operations.release(at("r"), reservation=order))
    spent = 500 if side == "buy" else -500
    assert balances(released, ALPHA, AAPL, "expense:fee:USD") == [998 - spent, spent, 2]
    assert released.accounts[ALPHA].available_minor == 998 - spent
    # A fill beyond what was reserved happened, too.
    state = booked(state, fill("f3", 130))
    spent = 630 if side == "buy" else -630
    assert balances(state, ALPHA, AAPL, "expense:fee:USD") == [997 - spent, spent, 3]
    assert state.reservations["o"].left_minor == 0
    state = booked(state, fill("f4", 10))
    assert state.accounts["expense:fee:USD"].balance_minor == 4


@pytest.mark.parametrize(
    ("keep", "least", "expected"),
    [(600, 1, [600, 400]), (1_000, 1, [1_000, 0]), (600, 401, [1_000, 0])],
)
def test_a_sweep_brings_the_excess_to_the_pool(keep: int, least: int, expected: list[int]) -> None:
    state = funded()
    transfers = operations.sweep(
        at("s"), account=state.accounts[ALPHA], pool=state.accounts[BETA], keep_minor=keep,
        least_minor=least,
    )  # fmt: skip
    assert balances(booked(state, transfers), ALPHA, BETA) == expected


def test_a_shortfall_is_funded_as_far_as_the_pool_goes() -> None:
    state = booked(funded(), operations.internal_transfer(
        at("i"), source=ALPHA, target=BETA, amount_minor=100
    ))  # fmt: skip
    accounts = {"account": state.accounts[BETA], "pool": state.accounts[ALPHA]}
    funded_to = booked(state, operations.sweep(at("s"), **accounts, keep_minor=350))
    assert balances(funded_to, ALPHA, BETA) == [650, 350]
    state = booked(state, operations.sweep(at("all"), **accounts, keep_minor=5_000))
    assert balances(state, ALPHA, BETA) == [0, 1_000]


def test_a_correction_takes_the_whole_back() -> None:
    state = booked(funded(), (transfer("wrong", amount=70),))
    undo = operations.reversal(at("undo"), booked=state.bookings["wrong"], actor="Ann")
    state = booked(state, undo)
    assert balances(state, ALPHA, AAPL) == [1_000, 0]
    assert state.bookings["undo"].transfer.reverses == "wrong"
