"""Corporate actions that became known late: what a desk that did not know them saw.

An action is applied from its ex-session on, whenever it became known. A desk that learned of it
only after the decision on that session had seen the price step without a reason, and abstained.
"""

from __future__ import annotations

import datetime as dt
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from zoneinfo import ZoneInfo

import polars as pl

from contracts.clock import datetime_ns
from domain.market_data.reference import CorporateAction

# The regular session of New York closes then; other exchanges' closes are passed.
_NEW_YORK, _CLOSE = ZoneInfo("America/New_York"), dt.time(16)
_PLACED = {"instrument_id": pl.String, "session": pl.Date, "known_ns": pl.Int64}


def late_actions(
    bars: pl.DataFrame,
    actions: Sequence[CorporateAction],
    closes_ns: Mapping[dt.date, int] | None = None,
) -> list[CorporateAction]:
    """Return the actions that became known after the close of the bar that they first move.

    Parameters
    ----------
    bars : pl.DataFrame
        ``instrument_id`` and ``session``.
    actions : sequence of CorporateAction
        One whose knowledge is null was known at the open of its ex-session, in time.
    closes_ns : mapping of date to int, optional
        The close of each session in nanoseconds, UTC, when decisions are made; a session without
        one closes at 16:00 in New York.
    """
    placed = _places(bars, actions)
    return [
        one for one, session in placed
        if one.knowledge_ns is not None and one.knowledge_ns > _close_ns(session, closes_ns)
    ]  # fmt: skip


def with_knowledge_of(bars: pl.DataFrame, actions: Sequence[CorporateAction]) -> pl.DataFrame:
    """Raise ``knowledge_time`` to that of the actions that a row's factor holds.

    A factor is cumulated, so an action that became known late is an input of every row from its
    ex-session on. Bars without the column are returned as they are, null stays null.
    """
    if "knowledge_time" not in bars.columns:
        return bars
    rows = [
        (one.instrument_id, session, one.knowledge_ns)
        for one, session in _places(bars, actions) if one.knowledge_ns is not None
    ]  # fmt: skip
    if not rows:
        return bars
    placed = pl.DataFrame(rows, schema=_PLACED, orient="row")
    newest = placed.group_by("instrument_id", "session").agg(pl.col("known_ns").max())
    dtype = bars.schema["knowledge_time"]
    known = pl.from_epoch("known_ns", time_unit="ns").dt.replace_time_zone("UTC").cast(dtype)
    so_far = pl.col("known_ns").cum_max().forward_fill().over("instrument_id")
    return (
        bars.join(newest, on=["instrument_id", "session"], how="left", maintain_order="left")
        .with_columns(so_far)
        .with_columns(
            pl.when(pl.col("knowledge_time").is_not_null())
            .then(pl.max_horizontal("knowledge_time", known))
            .alias("knowledge_time")
        )
        .drop("known_ns")
    )


def _places(
    bars: pl.DataFrame, actions: Sequence[CorporateAction]
) -> list[tuple[CorporateAction, dt.date]]:
    """Return each action of known knowledge with its instrument's first bar from its ex-session."""
    dated = [one for one in actions if one.knowledge_ns is not None]
    names = sorted({one.instrument_id for one in dated})
    of = bars.filter(pl.col("instrument_id").is_in(names)).select("instrument_id", "session")
    days = {
        str(name): part["session"].to_list()
        for (name,), part in of.sort(pl.all()).group_by("instrument_id", maintain_order=True)
    }
    found = []
    for one in dated:
        sessions = days.get(one.instrument_id, [])
        place = bisect_left(sessions, one.ex_session)
        if place < len(sessions):
            found.append((one, sessions[place]))
    return found


def _close_ns(session: dt.date, closes_ns: Mapping[dt.date, int] | None) -> int:
    given = (closes_ns or {}).get(session)
    if given is not None:
        return given
    return datetime_ns(dt.datetime.combine(session, _CLOSE, tzinfo=_NEW_YORK))
