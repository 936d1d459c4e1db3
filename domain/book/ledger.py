"""The working copy of a state inside one step: positions, and cash by the ledger of workflow 14."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from contracts.envelope import digest, event_id
from contracts.errors import BookError
from domain.book.market import Fill, Market
from domain.book.rows import AdjustmentRow, CashRow, ReservationRow
from domain.book.state import BookState, PendingOrder, Position, value_minor
from domain.cash_management.accounts import Account
from domain.cash_management.chart import (
    CAPITAL,
    CASH,
    DIVIDEND,
    FEE,
    OVERDRAFT,
    SPECIAL_DIVIDEND,
    account_in,
    account_of,
)
from domain.cash_management.ledger import LedgerState, WorkingLedger
from domain.cash_management.live import fill_id, lacking_minor, overdraft_of
from domain.cash_management.operations import Occasion, release, reserve_order, settle_fill
from domain.cash_management.transfers import (
    Booking,
    Outcome,
    PendingStatus,
    Reservation,
    Transfer,
    TransferKind,
)

_MOVES = frozenset({TransferKind.SINGLE, TransferKind.POST})


def trading_account(instrument_id: str) -> str:
    """Return the account that holds an instrument at what it cost, less what it brought."""
    return f"trading:{instrument_id}"


class Ledger:
    """Cash and positions while a step changes them. Every change of cash is a double entry."""

    def __init__(
        self, state: BookState, market: Market, currency: str, identity: tuple[str, str]
    ) -> None:
        self.session = market.session
        self.currency = currency
        self.cash = account_in(CASH, currency)
        self.capital = account_in(CAPITAL, currency)
        self.special_dividend = account_in(SPECIAL_DIVIDEND, currency)
        self.dividend = account_in(DIVIDEND, currency)
        self.positions = dict(state.positions)
        self.entries: list[CashRow] = []
        self.adjustments: list[AdjustmentRow] = []
        self.reservations: list[ReservationRow] = []
        self._overdraft = account_in(OVERDRAFT, currency)
        self._open_ns, self._close_ns = market.open_ns, market.close_ns
        self._expires_ns = market.next_close_ns
        self._policy_hash, self._logic_version = identity
        self._reserved = {
            order.cl_ord_id: reservation_of(order, self.cash, currency)
            for order in state.pending
            if order.reserved_minor
        }
        self._working = WorkingLedger(_ledger_state(state, currency, self._reserved))

    @property
    def cash_minor(self) -> int:
        """What is in the cash account, reserved or not, less what was overdrawn."""
        return self._open(self.cash).balance_minor - self._open(self._overdraft).balance_minor

    def totals(self) -> dict[str, tuple[int, int, int, int]]:
        """Return every account's debits and credits, posted and pending, by its id."""
        accounts = self._working.state().accounts
        return {name: accounts[name].totals for name in sorted(accounts)}

    def post(
        self, debit: str, credit: str, amount_minor: int, *, cause: str, reference: str
    ) -> None:
        """Enter one movement. A negative amount is the same movement the other way round."""
        if amount_minor == 0:
            return
        if amount_minor < 0:
            debit, credit, amount_minor = credit, debit, -amount_minor
        number = f"{reference}:{cause}:{len(self.entries)}"
        transfer = Transfer(
            id=digest((self.session.isoformat(), number)),
            debit_account=debit,
            credit_account=credit,
            amount_minor=amount_minor,
            currency=self.currency,
            event_time_ns=self._open_ns,
            cause=cause,
            reference=reference,
        )
        self._book((transfer,))

    def fund(self, amount_minor: int, reference: str) -> None:
        """Bring capital in, or pay it out where the amount is negative."""
        self.post(self.cash, self.capital, amount_minor, cause="capital", reference=reference)

    def settle(self, order: PendingOrder, fill: Fill) -> int:
        """Book a fill of an order against its reservation; return the notional, unsigned."""
        amount_minor = value_minor(abs(fill.quantity), fill.price_ticks)
        self._hold(order.instrument_id, fill.quantity, fill.price_ticks)
        reserved = self._reserved.get(order.cl_ord_id)
        pending = reserved or reservation_of(order, self.cash, self.currency)
        at = Occasion(
            id=fill_id(self.session, order.cl_ord_id, fill.exec_id),
            currency=self.currency,
            # Nothing settles before it was reserved, whatever a broker's clock says.
            event_time_ns=max(fill.transact_ns, pending.event_time_ns),
            reference=fill.exec_id,
        )
        legs = settle_fill(
            at,
            reservation=pending,
            left_minor=self._left(pending.id),
            amount_minor=amount_minor,
            fee_minor=max(0, fill.commission_minor),
            cash=self.cash,
        )
        self._book(legs)
        # A rebate is a fee the other way round.
        rebate_minor = max(0, -fill.commission_minor)
        fee = account_in(FEE, self.currency)
        self.post(self.cash, fee, rebate_minor, cause="fee", reference=fill.exec_id)
        return amount_minor

    def release_unneeded(self, orders: Iterable[PendingOrder], fills: Sequence[Fill]) -> None:
        """Void what the fills will not need, before any is booked.

        One order's surplus would otherwise stand in the way of another that costs more than it
        reserved.
        """
        needed: dict[str, int] = {}
        for fill in fills:
            worth_minor = value_minor(abs(fill.quantity), fill.price_ticks)
            needed[fill.cl_ord_id] = needed.get(fill.cl_ord_id, 0) + worth_minor
        for order in orders:
            self._release(order, needed.get(order.cl_ord_id, 0))

    def _release(self, order: PendingOrder, needed_minor: int) -> None:
        """Void all of an order's reservation but what its fills need, and say what became of it."""
        pending = self._reserved.get(order.cl_ord_id)
        if pending is None:
            return
        posted_minor = min(pending.amount_minor, needed_minor)
        rest_minor = pending.amount_minor - posted_minor
        if rest_minor:
            at = Occasion(
                id=digest((self.session.isoformat(), pending.id, "release")),
                currency=self.currency,
                event_time_ns=self._open_ns,
                reference=order.cl_ord_id,
            )
            void = release(at, reservation=pending)[0]
            self._book((msgspec.structs.replace(void, amount_minor=rest_minor),))
        self.reservations.append(
            ReservationRow(
                reservation_id=pending.id,
                session=self.session,
                decision_session=order.decision_session,
                decision_id=order.decision_id,
                cl_ord_id=order.cl_ord_id,
                instrument_id=order.instrument_id,
                side="buy" if order.quantity > 0 else "sell",
                reserved_minor=pending.amount_minor,
                posted_minor=posted_minor,
                released_minor=rest_minor,
                currency=self.currency,
            )
        )

    def reserve(self, orders: Sequence[PendingOrder]) -> tuple[PendingOrder, ...]:
        """Reserve the orders' worth at their arrival prices; return them with what is reserved.

        A buy reserves cash that is there. Where all buys are worth more, because sells of the same
        open are to pay for them, each reserves its share of what there is: the rest is taken when
        the sells have brought it.
        """
        worths = {o.cl_ord_id: value_minor(abs(o.quantity), o.arrival_ticks) for o in orders}
        buys_minor = sum(worths[o.cl_ord_id] for o in orders if o.quantity > 0)
        available_minor = max(0, self._open(self.cash).available_minor)
        reserved = []
        for order in orders:
            amount_minor = worths[order.cl_ord_id]
            if order.quantity > 0 and buys_minor > available_minor:
                amount_minor = amount_minor * available_minor // buys_minor
            with_amount = msgspec.structs.replace(
                order, reserved_minor=amount_minor, reserved_ns=self._close_ns,
                expires_ns=self._expires_ns,
            )  # fmt: skip
            if amount_minor:
                self._book((reservation_of(with_amount, self.cash, self.currency),))
            reserved.append(with_amount)
        return tuple(reserved)

    def repay(self) -> None:
        """Pay an overdraft back as far as the cash reaches."""
        owed_minor = self._open(self._overdraft).balance_minor
        amount_minor = min(owed_minor, max(0, self._open(self.cash).available_minor))
        self.post(
            self._overdraft, self.cash, amount_minor, cause="overdraft_repaid", reference="repaid"
        )

    def adjust(
        self, instrument_id: str, *, cause: str, before: int, after: int, cash_minor: int,
        source: str,
    ) -> None:  # fmt: skip
        """Record a change of a holding that is no trade."""
        self.adjustments.append(
            AdjustmentRow(self.session, instrument_id, cause, before, after, cash_minor, source)
        )

    def _hold(self, instrument_id: str, quantity: int, price_ticks: int) -> None:
        amount_minor = value_minor(quantity, price_ticks)
        held = self.positions.get(instrument_id)
        before = held.quantity if held else 0
        after = before + quantity
        if after < 0:
            raise BookError(
                f"A sale of {-quantity} {instrument_id} from {before} shares.",
                remedy="the book is long only; check the fill against its order",
            )
        basis = held.cost_basis_minor if held else 0
        basis += amount_minor if quantity > 0 else -(basis * -quantity // before)
        if after == 0:
            self.positions.pop(instrument_id, None)
        else:
            self.positions[instrument_id] = Position(after, basis, price_ticks, self.session)

    # The ledger ------------------------------------------------------------------------------

    def _book(self, transfers: Sequence[Transfer]) -> None:
        """Book linked transfers, drawing an overdraft where cash that is not there has left."""
        for transfer in transfers:
            self._open(transfer.debit_account)
            self._open(transfer.credit_account)
        outcomes = self._submit(transfers)
        if Outcome.EXCEEDS_DEBITS in outcomes:
            available_minor = self._open(self.cash).available_minor
            short_minor = lacking_minor(transfers, self.cash, available_minor)
            self._book((overdraft_of(transfers, short_minor, self.currency),))
            outcomes = self._submit(transfers)
        refused = [one for one in outcomes if one is not Outcome.OK]
        if refused:
            first = transfers[0]
            raise BookError(
                f"The ledger refuses {first.cause} {first.reference} of {first.amount_minor} from "
                f"{first.credit_account} to {first.debit_account}: {', '.join(refused)}.",
                remedy="an entry moves value between two accounts, once",
            )
        for transfer in transfers:
            if transfer.kind in _MOVES:
                self._enter(transfer)

    def _submit(self, transfers: Sequence[Transfer]) -> list[Outcome]:
        return [result.outcome for result in self._working.submit(transfers, self._open_ns)]

    def _enter(self, transfer: Transfer) -> None:
        sequence = len(self.entries)
        debit, credit, amount_minor = (
            transfer.debit_account, transfer.credit_account, transfer.amount_minor
        )  # fmt: skip
        identity = event_id(
            event_type="CashMovementPostedEvent",
            key=f"{transfer.reference}:{sequence}",
            session=self.session.isoformat(),
            round_number=0,
            payload=(debit, credit, amount_minor, self.currency, transfer.cause),
            input_digests=[transfer.reference],
            policy_hash=self._policy_hash,
            logic_version=self._logic_version,
        )
        self.entries.append(
            CashRow(
                identity, self.session, sequence, debit, credit, amount_minor, self.currency,
                transfer.cause, transfer.reference,
            )
        )  # fmt: skip

    def _open(self, name: str) -> Account:
        """Return an account as it is now, opened when it was not."""
        found = self._working.account(name)
        if found is None:
            found = account_of(name, self.currency)
            self._working.open_accounts([found])
        return found

    def _left(self, reservation_id: str) -> int:
        found = self._working.reservation(reservation_id)
        return found.left_minor if found is not None else 0


def reservation_of(order: PendingOrder, cash: str, currency: str) -> Transfer:
    """Return the reservation of an order, a pure function of it."""
    at = Occasion(
        id=order.reservation_id,
        currency=currency,
        event_time_ns=order.reserved_ns,
        reference=order.cl_ord_id,
    )
    return reserve_order(
        at,
        cash=cash,
        trading=trading_account(order.instrument_id),
        side="buy" if order.quantity > 0 else "sell",
        amount_minor=order.reserved_minor,
        expires_ns=order.expires_ns,
    )[0]


def _ledger_state(state: BookState, currency: str, reserved: dict[str, Transfer]) -> LedgerState:
    accounts = {
        name: msgspec.structs.replace(
            account_of(name, currency), debits_posted=totals[0], credits_posted=totals[1],
            debits_pending=totals[2], credits_pending=totals[3],
        )
        for name, totals in state.accounts.items()
    }  # fmt: skip
    bookings = {
        pending.id: Booking(number, pending, pending.amount_minor, pending.event_time_ns)
        for number, pending in enumerate(reserved.values(), start=1)
    }
    reservations = {
        pending.id: Reservation(
            pending.id, pending.amount_minor, PendingStatus.OPEN, pending.expires_ns
        )
        for pending in reserved.values()
    }
    return LedgerState(
        accounts=accounts, bookings=bookings, reservations=reservations, sequence=len(bookings)
    )
