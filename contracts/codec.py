"""One codec for all messages: JSON to read, MessagePack to store, deterministic, bounded."""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

from contracts.errors import ContractError, MessageTooLargeError

T = TypeVar("T")

# A FIX message or an event with its inputs is a few KiB; a megabyte is a mistake or an attack.
MESSAGE_BYTES_MAX = 1_048_576

_JSON = msgspec.json.Encoder(order="deterministic", decimal_format="string")
_MSGPACK = msgspec.msgpack.Encoder(order="deterministic", decimal_format="string")


def _bounded(data: bytes, what: str) -> bytes:
    if len(data) > MESSAGE_BYTES_MAX:
        raise MessageTooLargeError(
            f"{what} has {len(data)} bytes, the limit is {MESSAGE_BYTES_MAX}.",
            remedy="split it, or refer to bulk data by table and hash",
        )
    return data


def to_json(message: Any) -> bytes:
    """Encode a message as JSON with a fixed key order."""
    return _bounded(_JSON.encode(message), type(message).__name__)


def to_msgpack(message: Any) -> bytes:
    """Encode a message as MessagePack with a fixed key order."""
    return _bounded(_MSGPACK.encode(message), type(message).__name__)


def _decoded(what: str, error: msgspec.DecodeError) -> ContractError:
    return ContractError(
        f"Not a valid {what}: {error}.",
        remedy="compare it with the JSON Schema in contracts/schemas",
    )


def from_json(data: bytes, kind: type[T]) -> T:
    """Decode JSON into ``kind``; raise ``ContractError`` when it does not fit."""
    try:
        return msgspec.json.decode(_bounded(data, kind.__name__), type=kind)
    except msgspec.DecodeError as error:
        raise _decoded(kind.__name__, error) from error


def from_msgpack(data: bytes, kind: type[T]) -> T:
    """Decode MessagePack into ``kind``; raise ``ContractError`` when it does not fit."""
    try:
        return msgspec.msgpack.decode(_bounded(data, kind.__name__), type=kind)
    except msgspec.DecodeError as error:
        raise _decoded(kind.__name__, error) from error
