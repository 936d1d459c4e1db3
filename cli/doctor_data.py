"""Doctor, second part: the lake, the vendor's files and the models."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import deltalake

from cli.findings import Check, Finding, Patient, fail, ok, warn
from contracts.errors import ContractError, SourceError
from domain.book.months import broken_links
from io_managers.lake import Lake
from ml.registry.model_store import ModelStore
from orchestration.base.partitions import monthly
from sources.file_drops import DropStore

SAMPLE = 5
BARS, DROPS = ("market_data", "bars"), ("market_data", "vendor_drops")
STATES, EQUITY = ("portfolio_management", "book_states"), ("portfolio_management", "equity")
# A session late is a file that has not come yet; two are a day that nobody ran.
LATE_SESSIONS_MAX = 1
REBUILD = "`quantivista backfill FROM TO` rebuilds months"


def freshness(patient: Patient) -> Iterator[Finding]:
    """Compare the last session of bars and book with the platform's, in sessions."""
    lake, settings = Lake(patient.settings.lake_root), patient.settings
    sessions = settings.sessions().to_list()
    for name, key in (("last bar", BARS), ("book", EQUITY)):
        held = set(lake.read(key, columns=["session"])["session"]) if lake.exists(key) else set()
        last = max(held, default=None)
        if last is None:
            yield warn("freshness", f"there is no {name}", f"{REBUILD}, or run `quantivista demo`")
            continue
        late = sum(session > last for session in sessions)
        message = f"the {name} ends on {last}, {late} sessions before the last one, {sessions[-1]}"
        if late == 0:
            yield ok("freshness", f"the {name} ends on the last session, {last}")
        elif late <= LATE_SESSIONS_MAX:
            yield warn("freshness", message, "`quantivista daily` takes in what has come")
        else:
            yield fail("freshness", message, "look for the vendor's file and for failed runs")


def tables(patient: Patient) -> Iterator[Finding]:
    """Judge whether each table can be read: its log and its files, and with ``full`` its rows."""
    lake = Lake(patient.settings.lake_root)
    keys = [path.parts[-2:] for path in sorted(lake.root.glob("*/*")) if path.is_dir()]
    bad = []
    for key in keys:
        try:
            if not lake.exists(key):
                continue
            files = deltalake.DeltaTable(str(lake.path_of(key))).file_uris()
            gone = [file for file in files if not Path(file).exists()]
            if gone:
                bad.append(f"{'/'.join(key)} misses {Path(gone[0]).name}")
            elif patient.full:
                lake.read(key)
            else:
                lake.schema(key)
        # A damaged log or file shows in as many ways as there are bytes in it.
        except Exception as error:  # noqa: BLE001
            bad.append(f"{'/'.join(key)}: {str(error).splitlines()[0]}")
    if bad:
        yield fail(
            "lake", "; ".join(bad[:SAMPLE]),
            f"restore a backup, or delete the table and rebuild it: {REBUILD}",
        )  # fmt: skip
    else:
        yield ok("lake", f"{len(keys)} tables can be {'read' if patient.full else 'opened'}")


def chain(patient: Patient) -> Iterator[Finding]:
    """Judge whether the book's months follow one another, each from where the last one closed."""
    lake = Lake(patient.settings.lake_root)
    if not lake.exists(STATES):
        yield warn("chain", "no month of the book is built", REBUILD)
        return
    states = lake.read(STATES)
    built = sorted(states["month"])
    keys = monthly(patient.settings).get_partition_keys()
    expected = [key for key in keys if key <= built[-1]]
    missing = [key for key in expected if key not in built]
    broken = broken_links(states)
    if missing:
        yield fail(
            "chain",
            f"month {missing[0]} of the book is missing",
            f"`quantivista backfill {missing[0]} {built[-1]}`",
        )
    if broken:
        yield fail(
            "chain", f"{broken[0]} does not open with what the month before it closed with",
            f"`quantivista backfill {broken[0]} {built[-1]}`",
        )  # fmt: skip
    if not missing and not broken:
        yield ok("chain", f"{len(built)} months, {built[0]} to {built[-1]}, unbroken")


def drops(patient: Patient) -> Iterator[Finding]:
    """Judge whether the vendor's files still have the hashes that name them."""
    store = DropStore(patient.settings.drops_root)
    lake = Lake(patient.settings.lake_root)
    named = set(lake.read(DROPS)["sha256"]) if lake.exists(DROPS) else set()
    kept = sorted(
        (path for path in store.root.glob("??/*") if len(path.name) == 64),
        key=lambda path: path.stat().st_mtime, reverse=True,
    )  # fmt: skip
    absent = sorted(named - {path.name for path in kept})
    chosen = kept if patient.full else kept[:SAMPLE]
    bad = [path.name for path in chosen if not _is_drop(store, path.name)]
    if absent or bad:
        what = f"{absent[0][:12]} is missing" if absent else f"{bad[0][:12]} has other bytes"
        yield fail(
            "drops", f"vendor file {what}",
            "restore it from a backup; what rests on it can no longer be explained",
        )  # fmt: skip
    else:
        yield ok("drops", f"{len(chosen)} of {len(kept)} vendor files match their hashes")


def _is_drop(store: DropStore, sha256: str) -> bool:
    try:
        store.get(sha256)
    except (SourceError, OSError):
        return False
    return True


def models(patient: Patient) -> Iterator[Finding]:
    """Judge whether the models still have the hashes that name them."""
    store = ModelStore(patient.settings.models_root)
    kept = sorted(path.stem for path in store.root.glob("models/*.ubj"))
    # Spread over all of them: one bad disk block is as likely in an old one.
    chosen = (
        kept if patient.full else list(itertools.islice(kept, 0, None, len(kept) // SAMPLE + 1))
    )
    bad = []
    for sha256 in chosen:
        try:
            if not store.has(sha256):
                bad.append(sha256)
        except ContractError:
            bad.append(sha256)
    if bad:
        yield fail(
            "models", f"model {bad[0][:12]} has other bytes",
            "restore it from a backup, or delete it and rebuild its month; find out who changed it",
        )  # fmt: skip
    else:
        yield ok("models", f"{len(chosen)} of {len(kept)} models match their hashes")


DATA: tuple[tuple[str, Check], ...] = (
    ("freshness", freshness), ("lake", tables), ("chain", chain), ("drops", drops),
    ("models", models),
)  # fmt: skip
