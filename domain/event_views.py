"""A table's rows as the events of the contracts, for whoever does not read the lake.

A row already carries its event's id. Only `indicators` is wide: one row holds the outputs of all
indicators, because a model reads them side by side and thirteen times the rows would cost every
reader. Its events are named ``<id of the row>/<output>``: each is unique, and cutting at the slash
leads back to the row without a lookup.

A field that its table leaves out is derived from the row or from the calendar, never invented. The
embedded data has no arrival times, so what was known at a close has ``knowledge_time`` there.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from typing import Any

import msgspec
import polars as pl

from contracts import events as ev
from contracts.catalog import BUILT
from contracts.clock import datetime_ns
from contracts.codec import from_json
from contracts.envelope import Envelope, Mode
from contracts.errors import ContractError
from domain.instrument_analysis.indicator_catalogue import INDICATORS

Row = dict[str, Any]

TIMEFRAME = "1d"
LIBRARY = "TA-Lib"
# Forward-adjusted prices are what every indicator is computed on.
INDICATOR_PRICE_BASIS = "forward_adjusted"
MATRIX_TABLE = "instrument_analysis/correlation_matrices"
VOTES: Mapping[str, int] = {"long": 1, "neutral": 0, "short": -1}
PRICE_QUANTUM = Decimal("0.0001")
PROBABILITIES = ("p_strong_sell", "p_sell", "p_neutral", "p_buy", "p_strong_buy")


class ViewContext(msgspec.Struct, frozen=True, kw_only=True):
    """What a row does not know: who asks, in which mode, and when the sessions closed.

    ``closes_ns`` maps a session to its close in nanoseconds, UTC.
    """

    run_id: str
    closes_ns: Mapping[dt.date, int]
    mode: Mode = "backtest"


class _View(msgspec.Struct, frozen=True):
    """How rows of one table become events; ``instant`` is a column with the event's own time."""

    build: Callable[[Row, Envelope], ev.Event]
    inputs: tuple[str, ...] = ()
    instant: str | None = None


def events_of(event: str, frame: pl.DataFrame, context: ViewContext) -> Iterator[ev.Event]:
    """Yield the events that a table's rows stand for, in the frame's order.

    Parameters
    ----------
    event : str
        Name of a built event of the catalog.
    frame : pl.DataFrame
        Rows of its table. For ``TechnicalIndicatorComputedEvent`` they start at each instrument's
        first bar, since an event says how many bars its value had to warm up.
    context : ViewContext
        Run, mode and calendar.

    Raises
    ------
    ContractError
        When the event is not built, a session is not in the calendar, or the rows of indicators do
        not start at the first bar.
    """
    tables = {entry.event: entry.table for entry in BUILT}
    if event not in tables or (event not in _VIEWS and event != INDICATOR_EVENT):
        raise ContractError(f"No table holds {event!r}.", remedy=f"ask for one of {sorted(tables)}")
    asset_key = "/".join(tables[event] or ())
    if event == INDICATOR_EVENT:
        yield from _indicator_events(frame, asset_key, context)
        return
    view = _VIEWS[event]
    for row in frame.iter_rows(named=True):
        instant = row[view.instant] if view.instant else None
        yield view.build(row, _envelope(event, asset_key, row, view.inputs, instant, context))


def _envelope(
    event: str, asset_key: str, row: Row, inputs: tuple[str, ...], instant: dt.datetime | None,
    context: ViewContext,
) -> Envelope:  # fmt: skip
    time_ns = _close_ns(row["session"], context) if instant is None else datetime_ns(instant)
    return Envelope(
        event_id=row["event_id"],
        event_type=event,
        event_time_ns=time_ns,
        knowledge_time_ns=time_ns,
        mode=context.mode,
        asset_key=asset_key,
        partition=row["month"],
        run_id=context.run_id,
        inputs=tuple(row[name] for name in inputs if row[name] is not None),
    )


def _close_ns(session: dt.date, context: ViewContext) -> int:
    close = context.closes_ns.get(session)
    if close is None:
        raise ContractError(
            f"{session} is not a session of the calendar that was passed.",
            remedy="pass the closes of all sessions from the table's first to its last",
        )
    return close


def _split(text: str, separator: str = ",") -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(separator) if part.strip())


def _price(value: float) -> Decimal:
    """Return a price on the platform's scale of 1e-4; the float only stored it."""
    return Decimal(repr(value)).quantize(PRICE_QUANTUM)


def _same(kind: type[ev.Event], row: Row, envelope: Envelope, **derived: Any) -> ev.Event:
    """Build an event from the columns of its fields' names and from what is derived."""
    taken = {
        name: row[name] for name in kind.__struct_fields__ if name in row and name not in derived
    }
    return kind(envelope=envelope, **taken, **derived)


def _bar(row: Row, envelope: Envelope) -> ev.Event:
    flags = _split(row["quality_flags"])
    return _same(ev.NormalizedMarketDataEvent, row, envelope, quality_flags=flags, vwap=None)


def _correlation(row: Row, envelope: Envelope) -> ev.Event:
    return _same(ev.CorrelationMatrixUpdatedEvent, row, envelope, matrix_table=MATRIX_TABLE)


def _evaluation(row: Row, envelope: Envelope) -> ev.Event:
    return _same(
        ev.InstrumentEvaluatedEvent, row, envelope,
        probabilities=tuple(row[name] for name in PROBABILITIES),
        top_reasons=_split(row["top_reasons"]),
    )  # fmt: skip


def _signal(row: Row, envelope: Envelope) -> ev.Event:
    # Daily bars are the only timeframe there is: its vote is the side itself.
    return _same(
        ev.TradingSignalEvent, row, envelope,
        evaluation_ids=_present(row["evaluation_id"]),
        timeframe_votes={TIMEFRAME: VOTES[row["side"]]},
        reasons=_split(row["reasons"], ";"),
    )  # fmt: skip


def _present(value: str | None) -> tuple[str, ...]:
    return () if value is None else (value,)


def _rebalance(row: Row, envelope: Envelope) -> ev.Event:
    return _same(
        ev.RebalanceRequestEvent, row, envelope,
        current_weights=from_json(row["current_weights"].encode(), dict[str, float]),
        target_weights=from_json(row["target_weights"].encode(), dict[str, float]),
        residuals={"gross": row["residual_gross"]},
    )  # fmt: skip


def _decision(row: Row, envelope: Envelope) -> ev.Event:
    return _same(
        ev.CoordinatedTradingDecisionEvent, row, envelope,
        signal_ids=_present(row["signal_id"]),
        clips=from_json(row["clips"].encode(), tuple[ev.Clip, ...]),
        arrival_price=_price(row["arrival_price"]),
        valid_until_ns=datetime_ns(row["valid_until"]),
    )  # fmt: skip


def _trade(row: Row, envelope: Envelope) -> ev.Event:
    # Half the spread is in the price already: only the commission is charged beside it.
    commission = ev.Fee("commission", row["commission_minor"], row["currency"])
    return _same(
        ev.TradeExecutedEvent, row, envelope,
        exec_ref_id=None,
        last_px=_price(row["last_px"]),
        fees=(commission,) if row["commission_minor"] else (),
        transact_time_ns=datetime_ns(row["transact_time"]),
    )  # fmt: skip


def _execution_quality(row: Row, envelope: Envelope) -> ev.Event:
    inputs = (*envelope.inputs, *_split(row["trade_ids"] or ""))
    return _same(
        ev.ExecutionQualityEvent, row, msgspec.structs.replace(envelope, inputs=inputs)
    )  # fmt: skip


def _cash(row: Row, envelope: Envelope) -> ev.Event:
    return _same(ev.CashMovementPostedEvent, row, envelope)


def _cash_reconciled(row: Row, envelope: Envelope) -> ev.Event:
    return _same(ev.CashReconciledEvent, row, envelope)


def _pre_trade(row: Row, envelope: Envelope) -> ev.Event:
    return _same(ev.PreTradeCheckedEvent, row, envelope)


def _attribution(row: Row, envelope: Envelope) -> ev.Event:
    effects = {name: row[name] for name in ("allocation", "selection", "interaction")}
    return _same(ev.PerformanceAttributionEvent, row, envelope, effects=effects)


def _report(row: Row, envelope: Envelope) -> ev.Event:
    shown = from_json(row["inputs"].encode(), dict[str, str])
    return _same(
        ev.ComprehensiveReportGeneratedEvent,
        row,
        msgspec.structs.replace(envelope, inputs=tuple(sorted(set(shown.values())))),
        knowledge_cutoff_ns=envelope.knowledge_time_ns,
        inputs=tuple(f"{table}@{digest}" for table, digest in sorted(shown.items())),
        sections=from_json(row["sections"].encode(), tuple[str, ...]),
    )


def _violation(row: Row, envelope: Envelope) -> ev.Event:
    texts = ("accounts", "traders", "order_ids", "fill_ids")
    lists = {name: from_json(row[name].encode(), tuple[str, ...]) for name in texts}
    return _same(
        ev.ComplianceViolationDetectedEvent,
        row,
        msgspec.structs.replace(envelope, inputs=lists["fill_ids"]),
        measures=from_json(row["measures"].encode(), tuple[ev.Measure, ...]),
        **lists,
    )


def _compliance_report(row: Row, envelope: Envelope) -> ev.Event:
    revised = msgspec.structs.replace(
        envelope, revision=row["report_version"] - 1, supersedes=row["supersedes"]
    )
    return _same(ev.RegulatoryReportSubmittedEvent, row, revised)


_VIEWS: Mapping[str, _View] = {
    "NormalizedMarketDataEvent": _View(_bar, ("raw_sha256",)),
    "CorrelationMatrixUpdatedEvent": _View(_correlation, ("matrix_sha256",)),
    "InstrumentEvaluatedEvent": _View(_evaluation, ("feature_hash", "model_sha256")),
    "TradingSignalEvent": _View(_signal, ("evaluation_id",)),
    "RebalanceRequestEvent": _View(_rebalance),
    "CoordinatedTradingDecisionEvent": _View(
        _decision, ("rebalance_id", "signal_id", "bar_id"), "knowledge_time"
    ),
    "TradeExecutedEvent": _View(_trade, ("decision_id",), "transact_time"),
    "ExecutionQualityEvent": _View(_execution_quality, ("decision_id", "bar_id")),
    "CashMovementPostedEvent": _View(_cash, ("reference",)),
    "CashReconciledEvent": _View(_cash_reconciled, ("ledger_digest",)),
    "PreTradeCheckedEvent": _View(_pre_trade, ("decision_id",)),
    "PerformanceAttributionEvent": _View(_attribution, ("closing_hash",)),
    "ComprehensiveReportGeneratedEvent": _View(_report, (), "knowledge_cutoff"),
    "ComplianceViolationDetectedEvent": _View(_violation),
    "RegulatoryReportSubmittedEvent": _View(
        _compliance_report, ("content_hash",), "knowledge_cutoff"
    ),
}

INDICATOR_EVENT = "TechnicalIndicatorComputedEvent"


class _Output(msgspec.Struct, frozen=True):
    """One output column with its parameters and the bars that it needs before its first value."""

    name: str
    params: dict[str, float]
    warm_up_bars: int


def _outputs() -> list[_Output]:
    return [
        _Output(
            name,
            {key: float(value) for key, value in indicator.parameters.items()},
            indicator.warm_up_bars,
        )
        for indicator in INDICATORS
        for name in indicator.outputs
    ]


def _indicator_events(
    frame: pl.DataFrame, asset_key: str, context: ViewContext
) -> Iterator[ev.Event]:
    outputs = _outputs()
    bars_before = pl.int_range(pl.len()).over("instrument_id", order_by="session")
    for row in frame.with_columns(bars_before.alias("bars_before")).iter_rows(named=True):
        shared = _envelope(INDICATOR_EVENT, asset_key, row, ("history_digest",), None, context)
        for output in outputs:
            value, used = row[output.name], row["bars_before"]
            if value is not None and used < output.warm_up_bars:
                raise ContractError(
                    f"{output.name} of {row['instrument_id']} on {row['session']} has a value "
                    f"after {used} bars and needs {output.warm_up_bars}.",
                    remedy="pass the table's rows from each instrument's first bar",
                )
            yield ev.TechnicalIndicatorComputedEvent(
                envelope=msgspec.structs.replace(
                    shared, event_id=f"{shared.event_id}/{output.name}"
                ),
                instrument_id=row["instrument_id"],
                session=row["session"],
                name=output.name,
                params=output.params,
                library=LIBRARY,
                timeframe=TIMEFRAME,
                bar_close_ns=shared.event_time_ns,
                value=value,
                warm_up_needed_bars=output.warm_up_bars,
                warm_up_used_bars=min(used, output.warm_up_bars),
                price_basis=INDICATOR_PRICE_BASIS,
            )
