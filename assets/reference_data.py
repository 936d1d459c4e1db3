"""Workflow 01: who the instruments are, what happened to them, and who was in the index."""

import dagster as dg
import polars as pl

from domain.market_data.instruments import instrument_master
from domain.market_data.membership import MEMBERSHIP_SCHEMA, universe_coverage, universe_of
from domain.market_data.reference_tables import numbered
from orchestration.base.inputs import BARS_SO_FAR, MEMBERSHIP, SPELLS
from orchestration.base.market import desk_of
from orchestration.base.metadata import lake_asset
from orchestration.base.partitions import MONTH_COLUMN
from orchestration.base.settings import Settings
from sources.reference_data.reading import QUARANTINE
from sources.reference_data.reference import Reference, read_reference


def reference_data_assets(
    settings: Settings, months: dg.MonthlyPartitionsDefinition
) -> list[dg.AssetsDefinition]:
    """Return the reference data of workflow 01, bound to one environment."""
    desk = desk_of(settings)

    def reference() -> Reference:
        return read_reference(settings.sources_file, desk.store, settings.sessions_between)

    @lake_asset(
        "01", "symbol_spells", primary_key=["symbol", "first"], kinds={"file"},
        description="One row is one spell in which a symbol meant an instrument, both days "
        "included. Grain: symbol, spell. Consumers: bars, instruments.",
    )  # fmt: skip
    def symbol_spells() -> pl.DataFrame:
        return reference().spells

    @lake_asset(
        "01", "corporate_actions", kinds={"file"},
        primary_key=["instrument_id", "ex_session", "kind", "received", "number"],
        description="One row is one split, dividend or spin-off, with when it was announced and "
        "when we knew of it. Grain: instrument, ex-session, kind, security received, number. "
        "Units: new shares per old one, USD per share, nanoseconds UTC. Consumers: adjusted_bars, "
        "06, 08.",
    )  # fmt: skip
    def corporate_actions() -> pl.DataFrame:
        return numbered(reference().actions)

    @lake_asset(
        "01", "index_membership", primary_key=["index", "instrument_id", "first"], kinds={"file"},
        description="One row is one spell of an instrument in an index, both days included; "
        "`is_universe` where book and reports are about that index. Grain: index, instrument, "
        "spell. Consumers: 06, 07, 09.",
    )  # fmt: skip
    def index_membership() -> pl.DataFrame:
        found = reference()
        is_universe = pl.col("index").eq_missing(pl.lit(found.universe, pl.String))
        return found.membership.select(*MEMBERSHIP_SCHEMA, is_universe.alias("is_universe"))

    @lake_asset(
        "01", "reference_quarantine",
        primary_key=["source", "name", "raw_sha256", "source_seq", "reason", "raw"],
        kinds={"file"},
        description="One row is one line of reference data that cannot be used, with the reason. "
        "Grain: line of a file. Consumers: operations.",
    )  # fmt: skip
    def reference_quarantine() -> pl.DataFrame:
        return reference().quarantine.select(*QUARANTINE).unique(maintain_order=True)

    @lake_asset(
        "01", "instruments", primary_key=["instrument_id"], kinds={"polars"},
        description="One row is one instrument with its first symbol, name, sector, market, life "
        "and identifiers; `unknown` where nobody says. Grain: instrument. Units: currency units, "
        "shares. Consumers: 06, 07, 09.",
        ins={"spells": SPELLS}, deps=[["market_data", "vendor_drops"]],
    )  # fmt: skip
    def instruments(spells: pl.DataFrame) -> pl.DataFrame:
        return instrument_master(
            *desk.named(settings.times_between), spells=spells,
            identifiers=reference().identifiers, last_session=settings.last_session(),
        )  # fmt: skip

    @lake_asset(
        "01", "universe", primary_key=["session"], kinds={"polars"}, months=months, tier="report",
        ins={"bars": BARS_SO_FAR, "membership": MEMBERSHIP},
        description="One row is how many members of the index had data at a session's close and "
        "how many had none; without an index, how many instruments were quoted. Grain: session. "
        "Consumers: 09.",
    )  # fmt: skip
    def universe(
        context: dg.AssetExecutionContext, bars: pl.DataFrame, membership: pl.DataFrame
    ) -> pl.DataFrame:
        found = universe_coverage(bars, settings.sessions(), *universe_of(membership))
        return found.filter(pl.col(MONTH_COLUMN).is_in(list(context.partition_keys)))

    return [
        symbol_spells, corporate_actions, index_membership, reference_quarantine, instruments,
        universe,
    ]  # fmt: skip
