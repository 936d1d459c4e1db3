"""Doctor, third part: whether the live ledger adds up and agrees with the others."""

from __future__ import annotations

from collections.abc import Iterator

from cli.findings import Check, Finding, Patient, fail, ok, warn
from io_managers.lake import Lake
from ops_store.connection import sqlite_file_of
from orchestration.base.ops import ops_store

RECONCILIATION = ("cash_management", "reconciliation")


def ledger(patient: Patient) -> Iterator[Finding]:
    """Sum the live ledger anew from all its bookings."""
    settings = patient.settings
    file = sqlite_file_of(settings.ops_url)
    if settings.go_live_session is None or (file is not None and not file.exists()):
        return
    with ops_store(settings) as store:
        differences = store.ledger_differences() if store is not None else ()
    if differences:
        first = differences[0]
        yield fail(
            "ledger", f"{first.subject} holds {first.found}, its bookings give {first.expected}",
            "stop trading; restore the ops store from a backup, and find out who changed it",
        )  # fmt: skip
    else:
        yield ok("ledger", "debits equal credits, and every account is the sum of its bookings")


def cash(patient: Patient) -> Iterator[Finding]:
    """Look at the newest session's reconciliation of cash."""
    lake = Lake(patient.settings.lake_root)
    found = lake.read(RECONCILIATION) if lake.exists(RECONCILIATION) else None
    if found is None or found.is_empty():
        return
    row = found.sort("session").row(-1, named=True)
    if row["agree"]:
        yield ok("cash", f"book, live ledger and broker agree on {row['session']}")
    else:
        yield warn("cash", f"{row['session']}: {row['differences']}", "see docs/cash.md")


CHECKS: tuple[tuple[str, Check], ...] = (("ledger", ledger), ("cash", cash))
