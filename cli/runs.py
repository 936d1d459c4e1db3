"""Run a job in this process, telling its reader what it is doing."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import uuid
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from cli.instance import instance_of
from contracts.envelope import digest
from contracts.errors import QuantiVistaError
from domain.book.policy import BookPolicy
from orchestration.base.failures import failures_of
from orchestration.base.run_tags import run_tags
from orchestration.base.settings import Settings
from orchestration.definitions import build_defs
from sources.file_drops import vendor_drops

LAUNCHED_BY = "quantivista/launched_by"
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
# What decides a run's result, apart from settings and data.
SOURCE_FOLDERS = (
    "assets", "cli", "contracts", "dbt", "domain", "execution", "io_managers", "ml", "ops_store",
    "orchestration", "sources",
)  # fmt: skip


class RunFailedError(QuantiVistaError):
    """A job did not succeed."""


@contextlib.contextmanager
def sole_run(settings: Settings) -> Iterator[dg.DagsterInstance]:
    """Yield the home directory's Dagster instance to the only command that may run jobs in it.

    A command that was killed leaves its run marked as running, and with it the book's only
    concurrency slot taken. Whoever holds the lock knows that such a run is dead, and clears it.

    Raises
    ------
    RunFailedError
        When another command is running jobs in this home directory.
    """
    settings.home.mkdir(parents=True, exist_ok=True)
    with (settings.home / "run.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise RunFailedError(
                f"Another command is running jobs in {settings.home}.",
                remedy="wait for it to end, or set QUANTIVISTA_HOME to another directory",
            ) from error
        with instance_of(settings) as instance:
            unfinished = dg.RunsFilter(
                tags={LAUNCHED_BY: "cli"},
                statuses=[dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.STARTING],
            )
            for run in instance.get_runs(unfinished):
                instance.report_run_failed(run, "The command that ran it was killed.")
                instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)
            yield instance


def execute(
    job: str,
    settings: Settings,
    instance: dg.DagsterInstance,
    console: Console,
    *,
    tags: dict[str, str] | None = None,
    partition: str | None = None,
    with_marts: bool = True,
) -> None:
    """Run a job to its end, showing each step as it starts.

    ``with_marts=False`` leaves the marts out, for a run that another follows at once: they are
    built of all that changed since they were published.

    Raises
    ------
    RunFailedError
        When a step or a blocking check failed, with the reason of each.
    """
    defs = build_defs(settings)
    definition = defs.resolve_job_def(job)
    chosen = None
    if not with_marts:
        nodes = map(defs.resolve_asset_graph().get, definition.asset_layer.executable_asset_keys)
        chosen = [node.key for node in nodes if "dbt" not in node.kinds]
    run_id = str(uuid.uuid4())
    columns = (
        TextColumn("[bold]{task.fields[job]}[/bold]"), BarColumn(), MofNCompleteColumn(),
        TimeElapsedColumn(), TextColumn("{task.description}"),
    )  # fmt: skip
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("starting", total=len(definition.graph.nodes), job=job)

        def follow(entry: dg.EventLogEntry) -> None:
            event = entry.dagster_event
            if event is None:
                return
            if event.event_type == dg.DagsterEventType.STEP_START:
                progress.update(task, description=(event.step_key or "").replace("__", "/"))
            if event.event_type == dg.DagsterEventType.STEP_SUCCESS:
                progress.advance(task)

        instance.add_event_listener(run_id, follow)
        result = definition.execute_in_process(
            instance=instance, run_id=run_id, partition_key=partition, raise_on_error=False,
            asset_selection=chosen,
            tags={LAUNCHED_BY: "cli"} | run_tags(settings) | (tags or {}),
            run_config=QUIET,
        )  # fmt: skip
        if result.success:
            progress.update(task, description="done")
    if not result.success:
        reasons = "\n".join(f"  {line}" for line in failures_of(result.all_events))
        raise RunFailedError(
            f"Job {job} failed.\n{reasons}\n",
            remedy="mend what it names and run the command again; finished tables stay as they are",
        )


def fingerprint(settings: Settings) -> str:
    """Return a digest of everything that decides what the demo computes.

    Equal fingerprints mean equal tables: a second run would do the same work again.
    """
    root = Path(__file__).parent.parent
    hasher = hashlib.sha256()
    for folder in SOURCE_FOLDERS:
        for path in sorted((root / folder).rglob("*")):
            if path.suffix in {".py", ".j2", ".sql", ".yml"}:
                hasher.update(str(path.relative_to(root)).encode() + path.read_bytes())
    drops = [drop.sha256 for drop in vendor_drops(settings.vendor_dir)]
    window = (settings.calendar, str(settings.history_start), str(settings.last_session()))
    return digest((hasher.hexdigest(), drops, window, BookPolicy().hash))
