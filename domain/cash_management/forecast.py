"""Cash over the next sessions, and what could be moved so that it stays within its band.

Proposals move nothing: each is a sentence for somebody to approve as a transfer or a withdrawal.
"""

from __future__ import annotations

import bisect
import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

import msgspec

from contracts.errors import SettlementError
from domain.cash_management.settlement import OpenSettlement

FORECAST_SESSIONS = 10


class ExpectedFlow(msgspec.Struct, frozen=True):
    """Cash that is expected on a date: a settlement, a dividend, a fee; positive comes in."""

    account: str
    currency: str
    due: dt.date
    amount_minor: int
    kind: str
    reference: str


class ForecastDay(msgspec.Struct, frozen=True):
    """One session of one account and currency; ``closing_minor`` is what is there after it."""

    account: str
    currency: str
    session: dt.date
    opening_minor: int
    in_minor: int
    out_minor: int
    closing_minor: int


class TargetBand(msgspec.Struct, frozen=True):
    """How much cash an account should hold, and where the rest is kept, in minor units."""

    account: str
    currency: str
    floor_minor: int
    target_minor: int
    ceiling_minor: int
    minimum_transfer_minor: int
    counter_account: str

    def __post_init__(self) -> None:
        """Refuse a band that is not one."""
        ordered = self.floor_minor <= self.target_minor <= self.ceiling_minor
        if not ordered or self.minimum_transfer_minor < 1 or self.account == self.counter_account:
            raise SettlementError(
                f"{self} is no target band.",
                remedy="floor <= target <= ceiling, a minimum transfer of at least one minor unit,"
                " and a counter account that is another one",
            )


class Proposal(msgspec.Struct, frozen=True):
    """Move ``amount_minor`` from one account to the other by ``by``; nothing is moved by it.

    ``covered`` is False when the forecast knows the paying account and says it has less.
    """

    kind: Literal["fund", "sweep"]
    from_account: str
    to_account: str
    currency: str
    amount_minor: int
    by: dt.date
    covered: bool
    reason: str


def flows_of(open_settlements: Iterable[OpenSettlement]) -> tuple[ExpectedFlow, ...]:
    """Return open settlements as expected flows."""
    return tuple(
        ExpectedFlow(
            account=entry.account,
            currency=entry.currency,
            due=entry.settlement_date,
            amount_minor=entry.amount_minor,
            kind="settlement",
            reference=entry.settlement_id,
        )
        for entry in open_settlements
    )


def forecast(
    settled_minor: Mapping[tuple[str, str], int],
    flows: Iterable[ExpectedFlow],
    sessions: Sequence[dt.date],
    as_of: dt.date,
    horizon: int = FORECAST_SESSIONS,
) -> tuple[ForecastDay, ...]:
    """Project cash over the ``horizon`` sessions after ``as_of``.

    Parameters
    ----------
    settled_minor : mapping of (account, currency) to int
        Cash after everything that moved up to and including ``as_of``.
    flows : iterable of ExpectedFlow
        What has not moved. One that is due on or before ``as_of`` counts in the first session,
        one due on a day without a session in the next; those beyond the horizon are left out.
    sessions : sequence of date
        Ascending, to past the horizon.

    Returns
    -------
    tuple of ForecastDay
        By account, currency and session; every account of ``settled_minor`` and ``flows``.

    Raises
    ------
    SettlementError
        When the calendar has fewer than ``horizon`` sessions after ``as_of``.
    """
    start = bisect.bisect_right(sessions, as_of)
    ahead = sessions[start : start + horizon]
    if len(ahead) < horizon:
        raise SettlementError(
            f"The calendar ends {len(ahead)} sessions after {as_of}, the forecast needs {horizon}.",
            remedy="pass a calendar that knows the sessions ahead",
        )
    keys = set(settled_minor)
    moved: dict[tuple[str, str, int], list[int]] = {}
    for flow in flows:
        keys.add((flow.account, flow.currency))
        position = bisect.bisect_left(ahead, flow.due)
        if position < horizon:
            moved.setdefault((flow.account, flow.currency, position), []).append(flow.amount_minor)
    days = []
    for account, currency in sorted(keys):
        opening = settled_minor.get((account, currency), 0)
        for position, session in enumerate(ahead):
            amounts = moved.get((account, currency, position), [])
            incoming = sum(amount for amount in amounts if amount > 0)
            outgoing = -sum(amount for amount in amounts if amount < 0)
            closing = opening + incoming - outgoing
            days.append(
                ForecastDay(account, currency, session, opening, incoming, outgoing, closing)
            )
            opening = closing
    return tuple(days)


def proposals(days: Iterable[ForecastDay], bands: Iterable[TargetBand]) -> tuple[Proposal, ...]:
    """Propose transfers that keep each account within its band over the whole forecast.

    Funding: if the lowest closing balance is below the floor, up to the target at that lowest
    point, by the first session that would close below the floor; never less than the minimum
    transfer. Sweep: if even the lowest closing balance is above the ceiling, down to the target at
    that lowest point, so that nothing is swept that is needed later in the forecast.
    """
    by_account: dict[tuple[str, str], list[ForecastDay]] = {}
    for day in days:
        by_account.setdefault((day.account, day.currency), []).append(day)
    found = []
    for band in sorted(bands, key=lambda band: (band.account, band.currency)):
        series = by_account.get((band.account, band.currency))
        if not series:
            raise SettlementError(
                f"No forecast of {band.account} in {band.currency}, but a band.",
                remedy="forecast every account that has a target band",
            )
        lowest = min(day.closing_minor for day in series)
        counter = by_account.get((band.counter_account, band.currency), [])
        if lowest < band.floor_minor:
            found.append(_fund(band, series, lowest, counter))
        elif (
            lowest > band.ceiling_minor
            and lowest - band.target_minor >= band.minimum_transfer_minor
        ):
            found.append(
                Proposal(
                    kind="sweep",
                    from_account=band.account,
                    to_account=band.counter_account,
                    currency=band.currency,
                    amount_minor=lowest - band.target_minor,
                    by=series[0].session,
                    covered=True,
                    reason=f"the lowest closing balance ahead is {lowest}, the ceiling "
                    f"{band.ceiling_minor}",
                )
            )
    return tuple(found)


def _fund(
    band: TargetBand, series: Sequence[ForecastDay], lowest: int, counter: Sequence[ForecastDay]
) -> Proposal:
    first = next(day for day in series if day.closing_minor < band.floor_minor)
    amount = max(band.target_minor - lowest, band.minimum_transfer_minor)
    return Proposal(
        kind="fund",
        from_account=band.counter_account,
        to_account=band.account,
        currency=band.currency,
        amount_minor=amount,
        by=first.session,
        covered=not counter or min(day.closing_minor for day in counter) >= amount,
        reason=f"{first.session} would close at {first.closing_minor}, below the floor "
        f"{band.floor_minor}; the lowest closing balance ahead is {lowest}",
    )
