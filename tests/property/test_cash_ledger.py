"""The ledger against a model that is too simple to be wrong: a list, summed anew each time."""

import copy
import itertools
from collections.abc import Sequence

import msgspec
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from domain.cash_management.accounts import Limit
from domain.cash_management.balances import (
    balances_at,
    replay_differences,
    sub_ledger_differences,
    trial_balance,
)
from domain.cash_management.ledger import LedgerState, apply, open_accounts
from domain.cash_management.transfers import Transfer, TransferKind
from tests.unit.ledger_cases import (
    AAPL,
    ACCOUNTS,
    ALPHA,
    BETA,
    BROKER,
    CAPITAL,
    EUROS,
    LOAN,
    funding,
)

IDS = [f"t{number}" for number in range(14)]
USD = [ALPHA, BETA, LOAN, AAPL, CAPITAL]
BY_ID = {account.id: account for account in ACCOUNTS}
MOVES, SETTLES = ("single", "pending"), ("post", "void")


class Model:
    """What was booked, as (kind, debit, credit, amount, pending id) by id, in order."""

    def __init__(self) -> None:
        self.booked: dict[str, tuple[Transfer, int]] = {}
        self.ended: dict[str, int] = {}
        self.now_ns = 0

    def totals(self, account: str) -> list[int]:
        """Debits and credits posted, debits and credits pending, counted from the start."""
        mine = {account} | {id_ for id_, one in BY_ID.items() if one.parent == account}
        found = [0, 0, 0, 0]
        for one, amount in self.booked.values():
            for side, id_ in enumerate((one.debit_account, one.credit_account)):
                if id_ in mine:
                    found[side] += amount if one.kind in {"single", "post"} else 0
                    found[side + 2] += amount if one.kind == "pending" else 0
                    found[side + 2] -= amount if one.pending_id else 0
        return found

    def left(self, pending_id: str) -> int:
        one = self.booked.get(pending_id)
        if one is None or one[0].kind != "pending":
            return 0
        return one[1] - sum(
            amount for other, amount in self.booked.values() if other.pending_id == pending_id
        )

    def holds(self) -> bool:
        """Tell whether every limit is kept, of real accounts too."""
        for id_, account in BY_ID.items():
            dr, cr, dr_pending, cr_pending = self.totals(id_)
            if account.limit is Limit.DEBITS_MUST_NOT_EXCEED_CREDITS and dr + dr_pending > cr:
                return False
            if account.limit is Limit.CREDITS_MUST_NOT_EXCEED_DEBITS and cr + cr_pending > dr:
                return False
        return True

    def expire(self, now_ns: int) -> None:
        self.now_ns = now_ns
        for id_, (one, _) in list(self.booked.items()):
            left = self.left(id_)
            if left and 0 < one.expires_ns <= now_ns:
                lapse = msgspec.structs.replace(one, kind=TransferKind.EXPIRY, pending_id=id_)
                self.booked[f"expiry:{id_}"] = (lapse, left)

    def submit(self, one: Transfer) -> str:
        if one.id in self.booked:
            return "exists" if self.booked[one.id][0] == one else "refused"
        if one.kind in SETTLES:
            amount = one.amount_minor or self.left(one.pending_id)
            pending = self.booked.get(one.pending_id, (None,))[0]
            fits = 0 < amount <= self.left(one.pending_id) and (
                (one.debit_account, one.credit_account, one.currency)
                == (pending.debit_account, pending.credit_account, pending.currency)
                and one.event_time_ns >= pending.event_time_ns
            )
        else:
            amount = one.amount_minor
            sides = [BY_ID.get(one.debit_account), BY_ID.get(one.credit_account)]
            fits = (
                amount > 0
                and None not in sides
                and one.debit_account != one.credit_account
                and {side.currency for side in sides} == {one.currency}
                and not any(side.id == BROKER for side in sides)
                and (one.expires_ns == 0 or one.expires_ns > self.now_ns)
                and self.may_reverse(one)
            )
        if not fits or (one.expires_ns and one.kind != "pending"):
            return "refused"
        if one.pending_id and one.kind in MOVES:
            return "refused"
        self.booked[one.id] = (one, amount)
        if not self.holds():
            del self.booked[one.id]
            return "refused"
        return "ok"

    def may_reverse(self, one: Transfer) -> bool:
        if not one.reverses:
            return True
        original, amount = self.booked.get(one.reverses, (None, 0))
        again = any(other.reverses == one.reverses for other, _ in self.booked.values())
        return (
            one.kind == "single"
            and original is not None
            and original.kind in {"single", "post"}
            and (original.credit_account, original.debit_account, amount)
            == (one.debit_account, one.credit_account, one.amount_minor)
            and not again
        )

    def submit_group(self, group: list[Transfer]) -> list[str]:
        before = copy.copy(self.booked)
        found = [self.submit(one) for one in group]
        if set(found) == {"ok"} or set(found) == {"exists"}:
            return found
        self.booked = before
        return ["refused"] * len(group)


@st.composite
def transfers(draw: st.DrawFn) -> Transfer:
    """Draw a transfer; most are near enough to a ledger's contents to be booked now and then."""
    kind = draw(st.sampled_from([*MOVES, "single", *SETTLES, "post"]))
    settles = kind in SETTLES
    odd = draw(st.integers(0, 9)) == 0
    debit, credit = draw(st.sampled_from([
        (ALPHA, CAPITAL), (ALPHA, CAPITAL), (AAPL, ALPHA), (AAPL, BETA), (BETA, ALPHA),
        (ALPHA, LOAN), (LOAN, BETA), (CAPITAL, BETA), (AAPL, BROKER), (ALPHA, EUROS),
        (EUROS, "equity:capital:EUR"), ("nowhere", ALPHA), (ALPHA, ALPHA),
    ]))  # fmt: skip
    return Transfer(
        id=draw(st.sampled_from(IDS)),
        debit_account=debit,
        credit_account=credit,
        amount_minor=draw(st.integers(0 if settles or odd else 1, 600)),
        currency="EUR" if debit == EUROS else "USD",
        event_time_ns=draw(st.integers(0, 4)),
        cause="any",
        kind=TransferKind(kind),
        pending_id=draw(st.sampled_from(IDS)) if settles or odd else "",
        expires_ns=draw(st.sampled_from([0, 0, 2, 5, 9])) if kind == "pending" or odd else 0,
    )


units = st.lists(transfers(), min_size=1, max_size=3, unique_by=lambda one: one.id)


class LedgerMachine(RuleBasedStateMachine):
    """Any batches at any times: outcomes, totals and proofs are those of the model."""

    @initialize()
    def opened(self) -> None:
        self.state, _ = open_accounts(LedgerState(), ACCOUNTS)
        self.model = Model()
        self.now_ns = 1
        self.ids = itertools.count(1)
        self.one_by_one(funding())

    def fresh(self) -> str:
        return f"new{next(self.ids)}"

    def submit(self, batch: Sequence[Transfer], expected: list[str]) -> None:
        self.state, results = apply(self.state, batch, self.now_ns)
        found = [one.outcome if one.is_booked else "refused" for one in results]
        assert found == expected, results

    @rule(batch=st.lists(transfers(), max_size=4))
    def one_by_one(self, batch: Sequence[Transfer]) -> None:
        self.model.expire(self.now_ns)
        self.submit(batch, [self.model.submit(one) for one in batch])

    @rule(group=units)
    def all_or_none(self, group: list[Transfer]) -> None:
        group = [msgspec.structs.replace(one, link=group[0].id) for one in group]
        self.model.expire(self.now_ns)
        self.submit(group, self.model.submit_group(group))

    @rule(one=transfers(), later=st.integers(1, 4), grouped=st.booleans())
    def reserve(self, one: Transfer, later: int, *, grouped: bool) -> None:
        one = msgspec.structs.replace(
            one, id=self.fresh(), kind=TransferKind.PENDING, expires_ns=self.now_ns + later,
            pending_id="", event_time_ns=0,
        )  # fmt: skip
        (self.all_or_none if grouped else self.one_by_one)([one])

    @rule(
        data=st.data(), drawn=st.lists(transfers(), min_size=1, max_size=3), grouped=st.booleans()
    )
    def settle(self, data: st.DataObject, drawn: list[Transfer], *, grouped: bool) -> None:
        open_ = sorted(id_ for id_ in self.model.booked if self.model.left(id_))
        batch = []
        for one in drawn if open_ else []:
            pending = self.model.booked[data.draw(st.sampled_from(open_))][0]
            settling = msgspec.structs.replace(
                one, id=self.fresh(), debit_account=pending.debit_account,
                credit_account=pending.credit_account, currency=pending.currency,
                pending_id=pending.id, kind=TransferKind(data.draw(st.sampled_from(SETTLES))),
                expires_ns=0, amount_minor=one.amount_minor // 4, event_time_ns=4,
            )  # fmt: skip
            batch.append(settling)
        if batch:
            (self.all_or_none if grouped else self.one_by_one)(batch)

    @rule(data=st.data())
    def resubmit_or_reverse(self, data: st.DataObject) -> None:
        if self.model.booked:
            id_ = data.draw(st.sampled_from(sorted(self.model.booked)))
            one, amount = self.model.booked[id_]
            if one.kind != "expiry" and not one.link and data.draw(st.booleans()):
                self.one_by_one([one])
            undo = Transfer(
                id=self.fresh(), debit_account=one.credit_account,
                credit_account=one.debit_account, amount_minor=amount, currency=one.currency,
                event_time_ns=1, cause="reversal", reverses=id_,
            )  # fmt: skip
            self.one_by_one([undo])

    @rule(later=st.integers(1, 3))
    def time_passes(self, later: int) -> None:
        self.now_ns += later

    @invariant()
    def totals_are_the_models(self) -> None:
        for id_, account in self.state.accounts.items():
            assert list(account.totals) == self.model.totals(id_), id_
            if account.limit is not Limit.NONE:
                assert account.available_minor >= 0
            assert min(account.totals) >= 0

    @invariant()
    def it_adds_up(self) -> None:
        accounts, bookings = self.state.accounts, self.state.bookings
        assert trial_balance(accounts.values()).differences() == ()
        assert sub_ledger_differences(accounts) == ()
        assert replay_differences(accounts, balances_at(accounts, bookings.values())) == ()
        order = [one.sequence for one in bookings.values()]
        assert order == list(range(1, len(order) + 1))
        for at_ns in range(5):
            then = balances_at(accounts, bookings.values(), as_of_ns=at_ns)
            assert all(min(one.totals) >= 0 for one in then.values())

    def teardown(self) -> None:
        if not hasattr(self, "state"):
            return
        # The bookings alone, submitted again at their times, give the same ledger.
        again, _ = open_accounts(LedgerState(), ACCOUNTS)
        bookings = self.state.bookings.values()
        for _, group in itertools.groupby(bookings, lambda one: one.transfer.link or one.sequence):
            booked = list(group)
            asked = [one.transfer for one in booked if one.transfer.kind != "expiry"]
            again, results = apply(again, asked, booked[0].knowledge_time_ns)
            assert {one.outcome for one in results} <= {"ok"}
        again, _ = apply(again, (), self.now_ns)
        ended, _ = apply(self.state, (), self.now_ns)
        assert again == ended


TestLedger = LedgerMachine.TestCase
TestLedger.settings = settings(max_examples=250, stateful_step_count=40, deadline=None)
