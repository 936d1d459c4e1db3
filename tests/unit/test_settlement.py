"""When trades settle, what cash that leaves, and what is proposed to move."""

import datetime as dt

import exchange_calendars
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.errors import SettlementError
from domain.cash_management.forecast import (
    ExpectedFlow,
    TargetBand,
    flows_of,
    forecast,
    proposals,
)
from domain.cash_management.settlement import (
    SETTLEMENT_CYCLES,
    OpenSettlement,
    ladder,
    positions,
    settlement_date,
    settlement_lag,
)

D = dt.date


@pytest.fixture(scope="module")
def sessions():
    calendar = exchange_calendars.get_calendar("XNYS", start="2009-08-01", end="2025-12-31")
    return [stamp.date() for stamp in calendar.sessions]


def settles(sessions, day, **options):
    return settlement_date("US", sessions, sessions.index(day), **options)


@pytest.mark.parametrize(
    ("day", "lag"),
    [(D(1995, 6, 6), 5), (D(1995, 6, 7), 3), (D(2010, 8, 20), 3), (D(2017, 9, 4), 3),
     (D(2017, 9, 5), 2), (D(2024, 5, 27), 2), (D(2024, 5, 28), 1)],
)  # fmt: skip
def test_the_cycle_is_that_of_the_trade_date(day, lag):
    assert settlement_lag("US", day) == lag


def test_dates_of_record(sessions):
    # Labor Day 2009 and 2017; Thanksgiving 2009.
    assert settles(sessions, D(2009, 9, 3)) == D(2009, 9, 9)
    assert settles(sessions, D(2017, 9, 1)) == D(2017, 9, 7)
    assert settles(sessions, D(2009, 11, 25)) == D(2009, 12, 1)
    # 2024-05-29 was the day on which trades of two cycles settled together.
    assert settles(sessions, D(2024, 5, 24)) == settles(sessions, D(2024, 5, 28)) == D(2024, 5, 29)


def test_a_bank_holiday_with_a_session_counts_unless_it_is_closed_for_cash(sessions):
    columbus_day = D(2009, 10, 12)
    assert columbus_day in sessions
    assert settles(sessions, D(2009, 10, 8)) == D(2009, 10, 13)
    assert settles(sessions, D(2009, 10, 8), closed={columbus_day}) == D(2009, 10, 14)


def test_the_demos_year_settles_on_the_third_session(sessions):
    year = [n for n, day in enumerate(sessions) if D(2009, 8, 21) <= day <= D(2010, 8, 20)]
    assert all(settlement_date("US", sessions, n) == sessions[n + 3] for n in year)


def test_what_is_not_known_is_refused(sessions):
    with pytest.raises(SettlementError, match="market 'XX'"):
        settlement_lag("XX", D(2010, 1, 4))
    with pytest.raises(SettlementError, match="market 'GB' on 1999"):
        settlement_lag("GB", D(1999, 1, 4))
    with pytest.raises(SettlementError, match="calendar ends"):
        settlement_date("US", sessions, len(sessions) - 1)


def test_every_market_lists_its_cycles_in_order_and_never_gets_slower():
    for cycles in SETTLEMENT_CYCLES.values():
        dates = [cycle.first_trade_date for cycle in cycles]
        lags = [cycle.lag_sessions for cycle in cycles]
        assert dates == sorted(set(dates))
        assert lags == sorted(lags, reverse=True)


def trade(name, day, amount, account="broker", currency="USD"):
    return OpenSettlement(name, account, currency, day - dt.timedelta(3), day, amount)


OPEN = [
    trade("a", D(2010, 8, 24), -500), trade("b", D(2010, 8, 24), 200),
    trade("c", D(2010, 8, 19), -40), trade("d", D(2010, 8, 24), 7, currency="EUR"),
]  # fmt: skip


def test_the_ladder_has_a_rung_per_date_and_currency():
    rungs = ladder(OPEN, as_of=D(2010, 8, 20))
    assert [(r.currency, r.settlement_date, r.in_minor, r.out_minor, r.settlements, r.overdue)
            for r in rungs] == [
        ("EUR", D(2010, 8, 24), 7, 0, 1, False),
        ("USD", D(2010, 8, 19), 0, 40, 1, True),
        ("USD", D(2010, 8, 24), 200, 500, 2, False),
    ]  # fmt: skip


def test_proceeds_that_have_not_settled_cannot_be_spent():
    rows = positions({("broker", "USD"): 1_000}, OPEN, {("broker", "USD"): 60})
    assert [(r.currency, r.settled_minor, r.available_minor, r.projected_minor) for r in rows] == [
        ("EUR", 0, 0, 7),
        ("USD", 1_000, 1_000 - 540 - 60, 1_000 - 540 - 60 + 200),
    ]
    with pytest.raises(SettlementError, match="negative"):
        positions({}, [], {("broker", "USD"): -1})


AS_OF = D(2010, 8, 20)


def flow(due, amount, account="bank", kind="fee"):
    return ExpectedFlow(account, "USD", due, amount, kind, f"{kind}-{due}")


def test_the_forecast_moves_late_flows_to_its_first_session_and_weekends_to_the_next(sessions):
    flows = [*flows_of([trade("c", D(2010, 8, 19), -40, account="bank")]),
             flow(D(2010, 8, 28), -5), flow(D(2010, 9, 6), 11, kind="dividend"),
             flow(D(2010, 9, 7), 1_000_000)]  # fmt: skip
    days = forecast({("bank", "USD"): 100}, flows, sessions, AS_OF)
    assert len(days) == 10
    assert days[0].session == D(2010, 8, 23)
    assert days[-1].session == D(2010, 9, 3)
    closing = {day.session: day.closing_minor for day in days}
    assert closing[D(2010, 8, 23)] == 60
    assert closing[D(2010, 8, 27)] == 60
    assert closing[D(2010, 8, 30)] == 55
    assert closing[D(2010, 9, 3)] == 55
    # Labor Day is no session: the dividend of 09-06 falls into a longer horizon's 09-07.
    longer = forecast({("bank", "USD"): 100}, flows, sessions, AS_OF, horizon=11)
    assert longer[-1].closing_minor == 55 + 11 + 1_000_000
    with pytest.raises(SettlementError, match="forecast needs 10"):
        forecast({}, [], sessions[:5], sessions[0])


@given(
    st.lists(
        st.tuples(st.integers(-20, 20), st.integers(-1_000, 1_000), st.sampled_from("ab")),
        max_size=30,
    )
)
def test_the_forecast_neither_makes_nor_loses_cash(sessions, drawn):
    flows = [flow(AS_OF + dt.timedelta(days), amount, name) for days, amount, name in drawn]
    days = forecast({("a", "USD"): 5}, flows, sessions, AS_OF)
    for name in {day.account for day in days}:
        rows = [day for day in days if day.account == name]
        due = sum(f.amount_minor for f in flows if f.account == name and f.due <= rows[-1].session)
        assert rows[-1].closing_minor == (5 if name == "a" else 0) + due
        assert all(d.opening_minor + d.in_minor - d.out_minor == d.closing_minor for d in rows)


BAND = TargetBand("bank", "USD", 100, 200, 400, 50, "reserve")


def proposed(sessions, opening, *flows, band=BAND, reserve=None):
    settled = {("bank", "USD"): opening}
    if reserve is not None:
        settled[("reserve", "USD")] = reserve
    return proposals(forecast(settled, flows, sessions, AS_OF), [band])


def test_funding_is_proposed_before_the_first_session_below_the_floor(sessions):
    (one,) = proposed(sessions, 150, flow(D(2010, 8, 25), -80), flow(D(2010, 8, 27), -30))
    assert (one.kind, one.from_account, one.to_account) == ("fund", "reserve", "bank")
    assert (one.amount_minor, one.by, one.covered) == (160, D(2010, 8, 25), True)
    assert "2010-08-25 would close at 70" in one.reason
    (poor,) = proposed(sessions, 150, flow(D(2010, 8, 25), -80), reserve=129)
    assert not poor.covered
    narrow = TargetBand("bank", "USD", 100, 100, 400, 50, "reserve")
    (small,) = proposed(sessions, 90, band=narrow)
    assert small.amount_minor == 50


def test_a_sweep_leaves_what_is_needed_later(sessions):
    (one,) = proposed(sessions, 1_000, flow(D(2010, 8, 31), -550))
    assert (one.kind, one.amount_minor, one.by) == ("sweep", 250, D(2010, 8, 23))
    assert proposed(sessions, 1_000, flow(D(2010, 8, 31), -600)) == ()
    assert proposed(sessions, 401, band=TargetBand("bank", "USD", 1, 390, 400, 50, "x")) == ()
    assert proposed(sessions, 300) == ()


def test_a_band_must_be_one():
    with pytest.raises(SettlementError, match="no target band"):
        TargetBand("bank", "USD", 100, 50, 400, 50, "reserve")
    with pytest.raises(SettlementError, match="No forecast of bank"):
        proposals([], [BAND])
