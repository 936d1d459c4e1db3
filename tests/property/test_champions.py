"""The champion of a session is the last that was promoted from then or before, whoever asks."""

import datetime as dt

from hypothesis import given
from hypothesis import strategies as st

from ml.registry.champions import Champion, Snapshot

DAYS = st.dates(dt.date(2010, 1, 1), dt.date(2012, 12, 31))


def champion(version):
    return Champion(
        version, f"run-{version}", "2010-01-01", f"key-{version}", "sha", "sha2", "recipe", {}
    )


def snapshot(starts):
    serving = tuple((start, n) for n, start in enumerate(sorted(starts), start=1))
    return Snapshot("model", {n: champion(n) for _, n in serving}, serving, len(serving) or None)


@given(st.sets(DAYS, max_size=12), DAYS)
def test_the_last_promotion_not_after_the_session_decides(starts, session):
    known = snapshot(starts)
    before = [version for start, version in known.serving if start <= session]
    found = known.of_session(session)
    assert (found.version if found else None) == (max(before) if before else None)


@given(st.sets(DAYS, min_size=1, max_size=12), DAYS, DAYS)
def test_a_later_promotion_changes_no_earlier_session(starts, session, later):
    known, more = snapshot(starts), snapshot(starts | {max(later, session) + dt.timedelta(days=1)})
    assert known.of_session(session) == more.of_session(session)
