"""Workflow 01: from the vendor's bytes to bars that the rest of the platform may use."""

import datetime as dt
from collections.abc import Sequence
from functools import partial

import dagster as dg
import polars as pl

from contracts.clock import datetime_ns
from domain.identity import with_event_ids, with_history_digest
from domain.market_data.adjust import forward_adjusted, with_gaps
from domain.market_data.normalise import Normalised
from domain.market_data.reference import actions_of, with_permanent_ids
from domain.market_data.series_rules import with_series_rules
from domain.reporting.charts import bars_per_session, quarantine_by_reason, to_png
from orchestration.base.inputs import ACTIONS, BARS_SO_FAR, SPELLS
from orchestration.base.market import desk_of
from orchestration.base.metadata import lake_asset, lake_assets, png_metadata, spec
from orchestration.base.partitions import MONTH_COLUMN
from orchestration.base.settings import Settings
from sources.market_data.daily import known_at
from sources.market_data.protocol import Refusal, Window
from sources.market_data.receipts import Receipt
from sources.market_data.reception import receive

LOGIC_VERSION = "normalise-2"
BAR_FIELDS = (
    "symbol", "mic", "kind", "open", "high", "low", "close", "volume_shares", "currency",
    "source", "source_seq", "price_basis", "basis_as_of", "quality_flags",
)  # fmt: skip


def market_data_assets(
    settings: Settings, months: dg.MonthlyPartitionsDefinition
) -> list[dg.AssetsDefinition]:
    """Return the assets of workflow 01, bound to one environment."""
    desk = desk_of(settings)
    received = [_received(settings, name) for name in desk.configured]

    @lake_asset(
        "01", "vendor_drops", primary_key=["sha256"], kinds={"file"}, tier="raw",
        deps=[key.path for asset in received for key in asset.keys],
        description="One row is one vendor file, kept byte for byte under its SHA-256. "
        "Grain: file. Consumers: every row of `bars` and `quarantine` names its file.",
    )  # fmt: skip
    def vendor_drops() -> pl.DataFrame:
        if desk.reads_vendor_files:
            window = Window(settings.history_start, settings.last_session())
            receipts, now_ns = desk.receipts(desk.vendor.name), datetime_ns(settings.instant())
            for _ in receive(desk.vendor, receipts, window, [], now_ns=now_ns):
                pass
        return _table(desk.received()).unique("sha256", keep="first", maintain_order=True)

    outs = {
        "bars": spec(
            "01", "bars", primary_key=["instrument_id", "session"], kinds={"polars"},
            keeps_instruments_apart=True,
            event="NormalizedMarketDataEvent",
            description="One row is one instrument's daily bar on the raw price basis. Grain: "
            "instrument, session. Units: USD, shares. Consumers: adjusted_bars.",
        ),
        "quarantine": spec(
            "01", "quarantine", primary_key=["raw_sha256", "source_seq"], kinds={"polars"},
            description="One row is one vendor line that no computation may use, with the first "
            "rule it breaks. Grain: line of a file. Consumers: operations, 09.",
        ),
        "coverage": spec(
            "01", "coverage", primary_key=["session"], kinds={"polars"},
            description="One row is one exchange session since the vendor's first: how many bars "
            "came, and whether the session is missing. Grain: session. Consumers: 09.",
        ),
        "bar_revisions": spec(
            "01", "bar_revisions", kinds={"polars"},
            primary_key=["source", "instrument_id", "session", "revision"],
            description="One row is what one source said of one bar from `knowledge_time` on: a "
            "correction is a new revision, a bar that is taken back a `withdrawn` one. Grain: "
            "source, instrument, session, revision. Consumers: `bars`, operations.",
        ),
    }  # fmt: skip

    @lake_assets(
        "daily_bars",
        outs=outs,
        ins={
            "spells": SPELLS,
            "actions": ACTIONS,
        },
        deps=[["market_data", "vendor_drops"]],
        months=months,
    )
    def daily_bars(
        context: dg.AssetExecutionContext, spells: pl.DataFrame, actions: pl.DataFrame
    ) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame, pl.DataFrame]:
        keys = list(context.partition_keys)
        known, revisions = known_at(
            desk.daily(settings.times_between), settings.instant(), settings.sessions()
        )
        judged = with_series_rules(
            known.with_bars(partial(with_permanent_ids, spells=spells)),
            desk.texts_of,
            settings.sessions(),
            actions_of(actions),
        ).in_months(keys, first=keys[0] == months.get_first_partition_key())
        bars = with_event_ids(
            judged.bars,
            event_type="NormalizedMarketDataEvent", key="instrument_id", payload=BAR_FIELDS,
            inputs=["raw_sha256"], logic_version=LOGIC_VERSION,
        )  # fmt: skip
        _show(context, judged)
        changed = with_permanent_ids(revisions.filter(pl.col(MONTH_COLUMN).is_in(keys)), spells)
        return bars, judged.quarantine, judged.coverage, changed

    @lake_asset(
        "01", "adjusted_bars", primary_key=["instrument_id", "session"], kinds={"polars"},
        keeps_instruments_apart=True,
        description="One row is one bar with its forward adjustment factor: a new corporate "
        "action never changes a past row. `event_id` is the bar's; `history_digest` chains "
        "all bars up to it. Grain: instrument, session. Consumers: 03, 04, 06, 07.",
        ins={
            "bars": BARS_SO_FAR,
            "actions": ACTIONS,
        },
        months=months,
    )  # fmt: skip
    def adjusted_bars(
        context: dg.AssetExecutionContext, bars: pl.DataFrame, actions: pl.DataFrame
    ) -> pl.DataFrame:
        closes_ns = {entry.session: entry.close_ns for entry in settings.session_times()}
        known = forward_adjusted(bars, actions_of(actions), closes_ns=closes_ns)
        adjusted = with_gaps(known, settings.sessions())
        digested = with_history_digest(adjusted, ["event_id", "factor"])
        return digested.filter(pl.col(MONTH_COLUMN).is_in(list(context.partition_keys)))

    return [*received, vendor_drops, daily_bars, adjusted_bars]


def _show(context: dg.AssetExecutionContext, judged: Normalised) -> None:
    """Attach the charts of what came and of what was set aside."""
    counts = judged.quarantine["reason"].value_counts(name="n").sort("reason")
    charts = {"quarantine": quarantine_by_reason(counts)}
    if judged.coverage.height:
        charts["coverage"] = bars_per_session(judged.coverage.sort("session"))
    for name, chart in charts.items():
        context.add_output_metadata({"chart": png_metadata(to_png(chart))}, name)


class Fetch(dg.Config):
    """What is asked of a source; the whole history of all its instruments without it."""

    first: str = ""
    last: str = ""
    instruments: list[str] = []  # noqa: RUF012 - Dagster reads the annotation


def _received(settings: Settings, name: str) -> dg.AssetsDefinition:
    """Return the asset that asks one source, and lists all that came from it."""

    @lake_asset(
        "01", f"drops_{name.replace('-', '_')}", primary_key=["name", "sha256"], kinds={"file"},
        tier="raw",
        description=f"One row is one file that came from `{name}`. Materialising it asks the "
        "source; the same bytes twice change nothing. Grain: version of a file. Consumers: "
        "vendor_drops.",
    )  # fmt: skip
    def drops(context: dg.AssetExecutionContext, config: Fetch) -> pl.DataFrame:
        desk = desk_of(settings)
        first = dt.date.fromisoformat(config.first) if config.first else settings.history_start
        last = dt.date.fromisoformat(config.last) if config.last else settings.last_session()
        receipts = desk.receipts(name)
        n_new, refused = 0, []
        for found in receive(
            desk.source(name), receipts, Window(first, last), config.instruments,
            now_ns=datetime_ns(settings.instant()),
        ):  # fmt: skip
            if isinstance(found, Refusal):
                refused.append(f"{found.name}: {found.reason}")
            else:
                n_new += found.is_new
        context.add_output_metadata(
            {"new_drops": n_new, "refused": len(refused), "refusals": "\n".join(refused[:50])}
        )
        return _table(receipts.rows())

    return drops


def _table(receipts: Sequence[Receipt]) -> pl.DataFrame:
    columns = {"source": pl.String, "name": pl.String, "sha256": pl.String, "size_bytes": pl.Int64}
    return pl.DataFrame(
        [[getattr(row, name) for name in columns] for row in receipts], schema=columns,
        orient="row",
    )  # fmt: skip
