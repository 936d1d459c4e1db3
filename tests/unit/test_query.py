"""The SQL shell answers from marts and lake, and cannot be talked into touching a file."""

import io
from unittest.mock import create_autospec

import duckdb
import polars as pl
import pytest
from typer.testing import CliRunner

from cli.main import app
from cli.query import answer, ask, connect
from cli.shell import run_shell
from contracts.errors import LakeError
from io_managers.lake import Lake


@pytest.fixture
def home(tmp_path):
    """A lake of one table, and a published file of one mart."""
    frame = pl.DataFrame(
        {"month": ["2010-01-01"] * 2, "cause": ["trade", "capital"], "nav_minor": [1, 123_456]}
    )
    Lake(tmp_path / "lake").write(
        ("portfolio_management", "equity"), frame, partition_column="month",
        partitions=["2010-01-01"],
    )  # fmt: skip
    (tmp_path / "marts").mkdir()
    with duckdb.connect(str(tmp_path / "marts" / "quantivista.duckdb")) as connection:
        connection.execute("create schema marts")
        connection.execute("create table marts.fct_fills as select 42 as quantity")
        connection.execute("comment on column marts.fct_fills.quantity is 'Shares, unsigned.'")
    return tmp_path


def published(home):
    return home / "marts" / "quantivista.duckdb"


def asked(home, query):
    return ask(Lake(home / "lake"), published(home), query)


def test_marts_and_lake_answer_in_one_query(home):
    query = "select quantity + nav_minor from marts.fct_fills, portfolio_management.equity"
    assert "123498" in asked(home, query)


def test_text_columns_of_the_lake_can_be_filtered(home):
    query = "select nav_minor from portfolio_management.equity where cause = 'capital'"
    assert "123456" in asked(home, query)


FORBIDDEN = (
    "copy marts.fct_fills to '{file}'",
    "copy (select 1) to '{file}' (format csv)",
    "export database '{file}'",
    "attach '{file}' as mine",
    "from read_csv('{home}/secret.csv')",
    "from read_text('{home}/secret.csv')",
    "from '{home}/secret.csv'",
    "select * from glob('{home}/*')",
    "install httpfs",
    "load httpfs",
    "set enable_external_access = true",
    "set lock_configuration = false",
    "reset enable_external_access",
    "pragma profiling_output = '{file}'",
    "set temp_directory = '{file}'",
    "set log_query_path = '{file}'",
    "call enable_logging(storage = 'file', storage_config = {{'path': '{file}'}})",
    "create table published.marts.mine (x integer)",
    "delete from published.marts.fct_fills",
    "drop table published.marts.fct_fills",
    "insert into portfolio_management.equity values ('x', 'x', 1)",
)


@pytest.mark.parametrize("statement", FORBIDDEN)
def test_no_statement_touches_a_file(home, statement):
    (home / "secret.csv").write_text("word\nswordfish\n")
    before = {path: path.read_bytes() for path in home.rglob("*") if path.is_file()}
    with pytest.raises(LakeError, match="The query failed"):
        asked(home, statement.format(file=home / "out", home=home))
    assert {path: path.read_bytes() for path in home.rglob("*") if path.is_file()} == before


def test_a_lake_without_marts_answers_and_nothing_at_all_says_what_to_do(home, tmp_path):
    published(home).unlink()
    assert "123456" in asked(home, "select max(nav_minor) from portfolio_management.equity")
    with pytest.raises(LakeError, match="make demo"):
        ask(Lake(tmp_path / "empty"), tmp_path / "none", "select 1")


def test_a_damaged_published_file_says_how_to_make_it_anew(home):
    published(home).write_bytes(published(home).read_bytes()[:5_000])
    with pytest.raises(LakeError, match=r"quantivista\.duckdb cannot be read") as caught:
        asked(home, "select 1")
    assert "--full-refresh" in caught.value.remedy


def test_an_empty_table_has_its_columns(home):
    empty = pl.DataFrame(schema={"month": pl.String, "rating": pl.String})
    key = ("market_prediction", "evaluations")
    Lake(home / "lake").write(key, empty, partition_column="month", partitions=["2010-01-01"])
    assert "0" in asked(home, "select count(rating) from market_prediction.evaluations")


def typed(monkeypatch, home, lines):
    monkeypatch.setattr("sys.stdin", io.StringIO("\n".join(lines) + "\n"))
    with connect(Lake(home / "lake"), published(home)) as connection:
        run_shell(connection, home / "sql_history")


def test_the_shell_reads_statements_over_lines_and_its_own_commands(home, monkeypatch, capsys):
    lines = [".tables", ".schema fct_fills", ".schema nothing", "select quantity", "  + 1", "from"]
    typed(monkeypatch, home, [*lines, "marts.fct_fills;", "", ".help", ".quit", "select 99;"])
    out = capsys.readouterr().out
    assert out.startswith("marts.fct_fills\nportfolio_management.equity\n")
    assert "quantity  INTEGER  Shares, unsigned." in out
    assert "There is no 'nothing'" in out
    assert "43" in out
    assert "Ctrl-C" in out
    assert "99" not in out


def test_the_last_statement_of_a_pipe_needs_no_semicolon_and_a_failing_one_ends_it(
    home, monkeypatch, capsys
):
    typed(monkeypatch, home, ["create table mine as select 7 as x;", "select x * 6 from mine"])
    assert "42" in capsys.readouterr().out
    with pytest.raises(LakeError, match="nothing"):
        typed(monkeypatch, home, ["select * from nothing;", "select 99;"])


def test_every_statement_of_a_line_is_answered_in_its_order(home):
    found = asked(home, "create table t as select 41 as x; from t; drop table t; select ';' as y;")
    assert "41" in found
    assert "│ ;" in found


def test_ctrl_c_ends_a_query_and_not_the_shell(home):
    # DuckDB answers the signal with this error and no duckdb.Error, at a moment of its choosing.
    connection = create_autospec(duckdb.DuckDBPyConnection, instance=True)
    connection.extract_statements.return_value = ["select 1"]
    connection.sql.side_effect = RuntimeError("Query interrupted")
    with pytest.raises(LakeError, match="interrupted"):
        answer(connection, "select 1")


def test_a_terminal_reports_a_mistake_and_goes_on(home, monkeypatch, capsys):
    typed_lines = iter(["select * from nothing;", KeyboardInterrupt, "select 6 * 7;", EOFError])

    def read(prompt):
        line = next(typed_lines)
        if isinstance(line, str):
            return line
        raise line

    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", read)
    with connect(Lake(home / "lake"), published(home)) as connection:
        run_shell(connection, home / "sql_history")
    shown = capsys.readouterr()
    assert "nothing" in shown.err
    assert "42" in shown.out
    assert (home / "sql_history").exists()


def test_the_command_asks_and_opens_the_shell(home, monkeypatch):
    monkeypatch.setenv("QUANTIVISTA_HOME", str(home))
    one = CliRunner().invoke(app, ["sql", "select quantity from marts.fct_fills"])
    assert (one.exit_code, "42" in one.output) == (0, True)
    tables = CliRunner().invoke(app, ["sql", " .tables"])
    assert (tables.exit_code, "marts.fct_fills\n" in tables.output) == (0, True)
    shell = CliRunner().invoke(app, ["sql"], input="select quantity * 2 from marts.fct_fills;\n")
    assert (shell.exit_code, "84" in shell.output) == (0, True)
    refused = CliRunner().invoke(app, ["sql", "select * from portfolio_management.nothing"])
    assert isinstance(refused.exception, LakeError)
