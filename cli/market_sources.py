"""`quantivista sources`: which vendors of market data there are, and what they give."""

from __future__ import annotations

import datetime as dt
import os
from collections import Counter
from typing import Annotated

import polars as pl
import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from cli.acting import As, acting
from contracts.clock import datetime_ns, utc_datetime
from contracts.errors import ConfigurationError, SourceError
from domain.compliance.people import Action
from domain.market_data.normalise import normalise
from orchestration.base.market import desk_of
from orchestration.base.settings import Settings, read_settings
from sources.file_drops import DropStore, RawDrop
from sources.market_data.acceptances import SHA256_CHARS, Acceptance
from sources.market_data.configuration import SourceConfig, read_sources
from sources.market_data.protocol import MarketDataSource, Refusal, Window
from sources.market_data.receipts import Receipts
from sources.market_data.reception import receive
from sources.market_data.refusals import acceptance_of, refused_files

app = typer.Typer(help="Sources of market data.", no_args_is_help=True)
console = Console()
DAY = ["%Y-%m-%d"]
# The exchange calendars know no more.
FIRST_DAY, LAST_DAY = dt.date(1900, 1, 1), dt.date(2099, 12, 31)


@app.command("list")
def list_sources() -> None:
    """Show the configured sources, whether their keys are set, and what came from them."""
    settings = read_settings()
    configs = read_sources(settings.sources_file)
    if not configs:
        console.print(
            f"No source is configured: {settings.sources_file} has none. See "
            "docs/adding-a-source.md.",
            soft_wrap=True,
        )
        return
    table = Table("source", "type", "key", "drops", "newest")
    store = DropStore(settings.drops_root)
    for name, config in configs.items():
        received = Receipts(store, name).rows()
        newest = utc_datetime(received[-1].received_ns) if received else None
        table.add_row(
            name, str(config.__struct_config__.tag), _key(config), f"{len(received):,}",
            "-" if newest is None else f"{newest:%Y-%m-%d %H:%M:%S}Z",
        )  # fmt: skip
    console.print(table)


def _key(config: SourceConfig) -> str:
    names = [name for name in config.__struct_fields__ if name.endswith("_env")]
    variables = [variable for name in names if (variable := getattr(config, name))]
    if not variables:
        return "none needed"
    return ", ".join(
        f"{variable} is {'set' if os.environ.get(variable) else 'NOT set'}"
        for variable in variables
    )


@app.command()
def fetch(
    name: Annotated[str, typer.Argument(help="Of the source, as in sources.toml.")],
    first: Annotated[
        dt.datetime | None,
        typer.Option("--from", formats=DAY, help="First day; else the last session."),
    ] = None,
    last: Annotated[
        dt.datetime | None,
        typer.Option("--to", formats=DAY, help="Last day; else the last session."),
    ] = None,
    instruments: Annotated[
        str, typer.Option(help="The vendor's symbols, e.g. AAPL,MSFT; else all.")
    ] = "",
) -> None:
    """Fetch drops, keep them byte for byte, and say what they hold and what did not come.

    A second fetch of the same bytes changes nothing. Exit code 1 when anything was refused.
    """
    settings = read_settings()
    source = _opened(settings, name)
    newest = settings.last_session()
    window = Window(first.date() if first else newest, last.date() if last else newest)
    symbols = [part.strip() for part in instruments.split(",") if part.strip()]
    receipts = Receipts(DropStore(settings.drops_root), name)
    now_ns = datetime_ns(settings.instant())
    came, refused = Counter[bool](), 0
    for found in receive(source, receipts, window, symbols, now_ns=now_ns):
        if isinstance(found, Refusal):
            refused += 1
            _say(f"NOT  {found.name}: {found.reason}")
            continue
        came[found.is_new] += 1
        says_something, what = _content(settings, source, found.drop)
        _say(f"{'new ' if found.is_new else 'held'} {found.drop.name}: {what}")
        refused += not says_something
    console.print(
        f"{came.total():,} drops of {window.first} .. {window.last} from {name}: {came[True]:,} "
        f"new, {came[False]:,} held already; {refused:,} refused.",
        soft_wrap=True,
    )
    if refused:
        raise typer.Exit(1)


@app.command()
def accept(
    name: Annotated[str, typer.Argument(help="Of the source, as the refusal names it.")],
    sha256: Annotated[str, typer.Argument(help="Of the refused file, or how it begins.")],
    because: Annotated[str, typer.Option(help="Why it is right, in a sentence for an examiner.")],
    as_: As = "",
) -> None:
    """Accept a refused file that is right: the rule that refused it no longer judges it.

    Every other rule still does. Who accepted it and why is in the audit trail.
    """
    settings = read_settings()
    desk = desk_of(settings)
    if not because.strip():
        raise ConfigurationError("No reason is given.", remedy="say why with --because")
    files = refused_files(desk, settings.times_between)
    found = [one for one in files if one.source == name and one.sha256.startswith(sha256.lower())]
    if len(found) != 1:
        _require_accepted(desk.acceptances(name).rows(), name, sha256, len(found))
        return
    (file,) = found
    with acting(settings, as_) as (store, by):
        row = acceptance_of(
            desk, file, settings.times_between, person=by, because=because.strip(),
            now_ns=datetime_ns(settings.instant()),
        )  # fmt: skip
        said = {"rule": row.rule, "because": row.because, "header": row.header}
        store.human_action(Action.DELIVERY_ACCEPT, f"{name} {file.sha256}", said, by=by)
    desk.acceptances(name).append(row)
    _say(f"{file.name} ({file.sha256[:SHA256_CHARS]}) of {name} need not keep {file.rule} any more:"
         f" {by} says so. The sensor takes it in at its next look, or a run does.")  # fmt: skip


def _require_accepted(rows: list[Acceptance], name: str, prefix: str, n_found: int) -> None:
    """Say that a file was accepted before; refuse one that is not there to be accepted."""
    before = [row for row in rows if row.sha256.startswith(prefix.lower())]
    if n_found or not before:
        found = f"{n_found} refused files" if n_found else "no refused file that can be accepted"
        raise SourceError(
            f"{name} has {found} whose SHA-256 begins with {prefix[:64]!r}.",
            remedy="name it as its incident or the table `quarantine` does (line 0)",
        )
    _say(f"{before[-1].person} has accepted it already: {before[-1].because}")


def _opened(settings: Settings, name: str) -> MarketDataSource:
    configs = read_sources(settings.sources_file)
    if name not in configs:
        raise ConfigurationError(
            f"There is no source {name!r}; there are: {', '.join(configs) or 'none'}.",
            remedy=f"add [sources.{name}] to {settings.sources_file}",
        )
    return configs[name].open(name, os.environ)


def _content(settings: Settings, source: MarketDataSource, drop: RawDrop) -> tuple[bool, str]:
    """Return whether a drop has rows; then how many may be used, or why it has none."""
    try:
        kind, rows, quarantine = source.read(drop)
    except SourceError as error:
        return False, f"kept, but cannot be read: {error.message}"
    if rows.is_empty() and quarantine.is_empty():
        return False, "kept, but holds no rows"
    reasons = Counter(quarantine["reason"].to_list())
    usable, unjudged = rows.height, ""
    if kind == "bar_1d" and usable:
        try:
            sessions = _sessions(settings, rows)
        except ConfigurationError as error:
            unjudged = f", not judged: {error.message}"
        else:
            judged = normalise(
                rows, source=drop.source, sha256=drop.sha256, sessions=sessions,
                volume_unit_shares=source.volume_unit_shares, price_basis=source.price_basis,
            )  # fmt: skip
            reasons.update(judged.quarantine["reason"].to_list())
            usable = judged.bars.height
    said = ", ".join(f"{count:,} {reason}" for reason, count in sorted(reasons.items()))
    return True, f"{usable:,} of {kind}" + (f", quarantined {said}" if said else "") + unjudged


def _sessions(settings: Settings, rows: pl.DataFrame) -> pl.Series:
    days = rows["date"].str.to_date("%Y%m%d")
    inside = days.filter(days.is_between(FIRST_DAY, LAST_DAY))
    first, last = inside.min(), inside.max()
    if not isinstance(first, dt.date) or not isinstance(last, dt.date):
        return pl.Series("session", [], dtype=pl.Date)
    return settings.sessions_between(first, last)


def _say(line: str) -> None:
    # Names and reasons are partly the vendor's: nothing in them may steer the terminal.
    plain = "".join(letter if letter.isprintable() else "?" for letter in line)
    console.print(escape(plain), soft_wrap=True, highlight=False)
