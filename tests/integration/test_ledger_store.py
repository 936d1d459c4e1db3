"""The cash ledger as it is kept: on SQLite and Postgres, by several writers, across a kill -9."""

import itertools
import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest
import sqlalchemy as sa
from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

from contracts.clock import FixedClock, SystemClock
from domain.cash_management import operations
from domain.cash_management.accounts import Account
from domain.cash_management.balances import balances_at, trial_balance
from domain.cash_management.ledger import apply
from ops_store.connection import in_schema, open_engine, reading, sqlite_url
from ops_store.errors import AccountUnknownError, OpsStoreError
from ops_store.ledger import TRANSFERS_PER_BATCH_MAX
from ops_store.store import OpsStore
from tests.property.test_cash_ledger import LedgerMachine
from tests.unit.ledger_cases import (
    AAPL,
    ACCOUNTS,
    ALPHA,
    BETA,
    BROKER,
    at,
    funding,
    outcomes,
    pending,
    post,
    transfer,
    void,
)

ROOT = Path(__file__).parents[2]
WRITERS = 8


class SettableClock:
    """A clock that says what a test sets."""

    instant_ns = 10

    def now_ns(self) -> int:
        return self.instant_ns


@pytest.fixture
def clock() -> SettableClock:
    return SettableClock()


@pytest.fixture
def store(url: str, clock: SettableClock) -> Iterator[OpsStore]:
    opened = OpsStore.open(url, clock, migrate=True)
    assert set(outcomes(opened.create_accounts(ACCOUNTS))) == {"ok"}
    assert set(outcomes(opened.post(funding()))) == {"ok"}
    yield opened
    opened.close()


class KeptMachine(LedgerMachine):
    """The machine of the pure ledger, with the same batches posted to a store beside it."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self.clock = SettableClock()
        self.store = OpsStore.open(url, self.clock, migrate=True)
        self.store.create_accounts(ACCOUNTS)

    def submit(self, batch, expected) -> None:
        _, in_memory = apply(self.state, batch, self.now_ns)
        super().submit(batch, expected)
        self.clock.instant_ns = self.now_ns
        assert self.store.post(batch) == in_memory

    def teardown(self) -> None:
        try:
            if hasattr(self, "state"):
                self.agree()
            super().teardown()
        finally:
            self.store.close()

    def agree(self) -> None:
        bookings = list(self.state.bookings.values())
        assert self.store.transfers() == bookings
        assert self.store.balances() == self.state.accounts
        assert self.store.reservations(self.state.reservations) == self.state.reservations
        assert self.store.trial_balance() == trial_balance(self.state.accounts.values())
        assert self.store.ledger_differences() == ()
        for as_of_ns, known_at_ns in ((None, None), (2, None), (None, 3), (1, 4)):
            times = {"as_of_ns": as_of_ns, "known_at_ns": known_at_ns}
            then = balances_at(self.state.accounts, bookings, **times)
            for id_ in (BROKER, ALPHA, AAPL):
                assert self.store.balance(id_, **times) == then[id_]


_databases = itertools.count(1)


@pytest.mark.parametrize("database", ["sqlite", "postgres"])
def test_the_kept_ledger_is_the_one_in_memory(
    database: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    server = request.getfixturevalue("postgres_url") if database == "postgres" else ""

    def machine() -> KeptMachine:
        number = next(_databases)
        if server:
            return KeptMachine(in_schema(server, f"machine_{number}"))
        return KeptMachine(sqlite_url(tmp_path / f"{number}.db"))

    run_state_machine_as_test(
        machine, settings=settings(max_examples=8, stateful_step_count=20, deadline=None)
    )


def test_bookings_are_read_in_order_and_by_account(store: OpsStore) -> None:
    store.post([transfer("one"), transfer("two", AAPL, ALPHA), transfer("three", BETA, ALPHA)])
    ids = [one.transfer.id for one in store.transfers()]
    assert ids == ["fund-alpha", "fund-euro", "one", "two", "three"]
    assert [one.transfer.id for one in store.transfers(2, limit=2)] == ["one", "two"]
    assert [one.transfer.id for one in store.transfers(account_id=BETA)] == ["three"]
    assert [one.transfer.id for one in store.transfers(3, account_id=BROKER)] == ["two", "three"]
    assert store.find_transfers(["two", "none"]).keys() == {"two"}


def test_reservations_lapse_when_asked_and_before_what_comes_next(
    store: OpsStore, clock: SettableClock
) -> None:
    store.post([pending("a", 600, expires_ns=20), pending("b", 400, expires_ns=30)])
    assert store.expire() == ()
    clock.instant_ns = 20
    assert [one.transfer.pending_id for one in store.expire()] == ["a"]
    assert store.balances([ALPHA])[BROKER].available_minor == 600
    clock.instant_ns = 30
    assert outcomes(store.post([transfer("all", amount=1_000)])) == ["ok"]
    assert store.reservations(["b"])["b"].status == "expired"
    assert store.ledger_differences() == ()


def test_an_exchange_keeps_its_rate_to_the_digit(store: OpsStore) -> None:
    rate = Decimal("1.08750000000000000000000000001")
    swap = operations.exchange(
        at("fx", "EUR"), sell="asset:cash:EUR", buy=ALPHA, buy_currency="USD", amount_minor=9,
        rate=rate,
    )  # fmt: skip
    assert outcomes(store.post(swap)) == ["ok", "ok"]
    assert {str(one.transfer.rate) for one in store.transfers(2)} == {str(rate)}
    assert outcomes(store.post(swap)) == ["exists", "exists"]


def test_nobody_changes_a_booking(store: OpsStore, url: str) -> None:
    engine = open_engine(url)
    for statement in (
        "UPDATE ledger_transfers SET amount_minor = 1", "DELETE FROM ledger_transfers",
    ):  # fmt: skip
        with pytest.raises(sa.exc.DBAPIError, match="reverse it"), engine.begin() as connection:
            connection.execute(sa.text(statement))
    # And a limit is one of the database, too.
    overdraw = sa.text("UPDATE ledger_accounts SET credits_posted = 5000 WHERE account_id = :id")
    with pytest.raises(sa.exc.IntegrityError, match="credits_limit"), engine.begin() as connection:
        connection.execute(overdraw, {"id": ALPHA})
    engine.dispose()
    assert store.ledger_differences() == ()


def test_totals_that_somebody_changed_are_found(store: OpsStore, url: str) -> None:
    engine = open_engine(url)
    with engine.begin() as connection:
        more = "UPDATE ledger_accounts SET debits_posted = debits_posted + 1 WHERE account_id = :id"
        connection.execute(sa.text(more), {"id": BETA})
    engine.dispose()
    found = {one.subject for one in store.ledger_differences()}
    # Its currency is out of balance, it is not its bookings, and its real account not its parts.
    assert found == {"USD", BETA, BROKER}


def test_a_reader_sees_one_state_while_others_write(store: OpsStore, url: str) -> None:
    engine = open_engine(url)
    count = sa.text("SELECT count(*) FROM ledger_transfers")
    with reading(engine) as connection:
        before = connection.execute(count).scalar_one()
        store.post([transfer("meanwhile")])
        assert connection.execute(count).scalar_one() == before
    with reading(engine) as connection:
        assert connection.execute(count).scalar_one() == before + 1
    engine.dispose()


def test_what_cannot_be_asked_for_is_refused(store: OpsStore) -> None:
    with pytest.raises(AccountUnknownError, match="'nowhere'"):
        store.balance("nowhere")
    with pytest.raises(OpsStoreError, match="several calls"):
        store.post([transfer("x")] * (TRANSFERS_PER_BATCH_MAX + 1))
    assert outcomes(store.post([transfer("bad\0", "no\0where")])) == ["text_malformed"]
    assert outcomes(store.create_accounts([ACCOUNTS[0], Account(
        id="no\0", kind=ACCOUNTS[0].kind, currency="USD"
    )])) == ["exists", "id_malformed"]  # fmt: skip


def contend(url: str, writer: int, barrier: threading.Barrier, done: list) -> None:
    """Spend from the same account as all others, ids shared with all others among them."""
    own = OpsStore.open(url, FixedClock(20))
    barrier.wait()
    for number in range(12):
        name = f"{writer}-{number}"
        group = [transfer(f"{name}-out", amount=9), transfer(f"{name}-fee", BETA, ALPHA, amount=1)]
        batch = [
            *(msgspec.structs.replace(one, link=group[0].id) for one in group),
            pending(f"{name}-hold", 5),
            post(f"{name}-part", f"{name}-hold", 2),
            void(f"{name}-rest", f"{name}-hold"),
            transfer(f"shared-{number}", amount=3),
        ]
        done.append((batch, own.post(batch)))
    own.close()


def test_eight_writers_at_once_spend_no_more_than_there_is(store: OpsStore, url: str) -> None:
    barrier, done = threading.Barrier(WRITERS), []
    threads = [
        threading.Thread(target=contend, args=(url, writer, barrier, done))
        for writer in range(WRITERS)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(done) == WRITERS * 12
    by_id = Counter((one.transfer_id, one.outcome) for _, results in done for one in results)
    booked = [one.transfer for one in store.transfers()]
    # What was acknowledged is there, once; a shared id was booked by one, and seen by the others.
    assert {id_ for id_, outcome in by_id if outcome in {"ok", "exists"}} | {
        "fund-alpha", "fund-euro"
    } == {one.id for one in booked}  # fmt: skip
    assert max(count for (_, outcome), count in by_id.items() if outcome == "ok") == 1
    assert len({one.id for one in booked}) == len(booked)
    refused = {outcome for _, outcome in by_id} - {"ok", "exists"}
    assert "exceeds_debits" in refused, "there was less than they asked for"
    assert store.ledger_differences() == ()
    accounts = store.balances()
    assert 0 <= accounts[ALPHA].available_minor < 10
    assert accounts[BROKER].available_minor == accounts[ALPHA].available_minor + (
        accounts[BETA].available_minor
    )
    assert [one.sequence for one in store.transfers()] == list(range(1, len(booked) + 1))
    # All of it again, as after lost answers: nothing more is booked.
    for batch, results in done:
        again = store.post(batch)
        assert all(
            new.outcome == "exists"
            for new, old in zip(again, results, strict=True)
            if old.is_booked
        )
    assert [one.transfer for one in store.transfers()][: len(booked)] == booked


WRITER = """
import sys
from contracts.clock import SystemClock
from ops_store.store import OpsStore
from tests.integration.test_ledger_store import batch_of
store = OpsStore.open(sys.argv[1], SystemClock())
for number in range(1_000_000):
    for one in store.post(batch_of(number)):
        print(one.transfer_id, one.outcome, flush=True)
"""


def batch_of(number: int) -> list:
    """Return the batch of a number: a group of two, a reservation and its post."""
    first = transfer(f"k{number}-a", BETA, ALPHA, 1, link=f"k{number}-a")
    return [
        first,
        transfer(f"k{number}-b", ALPHA, BETA, 1, link=first.id),
        pending(f"k{number}-c", 1, debit=BETA),
        post(f"k{number}-d", f"k{number}-c", debit=BETA),
        transfer(f"k{number}-e", ALPHA, BETA, 1),
    ]


def acknowledged_until_killed(url: str, lines: int) -> list[str]:
    """Start a writer, kill it after so many acknowledgements, and return all that it gave."""
    command = [sys.executable, "-c", WRITER, url]
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, text=True, env=dict(os.environ)
    ) as child:
        given = [child.stdout.readline() for _ in range(lines)]
        child.send_signal(signal.SIGKILL)
        given += child.stdout.readlines()
    assert child.returncode == -signal.SIGKILL
    # The kill may have cut the last line short.
    return [line.split()[0] for line in given if line.endswith((" ok\n", " exists\n"))]


def test_a_killed_writer_loses_nothing_that_it_acknowledged(url: str) -> None:
    store = OpsStore.open(url, SystemClock(), migrate=True)
    store.create_accounts(ACCOUNTS)
    store.post(funding())
    # Three kills at different places of a batch; each writer goes over the work of those before.
    for lines in (23, 61, 107):
        given = acknowledged_until_killed(url, lines)
        assert len(given) >= lines
        assert store.find_transfers(given).keys() == set(given)
        assert store.ledger_differences() == ()
    booked = [one.transfer.id for one in store.transfers(2, limit=10_000)]
    # Each batch is there wholly and once: posting all again books what was not there before only.
    assert len(booked) % 5 == 0
    assert len(set(booked)) == len(booked)
    for number in range(len(booked) // 5):
        assert set(outcomes(store.post(batch_of(number)))) == {"exists"}
    assert outcomes(store.post(batch_of(len(booked) // 5))) == ["ok"] * 5
    assert store.ledger_differences() == ()
    store.close()
