"""A small SQL shell over marts and lake: history, statements over several lines, ``.tables``."""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import duckdb
import typer

from cli.query import answer
from contracts.errors import LakeError

PROMPT, MORE = "quantivista> ", "        ...> "
HISTORY_LINES = 1_000
HELP = """\
Statements end with `;` and may span lines. Nothing here can change a file.
  .tables          marts and tables of the lake
  .schema NAME     columns of one, e.g. .schema marts.fct_fills
  .help            this
  .quit            leave, as Ctrl-D does; Ctrl-C forgets what was typed\
"""
TABLES = """
select schema_name || '.' || view_name from duckdb_views()
where database_name = 'memory' and not internal and schema_name != 'main' order by 1
"""
COLUMNS = """
select columns.column_name, columns.data_type, coalesce(published.comment, '') as comment
from duckdb_columns() as columns
left join duckdb_columns() as published
    on published.database_name = 'published' and published.schema_name = columns.schema_name
    and published.table_name = columns.table_name and published.column_name = columns.column_name
where columns.database_name = 'memory' and columns.schema_name = ? and columns.table_name = ?
order by columns.column_index
"""


def run_shell(connection: duckdb.DuckDBPyConnection, history: Path) -> None:
    """Read statements until the end of input; a failed one is reported, and the next one read.

    Without a terminal the statements come from a pipe: no prompt is shown, and the first that fails
    ends the command.

    Raises
    ------
    LakeError
        When a statement of a pipe fails.
    """
    interactive = sys.stdin.isatty()
    with _history(history) if interactive else contextlib.nullcontext():
        if interactive:
            typer.echo("Read-only. `.tables` lists what there is, `.help` helps, Ctrl-D leaves.")
        for statement in _statements(interactive=interactive):
            if statement in {".quit", ".exit"}:
                return
            try:
                shown = obey(connection, statement)
            except LakeError as error:
                if not interactive:
                    raise
                typer.echo(error.message, err=True)
            else:
                if shown:
                    typer.echo(shown)


def _statements(*, interactive: bool) -> Iterator[str]:
    """Yield statements without their semicolon, and commands that begin with a dot."""
    read: Callable[[str], str] = input if interactive else _read_line
    lines: list[str] = []
    while True:
        try:
            line = read(MORE if lines else PROMPT)
        except EOFError:
            if lines:
                yield "\n".join(lines)
            if interactive:
                typer.echo()
            return
        except KeyboardInterrupt:
            lines = []
            typer.echo()
            continue
        if not lines and line.strip().startswith("."):
            yield line.strip()
        elif line.strip() or lines:
            lines.append(line)
            if line.rstrip().endswith(";"):
                yield "\n".join(lines)
                lines = []


def _read_line(prompt: str) -> str:
    del prompt
    line = sys.stdin.readline()
    if not line:
        raise EOFError
    return line.rstrip("\n")


def obey(connection: duckdb.DuckDBPyConnection, statement: str) -> str:
    """Return what a statement, or a command that begins with a dot, answers.

    Raises
    ------
    LakeError
        When a statement fails.
    """
    if statement == ".tables":
        return "\n".join(name for (name,) in connection.execute(TABLES).fetchall())
    if statement.startswith(".schema"):
        return _columns(connection, statement.removeprefix(".schema").strip())
    if statement.startswith("."):
        return HELP
    return answer(connection, statement)


def _columns(connection: duckdb.DuckDBPyConnection, name: str) -> str:
    schema, _, table = name.rpartition(".")
    rows = connection.execute(COLUMNS, [schema or "marts", table]).fetchall()
    if not rows:
        return f"There is no {name!r}; `.tables` lists what there is."
    widths = [max(len(row[i]) for row in rows) for i in (0, 1)]
    return "\n".join(
        re.sub(r" +$", "", f"{column:<{widths[0]}}  {kind:<{widths[1]}}  {comment}")
        for column, kind, comment in rows
    )


@contextlib.contextmanager
def _history(path: Path) -> Iterator[None]:
    try:
        import readline
    except ImportError:  # A Python that was built without it edits lines all the same.
        yield
        return
    with contextlib.suppress(OSError):
        readline.read_history_file(path)
    readline.set_history_length(HISTORY_LINES)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            readline.write_history_file(path)
