"""`quantivista blast-radius`: what a corrected bar reaches, what it changes, and its rebuilding."""

from __future__ import annotations

import datetime as dt
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Annotated

import dagster as dg
import msgspec
import polars as pl
import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from cli.runs import QUIET, RunFailedError, execute, sole_run
from contracts.clock import datetime_ns
from contracts.errors import ConfigurationError, LakeError
from domain.market_data.blast_radius import TableChange, reachable_rows, table_change
from domain.market_data.revisions import as_of
from io_managers.lake import Lake
from ops_store.connection import sqlite_file_of, sqlite_url
from orchestration.base.failures import failures_of
from orchestration.base.market import desk_of
from orchestration.base.partitions import RANGE_END_TAG, RANGE_START_TAG, monthly
from orchestration.base.run_tags import run_tags
from orchestration.base.settings import Settings, read_settings
from orchestration.definitions import build_defs
from sources.file_drops import EMBEDDED_BARS, make_drop
from sources.market_data.protocol import Window
from sources.market_data.reception import receive

BARS = ("market_data", "bars")
# No rebuild writes these: what was handed off or reported stays as it was.
HISTORIES = {"trade_execution/handoff", "compliance/reports"}
# Hard-linked: the lake and the stores of drops and models never change a file in place.
LINKED, COPIED = ("lake", "drops", "models", "statements", "compliance"), ("mlflow",)
# Of these, examples are named.
NAMED = (
    "trading_decision/signals", "portfolio_coordination/decisions", "trade_execution/orders",
    "reporting/reports",
)  # fmt: skip
# What the copy has of its own, or leaves out.
OWN = frozenset((*LINKED, *COPIED, "ops.db", "ops.db-wal", "ops.db-shm", "sources.toml",
                 "quantivista.toml", "run.lock", "dagster", "dbt", "marts", "reports", "data_docs",
                 "execution"))  # fmt: skip
FIELDS = {"open": 2, "high": 3, "low": 4, "close": 5, "volume": 6}
console = Console()

Correction = Annotated[
    list[str] | None,
    typer.Option("--set", help="What if: field=value of the vendor's line, e.g. close=41.25."),
]


def blast_radius(
    instrument_id: Annotated[str, typer.Argument(help="E.g. US.AAPL.")],
    session: Annotated[dt.datetime, typer.Argument(formats=["%Y-%m-%d"])],
    *,
    changes: Correction = None,
    apply: Annotated[
        bool, typer.Option("--apply", help="Rebuild what the vendor's correction changes.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """Say what a corrected bar reaches and what it changes; the book stays as it is.

    Without --set it is the correction that the vendor has sent and no run has taken in yet. The
    whole chain is computed again in a copy of the home directory, from the bar's month on.
    """
    if changes and apply:
        raise ConfigurationError(
            "A what-if is not the vendor's word, and is not applied.",
            remedy="have the vendor's corrected file arrive, then leave --set out",
        )
    settings, day = read_settings(), session.date()
    with _copy_of(settings) as copy:
        _correct(copy, instrument_id, day, changes or [])
        before = _bar(settings, instrument_id, day)
        after = _known(copy, instrument_id, day)
        if before == after and changes:
            raise ConfigurationError(
                f"With {', '.join(changes)} the line says nothing that could be used, or what it "
                "says already.",
                remedy="see docs/data-quality.md: a close outside of low and high is set aside",
            )
        if before == after:
            console.print(
                f"The bar of {instrument_id} on {day} is what the vendor says: nothing to correct."
            )
            return
        if not as_json:
            console.print(f"{instrument_id} on {day}: {before or 'no bar'} -> {after or 'no bar'}")
        months = monthly(settings).get_partition_keys()
        first = day.strftime("%Y-%m-01")
        _recompute(copy, first, months[-1])
        found = differences(settings, copy, instrument_id, day)
    if as_json:
        typer.echo(msgspec.json.encode(found))
    else:
        _show(found)
    if apply:
        with sole_run(settings) as instance:
            tags = {RANGE_START_TAG: first, RANGE_END_TAG: months[-1]}
            execute("restate", settings, instance, console, tags=tags)


def differences(
    settings: Settings, copy: Settings, instrument_id: str, session: dt.date
) -> list[TableChange]:
    """Compare every table downstream of the bars with the copy's, in the order of the chain."""
    present, corrected = Lake(settings.lake_root), Lake(copy.lake_root)
    graph = build_defs(settings).resolve_asset_graph()
    bars = dg.AssetKey(list(BARS))
    chain = dg.AssetSelection.assets(bars).downstream().resolve(graph)
    first = pl.col("month") >= session.strftime("%Y-%m-01")
    found = []
    for key in (key for key in graph.toposorted_asset_keys if key in chain):
        node, name = graph.get(key), "/".join(key.path)
        if "deltalake" not in node.kinds or name in HISTORIES or not present.exists(key.path):
            continue
        old, new = (lake.read(key.path, where=first) for lake in (present, corrected))
        apart = bool(node.metadata.get("keeps_instruments_apart"))
        reached = reachable_rows(
            old, instrument_id=instrument_id, session=session, keeps_instruments_apart=apart
        )
        found.append(table_change(name, old, new, reached.height))
    return found


@contextmanager
def _copy_of(settings: Settings) -> Iterator[Settings]:
    """Yield the settings of a copy in which anything may be computed.

    Raises
    ------
    ConfigurationError
        When the operations store is a server's: it cannot be copied by the way.
    """
    if not Lake(settings.lake_root).exists(BARS):
        raise LakeError("There are no bars.", remedy="run `make demo` or `quantivista backfill`")
    ops = sqlite_file_of(settings.ops_url)
    if ops is None or settings.postgres_url is not None:
        raise ConfigurationError(
            "The operations store is on a server, of which no copy is made here.",
            remedy="restore a backup into a home directory with SQLite, and ask there",
        )
    # Beside the home, because a hard link does not cross file systems.
    with tempfile.TemporaryDirectory(dir=settings.home.parent, prefix=".blast-radius-") as root:
        home = Path(root)
        _fill(settings.home, home)
        if ops.exists():
            _copy_database(ops, home / "ops.db")
        yield settings.model_copy(
            update={"home": home, "ops_store_url": sqlite_url(home / "ops.db"),
                    "now": settings.instant(), "incident_webhook_url": None}
        )  # fmt: skip


def _fill(home: Path, copy: Path) -> None:
    """Link what nobody changes in place, copy what is written to, and see the rest as it is."""
    for name in LINKED:
        if (home / name).exists():
            shutil.copytree(home / name, copy / name, copy_function=os.link)
    for receipts in (copy / "drops" / "receipts").glob("*.jsonl"):
        data = receipts.read_bytes()
        receipts.unlink()
        receipts.write_bytes(data)
    for database in (path for name in COPIED for path in (home / name).rglob("*.db")):
        place = copy / database.relative_to(home)
        place.parent.mkdir(parents=True, exist_ok=True)
        _copy_database(database, place)
    if (home / "sources.toml").exists():
        shutil.copy(home / "sources.toml", copy)
        # What its relative paths name is read and never written.
        for path in home.iterdir():
            if path.name not in OWN:
                (copy / path.name).symlink_to(path, target_is_directory=path.is_dir())


def _copy_database(source: Path, copy: Path) -> None:
    """Copy a database that somebody may be writing to, with all that is committed."""
    with closing(sqlite3.connect(source)) as old, closing(sqlite3.connect(copy)) as new:
        old.backup(new)


def _correct(copy: Settings, instrument_id: str, session: dt.date, changes: list[str]) -> None:
    """Take the correction in: the one that was named, or what the sources have now."""
    desk = desk_of(copy)
    now_ns = datetime_ns(copy.instant())
    if changes:
        rows = Lake(copy.lake_root).read(
            BARS,
            where=(pl.col("instrument_id") == instrument_id) & (pl.col("session") == session),
        )
        start = f"{session:%Y%m%d},{rows['symbol'][0]},".encode() if rows.height else b"?"
        # The newest file, whichever first had the line: what came since is not to be taken back.
        newest = [row for row in desk.received() if row.name == EMBEDDED_BARS][-1:]
        lines = desk.store.get(newest[0].sha256).split(b"\n") if newest else []
        places = [number for number, line in enumerate(lines) if line.startswith(start)]
        if not desk.reads_vendor_files or len(places) != 1:
            raise ConfigurationError(
                f"There is no line of the vendor's files for {instrument_id} on {session}.",
                remedy="let the corrected file arrive in the source's directory, without --set",
            )
        lines[places[0]] = _edited(lines[places[0]], changes)
        drop = make_drop(desk.vendor.name, EMBEDDED_BARS, b"\n".join(lines))
        desk.receipts(desk.vendor.name).receive(drop, now_ns=now_ns)
        return
    window = Window(copy.history_start, copy.last_session())
    for name in desk.daily_order:
        source = desk.source(name)
        # A vendor that is asked over the network is asked by its own asset, not by the way.
        if desk.reads_vendor_files or hasattr(desk.configured[name], "path"):
            for _ in receive(source, desk.receipts(name), window, [], now_ns=now_ns):
                pass


def _edited(line: bytes, changes: list[str]) -> bytes:
    fields = line.decode().rstrip("\r").split(",")
    for change in changes:
        name, _, value = change.partition("=")
        if name not in FIELDS or not value:
            raise ConfigurationError(
                f"--set {change} is not understood.",
                remedy=f"write one of {', '.join(FIELDS)}, e.g. --set close=41.25",
            )
        fields[FIELDS[name]] = value
    return ",".join(fields).encode()


def _bar(settings: Settings, instrument_id: str, session: dt.date) -> str:
    rows = Lake(settings.lake_root).read(
        BARS, where=(pl.col("instrument_id") == instrument_id) & (pl.col("session") == session)
    )
    return _said(rows)


def _known(copy: Settings, instrument_id: str, session: dt.date) -> str:
    """Return the bar as the sources say it now; only rows of its symbol are looked at."""
    symbol = Lake(copy.lake_root).read(
        BARS, where=(pl.col("instrument_id") == instrument_id)
    )["symbol"].unique()  # fmt: skip
    desk = desk_of(copy)
    for history in desk.daily(copy.times_between).values():
        rows = as_of(history.revisions, copy.instant()).filter(
            (pl.col("session") == session) & pl.col("symbol").is_in(symbol.implode())
        )
        if rows.height:
            return _said(rows)
    return ""


def _said(rows: pl.DataFrame) -> str:
    if rows.is_empty():
        return ""
    row = rows.row(0, named=True)
    prices = ", ".join(f"{name} {row[name]}" for name in ("open", "high", "low", "close"))
    return f"{prices}, volume {row['volume_shares']}"


def _recompute(copy: Settings, first: str, last: str) -> None:
    """Run the chain in the copy from a month on, without marts."""
    defs = build_defs(copy)
    job = defs.resolve_job_def("backfill")
    graph = defs.resolve_asset_graph()
    chosen = [
        key for key in job.asset_layer.executable_asset_keys if "dbt" not in graph.get(key).kinds
    ]
    with dg.DagsterInstance.ephemeral() as instance:
        result = job.execute_in_process(
            instance=instance, asset_selection=chosen, raise_on_error=False, run_config=QUIET,
            tags=run_tags(copy) | {RANGE_START_TAG: first, RANGE_END_TAG: last},
        )  # fmt: skip
        if not result.success:
            reasons = "\n".join(f"  {line}" for line in failures_of(result.all_events))
            raise RunFailedError(
                f"With the correction the chain does not run.\n{reasons}\n",
                remedy="the correction breaks a check, as it would in the book: ask the vendor",
            )


def _show(found: list[TableChange]) -> None:
    table = Table()
    table.add_column("table", overflow="fold")
    for name in ("reached", "before", "after"):
        table.add_column(name, justify="right", no_wrap=True, min_width=7)
    table.add_column("from .. to", no_wrap=True, min_width=17)
    for change in found:
        if not change.reachable and not change.is_changed:
            continue
        ends = [change.first, change.last] if change.first else change.partitions[:1]
        table.add_row(
            change.table, f"{change.reachable:,}",
            *(f"{n:,}" if n else "-" for n in (change.rows_before, change.rows_after)),
            # Without the century: a terminal of 80 columns has room for no more.
            " ".join(dict.fromkeys(f"{end}"[2:] for end in ends)),
        )  # fmt: skip
    console.print(table)
    changed = [change for change in found if change.is_changed]
    console.print(
        f"{len(changed)} of {len(found)} tables change. `reached` rows rest on the bar; of these, "
        "`before` come out otherwise, as `after`. Ids alone do not count."
    )
    for change in changed:
        if change.table in NAMED:
            console.print(f"  {change.table}: {escape('; '.join(change.sample))} ...")
