"""The ledger's state machine, rule by rule."""

from decimal import Decimal

import msgspec
import pytest

from domain.cash_management.accounts import (
    TOTAL_MINOR_MAX,
    Account,
    AccountKind,
    AccountOutcome,
    Limit,
)
from domain.cash_management.balances import (
    balances_at,
    replay_differences,
    sub_ledger_differences,
    trial_balance,
)
from domain.cash_management.chart import cash_account
from domain.cash_management.ledger import LedgerState, WorkingLedger, apply, open_accounts
from domain.cash_management.transfers import Outcome, PendingStatus, TransferKind
from tests.unit.ledger_cases import (
    AAPL,
    ACCOUNTS,
    ALPHA,
    BETA,
    BROKER,
    CAPITAL,
    EUROS,
    LOAN,
    funded,
    outcomes,
    pending,
    post,
    transfer,
    void,
)

BEFORE = (
    pending("held", 40), pending("posted", 5), post("posting", "posted"), pending("voided", 5),
    void("voiding", "voided"), pending("lapsed", 5, expires_ns=19), transfer("moved", amount=7),
    transfer("reversed", amount=3),
    transfer("reversing", ALPHA, AAPL, 3, reverses="reversed"),
)  # fmt: skip
REFUSALS = {
    Outcome.EXISTS_WITH_DIFFERENT_KIND: (pending("moved", 7), "single"),
    Outcome.EXISTS_WITH_DIFFERENT_DEBIT_ACCOUNT: (transfer("moved", CAPITAL, amount=7), AAPL),
    Outcome.EXISTS_WITH_DIFFERENT_CREDIT_ACCOUNT: (transfer("moved", AAPL, BETA, 7), ALPHA),
    Outcome.EXISTS_WITH_DIFFERENT_AMOUNT: (transfer("moved", amount=8), "7"),
    Outcome.EXISTS_WITH_DIFFERENT_CURRENCY: (transfer("moved", amount=7, currency="EUR"), "USD"),
    Outcome.EXISTS_WITH_DIFFERENT_EVENT_TIME: (transfer("moved", amount=7, event_time_ns=1), "100"),
    Outcome.EXISTS_WITH_DIFFERENT_CAUSE: (transfer("moved", amount=7, cause="fee"), "trade"),
    Outcome.EXISTS_WITH_DIFFERENT_PENDING_ID: (post("posting", "held"), "posted"),
    Outcome.EXISTS_WITH_DIFFERENT_EXPIRES: (pending("lapsed", 5, expires_ns=99), "19"),
    Outcome.EXISTS_WITH_DIFFERENT_LINK: (transfer("moved", amount=7, link="moved"), ""),
    Outcome.EXISTS_WITH_DIFFERENT_REFERENCE: (transfer("moved", amount=7, reference="x"), ""),
    Outcome.EXISTS_WITH_DIFFERENT_ACTOR: (transfer("moved", amount=7, actor="ann"), ""),
    Outcome.EXISTS_WITH_DIFFERENT_REVERSES: (transfer("moved", amount=7, reverses="x"), ""),
    Outcome.EXISTS_WITH_DIFFERENT_RATE: (transfer("moved", amount=7, rate=Decimal(2)), "None"),
    Outcome.LINKED_GROUP_NOT_OPENED: (transfer("new", link="moved"), "moved"),
    Outcome.TEXT_MALFORMED: (transfer("new\0"), r"'new\x00'"),
    Outcome.ID_RESERVED: (transfer("expiry:held"), "expiry:"),
    Outcome.KIND_RESERVED: (
        transfer("new", kind=TransferKind.EXPIRY, pending_id="held"), "expiry",
    ),
    Outcome.AMOUNT_MUST_BE_POSITIVE: (transfer("new", amount=0), "0"),
    Outcome.AMOUNT_OVERFLOWS: (
        transfer("new", AAPL, CAPITAL, TOTAL_MINOR_MAX), str(TOTAL_MINOR_MAX),
    ),
    Outcome.TIME_OUT_OF_RANGE: (transfer("new", event_time_ns=-1), "-1 and 0"),
    Outcome.RATE_MUST_BE_POSITIVE: (transfer("new", rate=Decimal("NaN")), "NaN"),
    Outcome.DEBIT_ACCOUNT_NOT_FOUND: (transfer("new", "nowhere"), "nowhere"),
    Outcome.CREDIT_ACCOUNT_NOT_FOUND: (transfer("new", AAPL, "nowhere"), "nowhere"),
    Outcome.ACCOUNTS_MUST_DIFFER: (transfer("new", ALPHA, ALPHA), ALPHA),
    Outcome.ACCOUNTS_HAVE_DIFFERENT_CURRENCIES: (transfer("new", AAPL, EUROS), "USD and EUR"),
    Outcome.CURRENCY_DIFFERS_FROM_ACCOUNTS: (transfer("new", currency="EUR"), "EUR"),
    Outcome.ACCOUNT_IS_SPLIT: (transfer("new", AAPL, BROKER), BROKER),
    Outcome.PENDING_ID_MUST_BE_EMPTY: (transfer("new", pending_id="held"), "held"),
    Outcome.EXPIRES_RESERVED_FOR_PENDING: (transfer("new", expires_ns=99), "99"),
    Outcome.EXPIRES_MUST_BE_IN_THE_FUTURE: (pending("new", expires_ns=20), "20"),
    Outcome.PENDING_TRANSFER_NOT_FOUND: (post("new", "nothing"), "nothing"),
    Outcome.PENDING_TRANSFER_NOT_PENDING: (post("new", "moved"), "moved"),
    Outcome.PENDING_TRANSFER_HAS_DIFFERENT_DEBIT_ACCOUNT: (
        post("new", "held", debit=CAPITAL), AAPL,
    ),
    Outcome.PENDING_TRANSFER_HAS_DIFFERENT_CREDIT_ACCOUNT: (
        post("new", "held", credit=BETA), ALPHA,
    ),
    Outcome.PENDING_TRANSFER_HAS_DIFFERENT_CURRENCY: (post("new", "held", currency="EUR"), "USD"),
    Outcome.PENDING_TRANSFER_IS_LATER: (post("new", "held", event_time_ns=99), "100"),
    Outcome.PENDING_TRANSFER_ALREADY_POSTED: (void("new", "posted"), "posted"),
    Outcome.PENDING_TRANSFER_ALREADY_VOIDED: (post("new", "voided"), "voided"),
    Outcome.PENDING_TRANSFER_EXPIRED: (post("new", "lapsed"), "lapsed"),
    Outcome.EXCEEDS_PENDING_TRANSFER_AMOUNT: (post("new", "held", 41), "41 of 40"),
    Outcome.EXCEEDS_CREDITS: (transfer("new", LOAN, CAPITAL, 1), f"1 of 0 at {LOAN}"),
    Outcome.EXCEEDS_DEBITS: (transfer("new", amount=949), f"949 of 948 at {ALPHA}"),
    Outcome.REVERSED_TRANSFER_NOT_FOUND: (transfer("new", reverses="nothing"), "nothing"),
    Outcome.REVERSED_TRANSFER_MOVED_NOTHING: (
        transfer("new", ALPHA, AAPL, 40, reverses="held"), "pending",
    ),
    Outcome.REVERSED_TRANSFER_DIFFERS: (
        transfer("new", ALPHA, AAPL, 6, reverses="moved"), f"('{ALPHA}', '{AAPL}', 7)",
    ),
    Outcome.REVERSED_TRANSFER_ALREADY_REVERSED: (
        transfer("new", ALPHA, AAPL, 3, reverses="reversed"), "reversed",
    ),
    Outcome.REVERSAL_MUST_BE_SINGLE: (pending("new", reverses="moved"), "pending"),
}  # fmt: skip
ELSEWHERE = {
    Outcome.OK, Outcome.EXISTS, Outcome.LINKED_TRANSFER_FAILED, Outcome.LINKED_GROUP_INCOMPLETE,
}  # fmt: skip


def prepared() -> LedgerState:
    state, results = apply(funded(), BEFORE, 15)
    assert set(outcomes(results)) == {"ok"}
    return state


def test_every_refusal_has_its_case() -> None:
    assert REFUSALS.keys() | ELSEWHERE == set(Outcome)


@pytest.mark.parametrize("outcome", REFUSALS)
def test_a_refusal_names_the_value_and_changes_nothing(outcome: Outcome) -> None:
    asked, value = REFUSALS[outcome]
    before, _ = apply(prepared(), (), 20)
    after, (result,) = apply(before, (asked,), 20)
    assert (result.outcome, result.value, result.transfer_id) == (outcome, value, asked.id)
    assert after == before
    assert not result.is_booked


def test_the_same_batch_again_is_there_already() -> None:
    before = prepared()
    after, results = apply(before, BEFORE, 15)
    assert set(outcomes(results)) == {"exists"}
    assert after == before
    # Not even when its time-out has passed by then.
    _, results = apply(before, BEFORE, 1_000)
    assert set(outcomes(results)) == {"exists"}


def test_apply_leaves_the_ledger_it_was_given_as_it_was() -> None:
    before = prepared()
    copy = msgspec.json.encode(before)
    apply(before, (transfer("new"), post("p", "held", 1)), 50)
    open_accounts(before, [cash_account("virtual:gamma", "USD", parent=BROKER)])
    assert msgspec.json.encode(before) == copy


def test_what_is_reserved_is_not_available_and_not_gone() -> None:
    state, _ = apply(funded(), (pending("order", 600),), 11)
    alpha = state.accounts[ALPHA]
    assert (alpha.balance_minor, alpha.available_minor) == (1_000, 400)
    _, results = apply(state, (transfer("much", amount=401), transfer("fits", amount=400)), 12)
    assert outcomes(results) == ["exceeds_debits", "ok"]


def test_a_reservation_is_posted_in_parts_and_the_rest_is_released() -> None:
    state, _ = apply(funded(), (pending("order", 600),), 11)
    parts = (post("fill-1", "order", 250), post("fill-2", "order", 300), void("rest", "order"))
    state, results = apply(state, parts, 12)
    assert outcomes(results) == ["ok"] * 3
    assert state.bookings["rest"].moved_minor == 50
    assert state.reservations["order"].status is PendingStatus.VOIDED
    assert state.accounts[ALPHA].totals == (1_000, 550, 0, 0)
    assert state.accounts[AAPL].totals == (550, 0, 0, 0)


def test_zero_posts_all_that_is_left() -> None:
    parts = (pending("order", 600), void("reduced", "order", 100), post("fill", "order"))
    state, results = apply(funded(), parts, 11)
    assert outcomes(results) == ["ok"] * 3
    assert state.bookings["fill"].moved_minor == 500
    assert state.reservations["order"].status is PendingStatus.POSTED


def test_reservations_lapse_in_the_order_of_their_time_outs_before_the_batch() -> None:
    state, _ = apply(
        funded(), (pending("late", 500, expires_ns=30), pending("early", 500, expires_ns=20)), 11
    )
    state, results = apply(state, (transfer("now", amount=500),), 29)
    assert outcomes(results) == ["ok"]
    state, _ = apply(state, (), 30)
    lapsed = [one for one in state.bookings.values() if one.transfer.kind is TransferKind.EXPIRY]
    assert [one.transfer.id for one in lapsed] == ["expiry:early", "expiry:late"]
    assert [one.knowledge_time_ns for one in lapsed] == [29, 30]
    # Nothing lapses before it takes effect: as of any instant no less than nothing is reserved.
    assert [one.transfer.event_time_ns for one in lapsed] == [100, 100]
    assert state.accounts[ALPHA].totals == (1_000, 500, 0, 0)


def linked(*members):
    return tuple(msgspec.structs.replace(one, link=members[0].id) for one in members)


@pytest.mark.parametrize("bad", [0, 1, 2])
def test_a_group_is_booked_wholly_or_not_at_all(bad: int) -> None:
    members = [
        pending("a", 100, expires_ns=50), post("b", "held", 10),
        transfer("c", ALPHA, AAPL, 7, reverses="moved"),
    ]  # fmt: skip
    before = prepared()
    _, results = apply(before, linked(*members), 16)
    assert outcomes(results) == ["ok"] * 3
    members[bad] = msgspec.structs.replace(members[bad], amount_minor=TOTAL_MINOR_MAX)
    after, results = apply(before, (*linked(*members), transfer("after")), 16)
    assert results[bad].outcome not in ELSEWHERE
    others = [one for number, one in enumerate(results[:3]) if number != bad]
    assert {(one.outcome, one.value) for one in others} == {
        (Outcome.LINKED_TRANSFER_FAILED, members[bad].id)
    }
    assert results[3].outcome is Outcome.OK
    assert after == apply(before, (transfer("after"),), 16)[0]


def test_a_group_that_was_taken_back_left_nothing_behind() -> None:
    ledger = WorkingLedger(prepared())
    undo = transfer("undo", ALPHA, AAPL, 7, reverses="moved")
    group = linked(pending("a", 100, expires_ns=50), undo, transfer("much", amount=5_000))
    assert outcomes(ledger.submit(group, 16))[2] == "exceeds_debits"
    # Neither the reversal, nor a time-out under an id that comes again with another one.
    again = (undo, pending("a", 100, expires_ns=60))
    assert outcomes(ledger.submit(again, 17)) == ["ok", "ok"]
    ledger.submit((), 55)
    assert ledger.state().reservations["a"].status is PendingStatus.OPEN
    ledger.submit((), 60)
    assert ledger.state().reservations["a"].status is PendingStatus.EXPIRED


def test_a_group_again_is_there_already_and_nobody_joins_it() -> None:
    group = linked(transfer("a"), transfer("b"))
    state, _ = apply(funded(), group, 11)
    again, results = apply(state, group, 12)
    assert outcomes(results) == ["exists", "exists"]
    assert again.bookings == state.bookings
    _, results = apply(state, linked(transfer("a"), transfer("b"), transfer("c")), 12)
    assert outcomes(results) == ["linked_transfer_failed"] * 2 + ["linked_group_incomplete"]
    _, results = apply(state, (transfer("c", link="a"),), 12)
    assert outcomes(results) == ["linked_group_not_opened"]


def test_a_group_sees_its_own_movements() -> None:
    fill = linked(transfer("sale", ALPHA, AAPL, 500), transfer("fee", amount=1_400))
    _, results = apply(funded(), fill, 11)
    assert outcomes(results) == ["ok", "ok"]


def test_what_moves_between_two_parts_leaves_the_real_account_as_it_is() -> None:
    state, results = apply(funded(), (transfer("move", BETA, ALPHA, 1_000),), 11)
    assert outcomes(results) == ["ok"]
    assert state.accounts[BROKER].balance_minor == 1_000
    assert state.accounts[BETA].available_minor == 1_000
    assert sub_ledger_differences(state.accounts) == ()
    broken = dict(state.accounts)
    broken[BETA] = msgspec.structs.replace(broken[BETA], debits_posted=999)
    (difference,) = sub_ledger_differences(broken)
    assert (difference.subject, difference.expected[0]) == (BROKER, 1_999)
    assert [one.subject for one in trial_balance(broken.values()).differences()] == ["USD"]
    replayed = balances_at(state.accounts, state.bookings.values())
    assert [one.subject for one in replay_differences(broken, replayed)] == [BETA]


def test_a_real_account_holds_its_limit_over_all_of_its_parts() -> None:
    loose = Account(id="virtual:loose", kind=AccountKind.ASSET, currency="USD", parent=BROKER)
    state, _ = open_accounts(funded(), (loose,))
    for spend in (
        transfer("spend", AAPL, "virtual:loose", 1_001),
        # Reserved to move within, it could no longer leave; so much is not there.
        pending("reserve", 1_001, debit=ALPHA, credit="virtual:loose"),
    ):
        _, (result,) = apply(state, (spend,), 11)
        assert (result.outcome, result.value) == (
            Outcome.EXCEEDS_DEBITS, f"1001 of 1000 at {BROKER}",
        )  # fmt: skip


def test_no_total_outgrows_a_column_not_even_of_a_real_account() -> None:
    big = TOTAL_MINOR_MAX - 1_000
    state, results = apply(funded(), (transfer("big", ALPHA, CAPITAL, big),), 11)
    assert outcomes(results) == ["ok"]
    _, (result,) = apply(state, (transfer("move", BETA, ALPHA, 1),), 12)
    assert result.outcome is Outcome.AMOUNT_OVERFLOWS


def test_the_past_is_corrected_by_reversal_and_what_was_known_stays_known() -> None:
    wrong = transfer("wrong", amount=70, event_time_ns=50)
    state, _ = apply(funded(), (wrong,), 60)
    right = (
        transfer("undo", ALPHA, AAPL, 70, event_time_ns=50, reverses="wrong", cause="reversal"),
        transfer("right", amount=7, event_time_ns=50),
    )
    state, results = apply(state, right, 90)
    assert outcomes(results) == ["ok", "ok"]

    def spent(as_of_ns: int | None, known_at_ns: int | None) -> int:
        bookings = state.bookings.values()
        found = balances_at(state.accounts, bookings, as_of_ns=as_of_ns, known_at_ns=known_at_ns)
        assert found[BROKER].balance_minor == found[ALPHA].balance_minor
        return 1_000 - found[ALPHA].balance_minor

    assert [spent(50, 60), spent(50, 90), spent(49, 90), spent(None, 59)] == [70, 7, 0, 0]
    assert (
        replay_differences(state.accounts, balances_at(state.accounts, state.bookings.values()))
        == ()
    )


def test_a_clock_that_goes_back_books_no_earlier_than_what_is_known() -> None:
    state, _ = apply(funded(), (transfer("a"),), 50)
    state, _ = apply(state, (transfer("b"), pending("c", expires_ns=50)), 40)
    assert state.bookings["b"].knowledge_time_ns == 50
    assert "c" not in state.bookings


def test_many_batches_on_one_working_copy_are_the_same_as_applied_one_by_one() -> None:
    state = funded()
    ledger = WorkingLedger(state)
    for number, one in enumerate((*BEFORE, post("late", "held", 3))):
        expected, results = apply(state, (one,), 11 + number)
        assert ledger.submit((one,), 11 + number) == results
        state = expected
    assert ledger.state() == state


def test_the_trial_balance_counts_no_account_twice() -> None:
    rows = trial_balance(prepared().accounts.values())
    assert BROKER not in {row.account_id for row in rows.rows}
    assert {row.currency for row in rows.rows} == {"USD", "EUR"}
    assert rows.differences() == ()
    assert sum(row.debits_posted for row in rows.rows if row.currency == "EUR") == 1_000


ACCOUNT_REFUSALS = {
    AccountOutcome.EXISTS_WITH_DIFFERENT_KIND: Account(
        id=AAPL, kind=AccountKind.ASSET, currency="USD"
    ),
    AccountOutcome.EXISTS_WITH_DIFFERENT_CURRENCY: cash_account(EUROS, "USD"),
    AccountOutcome.EXISTS_WITH_DIFFERENT_LIMIT: Account(
        id=AAPL, kind=AccountKind.TRADING, currency="USD",
        limit=Limit.CREDITS_MUST_NOT_EXCEED_DEBITS,
    ),
    AccountOutcome.EXISTS_WITH_DIFFERENT_PARENT: cash_account(ALPHA, "USD"),
    AccountOutcome.ID_MALFORMED: cash_account("a\nb", "USD"),
    AccountOutcome.CURRENCY_UNKNOWN: cash_account("new", "ZZZ"),
    AccountOutcome.TOTALS_MUST_BE_ZERO: msgspec.structs.replace(
        cash_account("new", "USD"), debits_posted=1
    ),
    AccountOutcome.PARENT_NOT_FOUND: cash_account("new", "USD", parent="nowhere"),
    AccountOutcome.PARENT_IS_VIRTUAL: cash_account("new", "USD", parent=ALPHA),
    AccountOutcome.PARENT_HAS_POSTINGS: cash_account("new", "EUR", parent=EUROS),
    AccountOutcome.PARENT_HAS_DIFFERENT_KIND: Account(
        id="new", kind=AccountKind.EXPENSE, currency="USD", parent=BROKER
    ),
    AccountOutcome.PARENT_HAS_DIFFERENT_CURRENCY: cash_account("new", "EUR", parent=BROKER),
}  # fmt: skip


@pytest.mark.parametrize("outcome", sorted(set(AccountOutcome) - {"ok", "exists"}))
def test_an_account_that_cannot_be_opened_is_not(outcome: AccountOutcome) -> None:
    before = funded()
    after, (result,) = open_accounts(before, (ACCOUNT_REFUSALS[outcome],))
    assert result.outcome is outcome
    assert after == before


def test_the_same_accounts_again_are_there_already() -> None:
    before = prepared()
    after, results = open_accounts(before, ACCOUNTS)
    assert set(outcomes(results)) == {"exists"}
    assert after == before
