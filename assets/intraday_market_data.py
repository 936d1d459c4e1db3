"""Workflow 01 within a session: ticks, bars, best quotes and depth from the drops that are kept."""

import datetime as dt
import os
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import dagster as dg
import polars as pl

from domain.market_data.intraday import tables
from domain.market_data.sessions import SessionTimes
from orchestration.base.metadata import lake_asset, lake_assets, spec
from orchestration.base.partitions import SESSION_COLUMN
from orchestration.base.settings import Settings
from sources.file_drops import DropStore
from sources.market_data.configuration import read_sources
from sources.market_data.session_drops import Came, session_drops, session_sources

LINE = ["raw_sha256", "source_seq"]
SCHEMAS = {
    "trades": tables.TRADES, "quotes": tables.QUOTES, "intraday_bars": tables.BARS,
    "intraday_quote_bars": tables.QUOTE_BARS, "depth": tables.DEPTH,
    "intraday_quarantine": tables.QUARANTINE,
}  # fmt: skip
NO_DROPS = "no drop of a configured source is of these days"


def _outs() -> dict[str, dict[str, Any]]:
    def out(name: str, primary_key: list[str], description: str) -> dict[str, Any]:
        return spec(
            "01", name, primary_key=primary_key, kinds={"polars"}, column=SESSION_COLUMN,
            description=description,
        )  # fmt: skip

    return {
        "trades": out("trades", LINE,
            "One row is one trade as the vendor reports it, suspicious ones too. Grain: line of a "
            "file. Units: currency, shares. Consumers: analysts."),
        "quotes": out("quotes", LINE,
            "One row is one quote of an exchange, or of the best of all where `quote_scope` says "
            "so. Grain: line of a file. Units: currency, shares. Consumers: consolidated_quotes."),
        "intraday_bars": out("intraday_bars",
            ["source", "symbol", "session", "kind", "origin", "start_time"],
            "One row is one bar within the day, the vendor's own or built from its trades. Grain: "
            "source, instrument, kind, origin, start. Units: currency, shares. Consumers: "
            "analysts."),
        "intraday_quote_bars": out("intraday_quote_bars",
            ["source", "symbol", "session", "kind", "start_time"],
            "One row is one bar of bid and ask, the vendor's own. Grain: source, instrument, kind, "
            "start. Units: currency, shares. Consumers: analysts."),
        "depth": out("depth", [*LINE, "level"],
            "One row is one level of an order book after one event of the vendor's. Grain: event, "
            "level. Units: currency, shares. Consumers: analysts."),
        "intraday_quarantine": out("intraday_quarantine", [*LINE, "reason", "raw"],
            "One row is one vendor line that no computation may use, with the first rule it "
            "breaks; line 0 is a whole file. Grain: line of a file. Consumers: operations."),
    }  # fmt: skip


class _Tables(NamedTuple):
    """Parts of each output, and how many drops they are of."""

    parts: dict[str, list[pl.DataFrame]]
    drops: set[str]


def intraday_market_data_assets(
    settings: Settings, sessions: dg.DailyPartitionsDefinition
) -> list[dg.AssetsDefinition]:
    """Return the assets of workflow 01 that are partitioned by session."""
    store = DropStore(settings.drops_root)

    @lake_assets("intraday_drops", outs=_outs(), ins={}, months=sessions)
    def intraday_drops(context: dg.AssetExecutionContext) -> Iterator[dg.Output[pl.DataFrame]]:
        days = [dt.date.fromisoformat(key) for key in context.partition_keys]
        found = _read(_came(settings, store, days))
        told: dict[str, int | str] = {
            "drops": len(found.drops),
            "note": "" if found.drops else NO_DROPS,
        }
        for name, schema in SCHEMAS.items():
            table = tables.together(schema, found.parts.pop(name, []))
            yield dg.Output(table, output_name=name, metadata={**told})

    @lake_asset(
        "01", "consolidated_quotes", primary_key=["source", "symbol", "session", "seq"],
        kinds={"polars"}, column=SESSION_COLUMN, months=sessions,
        description="One row is one change of the best bid and offer of all exchanges; locked "
        "and crossed ones are flagged, suspicious quotes left out. Grain: source, instrument, "
        "change. Units: currency, shares. Consumers: analysts.",
        ins={"quotes": dg.AssetIn(["market_data", "quotes"])},
    )  # fmt: skip
    def consolidated_quotes(quotes: pl.DataFrame) -> pl.DataFrame:
        return tables.best_quotes(quotes)

    return [intraday_drops, consolidated_quotes]


def _came(settings: Settings, store: DropStore, days: list[dt.date]) -> Iterator[Came]:
    sources = session_sources(read_sources(settings.sources_file), os.environ)
    beside = dt.timedelta(days=1)
    trading = {
        calendar: settings.times_between(min(days) - beside, max(days) + beside, calendar)
        for calendar in {source.calendar for source in sources.values()}
    }

    def times(calendar: str | None, first: dt.date, last: dt.date) -> list[SessionTimes]:
        return [entry for entry in trading[calendar] if first <= entry.session <= last]

    for day in days:
        yield from session_drops(sources, store, day, times)


def _read(came: Iterator[Came]) -> _Tables:
    """Sort what came into the outputs, and build the bars of each source's trades."""
    found = _Tables({}, set())
    conditions, trades = {}, dict[str, list[pl.DataFrame]]()
    for source, receipt, kind, rows, quarantine in came:
        found.drops.add(receipt.sha256)
        origin = tables.Origin(
            receipt.source, receipt.sha256, receipt.received_ns, source.price_basis,
            source.quote_scope,
        )  # fmt: skip
        found.parts.setdefault("intraday_quarantine", []).append(
            tables.quarantined(quarantine, origin)
        )
        if kind is None:
            continue
        table = tables.as_table(kind, rows, origin)
        found.parts.setdefault(_output_of(kind), []).append(table)
        if kind == "trade":
            conditions[receipt.source] = source.sale_conditions
            trades.setdefault(receipt.source, []).append(table)
    for name, parts in trades.items():
        bars = tables.built_bars(pl.concat(parts), conditions[name])
        found.parts.setdefault("intraday_bars", []).append(bars)
    return found


def _output_of(kind: str) -> str:
    names: Mapping[str, str] = {"trade": "trades", "quote": "quotes", "depth": "depth"}
    default = "intraday_quote_bars" if kind.startswith("quote_bar") else "intraday_bars"
    return names.get(kind, default)
