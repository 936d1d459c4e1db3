"""An operator's day with cash: balances, a bank's file, the breaks that come of it."""

import datetime as dt

import polars as pl
import pytest
import sqlalchemy as sa
from rich.console import Console
from typer.testing import CliRunner

from cli import cash, statements
from cli.doctor_cash import CHECKS
from cli.findings import Patient
from cli.main import app
from contracts.clock import datetime_ns
from contracts.errors import ReconciliationError
from domain.cash_management.chart import CASH, account_in, cash_account, chart
from domain.cash_management.operations import Occasion, deposit, fee
from domain.cash_management.tables import ladder_frame
from io_managers.lake import Lake
from ops_store.connection import open_engine, writing
from ops_store.tables import LEDGER_ACCOUNTS
from orchestration.base.ops import ops_store
from orchestration.base.settings import read_settings
from tests.unit.statement_cases import balance, camt053, entry, statement

EUROS = account_in(CASH, "EUR")
DAY = dt.datetime(2010, 8, 19, 12, tzinfo=dt.UTC)


@pytest.fixture
def run(tmp_path, monkeypatch):
    for name, value in {
        "QUANTIVISTA_HOME": str(tmp_path / "home"),
        "QUANTIVISTA_GO_LIVE_SESSION": "2010-08-19",
        "QUANTIVISTA_NOW": "2010-08-20T20:00:00Z",
    }.items():
        monkeypatch.setenv(name, value)
    # A narrow terminal wraps what the tests look for.
    for module in (cash, statements):
        monkeypatch.setattr(module, "console", Console(width=200))

    def invoke(*words):
        result = CliRunner().invoke(app, ["cash", *words])
        assert result.exit_code == 0, (result.output, result.exception)
        return result.output

    return invoke


def post(*groups):
    with ops_store(read_settings()) as store:
        store.create_accounts([cash_account(EUROS, "EUR"), *chart("EUR")])
        results = store.post([leg for group in groups for leg in group])
    assert [one.outcome for one in results] == ["ok"] * len(results)


def at(id_, reference=""):
    return Occasion(id=id_, currency="EUR", event_time_ns=datetime_ns(DAY), reference=reference)


def test_an_empty_ledger_says_so(run):
    assert "has not gone live" in run("balances")
    assert "No break." in run("breaks")


def test_balances_now_and_as_they_were(run):
    post(
        deposit(at("D1"), cash=EUROS, amount_minor=1_000_00),
        fee(at("F1"), cash=EUROS, amount_minor=9_50),
    )
    now = run("balances")
    assert "990.50" in now
    assert "Debits equal credits." in now
    assert "990.50" not in run("balances", "--as-of", "2010-08-19T11:59:59")
    assert "990.50" in run("balances", "--as-of", "2300-01-01T00:00:00")
    assert "990.50" not in run("balances", "--as-of", "1900-01-01T00:00:00")


def test_a_statement_is_matched_and_a_difference_is_a_break_until_it_is_gone(run, tmp_path):
    post(
        deposit(at("D1", "E2E-1"), cash=EUROS, amount_minor=100_00),
        fee(at("F1", "E2E-2"), cash=EUROS, amount_minor=9_50),
    )
    file = tmp_path / "statement.xml"

    def bank_says(*entries, closing, number=7):
        body = (balance("OPBD", "0.00"), balance("CLBD", closing), *entries)
        file.write_text(camt053(statement(*body, identity=f"S{number}", number=number)))

    bank_says(entry("100.00", reference="E2E-1"), closing="100.00")
    said = run("load", str(file), "--account", EUROS)
    assert "1 entries of the bank, 2 of the ledger: 1 matched by reference; 1 breaks" in said
    # The same file again is the same statement.
    assert "1 entries of the bank, 2 of the ledger" in run("load", str(file), "--account", EUROS)
    (row,) = [line for line in run("breaks").splitlines() if "missing_at_bank" in line]
    assert "-9.50 EUR" in row or "9.50 EUR" in row
    break_id = row.split()[1]
    assert "1 aged 0-1 sessions, 9.50 EUR in all." in run("breaks")
    assert "owned by anna" in run("assign", break_id, "anna")
    assert "is explained" in run("explain", break_id, "the bank charges it tomorrow")
    body = (
        balance("OPBD", "100.00"),
        balance("CLBD", "90.50"),
        entry("9.50", "DBIT", reference="E2E-2"),
    )
    file.write_text(camt053(statement(*body, identity="S8", number=8)))
    said = run("load", str(file), "--account", EUROS)
    assert "2 matched by reference; 0 breaks" in said
    assert "No break." in run("breaks")
    assert "the bank charges it tomorrow" in run("breaks", "--all")


def test_a_file_that_cannot_be_believed_is_kept_and_named(run, tmp_path):
    file = tmp_path / "statement.xml"
    body = (balance("OPBD", "0.00"), balance("CLBD", "5.00"), entry("4.00"))
    file.write_text(camt053(statement(*body)))
    said = run("load", str(file), "--account", EUROS)
    assert "refused: StatementBalanceError" in said
    assert "entries of the bank" not in said
    kept = list((read_settings().drops_root).rglob("*"))
    assert file.read_bytes() in [path.read_bytes() for path in kept if path.is_file()]


def lake_of(settings, trades, equity):
    lake = Lake(settings.lake_root)
    for key, frame in (
        (("cash_management", "settlement_ladder"), ladder_frame(trades, equity)),
        (("portfolio_management", "equity"), equity),
        (("trade_execution", "trades"), trades),
    ):
        lake.write(key, frame, partition_column="month", partitions=["2010-08-01"])


def test_the_forecast_settles_what_is_open_and_proposes_a_sweep(run):
    day = dt.date(2010, 8, 20)
    equity = pl.DataFrame({"session": [day], "month": ["2010-08-01"], "cash_minor": [300_00]})
    trades = pl.DataFrame(
        {
            "exec_id": ["E1", "E2"],
            "session": [day] * 2,
            "side": ["sell", "buy"],
            "notional_minor": [200_00, 50_00],
            "commission_minor": [1_00, 1_00],
            "settlement_date": [dt.date(2010, 8, 25)] * 2,
            "currency": ["USD"] * 2,
            "month": ["2010-08-01"] * 2,
        }
    )
    lake_of(read_settings(), trades, equity)
    assert (
        "Settled 152.00; 101.00 without proceeds that have not settled; projected 300.00 USD."
        in (" ".join(run("ladder").split()))
    )
    band = ("--target", "100", "--ceiling", "120", "--counter-account", "asset:treasury:USD")
    said = run("forecast", *band)
    (settles,) = [line for line in said.splitlines() if "2010-08-25" in line and "199.00" in line]
    assert "300.00" in settles
    assert "sweep" in said
    # To the cent: as floats, 0.29 is less than 29 cents.
    odd = ("--target", "0.29", "--ceiling", "1", "--counter-account", "asset:treasury:USD")
    assert "sweep 151.71 USD" in run("forecast", *odd)
    assert "asset:treasury:USD" in said
    later = pl.DataFrame({"session": [dt.date(2010, 8, 26)], "month": equity["month"]})
    lake_of(read_settings(), trades, pl.concat([equity, later], how="diagonal").fill_null(300_00))
    assert "Nothing has yet to settle." in run("ladder")


def cash_findings():
    patient = Patient(read_settings())
    return [(one.check, one.status.value) for _, check in CHECKS for one in check(patient)]


def test_the_doctor_sums_the_ledger_anew(run):
    assert cash_findings() == []
    post(deposit(at("D1"), cash=EUROS, amount_minor=100_00))
    assert cash_findings() == [("ledger", "ok")]
    engine = open_engine(read_settings().ops_url)
    with writing(engine) as connection:
        more = {"debits_posted": LEDGER_ACCOUNTS.c.debits_posted + 1}
        one = LEDGER_ACCOUNTS.c.account_id == EUROS
        connection.execute(sa.update(LEDGER_ACCOUNTS).where(one).values(**more))
    engine.dispose()
    assert cash_findings() == [("ledger", "fail")]


def test_the_doctor_warns_where_cash_does_not_reconcile(run):
    settings, month = read_settings(), "2010-08-01"
    row = {
        "session": [dt.date(2010, 8, 20)],
        "month": [month],
        "agree": [False],
        "differences": ["x"],
    }
    key = ("cash_management", "reconciliation")
    lake = Lake(settings.lake_root)
    lake.write(key, pl.DataFrame(row), partition_column="month", partitions=[month])
    assert cash_findings() == [("cash", "warn")]


def test_an_account_that_the_ledger_lacks_is_refused_before_anything_is_a_break(run, tmp_path):
    post(deposit(at("D1", "E2E-1"), cash=EUROS, amount_minor=100_00))
    file = tmp_path / "statement.xml"
    file.write_text(
        camt053(statement(balance("OPBD", "0.00"), balance("CLBD", "0.00"), identity="S1"))
    )
    result = CliRunner().invoke(app, ["cash", "load", str(file), "--account", "asset:csh:EUR"])
    assert isinstance(result.exception, ReconciliationError)
    assert "No break." in run("breaks")


def test_what_one_bank_says_is_no_break_of_another_banks_account(run, tmp_path):
    other = "asset:bank:EUR"
    post(deposit(at("D1", "E2E-1"), cash=EUROS, amount_minor=100_00))
    with ops_store(read_settings()) as store:
        store.create_accounts([cash_account(other, "EUR")])
    post(deposit(at("D2", "E2E-2"), cash=other, amount_minor=50_00))
    for number, (account, iban, amount, reference) in enumerate(
        [(EUROS, "DE89370400440532013000", "100.00", "E2E-1"),
         (other, "DE02120300000000202051", "50.00", "E2E-2")]
    ):  # fmt: skip
        file = tmp_path / f"{number}.xml"
        body = (
            balance("OPBD", "0.00"), balance("CLBD", amount), entry(amount, reference=reference)
        )  # fmt: skip
        text = camt053(statement(*body, identity=f"S{number}"))
        file.write_text(text.replace("DE89370400440532013000", iban))
        said = run("load", str(file), "--account", account)
        assert "1 entries of the bank, 1 of the ledger: 1 matched by reference; 0 breaks" in said
