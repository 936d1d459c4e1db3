"""When trades settle, and how much cash is there until they have.

Which calendar: settlement counts the exchange's sessions, which the caller passes in. The clearing
houses' calendars differ from it on a few days: on Columbus Day and Veterans Day the NYSE trades
while Fedwire, and so DTC's money settlement, is closed. Sessions are the default because the venue
states its settlement dates by them (tag 64) and they are the only calendar that every part of the
platform shares. A desk whose custodian moves no cash on those days passes them as ``closed``;
without that, an expected date is early by one day around them, which the date window of
``matching.Tolerance`` covers.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Iterable, Mapping, Sequence

import msgspec

from contracts.errors import SettlementError


class SettlementCycle(msgspec.Struct, frozen=True):
    """From a first trade date on, trades settle ``lag_sessions`` sessions after it."""

    first_trade_date: dt.date
    lag_sessions: int
    source: str


# By market, oldest first. A market is a country's exchanges that share one rule.
SETTLEMENT_CYCLES: Mapping[str, tuple[SettlementCycle, ...]] = {
    "US": (
        SettlementCycle(dt.date.min, 5, "custom before SEC Rule 15c6-1"),
        SettlementCycle(dt.date(1995, 6, 7), 3, "SEC release 34-33023, Rule 15c6-1"),
        SettlementCycle(dt.date(2017, 9, 5), 2, "SEC release 34-80295"),
        SettlementCycle(dt.date(2024, 5, 28), 1, "SEC release 34-96930"),
    ),
    "CA": (
        SettlementCycle(dt.date(1995, 6, 7), 3, "CDS"),
        SettlementCycle(dt.date(2017, 9, 5), 2, "CSA, NI 24-101"),
        SettlementCycle(dt.date(2024, 5, 27), 1, "CSA, NI 24-101"),
    ),
    "EU": (
        SettlementCycle(dt.date(2001, 1, 1), 3, "custom before CSDR"),
        SettlementCycle(dt.date(2014, 10, 6), 2, "Regulation (EU) 909/2014, Article 5"),
    ),
    "GB": (
        SettlementCycle(dt.date(2001, 2, 5), 3, "CREST"),
        SettlementCycle(dt.date(2014, 10, 6), 2, "UK CSDR, Article 5"),
    ),
}


class OpenSettlement(msgspec.Struct, frozen=True):
    """A trade's cash that has not moved yet; ``amount_minor`` is positive when cash comes in."""

    settlement_id: str
    account: str
    currency: str
    trade_date: dt.date
    settlement_date: dt.date
    amount_minor: int


class Rung(msgspec.Struct, frozen=True):
    """One settlement date of one account and currency: what comes in and what goes out.

    ``overdue`` marks a date that has passed: these settlements failed or were not confirmed.
    """

    account: str
    currency: str
    settlement_date: dt.date
    in_minor: int
    out_minor: int
    settlements: int
    overdue: bool


class CashPosition(msgspec.Struct, frozen=True):
    """An account's cash in one currency, three ways, in minor units.

    ``settled_minor`` is what the bank has; ``available_minor`` is that less what is promised (open
    purchases and reservations; proceeds that have not settled cannot be spent); ``projected_minor``
    is what will be there when everything open has settled.
    """

    account: str
    currency: str
    settled_minor: int
    available_minor: int
    projected_minor: int


def settlement_lag(market: str, trade_date: dt.date) -> int:
    """Return how many sessions after its trade date a trade settles.

    Raises
    ------
    SettlementError
        For a market, or a time, whose rule is not in ``SETTLEMENT_CYCLES``.
    """
    cycles = SETTLEMENT_CYCLES.get(market, ())
    for cycle in reversed(cycles):
        if trade_date >= cycle.first_trade_date:
            return cycle.lag_sessions
    raise SettlementError(
        f"No settlement cycle is known for market {market!r} on {trade_date}.",
        remedy=f"add it to SETTLEMENT_CYCLES; known markets are {sorted(SETTLEMENT_CYCLES)}",
    )


def settlement_date(
    market: str, sessions: Sequence[dt.date], index: int, closed: Collection[dt.date] = ()
) -> dt.date:
    """Return the settlement date of a trade on ``sessions[index]``.

    Parameters
    ----------
    market : str
        A key of ``SETTLEMENT_CYCLES``.
    sessions : sequence of date
        The exchange's sessions, ascending, to well past the trade date.
    index : int
        Position of the trade date.
    closed : collection of date, optional
        Sessions on which money does not settle, e.g. bank holidays on which the exchange trades.

    Raises
    ------
    SettlementError
        When the calendar ends before the settlement date.
    """
    left = settlement_lag(market, sessions[index])
    for position in range(index + 1, len(sessions)):
        left -= sessions[position] not in closed
        if left == 0:
            return sessions[position]
    raise SettlementError(
        f"The calendar ends on {sessions[-1]}, before a trade of {sessions[index]} settles.",
        remedy="pass a calendar that knows the sessions ahead",
    )


def ladder(open_settlements: Iterable[OpenSettlement], as_of: dt.date) -> tuple[Rung, ...]:
    """Sum open settlements by account, currency and settlement date, in that order.

    A settlement dated ``as_of`` is due today; one dated before is overdue.
    """
    rungs: dict[tuple[str, str, dt.date], list[int]] = {}
    for entry in open_settlements:
        key = (entry.account, entry.currency, entry.settlement_date)
        rungs.setdefault(key, []).append(entry.amount_minor)
    return tuple(
        Rung(
            account=account,
            currency=currency,
            settlement_date=day,
            in_minor=sum(amount for amount in amounts if amount > 0),
            out_minor=-sum(amount for amount in amounts if amount < 0),
            settlements=len(amounts),
            overdue=day < as_of,
        )
        for (account, currency, day), amounts in sorted(rungs.items())
    )


def positions(
    settled_minor: Mapping[tuple[str, str], int],
    open_settlements: Iterable[OpenSettlement],
    reserved_minor: Mapping[tuple[str, str], int],
) -> tuple[CashPosition, ...]:
    """Return settled, available and projected cash by account and currency.

    Parameters
    ----------
    settled_minor : mapping of (account, currency) to int
        Cash that has moved.
    open_settlements : iterable of OpenSettlement
        Trades whose cash has not moved.
    reserved_minor : mapping of (account, currency) to int
        Cash promised to withdrawals and fees that are approved but not paid; not negative.

    Raises
    ------
    SettlementError
        When a reservation is negative.
    """
    wrong = {key: amount for key, amount in reserved_minor.items() if amount < 0}
    if wrong:
        raise SettlementError(
            f"Reserved cash is negative: {wrong}.", remedy="pass reservations as positive amounts"
        )
    incoming: dict[tuple[str, str], int] = {}
    outgoing: dict[tuple[str, str], int] = {}
    for entry in open_settlements:
        side = incoming if entry.amount_minor > 0 else outgoing
        key = (entry.account, entry.currency)
        side[key] = side.get(key, 0) + entry.amount_minor
    keys = sorted({*settled_minor, *incoming, *outgoing, *reserved_minor})
    rows = []
    for key in keys:
        settled = settled_minor.get(key, 0)
        available = settled + outgoing.get(key, 0) - reserved_minor.get(key, 0)
        rows.append(
            CashPosition(*key, settled, available, available + incoming.get(key, 0)),
        )
    return tuple(rows)
