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
from domain.cash_management.transfers import Transfer, TransferKind

# Ids of a fill's legs begin with this much of a digest, and add which leg they are.
FILL_ID_CHARS = 40
# A reservation whose order nobody ever reports on lapses; a report may be days late.
GRACE_NS = 7 * 24 * 3_600 * NS_PER_S
FILL, BUST, CORRECTED = "fill", "bust", "G"
ENDS = frozenset({"rejected", "canceled", "expired"})


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

    What settles a reservation takes nothing that is available: it was set aside before.
    """
    leaving_minor = sum(
        one.amount_minor * ((one.credit_account == cash) - (one.debit_account == cash))
        for one in transfers
        if one.kind is TransferKind.SINGLE
    )
    return leaving_minor - available_minor


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


def late(group: Sequence[Transfer]) -> tuple[Transfer, ...]:
    """Return a group for after its reservation has lapsed: what was to be posted moves by itself.

    A release needs nothing any more.
    """
    legs = [
        msgspec.structs.replace(
            leg, id=f"{leg.id}:late", kind=TransferKind.SINGLE, pending_id="", link=""
        )
        for leg in group
        if leg.kind is not TransferKind.VOID
    ]
    return linked(legs)
