"""The operations store of an environment, for its two uses.

``ops_store`` is the hand-off's: a book that only backtests has none, and nothing that hands off or
books fills may make one. ``incident_store`` is for what a person has to look at, which every book
has: it is made with the first incident.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator

from contracts.clock import Clock, FixedClock, SystemClock, datetime_ns
from domain.cash_management.transfers import Booking
from domain.compliance.rules import RuleSet
from ops_store.connection import sqlite_file_of
from ops_store.records import ModelDecision
from ops_store.store import OpsStore
from orchestration.base.settings import Settings

# A database that restarts is away for a second or two, one that fails over for less than a minute.
PATIENCE_S = 60.0


def clock_of(settings: Settings) -> Clock:
    """Return the platform's clock: the machine's in production, a standing one in a replay."""
    if settings.now == "system":
        return SystemClock()
    return FixedClock(datetime_ns(settings.instant()))


@contextlib.contextmanager
def incident_store(settings: Settings) -> Iterator[OpsStore]:
    """Yield the operations store of any book, live or not, making it if it is not there."""
    settings.home.mkdir(parents=True, exist_ok=True)
    store = OpsStore.open(settings.ops_url, clock_of(settings), migrate=True, patience_s=PATIENCE_S)
    try:
        yield store
    finally:
        store.close()


@contextlib.contextmanager
def ops_store(settings: Settings) -> Iterator[OpsStore | None]:
    """Yield the operations store, or None for a book that only backtests."""
    if settings.go_live_session is None:
        yield None
        return
    with incident_store(settings) as store:
        yield store


def desk_rules(settings: Settings) -> tuple[RuleSet, ...]:
    """Return the desk's approved rule sets, without making a store where there is none."""
    file = sqlite_file_of(settings.ops_url)
    if file is not None and not file.exists():
        return ()
    with incident_store(settings) as store:
        return tuple(store.rule_sets())


def model_decisions(settings: Settings, horizon: int) -> list[ModelDecision]:
    """Return what people decided about a horizon's models, without making a store for it."""
    file = sqlite_file_of(settings.ops_url)
    if file is not None and not file.exists():
        return []
    with incident_store(settings) as store:
        return store.model_decisions(horizon)


def all_bookings(store: OpsStore, after: int = 0) -> Iterable[Booking]:
    """Yield every booking of the live ledger behind a sequence, in its order."""
    while page := store.transfers(after):
        yield from page
        after = page[-1].sequence
