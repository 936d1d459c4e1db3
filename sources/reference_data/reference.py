"""All reference data of a desk in one reading: the tables, and the lines that cannot be used."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import msgspec
import polars as pl

from contracts.errors import SourceError
from domain.market_data.membership import MEMBERSHIP_SCHEMA, require_single, with_instruments
from domain.market_data.reference import (
    ACTIONS,
    RENAMES,
    SPELLS_SCHEMA,
    actions_frame,
    spells_frame,
)
from domain.market_data.reference_tables import (
    assigned_spells,
    on_sessions,
    resolved_ids,
    single_actions,
)
from sources.file_drops import DropStore, RawDrop, make_drop
from sources.market_data.directory import files_below, take
from sources.market_data.protocol import Refusal
from sources.reference_data import actions, identifiers, membership, spells
from sources.reference_data.configuration import (
    ActionFiles,
    IdentifierFiles,
    MembershipFiles,
    ReferenceConfig,
    ReferenceFiles,
    SpellFiles,
    read_reference_config,
    universe_of,
)
from sources.reference_data.reading import QUARANTINE, ReferenceReading, set_aside

# Days of an exchange's calendar from one to another, both included.
SessionsBetween = Callable[[dt.date, dt.date], pl.Series]
# No exchange has been closed for longer: the session after an action's day lies within.
_CLOSED_DAYS_MAX = dt.timedelta(days=30)
# Exchange calendars know no more.
_FIRST_DAY, _LAST_DAY = dt.date(1900, 1, 1), dt.date(2099, 11, 30)
_PATTERNS = {"alpha_vantage": "**/*daily_adjusted.*"}


class Reference(msgspec.Struct, frozen=True):
    """The tables of reference data; ``universe`` is the index that book and reports are about."""

    spells: pl.DataFrame
    actions: pl.DataFrame
    membership: pl.DataFrame
    identifiers: pl.DataFrame
    quarantine: pl.DataFrame
    universe: str | None


def read_reference(
    sources_file: Path, store: DropStore | None, sessions_between: SessionsBetween
) -> Reference:
    """Read what ``sources.toml`` names as ``[reference]``; the embedded data where it names none.

    Parameters
    ----------
    sources_file : Path
        ``<home>/sources.toml``, which need not exist.
    store : DropStore, optional
        Keeps every file byte for byte before it is read.
    sessions_between : callable
        The exchange's sessions, for actions of days without trading.

    Raises
    ------
    ConfigurationError
        When the configuration does not fit.
    SourceError
        When a file cannot be taken or is not of its layout, or spells contradict each other. What
        is wrong with a line is in the quarantine.
    """
    config = read_reference_config(sources_file)
    found = _Files(config, store)
    known, bad_spells = found.spells()
    acted, bad_actions = found.actions(known, sessions_between)
    members, bad_members = found.membership(known)
    named, bad_names = found.identifiers(known)
    return Reference(
        spells=known.select(*SPELLS_SCHEMA),
        actions=acted,
        membership=members,
        identifiers=named,
        quarantine=pl.concat([bad_spells, bad_actions, bad_members, bad_names]).sort(
            "name", "raw_sha256", "source_seq", "reason"
        ),
        universe=universe_of(config),
    )


class _Files:
    def __init__(self, config: ReferenceConfig, store: DropStore | None) -> None:
        self._config, self._store = config, store

    def spells(self) -> tuple[pl.DataFrame, pl.DataFrame]:
        if self._config.spells is None:
            embedded = spells_frame(RENAMES).with_columns(pl.lit(None, pl.String).alias("chain"))
            return embedded, pl.DataFrame(schema=QUARANTINE)
        found = [
            _spells(files, drop)
            for files in self._config.spells
            for drop in self._drops(files, "spells")
        ]
        rows, bad = _stacked(found, spells.READ_SCHEMA)
        return assigned_spells(rows), bad

    def actions(
        self, known: pl.DataFrame, sessions_between: SessionsBetween
    ) -> tuple[pl.DataFrame, pl.DataFrame]:
        if self._config.actions is None:
            return actions_frame(ACTIONS), pl.DataFrame(schema=QUARANTINE)
        found = []
        for rank, files in enumerate(self._config.actions):
            for drop in self._drops(files, "actions"):
                rows, bad = _actions(files, drop)
                found.append(ReferenceReading(rows.with_columns(rank=pl.lit(rank)), bad))
        rows, bad = _stacked(found, actions.READ_SCHEMA | {"rank": pl.Int32})
        days = rows["ex_session"]
        first, last = days.min(), days.max()
        if isinstance(first, dt.date) and isinstance(last, dt.date):
            # In this order: the last day that a date can be has none after it.
            until = min(last, _LAST_DAY - _CLOSED_DAYS_MAX) + _CLOSED_DAYS_MAX
            since = min(max(first, _FIRST_DAY), until)
            rows = on_sessions(rows, sessions_between(since, until))
        kept, left = single_actions(resolved_ids(rows, known, "ex_session"))
        again = set_aside(left.rename({"reason": "why"}), "actions", pl.col("why"))
        return kept, pl.concat([bad, again])

    def membership(self, known: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
        found = [
            self._membership(files, drop)
            for files in self._config.membership
            for drop in self._drops(files, "membership")
        ]
        rows, bad = _stacked(found, MEMBERSHIP_SCHEMA)
        members = with_instruments(rows, known.select(*SPELLS_SCHEMA))
        require_single(members)
        return members, bad

    def _membership(self, files: MembershipFiles, drop: RawDrop) -> ReferenceReading:
        if files.type == "changes" and files.members is not None:
            other = msgspec.structs.replace(files, path=files.members, pattern=None)
            (today,) = self._drops(other, "membership")
            return membership.read_changes(drop, today, files.index)
        if files.type == "start_end":
            return membership.read_start_end(drop, files.index)
        return membership.read_csv_membership(drop, files.index)

    def identifiers(self, known: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
        found = []
        for rank, files in enumerate(self._config.identifiers):
            for drop in self._drops(files, "identifiers"):
                rows, bad = _identifiers(files, drop)
                found.append(ReferenceReading(rows.with_columns(rank=pl.lit(rank)), bad))
        rows, bad = _stacked(found, identifiers.READ_SCHEMA | {"rank": pl.Int32})
        chained = rows.with_columns(pl.lit(None, pl.String).alias("chain"))
        named = resolved_ids(chained, known, "as_of").sort("instrument_id", "rank", "source_seq")
        return named.select(*identifiers.READ_SCHEMA, "rank"), bad

    def _drops(self, files: ReferenceFiles, kind: str) -> Iterator[RawDrop]:
        source = f"reference/{kind}/{getattr(files, 'type', kind)}"
        for drop in _taken(source, files):
            if self._store is not None:
                self._store.put(drop)
            yield drop


def _taken(source: str, files: ReferenceFiles) -> Iterator[RawDrop]:
    if files.path.is_file():
        if files.path.stat().st_size > files.bytes_max:
            raise SourceError(
                f"{files.path.name} has more than {files.bytes_max} bytes.",
                remedy="raise `bytes_max`, or split it",
            )
        yield make_drop(source, files.path.name, files.path.read_bytes())
        return
    pattern = files.pattern or _PATTERNS.get(getattr(files, "type", ""), "*.csv")
    n_taken = 0
    for path in files_below(files.path, pattern):
        drop = take(source, files.path, path, files.bytes_max)
        if isinstance(drop, Refusal):
            raise SourceError(
                f"{drop.name} {drop.reason}.", remedy="mend the file, or take it out of the list"
            )
        n_taken += 1
        yield drop
    if not n_taken:
        raise SourceError(
            f"{files.path} has no file {pattern}.", remedy="correct `path` or `pattern`"
        )


def _spells(files: SpellFiles, drop: RawDrop) -> ReferenceReading:
    return {"lean_map_files": spells.read_lean_map_file, "csv": spells.read_csv_spells}[files.type](
        drop
    )


def _actions(files: ActionFiles, drop: RawDrop) -> ReferenceReading:
    return {
        "lean_factor_files": actions.read_lean_factor_file,
        "alpha_vantage": actions.read_alpha_vantage,
        "csv": actions.read_csv_actions,
    }[files.type](drop)


def _identifiers(files: IdentifierFiles, drop: RawDrop) -> ReferenceReading:
    if files.type == "sp500_constituents":
        return identifiers.read_constituents(drop, files.as_of)
    return identifiers.read_csv_identifiers(drop)


def _stacked(
    found: Sequence[ReferenceReading], schema: dict[str, type[pl.DataType]]
) -> tuple[pl.DataFrame, pl.DataFrame]:
    rows = [reading.rows for reading in found] or [pl.DataFrame(schema=schema)]
    bad = [reading.quarantine for reading in found] or [pl.DataFrame(schema=QUARANTINE)]
    return pl.concat(rows), pl.concat(bad)
