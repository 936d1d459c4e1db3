"""Transfers per second of the cash ledger, in memory and kept, beside plain INSERTs of equal rows.

``.venv/bin/python -m benchmarks.ledger``. In memory: one working ledger, simple transfers on one
hot account, by CPU time. Kept: SQLite in a file, and a Postgres server of its own that waits for
its disk (fsync on), by one and by eight writer processes, each posting batches for a fixed time.
Beside each, in the same round, the floor: the same rows, the same batches and writers, inserted
into a table without a second index, with no lock, no look-up and no account.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import sqlalchemy as sa

from contracts.clock import SystemClock
from domain.cash_management.accounts import Account, AccountKind
from domain.cash_management.chart import cash_account, chart
from domain.cash_management.ledger import LedgerState, WorkingLedger
from domain.cash_management.operations import Occasion, deposit
from domain.cash_management.transfers import Booking, Transfer
from ops_store.bulk import write_rows
from ops_store.connection import open_engine, sqlite_url
from ops_store.ledger import transfer_row
from ops_store.store import OpsStore
from ops_store.tables import LEDGER_TRANSFERS
from tests.integration.postgres_server import postgres_server

ROUNDS = 3
SECONDS = 2.0
BATCHES = (1, 100, 1_000)
WRITERS = (1, 8)
IN_MEMORY = 200_000
CASH = "asset:cash:USD"
INSTRUMENTS = [f"trading:{number}" for number in range(50)]
RESULTS = Path(__file__).with_name("results") / "ledger.json"
Work = Callable[[str, str, int, int, float], tuple[int, float]]
PLAIN = sa.Table(
    "plain_rows",
    sa.MetaData(),
    *(
        sa.Column(column.name, column.type, primary_key=column.primary_key, autoincrement=False)
        for column in LEDGER_TRANSFERS.columns
    ),
)


def accounts() -> list[Account]:
    """Return one cash account that cannot be overdrawn, and what is bought from it."""
    trading = [Account(id=id_, kind=AccountKind.TRADING, currency="USD") for id_ in INSTRUMENTS]
    return [cash_account(CASH, "USD"), *chart("USD"), *trading]


def funding() -> tuple[Transfer, ...]:
    """Return a deposit that no run uses up."""
    at = Occasion(id="funding", currency="USD", event_time_ns=0)
    return deposit(at, cash=CASH, amount_minor=10**17)


def purchases(prefix: str, first: int, count: int) -> list[Transfer]:
    """Return simple transfers with ids of their own."""
    return [
        Transfer(
            id=f"{prefix}:{number}",
            debit_account=INSTRUMENTS[number % len(INSTRUMENTS)],
            credit_account=CASH,
            amount_minor=1_000 + number % 997,
            currency="USD",
            event_time_ns=number,
            cause="trade",
            reference="order-0001",
        )
        for number in range(first, first + count)
    ]


def in_memory(batch: int) -> float:
    """Return transfers per CPU second of one working ledger: it waits for nothing."""
    ledger = WorkingLedger(LedgerState())
    ledger.open_accounts(accounts())
    ledger.submit(funding(), 0)
    transfers = purchases("memory", 0, IN_MEMORY)
    batches = [transfers[at : at + batch] for at in range(0, IN_MEMORY, batch)]
    started = time.process_time()
    for number, one in enumerate(batches):
        ledger.submit(one, number)
    elapsed_s = time.process_time() - started
    if ledger.state().sequence != IN_MEMORY + 1:
        raise AssertionError(ledger.state().sequence)
    return IN_MEMORY / elapsed_s


def _batches(run: str, batch: int, until: float) -> Iterator[list[Transfer]]:
    number = 0
    while time.time() < until:
        yield purchases(run, number, batch)
        number += batch


def post(url: str, run: str, writer: int, batch: int, start: float) -> tuple[int, float]:
    """Post batches from ``start`` for ``SECONDS``; return how many transfers, and when it ended."""
    store = OpsStore.open(url, SystemClock())
    count = 0
    time.sleep(max(0.0, start - time.time()))
    for transfers in _batches(f"{run}:{writer}", batch, start + SECONDS):
        results = store.post(transfers)
        if any(one.outcome != "ok" for one in results):
            raise AssertionError(results)
        count += len(results)
    ended = time.time()
    store.close()
    return count, ended


def insert(url: str, run: str, writer: int, batch: int, start: float) -> tuple[int, float]:
    """Insert the rows of the same batches, and do nothing else."""
    engine = open_engine(url)
    base = time.time_ns() // 1_000 * 100 + writer
    with engine.connect():
        pass
    count = 0
    time.sleep(max(0.0, start - time.time()))
    for transfers in _batches(f"{run}:{writer}", batch, start + SECONDS):
        rows = [
            transfer_row(Booking(base + (count + at) * 100, one, one.amount_minor, 0))
            for at, one in enumerate(transfers)
        ]
        with engine.begin() as connection:
            write_rows(connection, PLAIN, rows)
        count += len(rows)
    ended = time.time()
    engine.dispose()
    return count, ended


def rate(
    pool: ProcessPoolExecutor, work: Work, url: str, run: str, writers: int, batch: int
) -> float:
    """Return transfers per second of all writers together."""
    start = time.time() + 0.5
    tasks = [pool.submit(work, url, run, writer, batch, start) for writer in range(writers)]
    done = [task.result() for task in tasks]
    return sum(count for count, _ in done) / (max(ended for _, ended in done) - start)


def prepare(url: str) -> None:
    """Make the tables, open the accounts, and put cash into one."""
    store = OpsStore.open(url, SystemClock(), migrate=True)
    store.create_accounts(accounts())
    store.post(funding())
    store.close()
    engine = open_engine(url)
    PLAIN.metadata.create_all(engine)
    engine.dispose()


def one_round(pool: ProcessPoolExecutor, urls: dict[str, str], number: int) -> dict[str, float]:
    """Measure everything once."""
    found = {f"memory (CPU time), batch {batch}": in_memory(batch) for batch in BATCHES}
    for name, url in urls.items():
        for writers in WRITERS:
            for batch in BATCHES:
                key = f"{name}, {writers} writers, batch {batch}"
                run = f"{number}-{writers}-{batch}"
                found[f"{key}, ledger"] = rate(pool, post, url, run, writers, batch)
                found[f"{key}, insert"] = rate(pool, insert, url, run, writers, batch)
    return found


def summary_of(rounds: list[dict[str, float]]) -> dict[str, dict[str, float]]:
    """Return median, best and worst of each figure, and the median ratio to the plain INSERT."""
    figures: dict[str, dict[str, float]] = {}
    for key in rounds[0]:
        if key.endswith(", insert"):
            continue
        values = [one[key] for one in rounds]
        name = key.removesuffix(", ledger")
        figures[name] = {
            "transfers_per_s_median": round(statistics.median(values)),
            "best": round(max(values)),
            "worst": round(min(values)),
        }
        floor = f"{name}, insert"
        if floor in rounds[0]:
            figures[name]["insert_rows_per_s_median"] = round(
                statistics.median(one[floor] for one in rounds)
            )
            figures[name]["ratio_median"] = round(
                statistics.median(one[key] / one[floor] for one in rounds), 3
            )
    return figures


def main() -> None:
    """Measure, print and keep the figures."""
    load_before = os.getloadavg()
    with (
        tempfile.TemporaryDirectory(prefix="qv") as root,
        postgres_server(Path(root), fsync=True) as server,
        ProcessPoolExecutor(max(WRITERS), mp_context=get_context("spawn")) as pool,
    ):
        urls = {"sqlite": sqlite_url(Path(root) / "ops.db"), "postgres": server.url}
        for url in urls.values():
            prepare(url)
        rounds = [one_round(pool, urls, number) for number in range(ROUNDS + 1)][1:]
        differences = {}
        for name, url in urls.items():
            store = OpsStore.open(url, SystemClock())
            differences[name] = len(store.ledger_differences())
            store.close()
    result = {
        "rounds": ROUNDS,
        "seconds_per_figure": SECONDS,
        "figures": summary_of(rounds),
        "ledger_differences_at_the_end": differences,
        "load_average_before": [round(load, 1) for load in load_before],
        "load_average_at_the_end": [round(load, 1) for load in os.getloadavg()],
        "python": platform.python_version(),
        "cores": os.cpu_count(),
    }
    text = json.dumps(result, indent=2) + "\n"
    RESULTS.write_text(text, encoding="utf-8")
    sys.stdout.write(text)


if __name__ == "__main__":
    main()
