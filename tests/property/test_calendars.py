"""Sessions of four calendars from 2010 to 2030: half-days, holidays, and the clocks that change."""

import datetime as dt
import itertools
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import settings as settings_of_hypothesis
from hypothesis import strategies as st

from contracts.clock import utc_datetime
from contracts.errors import ConfigurationError
from orchestration.base.settings import Settings

FIRST, LAST = dt.date(2010, 1, 1), dt.date(2030, 12, 31)
ZONES = {"XNYS": "America/New_York", "XLON": "Europe/London", "XTKS": "Asia/Tokyo", "24/7": "UTC"}
EXCHANGES = ("XNYS", "XLON", "XTKS")
# Open and close of a whole day on the exchange's clock.
HOURS = {"XNYS": ("09:30", "16:00"), "XLON": ("08:00", "16:30"), "XTKS": ("09:00", "15:00")}
# Since 2024-11-05 Tokyo trades half an hour longer.
TOKYO_LATER = dt.date(2024, 11, 5)
HALF_DAYS = {
    "XNYS": {"2010-11-26": "13:00", "2013-07-03": "13:00", "2014-12-24": "13:00",
             "2024-11-29": "13:00", "2025-07-03": "13:00", "2028-07-03": "13:00"},
    "XLON": {"2010-12-24": "12:30", "2012-12-31": "12:30", "2024-12-24": "12:30"},
}  # fmt: skip
CLOSED = {
    # Sandy, two mourning days, Good Friday, Juneteenth, Martin Luther King, Thanksgiving.
    "XNYS": ("2012-10-29", "2012-10-30", "2018-12-05", "2025-01-09", "2013-03-29", "2022-06-20",
             "2016-01-18", "2013-11-28", "2010-12-24", "2030-12-25"),
    # The royal wedding, the jubilee, the queen's funeral, the coronation, Boxing day.
    "XLON": ("2011-04-29", "2012-06-05", "2022-09-19", "2023-05-08", "2013-12-26", "2030-12-25"),
    # The new emperor's ten days, sport day of the games, the new year's days.
    "XTKS": ("2019-04-30", "2019-05-01", "2019-05-02", "2021-07-23", "2013-01-03", "2013-12-31",
             "2030-01-01"),
}  # fmt: skip
OPEN = {
    # What a calendar of weekdays and fixed holidays gets wrong.
    "XNYS": ("2010-12-31", "2011-12-30", "2021-06-18", "2022-06-17", "2013-11-29"),
    "XLON": ("2013-12-24", "2020-05-04"), "XTKS": ("2021-10-11", "2013-12-30"),
}  # fmt: skip


@pytest.fixture(scope="module")
def times(tmp_path_factory):
    settings = Settings(home=tmp_path_factory.mktemp("home"))
    return {code: settings.times_between(FIRST, LAST, code) for code in ZONES}


def local(code, at_ns):
    return utc_datetime(at_ns).astimezone(ZoneInfo(ZONES[code]))


def clock(code, at_ns):
    return f"{local(code, at_ns):%H:%M}"


def usual(code, session):
    opening, closing = HOURS[code]
    return (opening, "15:30") if code == "XTKS" and session >= TOKYO_LATER else (opening, closing)


@pytest.mark.parametrize("code", ZONES)
def test_sessions_are_in_order_once_and_do_not_overlap(times, code):
    found = times[code]
    sessions = [entry.session for entry in found]
    assert sessions == sorted(set(sessions))
    assert sessions[0] >= FIRST
    assert sessions[-1] <= LAST
    assert all(entry.open_ns < entry.close_ns for entry in found)
    assert all(one.close_ns <= two.open_ns for one, two in itertools.pairwise(found))
    if code != "24/7":
        # Every year has its sessions, none too many.
        per_year = {y: sum(day.year == y for day in sessions) for y in range(2010, 2031)}
        assert all(238 <= count <= 262 for count in per_year.values()), per_year
        assert all(day.weekday() < 5 for day in sessions)


def test_a_market_that_never_closes_has_every_day_whole(times):
    found = times["24/7"]
    assert [entry.session for entry in found] == [
        FIRST + dt.timedelta(days=n) for n in range((LAST - FIRST).days + 1)
    ]
    midnights = [utc_datetime(entry.open_ns) for entry in found]
    assert all(at.time() == dt.time() for at in midnights)
    assert all(at.date() == entry.session for at, entry in zip(midnights, found, strict=True))
    assert all(one.close_ns == two.open_ns for one, two in itertools.pairwise(found))


@pytest.mark.parametrize("code", EXCHANGES)
def test_holidays_are_no_sessions_and_the_days_beside_them_are(times, code):
    sessions = {f"{entry.session}" for entry in times[code]}
    assert [day for day in CLOSED[code] if day in sessions] == []
    assert [day for day in OPEN[code] if day not in sessions] == []


@pytest.mark.parametrize("code", EXCHANGES)
def test_all_days_open_alike_and_only_half_days_close_earlier(times, code):
    early = {}
    for entry in times[code]:
        opening, closing = usual(code, entry.session)
        assert clock(code, entry.open_ns) == opening, entry
        assert local(code, entry.open_ns).date() == entry.session
        if clock(code, entry.close_ns) != closing:
            assert clock(code, entry.close_ns) < closing
            early[f"{entry.session}"] = clock(code, entry.close_ns)
    known = HALF_DAYS.get(code, {})
    assert {day: early.get(day) for day in known} == known
    # Christmas Eve, New Year's Eve, the days beside Thanksgiving and Independence Day: few.
    assert len(early) <= 3 * 21


@pytest.mark.parametrize("code", EXCHANGES)
def test_the_utc_hour_changes_exactly_where_the_clocks_do(times, code):
    changes = []
    for one, two in itertools.pairwise(times[code]):
        shift_ns = (two.open_ns - one.open_ns) - (two.session - one.session).days * 86_400 * 10**9
        noon = [
            dt.datetime.combine(day.session, dt.time(12), ZoneInfo(ZONES[code])).utcoffset()
            for day in (one, two)
        ]
        assert shift_ns == (noon[0] - noon[1]).total_seconds() * 10**9
        if shift_ns:
            changes.append(two.session)
    # Twice a year, and never in Tokyo.
    assert len(changes) == (0 if code == "XTKS" else 42)
    if code != "XTKS":
        assert all(day.weekday() in (0, 1) for day in changes)


@pytest.mark.parametrize(
    ("code", "day", "utc_open"),
    [
        ("XNYS", "2013-03-08", "14:30"), ("XNYS", "2013-03-11", "13:30"),
        ("XNYS", "2013-11-01", "13:30"), ("XNYS", "2013-11-04", "14:30"),
        ("XLON", "2013-03-28", "08:00"), ("XLON", "2013-04-02", "07:00"),
        ("XLON", "2013-10-25", "07:00"), ("XLON", "2013-10-28", "08:00"),
        ("XTKS", "2013-10-28", "00:00"),
    ],
)  # fmt: skip
def test_summer_time_begins_and_ends(times, code, day, utc_open):
    (entry,) = [entry for entry in times[code] if f"{entry.session}" == day]
    assert f"{utc_datetime(entry.open_ns):%H:%M}" == utc_open


DAYS = st.dates(FIRST, LAST)


@given(ends=st.tuples(DAYS, DAYS), code=st.sampled_from(list(ZONES)))
@settings_of_hypothesis(max_examples=30)
def test_any_part_of_the_years_has_the_sessions_of_the_whole(times, ends, code):
    first, last = sorted(ends)
    # A short part of the range: each asks the calendar anew.
    last = min(last, first + dt.timedelta(days=40))
    found = Settings().sessions_between(first, last, code).to_list()
    assert found == [e.session for e in times[code] if first <= e.session <= last]


@pytest.mark.parametrize("code", ZONES)
def test_a_platform_may_live_by_any_of_them(tmp_path, code):
    settings = Settings(
        home=tmp_path,
        calendar=code,
        history_start=FIRST,
        now=dt.datetime(2030, 12, 30, tzinfo=dt.UTC),
    )
    sessions = settings.sessions().to_list()
    assert sessions == sorted(set(sessions))
    assert dt.date(2030, 12, 26) <= sessions[-1] < settings.next_session()
    assert settings.last_session() == sessions[-1]


def test_a_calendar_that_does_not_reach_so_far_says_so():
    with pytest.raises(ConfigurationError, match="are not known"):
        Settings().sessions_between(dt.date(1800, 1, 1), dt.date(1800, 2, 1), "XTKS")
