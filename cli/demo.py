"""The demo: a year of history, its last session traded over FIX on a paper venue."""

from __future__ import annotations

import datetime as dt
import shutil

from rich.console import Console

from cli.cash import cash_agreement
from cli.live import agreement, execution_root, trade_session
from cli.runs import execute, sole_run
from contracts.clock import utc_datetime
from contracts.errors import ConfigurationError
from ops_store.migrate import downgrade
from orchestration.base.ops import ops_store
from orchestration.base.partitions import RANGE_END_TAG, RANGE_START_TAG, monthly
from orchestration.base.settings import Settings, read_settings

# Says that what lies in a home directory was made by a demo, which may make it again.
DEMO_MARK = ".demo"


def demo_settings() -> Settings:
    """Return the settings of the demo: its last session is the first that a broker executes.

    They are written to the home directory, so that the UI and later commands see the same book.
    """
    settings = read_settings()
    if settings.go_live_session is not None:
        return settings
    config = settings.home / "quantivista.toml"
    if config.exists():
        raise ConfigurationError(
            f"{config} does not say when the book goes live.",
            remedy="add `go_live_session = 2010-08-20`, the last session of the demo's data",
        )
    settings.home.mkdir(parents=True, exist_ok=True)
    config.write_text(
        "# The first session that the execution service trades; before it, fills are simulated.\n"
        f"go_live_session = {settings.last_session()}\n"
    )
    return read_settings()


def run_demo(settings: Settings, console: Console) -> None:
    """Rebuild history, hand the last decisions to execution, trade them, and book the fills."""
    live = settings.go_live_session
    if live is None or live != settings.last_session():
        raise ConfigurationError(
            f"go_live_session={live} is not the last session, {settings.last_session()}.",
            remedy="the demo trades the last session of its data: correct quantivista.toml",
        )
    eve = settings.model_copy(update={"now": _close_before(settings, live)})
    months = monthly(eve).get_partition_keys()
    with sole_run(settings) as instance:
        _forget_execution(settings)
        execute("ingest", eve, instance, console)
        if len(months) > 1:
            tags = {RANGE_START_TAG: months[0], RANGE_END_TAG: months[-2]}
            execute("backfill", eve, instance, console, tags=tags, with_marts=False)
        execute("daily", eve, instance, console, partition=months[-1], with_marts=False)
        console.print(f"Trading {live} on the paper venue, over FIX 4.4 ...")
        if trade_session(eve, live, console) == 0:
            raise ConfigurationError(
                f"The book decided nothing on {eve.last_session()}: {live} has nothing to trade.",
                remedy="name a session with data before go_live_session",
            )
        execute("daily", settings, instance, console, partition=live.strftime("%Y-%m-01"))
    console.print(agreement(settings, live))
    console.print(cash_agreement(settings, live))


def _close_before(settings: Settings, session: dt.date) -> dt.datetime:
    closes = [e.close_ns for e in settings.session_times() if e.session < session]
    if not closes:
        raise ConfigurationError(
            f"No session comes before {session}.", remedy="set an earlier history_start"
        )
    return utc_datetime(closes[-1])


def _forget_execution(settings: Settings) -> None:
    """Start over: book, orders and journal of a demo belong together. Nobody else's are touched."""
    mark = settings.home / DEMO_MARK
    with ops_store(settings) as store:
        is_used = store is not None and bool(store.issued(book=settings.book))
    if settings.ops_store_url is not None or is_used > mark.exists():
        raise ConfigurationError(
            f"The ops store of {settings.home} holds decisions that no demo issued.",
            remedy="run the demo elsewhere: set QUANTIVISTA_HOME, and another database if any",
        )
    mark.touch()
    for path in (execution_root(settings), settings.statements_root, settings.lake_root):
        shutil.rmtree(path, ignore_errors=True)
    downgrade(settings.ops_url)
