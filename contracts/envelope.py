"""What every event carries, and the identity of an event."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterable
from typing import Any, Literal

import msgspec

from contracts.codec import to_msgpack

Mode = Literal["backtest", "paper", "live"]

SCHEMA_VERSION = 1


class Envelope(msgspec.Struct, frozen=True, kw_only=True):
    """Identity, time and provenance of an event.

    ``event_id`` depends only on what the event says and what it rests on. ``mode``, ``run_id``,
    ``partition`` and
    wall-clock times are carried for the reader and never enter the id, so a replay produces the
    same ids.
    """

    event_id: str
    event_type: str
    event_time_ns: int
    knowledge_time_ns: int
    mode: Mode
    asset_key: str
    partition: str
    run_id: str
    inputs: tuple[str, ...] = ()
    revision: int = 0
    supersedes: str | None = None
    schema_version: int = SCHEMA_VERSION


def digest(value: Any) -> str:
    """Return the SHA-256 of a value's deterministic MessagePack encoding, in hexadecimal."""
    return hashlib.sha256(to_msgpack(value)).hexdigest()


def event_id(
    *,
    event_type: str,
    key: str,
    session: str,
    round_number: int,
    payload: Any,
    input_digests: Iterable[str],
    policy_hash: str,
    logic_version: str,
) -> str:
    """Return the id of an event: equal inputs, equal id, on any machine, in any order of arrival.

    Parameters
    ----------
    event_type, key, session, round_number
        What the event is about, e.g. ``("TradingSignalEvent", "US.AAPL", "2010-08-20", 0)``.
    payload
        The event's own fields, without the envelope.
    input_digests
        Digests of the input rows visible at the knowledge cut-off. They form a set: order and
        repetition do not count.
    policy_hash, logic_version
        The configuration and the declared version of the code that produced it.

    Returns
    -------
    str
        64 hexadecimal digits of SHA-256.
    """
    return digest(
        (
            event_type,
            key,
            session,
            round_number,
            digest(payload),
            sorted(set(input_digests)),
            policy_hash,
            logic_version,
        )
    )


@functools.lru_cache(maxsize=16_384)
def cl_ord_id(decision_id: str, action: int = 0) -> str:
    """Return the ClOrdID (FIX tag 11) of a decision's order, or of its n-th cancel or replace.

    A pure function: after a crash the same decision can only ever produce the same order.
    20 characters, which every broker's ClOrdID field takes.
    """
    return "Q" + hashlib.sha256(f"{decision_id}/{action}".encode()).hexdigest()[:19].upper()
