"""Commands of those who work on the marts, and the query that the demo ends with."""

from __future__ import annotations

import functools
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from typing import Annotated

import typer
from rich.console import Console

from assets.marts import marts_store
from cli.query import ask, connect
from cli.shell import obey, run_shell
from io_managers.lake import Lake
from orchestration.base.settings import Settings, read_settings

EXAMPLE = """\
select fill_source, count(*) as fills, sum(notional) as traded_usd,
       sum(total_cost) as cost_usd, round(avg(slippage_bps), 1) as slippage_bps
from marts.fct_fills group by fill_source order by fill_source"""
console = Console()


def marts(
    *,
    full: Annotated[bool, typer.Option("--full-refresh", help="Make every month anew.")] = False,
    unit_tests: Annotated[
        bool, typer.Option("--unit-tests", help="Run dbt's unit tests, too.")
    ] = False,
) -> None:
    """Build the marts from the lake, test them, and publish them when all passed.

    Jobs build them, too; this is for those who change a model.
    """
    store = marts_store(read_settings())
    build = store.build(full=full, unit_tests=unit_tests)
    build.require_published()
    what = "every month" if build.full else f"{build.months[0]} to {build.months[-1]}"
    tests = sum(event["info"]["name"] == "LogTestResult" for event in build.events)
    console.print(f"Built {what}: {tests} tests passed in {build.seconds:.1f} s.")
    for name, rows in store.counts().items():
        console.print(f"  marts.{name:<24}{rows:>12,}")
    console.print(f"Published {store.path}", soft_wrap=True)


def dbt_docs(
    port: Annotated[int, typer.Option(help="On loopback; 0 only writes the file.")] = 8080,
) -> None:
    """Write dbt's documentation of the marts, and serve it on loopback until Ctrl-C."""
    page = marts_store(read_settings()).document()
    console.print(f"Documentation {page}", soft_wrap=True)
    if not port:
        return
    handler = functools.partial(SimpleHTTPRequestHandler, directory=str(page.parent))
    with ThreadingHTTPServer(("127.0.0.1", port), handler) as server:
        console.print(f"http://127.0.0.1:{server.server_port}/{page.name}; Ctrl-C stops it.")
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            console.print()


def sql(
    query: Annotated[
        str | None, typer.Argument(help="DuckDB statements, or `.tables`, `.schema NAME`.")
    ] = None,
) -> None:
    """Ask marts and lake, e.g. "select * from marts.fct_pnl_daily"; a shell without a query."""
    settings = read_settings()
    lake, published = Lake(settings.lake_root), marts_store(settings).path
    with connect(lake, published) as connection:
        if query is None:
            run_shell(connection, settings.home / "sql_history")
        else:
            typer.echo(obey(connection, query.strip()))


def print_example(settings: Settings) -> None:
    """Print a query of the marts, and its answer."""
    typer.echo(f"Marts   {marts_store(settings).path}")
    typer.echo(f'\n./quantivista sql "{EXAMPLE}"\n')
    typer.echo(ask(Lake(settings.lake_root), marts_store(settings).path, EXAMPLE))
