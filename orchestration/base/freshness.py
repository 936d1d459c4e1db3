"""How old a table may become before the UI says so."""

from __future__ import annotations

import datetime as dt

import dagster as dg

from orchestration.base.settings import Settings

# A table of yesterday's close is late two hours after the next one. The longest gaps of an exchange
# are a weekend (three days from Friday's run to Monday's) and a weekend with a holiday (four).
# Dagster's policies know no calendar: within a week a missed session shows as a warning only after
# the weekend's length. `quantivista doctor` counts in sessions.
LATE_AFTER = dt.timedelta(days=3, hours=2)
STALE_AFTER = dt.timedelta(days=4, hours=2)


def with_freshness(settings: Settings, spec: dg.AssetSpec) -> dg.AssetSpec:
    """Return the spec with a freshness policy, where the environment follows the exchange.

    Tables of a replay are as old as their last run, and that is no fault.
    """
    if settings.now != "system":
        return spec
    policy = dg.FreshnessPolicy.time_window(fail_window=STALE_AFTER, warn_window=LATE_AFTER)
    return spec.replace_attributes(freshness_policy=policy)
