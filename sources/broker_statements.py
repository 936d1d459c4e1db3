"""Statements of brokers at the end of a session: one JSON file per session."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from pathlib import Path

import msgspec

from contracts.errors import SourceError
from domain.trade_execution.reconcile import BrokerStatement


def statement_path(root: Path, session: dt.date) -> Path:
    """Return where the statement of a session lies."""
    return root / f"statement-{session.isoformat()}.json"


def write_statement(root: Path, statement: BrokerStatement) -> Path:
    """Write a statement; a reader sees all of it or nothing."""
    root.mkdir(parents=True, exist_ok=True)
    path = statement_path(root, statement.session)
    temporary = path.with_suffix(".part")
    temporary.write_bytes(msgspec.json.encode(statement))
    temporary.replace(path)
    return path


def read_statements(root: Path, months: Sequence[str]) -> list[BrokerStatement]:
    """Return the statements of the named months, by session.

    Raises
    ------
    SourceError
        When a file is not a statement.
    """
    found = []
    for path in sorted(root.glob("statement-*.json")):
        try:
            statement = msgspec.json.decode(path.read_bytes(), type=BrokerStatement)
        except msgspec.DecodeError as error:
            raise SourceError(
                f"{path.name} is no statement: {error}.",
                remedy="ask the broker for it again, or move it away",
            ) from error
        if statement.session.strftime("%Y-%m-01") in months:
            found.append(statement)
    return found
