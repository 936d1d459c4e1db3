"""Between the book and the live cash ledger: what a hand-off books there, and what follows it."""

from __future__ import annotations

import bisect
import datetime as dt
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence

import msgspec
import polars as pl

from contracts.clock import datetime_ns
from contracts.envelope import cl_ord_id
from contracts.events import CoordinatedTradingDecisionEvent
from domain.book.ledger import reservation_of, trading_account
from domain.book.market import CapitalFlow
from domain.book.state import BookState, PendingOrder, price_ticks, value_minor
from domain.cash_management.accounts import Account
from domain.cash_management.balances import EFFECTS
from domain.cash_management.chart import CASH, FEE, OVERDRAFT, account_in, account_of
from domain.cash_management.live import GRACE_NS, Report, entry_id, opening_transfers
from domain.cash_management.transfers import Booking, Transfer, TransferKind
from domain.market_data.sessions import SessionTimes

CAPITAL_CAUSES = frozenset({"deposit", "withdrawal"})
# What the ledger learns from execution's reports, and not from the book.
_FROM_REPORTS = frozenset({"trade", "fee", "capital", "overdraft", "overdraft_repaid"})
# What an entry of the book says, besides its session.
_SAID = ("cause", "reference", "debit", "credit", "amount_minor", "currency")


class HandoffCash(msgspec.Struct, frozen=True):
    """Accounts to open, transfers to book, and the cash reserved for each decision by its id."""

    accounts: tuple[Account, ...]
    transfers: tuple[Transfer, ...]
    reserved_minor: dict[str, int]


def handoff_cash(
    book: str,
    went_live: BookState,
    went_live_ns: int,
    current: BookState,
    decisions: Collection[str],
    currency: str,
    withheld_minor: int = 0,
) -> HandoffCash:
    """Return what the ledger books with a hand-off.

    Parameters
    ----------
    book : str
        The book's name.
    went_live : BookState
        The frozen state of its first hand-off; this one where it is the first.
    went_live_ns : int
        The close of that state's session, UTC.
    current : BookState
        The state whose pending orders are handed off now.
    decisions : collection of str
        Ids of the decisions that are.
    currency : str
        ISO 4217.
    withheld_minor : int
        Cash that the book counts and the ledger does not give, see ``withheld``: buys reserve their
        shares of the rest, as they do of what there is.
    """
    accounts, opening = opening_transfers(book, went_live.accounts, currency, went_live_ns)
    cash = account_in(CASH, currency)
    posted = current.accounts.get(cash, (0, 0, 0, 0))
    room_minor = max(0, posted[0] - posted[1] - withheld_minor)
    pending = _within(current.pending, room_minor) if withheld_minor else current.pending
    orders = [order for order in pending if order.decision_id in decisions]
    reserved = [_lasting(order, cash, currency) for order in orders if order.reserved_minor]
    traded = [account_of(trading_account(order.instrument_id), currency) for order in orders]
    beside = [account_of(account_in(name, currency), currency) for name in (CASH, FEE, OVERDRAFT)]
    by_id = {one.id: one for one in (*accounts, *beside, *traded)}
    return HandoffCash(
        accounts=tuple(by_id.values()),
        transfers=(*opening, *reserved),
        reserved_minor={order.decision_id: order.reserved_minor for order in orders},
    )


def _within(pending: Sequence[PendingOrder], room_minor: int) -> list[PendingOrder]:
    buys_minor = sum(order.reserved_minor for order in pending if order.quantity > 0)
    if buys_minor <= room_minor:
        return list(pending)
    return [
        msgspec.structs.replace(
            order, reserved_minor=order.reserved_minor * room_minor // buys_minor
        )
        if order.quantity > 0
        else order
        for order in pending
    ]


def withheld(bookings: Iterable[Booking], currency: str, after_ns: int) -> int:
    """Return what withdrawals keep from orders that a book of an earlier close still counts on.

    Parameters
    ----------
    bookings : iterable of Booking
        The live ledger's.
    currency : str
        ISO 4217.
    after_ns : int
        The book's close, UTC: what is paid with effect from later on has not left it yet.
    """
    cash, asked, withheld_minor = account_in(CASH, currency), set(), 0
    for booking in bookings:
        transfer = booking.transfer
        is_pending = transfer.kind is TransferKind.PENDING
        if is_pending and transfer.cause == "withdrawal" and transfer.credit_account == cash:
            asked.add(transfer.id)
            withheld_minor += booking.moved_minor
        elif transfer.pending_id in asked:
            is_paid = transfer.kind is TransferKind.POST
            if not (is_paid and transfer.event_time_ns > after_ns):
                withheld_minor -= booking.moved_minor
    return withheld_minor


def _lasting(order: PendingOrder, cash: str, currency: str) -> Transfer:
    """Return an order's reservation as the live ledger keeps it, until reports have had time."""
    lasting = msgspec.structs.replace(order, expires_ns=order.expires_ns + GRACE_NS)
    return reservation_of(lasting, cash, currency)


def reservations_of(
    issued: Iterable[CoordinatedTradingDecisionEvent],
    bookings: Mapping[str, Booking],
    currency: str,
) -> dict[str, Transfer]:
    """Return the reservation of each issued order by its ClOrdID.

    One for which nothing could be reserved has an amount of zero.
    """
    cash = account_in(CASH, currency)
    found = {}
    for event in issued:
        booked = bookings.get(event.cash_reservation_id)
        name = cl_ord_id(event.envelope.event_id)
        found[name] = booked.transfer if booked else reservation_of(_order(event), cash, currency)
    return found


def _order(event: CoordinatedTradingDecisionEvent) -> PendingOrder:
    return PendingOrder(
        cl_ord_id=cl_ord_id(event.envelope.event_id),
        decision_id=event.envelope.event_id,
        decision_session=event.session,
        instrument_id=event.instrument_id,
        quantity=event.delta_qty,
        arrival_ticks=price_ticks(float(event.arrival_price)),
        reservation_id=event.cash_reservation_id,
    )


def reports_of(venue_reports: pl.DataFrame) -> list[Report]:
    """Return the rows of ``trade_execution/venue_reports`` in the journal's order."""
    found = []
    for row in venue_reports.sort("segment", "record_offset").iter_rows(named=True):
        quantity, price = row["last_qty"], row["last_px"]
        is_priced = quantity is not None and price is not None
        found.append(
            Report(
                session=row["session"],
                broker=row["broker"] or "",
                kind=row["kind"],
                exec_type=row["exec_type"] or "",
                cl_ord_id=row["cl_ord_id"],
                exec_id=row["exec_id"],
                exec_ref_id=row["exec_ref_id"] or "",
                amount_minor=value_minor(quantity, price_ticks(price)) if is_priced else None,
                commission_minor=row["commission_minor"] or 0,
                leaves_qty=row["leaves_qty"],
                transact_ns=datetime_ns(row["transact_time"]) if row["transact_time"] else 0,
            )
        )
    return found


def other_entries(
    cash_entries: pl.DataFrame, went_live: dt.date, opens_ns: Mapping[dt.date, int]
) -> tuple[tuple[Account, ...], tuple[Transfer, ...]]:
    """Return what the book booked since it went live that no report tells of: corporate actions.

    Parameters
    ----------
    cash_entries : pl.DataFrame
        ``cash_management/cash_entries``. An entry's id there depends on what else its session
        holds, and on the policy; here it is what the entry says, and which one of its kind it is.
    went_live : date
        The session of the frozen state: what came before is in its balances.
    opens_ns : mapping of date to int
        The open of each session, UTC: when an entry takes effect.
    """
    rows = cash_entries.filter(
        (pl.col("session") > went_live) & ~pl.col("cause").is_in(list(_FROM_REPORTS))
    ).sort("session", "sequence")
    accounts: dict[str, Account] = {}
    transfers = []
    seen: Counter[tuple[object, ...]] = Counter()
    for row in rows.iter_rows(named=True):
        for name in (row["debit"], row["credit"]):
            accounts[name] = account_of(name, row["currency"])
        said = (row["session"].isoformat(), *(row[name] for name in _SAID))
        seen[said] += 1
        transfers.append(
            Transfer(
                id=entry_id((*said, seen[said])),
                debit_account=row["debit"],
                credit_account=row["credit"],
                amount_minor=row["amount_minor"],
                currency=row["currency"],
                event_time_ns=opens_ns[row["session"]],
                cause=row["cause"],
                reference=row["reference"],
            )
        )
    return tuple(accounts.values()), tuple(transfers)


def capital_flows(
    bookings: Iterable[Booking], times: Sequence[SessionTimes], currency: str
) -> dict[dt.date, tuple[CapitalFlow, ...]]:
    """Return the deposits and withdrawals of the live ledger, by the session that they count from.

    Parameters
    ----------
    bookings : iterable of Booking
        The live ledger's; what is only reserved has not moved.
    times : sequence of SessionTimes
        Every exchange session, ascending: a flow counts from the first open at or after it.
    currency : str
        The book's, ISO 4217.
    """
    cash, opens = account_in(CASH, currency), [entry.open_ns for entry in times]
    found: dict[dt.date, list[CapitalFlow]] = {}
    for booking in bookings:
        transfer = booking.transfer
        amount_minor = EFFECTS[transfer.kind][0] * booking.moved_minor
        sign = (transfer.debit_account == cash) - (transfer.credit_account == cash)
        if transfer.cause not in CAPITAL_CAUSES or not amount_minor or not sign:
            continue
        index = bisect.bisect_left(opens, transfer.event_time_ns)
        if index < len(times):
            flow = CapitalFlow(transfer.id, sign * amount_minor)
            found.setdefault(times[index].session, []).append(flow)
    return {session: tuple(flows) for session, flows in found.items()}
