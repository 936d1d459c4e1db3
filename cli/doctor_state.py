"""Doctor, third part: Dagster, the ops store and the execution processes."""

from __future__ import annotations

import time
from collections.abc import Iterator

import dagster as dg
import sqlalchemy as sa

from cli.backup import IN_PROGRESS, is_held
from cli.findings import Check, Finding, Patient, fail, ok, warn
from cli.instance import instance_of
from cli.live import execution_root
from cli.runs import LAUNCHED_BY
from contracts.errors import QuantiVistaError
from execution.control import ServiceClient
from execution.kill_switch import KillFile
from execution.loopback import Loopback
from ops_store.connection import open_engine, sqlite_file_of
from ops_store.errors import MigrationError
from ops_store.migrate import require_current
from ops_store.store import OpsStore
from orchestration.base.ops import clock_of
from orchestration.base.settings import Settings

LONG_RUN_H = 6.0
POOL = "book"


def _is_initialised(settings: Settings) -> bool:
    return (settings.home / "dagster" / "dagster.yaml").exists()


def storage(patient: Patient) -> Iterator[Finding]:
    """Judge whether Dagster's storage answers and has the schema of this release."""
    if not _is_initialised(patient.settings):
        yield warn("dagster", "has no storage yet", "`quantivista init` makes it")
        return
    with instance_of(patient.settings) as instance:
        n_runs = instance.get_runs_count()
        stale = []
        for name in ("run_storage", "event_log_storage", "schedule_storage"):
            here, head = getattr(instance, name).alembic_version() or (None, None)
            if here != head:
                stale.append(f"{name.removesuffix('_storage')} at {here}, not {head}")
    if stale:
        home = patient.settings.home / "dagster"
        yield fail(
            "dagster", f"schema is not this release's: {'; '.join(stale)}",
            f"take a backup, then `DAGSTER_HOME={home} dagster instance migrate`",
        )  # fmt: skip
    else:
        yield ok("dagster", f"storage answers, {n_runs} runs, schema current")


def runs(patient: Patient) -> Iterator[Finding]:
    """Look for runs that no process works on any more, or that take very long."""
    if not _is_initialised(patient.settings):
        return
    is_busy = is_held(patient.settings.home / "run.lock")
    with instance_of(patient.settings) as instance:
        records = instance.get_run_records(dg.RunsFilter(statuses=IN_PROGRESS))
        holders = _slot_holders(instance)
        finished = [run_id for run_id in holders if _is_finished(instance, run_id)]
    dead = [r for r in records if r.dagster_run.tags.get(LAUNCHED_BY) == "cli" and not is_busy]
    age_h = [(time.time() - r.create_timestamp.timestamp()) / 3_600 for r in records]
    if dead:
        yield fail(
            "runs", f"run {dead[0].dagster_run.run_id[:8]} is marked as running; nobody runs it",
            "the next command clears it, e.g. `quantivista ingest`",
        )  # fmt: skip
    elif any(age > LONG_RUN_H for age in age_h):
        yield warn(
            "runs", f"a run is in progress for {max(age_h):.0f} hours", "look at it in the UI"
        )
    else:
        busy = "a command is running; " if is_busy else ""
        yield ok("runs", f"{busy}{len(records)} in progress")
    if finished:
        yield fail(
            "pool", f"the slot of {POOL!r} is held by run {finished[0][:8]}, which has ended",
            "`quantivista dev` frees it after a minute; "
            f"or `dagster instance concurrency set {POOL} 1`",
        )  # fmt: skip
    else:
        state = f"held by run {holders[0][:8]}" if holders else "free"
        yield ok("pool", f"the slot of {POOL!r} is {state}")


def _slot_holders(instance: dg.DagsterInstance) -> list[str]:
    info = instance.event_log_storage.get_concurrency_info(POOL)
    return sorted(slot.run_id for slot in info.claimed_slots)


def _is_finished(instance: dg.DagsterInstance, run_id: str) -> bool:
    run = instance.get_run_by_id(run_id)
    return run is None or run.is_finished


def ops(patient: Patient) -> Iterator[Finding]:
    """Judge the ops store's schema, and look for open incidents and the kill switch."""
    settings = patient.settings
    yield from _kill_file(settings)
    file = sqlite_file_of(settings.ops_url)
    if file is not None and not file.exists():
        yield ok("ops_store", "not made yet: nothing was handed off, and there is no incident")
        return
    engine = open_engine(settings.ops_url)
    try:
        require_current(engine)
    except MigrationError as error:
        yield fail(
            "ops_store",
            error.message,
            "take a backup, then `quantivista incidents` brings it up",
        )
        return
    except sa.exc.SQLAlchemyError as error:
        yield fail(
            "ops_store", f"cannot be read: {str(error).splitlines()[0]}", "restore it from a backup"
        )
        return
    finally:
        engine.dispose()
    store = OpsStore.open(settings.ops_url, clock_of(settings))
    try:
        unsolved = [i for i in store.incidents() if i.closed_ns is None]
        engaged, reason = store.kill_switch()
    finally:
        store.close()
    yield ok("ops_store", "its schema is current")
    if engaged:
        yield _engaged("in the ops store", reason)
    if unsolved:
        newest = unsolved[-1]
        yield warn(
            "incidents", f"{len(unsolved)} open, the last {newest.kind}: {newest.subject}",
            "`quantivista incidents` lists them, `incidents close ID --note ...` closes one",
        )  # fmt: skip
    else:
        yield ok("incidents", "none is open")


def _kill_file(settings: Settings) -> Iterator[Finding]:
    switch = KillFile(execution_root(settings) / "service")
    if switch.is_engaged():
        yield _engaged("in the service's directory", switch.reason())
    else:
        yield ok("kill_switch", "the service's is released")


def _engaged(where: str, reason: str) -> Finding:
    return warn(
        "kill_switch", f"engaged {where}: {reason}",
        "no order leaves; `quantivista exec release` when it is explained",
    )  # fmt: skip


def execution(patient: Patient) -> Iterator[Finding]:
    """Ask service and venue of a book that is live whether orders could leave."""
    settings = patient.settings
    if settings.go_live_session is None:
        yield ok("execution", "this book only backtests")
        return
    root = execution_root(settings)
    for name in ("service", "venue"):
        if not is_held(root / name / "lock"):
            yield warn(
                "execution",
                f"the {name} is not running",
                "`quantivista dev` or `exec run` starts it",
            )
            continue
        try:
            if name == "service":
                problems = ServiceClient(root / name).health()["problems"]
            else:
                Loopback(root / name).get("/status")
                problems = []
        except (QuantiVistaError, OSError) as error:
            yield fail(
                "execution",
                f"the {name} runs and does not answer: {error}",
                "see docs/runbook-unknown-orders.md",
            )
            continue
        if problems:
            yield fail(
                "execution",
                f"the {name}: {'; '.join(problems)}",
                "see docs/runbook-unknown-orders.md",
            )
        else:
            yield ok("execution", f"the {name} is ready")


STATE: tuple[tuple[str, Check], ...] = (
    ("dagster", storage), ("runs", runs), ("ops_store", ops), ("execution", execution),
)  # fmt: skip
