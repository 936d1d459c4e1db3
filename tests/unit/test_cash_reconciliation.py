"""What belongs to a session, when book, ledger and broker are compared."""

import datetime as dt

import msgspec
import polars as pl

from contracts.clock import datetime_ns
from domain.cash_management.tables import reconciliation_frame
from domain.cash_management.transfers import Booking, Transfer
from domain.market_data.sessions import SessionTimes

DAYS = [dt.date(2010, 8, day) for day in (18, 19, 20, 23)]
OPENING = Transfer(
    id="opening", debit_account="asset:cash:USD", credit_account="equity:opening:USD",
    amount_minor=1_000, currency="USD", event_time_ns=0, cause="opening",
)  # fmt: skip


def at(day: dt.date, hour: int, minute: int = 0) -> int:
    return datetime_ns(dt.datetime(day.year, day.month, day.day, hour, minute, tzinfo=dt.UTC))


TIMES = [SessionTimes(session=day, open_ns=at(day, 13, 30), close_ns=at(day, 20)) for day in DAYS]


def bookings(*moves: tuple[int, int]) -> list[Booking]:
    """The opening at the close of the second session, and sales at instants."""
    transfers = [msgspec.structs.replace(OPENING, event_time_ns=TIMES[1].close_ns)] + [
        msgspec.structs.replace(
            OPENING, id=f"sale{number}", credit_account="trading:A", amount_minor=amount_minor,
            event_time_ns=at_ns, cause="trade",
        )
        for number, (at_ns, amount_minor) in enumerate(moves)
    ]  # fmt: skip
    return [Booking(n, one, one.amount_minor, 0) for n, one in enumerate(transfers, start=1)]


def compared(moves: list[tuple[int, int]], sold: dict[dt.date, int], cash: dict[dt.date, int]):
    trades = pl.DataFrame(
        {
            "session": list(sold), "side": ["sell"] * len(sold),
            "notional_minor": list(sold.values()), "commission_minor": [0] * len(sold),
        }
    )  # fmt: skip
    equity = pl.DataFrame({"session": list(cash), "cash_minor": list(cash.values())})
    return reconciliation_frame(equity, trades, bookings(*moves), [], TIMES, DAYS[0], "USD").sort(
        "session"
    )


def test_a_fill_before_the_open_or_after_the_close_belongs_to_its_session() -> None:
    friday = DAYS[2]
    moves = [(at(friday, 13, 29), 5), (at(friday, 20, 5), 7)]
    found = compared(moves, {friday: 12}, {DAYS[1]: 1_000, friday: 1_012})
    assert found["differences"].to_list() == ["the broker has sent no statement"]
    assert found["ledger_change_minor"].to_list() == [12]


def test_sessions_up_to_the_ledgers_opening_are_not_compared() -> None:
    found = compared([], {DAYS[0]: 1}, dict.fromkeys(DAYS[:3], 1000))
    assert found["session"].to_list() == [DAYS[2]]
