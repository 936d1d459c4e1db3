"""The live cash ledger: what is booked when a book goes live, orders, and is filled.

Everything here follows from facts that are kept for good (the frozen state, the decisions, the
reports in their order), so that booking all of it again books nothing twice.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from contracts.clock import NS_PER_S
from contracts.envelope import digest
from domain.cash_management.accounts import Account, Totals
from domain.cash_management.chart import CASH, FEE, OPENING, OVERDRAFT, account_in, account_of
from domain.cash_management.operations import Occasion, release, settle_fill
from domain.cash_management.transfers import Booking, Transfer, TransferKind

# Ids of a fill's legs begin with this much of a digest, and add which leg they are.
FILL_ID_CHARS = 40
# Ids of what the book says besides its trades begin so; what is booked again has a number.
ENTRY_PREFIX = "entry:"
_AGAIN = "#"
# A reservation whose order nobody ever reports on lapses; a report may be days late.
GRACE_NS = 7 * 24 * 3_600 * NS_PER_S
_MOVES = frozenset({TransferKind.SINGLE, TransferKind.POST})
FILL, BUST, CORRECTED = "fill", "bust", "G"
# Reports after which nothing more happens to an order, whoever ended it: the broker, the risk gate
# that refused it, or a person who found out what became of it.
ENDS = frozenset({"rejected", "canceled", "expired", "refused", "unreached", "resolved"})


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """One report of execution, as far as cash is concerned; amounts in minor units.

    ``amount_minor`` is the execution's notional and ``leaves_qty`` what it leaves of its order;
    None where the report is no execution.
    """

    session: dt.date
    broker: str
    kind: str
    exec_type: str
    cl_ord_id: str
    exec_id: str
    exec_ref_id: str
    amount_minor: int | None = None
    commission_minor: int = 0
    leaves_qty: int | None = None
    transact_ns: int = 0

    @property
    def is_execution(self) -> bool:
        """Whether it moves cash: a fill, or the correction that stands in another's place."""
        return self.kind == FILL or self.exec_type == CORRECTED


def fill_id(session: dt.date, cl_ord_id: str, exec_id: str) -> str:
    """Return the id that the transfers of one execution begin with."""
    return digest((session.isoformat(), cl_ord_id, exec_id))[:FILL_ID_CHARS]


def entry_id(said: tuple[object, ...]) -> str:
    """Return the id of an entry of the book in the live ledger; see ``restated``."""
    return ENTRY_PREFIX + digest(said)[:FILL_ID_CHARS]


def restated(
    entries: Iterable[Transfer], bookings: Iterable[Booking], until_ns: int
) -> tuple[tuple[Transfer, ...], ...]:
    """Return what brings the entries that the ledger holds to those that the book has now.

    History may change after an entry was booked: a corporate action is corrected, or a late report
    changes what was held. What the book does not say any more is taken back, what it says anew is
    booked; both as groups for the ledger.

    Parameters
    ----------
    entries : iterable of Transfer
        The book's, each with an ``entry_id``.
    bookings : iterable of Booking
        The live ledger's.
    until_ns : int
        The entries speak of what took effect up to then, UTC; what came later stays.
    """
    wanted = {one.id: one for one in entries}
    standing: dict[str, Transfer] = {}
    times: dict[str, int] = {}
    for booking in bookings:
        transfer = booking.transfer
        if transfer.id.startswith(ENTRY_PREFIX):
            name = transfer.id.split(_AGAIN)[0]
            if transfer.reverses:
                standing.pop(name, None)
            else:
                standing[name] = transfer
                times[name] = times.get(name, 0) + 1
    groups = [
        (_entry_taken_back(one),)
        for name, one in standing.items()
        if name not in wanted and one.event_time_ns <= until_ns
    ]
    for name, entry in wanted.items():
        if name not in standing:
            again = f"{_AGAIN}{times[name]}" if name in times else ""
            groups.append((msgspec.structs.replace(entry, id=f"{name}{again}"),))
    return tuple(groups)


def _entry_taken_back(booked: Transfer) -> Transfer:
    return msgspec.structs.replace(
        booked,
        id=f"{booked.id}{_AGAIN}undone",
        debit_account=booked.credit_account,
        credit_account=booked.debit_account,
        cause="restated",
        reverses=booked.id,
    )


def opening_transfers(
    book: str, totals: Mapping[str, Totals], currency: str, at_ns: int
) -> tuple[tuple[Account, ...], tuple[Transfer, ...]]:
    """Return the accounts of a book that goes live, and what brings each to its balance.

    Parameters
    ----------
    book : str
        Its name; the transfers' ids depend on it.
    totals : mapping of str to Totals
        The book's accounts in its frozen state. What they reserve is booked with the orders.
    currency : str
        ISO 4217.
    at_ns : int
        The close of the frozen state's session, UTC.
    """
    opening = account_in(OPENING, currency)
    accounts = [account_of(name, currency) for name in (opening, *sorted(totals))]
    transfers = []
    for name in sorted(totals):
        debits, credits_, *_ = totals[name]
        net_minor = debits - credits_
        if net_minor:
            debit, credit = (name, opening) if net_minor > 0 else (opening, name)
            transfers.append(
                Transfer(
                    id=digest(("opening", book, name)),
                    debit_account=debit,
                    credit_account=credit,
                    amount_minor=abs(net_minor),
                    currency=currency,
                    event_time_ns=at_ns,
                    cause="opening",
                    reference=book,
                )
            )
    return tuple(accounts), tuple(transfers)


def settlements(
    reports: Iterable[Report], reservations: Mapping[str, Transfer], currency: str
) -> tuple[tuple[Transfer, ...], ...]:
    """Return what reports move, as groups of transfers that are booked wholly or not at all.

    Parameters
    ----------
    reports : iterable of Report
        All of them, in the journal's order: what is left of a reservation depends on what came
        before.
    reservations : mapping of str to Transfer
        The reservation of each order by its ClOrdID, as the ledger booked it, or one of zero where
        nothing could be reserved.
    currency : str
        ISO 4217.

    Returns
    -------
    tuple of tuples of Transfer
        In order. An execution of an order without a reservation is left out: it was none of ours,
        and the book refuses it.
    """
    left = {cl_ord_id: one.amount_minor for cl_ord_id, one in reservations.items()}
    legs_of: dict[tuple[str, dt.date, str], tuple[Transfer, ...]] = {}
    groups: list[tuple[Transfer, ...]] = []
    for report in reports:
        reservation = reservations.get(report.cl_ord_id)
        if reservation is None:
            continue
        name = report.cl_ord_id
        if report.kind == BUST and report.exec_ref_id:
            taken = legs_of.pop((report.broker, report.session, report.exec_ref_id), ())
            groups.append(_taken_back(taken, report))
        if report.is_execution and report.amount_minor is not None:
            legs = _legs(report, reservation, left[name], currency)
            left[name] -= min(left[name], report.amount_minor)
            legs_of[report.broker, report.session, report.exec_id] = legs
            groups.append(legs)
        if report.kind in ENDS or report.leaves_qty == 0:
            groups.append(_released(reservation, left[name], currency, report))
            left[name] = 0
    return tuple(group for group in groups if group)


def _legs(
    report: Report, reservation: Transfer, left_minor: int, currency: str
) -> tuple[Transfer, ...]:
    cash = account_in(CASH, currency)
    at = Occasion(
        id=fill_id(report.session, report.cl_ord_id, report.exec_id),
        currency=currency,
        # Nothing settles before it was reserved, whatever a broker's clock says.
        event_time_ns=max(report.transact_ns, reservation.event_time_ns),
        reference=report.exec_id,
    )
    legs = settle_fill(
        at,
        reservation=reservation,
        left_minor=left_minor,
        amount_minor=report.amount_minor or 0,
        fee_minor=max(0, report.commission_minor),
        cash=cash,
    )
    if report.commission_minor >= 0:
        return legs
    # A rebate is a fee the other way round.
    rebate = Transfer(
        id=f"{at.id}:rebate",
        debit_account=cash,
        credit_account=account_in(FEE, currency),
        amount_minor=-report.commission_minor,
        currency=currency,
        event_time_ns=at.event_time_ns,
        cause="fee",
        reference=at.reference,
    )
    return linked((*legs, rebate))


def linked(legs: Sequence[Transfer]) -> tuple[Transfer, ...]:
    """Return transfers as one group; a single one needs no link."""
    if len(legs) < 2:
        return tuple(legs)
    return tuple(msgspec.structs.replace(leg, link=legs[0].id) for leg in legs)


def _taken_back(legs: Sequence[Transfer], report: Report) -> tuple[Transfer, ...]:
    return linked(
        [
            Transfer(
                id=f"{leg.id}:bust",
                debit_account=leg.credit_account,
                credit_account=leg.debit_account,
                amount_minor=leg.amount_minor,
                currency=leg.currency,
                event_time_ns=leg.event_time_ns,
                cause="reversal",
                reference=report.exec_id,
                reverses=leg.id,
            )
            for leg in legs
        ]
    )


def _released(
    reservation: Transfer, left_minor: int, currency: str, report: Report
) -> tuple[Transfer, ...]:
    if not left_minor:
        return ()
    at = Occasion(
        id=digest((reservation.id, "release")),
        currency=currency,
        event_time_ns=max(report.transact_ns, reservation.event_time_ns),
        reference=report.cl_ord_id,
    )
    void = release(at, reservation=reservation)[0]
    return (msgspec.structs.replace(void, amount_minor=left_minor),)


def lacking_minor(transfers: Iterable[Transfer], cash: str, available_minor: int) -> int:
    """Return by how much transfers would overdraw a cash account; zero or less when they do not.

    They are booked one after the other: what counts is the lowest that the cash falls to on the
    way. What settles a buy's reservation takes nothing that is available: it was set aside before.
    """
    left_minor = lowest_minor = available_minor
    for one in transfers:
        if one.debit_account == cash and one.kind in _MOVES:
            left_minor += one.amount_minor
        elif one.credit_account == cash and one.kind is TransferKind.SINGLE:
            left_minor -= one.amount_minor
        lowest_minor = min(lowest_minor, left_minor)
    return -lowest_minor


def overdraft_of(group: Sequence[Transfer], amount_minor: int, currency: str) -> Transfer:
    """Return the overdraft that lets a group be booked whose cash is not there.

    What happened has to be booked; it shows as what it is, money of somebody else.
    """
    first = group[0]
    return Transfer(
        id=digest(("overdraft", first.id)),
        debit_account=account_in(CASH, currency),
        credit_account=account_in(OVERDRAFT, currency),
        amount_minor=amount_minor,
        currency=currency,
        event_time_ns=first.event_time_ns,
        cause="overdraft",
        reference=first.reference,
    )


def repayment_of(overdraft: Account, available_minor: int, at_ns: int) -> Transfer | None:
    """Return what pays an overdraft back as far as cash reaches; None when there is nothing to.

    Its id follows from what was paid back before.
    """
    amount_minor = min(overdraft.balance_minor, available_minor)
    if amount_minor <= 0:
        return None
    return Transfer(
        id=digest(("overdraft_repaid", overdraft.id, overdraft.debits_posted)),
        debit_account=overdraft.id,
        credit_account=account_in(CASH, overdraft.currency),
        amount_minor=amount_minor,
        currency=overdraft.currency,
        event_time_ns=at_ns,
        cause="overdraft_repaid",
        reference="repaid",
    )


def late(group: Sequence[Transfer]) -> tuple[Transfer, ...]:
    """Return a group for after its reservation has ended: what was to be posted moves by itself.

    The ids stay, so that a bust finds what it takes back. A release needs nothing any more.
    """
    legs = [
        msgspec.structs.replace(leg, kind=TransferKind.SINGLE, pending_id="", link="")
        for leg in group
        if leg.kind is not TransferKind.VOID
    ]
    return linked(legs)
