"""Event ids for the rows of a frame, by the rule of ``contracts.envelope.event_id``."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import polars as pl

from contracts.envelope import event_id

NO_POLICY = "none"


def with_event_ids(
    frame: pl.DataFrame,
    *,
    event_type: str,
    key: str,
    payload: Sequence[str],
    inputs: Sequence[str],
    logic_version: str,
    policy_hash: str = NO_POLICY,
) -> pl.DataFrame:
    """Add ``event_id`` to every row.

    Parameters
    ----------
    frame : pl.DataFrame
        Rows with a ``session`` column.
    key : str
        Column that names what the row is about.
    payload, inputs : sequence of str
        Columns of the event's own fields, and of the digests of what it rests on (at least one of
        each); a null input is no input.
    logic_version : str
        Declared version of the code that made the row.
    """
    rows = zip(
        frame.get_column(key).to_list(),
        frame.get_column("session").dt.to_string("%Y-%m-%d").to_list(),
        frame.select(payload).iter_rows(),
        frame.select(inputs).iter_rows(),
        strict=True,
    )
    ids = [
        event_id(
            event_type=event_type,
            key=name,
            session=session,
            round_number=0,
            payload=values,
            input_digests=[digest for digest in digests if digest is not None],
            policy_hash=policy_hash,
            logic_version=logic_version,
        )
        for name, session, values, digests in rows
    ]
    return frame.with_columns(pl.Series("event_id", ids, dtype=pl.String))


def with_history_digest(frame: pl.DataFrame, columns: Sequence[str]) -> pl.DataFrame:
    """Add ``history_digest``: each row's digest chained with all earlier rows of its instrument.

    What is computed from an instrument's first bar rests on every bar up to its own: two rows have
    the same digest only when their whole histories are the same in ``columns``.

    Parameters
    ----------
    frame : pl.DataFrame
        Rows with ``instrument_id``, sorted by instrument and session.
    columns : sequence of str
        Columns that count; floats enter as their shortest exact decimal.
    """
    digests: list[str] = []
    previous, chain = None, b""
    for name, *values in frame.select("instrument_id", *columns).iter_rows():
        chain = hashlib.sha256(
            (chain if name == previous else b"") + repr(values).encode()
        ).digest()
        previous = name
        digests.append(chain.hex())
    return frame.with_columns(pl.Series("history_digest", digests, dtype=pl.String))
