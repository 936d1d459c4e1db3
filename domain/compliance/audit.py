"""The audit trail: entries chained by their hashes, and checkpoints signed with Ed25519.

An entry's ``content_sha256`` is the SHA-256 of the JSON array of what it says; its ``entry_hash``
that of the previous entry's hash and its own content. A checkpoint signs the hash of its last entry
and the contents of all entries since the checkpoint before, so that what was rewritten is named
entry by entry. Whoever has no key can rewrite only what no checkpoint covers yet, and whoever
deletes the newest checkpoints too is found out by a copy of them that lies elsewhere.
"""

from __future__ import annotations

import enum
import hashlib
from collections.abc import Sequence
from typing import Any

import msgspec
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from contracts.codec import to_json
from domain.compliance.errors import ComplianceError

GENESIS = "0" * 64
# A checkpoint carries 32 bytes per entry that it covers, and stays far below a message's limit.
ENTRIES_PER_CHECKPOINT_MAX = 10_000
DIGEST_BYTES = 32
_SCHEME = "quantivista-audit-1"


class AuditEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One event or one human action.

    Parameters
    ----------
    sequence : int
        From 1, without gaps.
    at_ns : int
        The platform's instant.
    actor, role
        Who did it, and as what; a service has the role ``service``.
    action, subject
        What was done, and to what.
    payload : bytes
        Deterministic JSON of the particulars.
    payload_sha256, previous_hash, entry_hash
        The chain.
    """

    sequence: int
    at_ns: int
    actor: str
    role: str
    action: str
    subject: str
    payload: bytes
    payload_sha256: str
    previous_hash: str
    entry_hash: str


class CheckpointKind(enum.StrEnum):
    """What a signature stands for."""

    CHECKPOINT = "checkpoint"
    ANCHOR = "anchor"


class Checkpoint(msgspec.Struct, frozen=True, kw_only=True):
    """A signature over the trail up to an entry.

    Parameters
    ----------
    number : int
        From 1, without gaps.
    kind : CheckpointKind
        An anchor stands for entries that were removed when their retention ended.
    first, sequence : int
        It covers the contents of these entries; an anchor covers none (``first > sequence``).
    entry_hash : str
        Of entry ``sequence``.
    contents : bytes
        SHA-256 of the content of each entry covered, 32 bytes each.
    at_ns : int
        The platform's instant.
    key_id : str
        First 16 digits of the SHA-256 of the public key.
    signature : bytes
        Ed25519, over all of the above.
    """

    number: int
    kind: CheckpointKind
    first: int
    sequence: int
    entry_hash: str
    contents: bytes
    at_ns: int
    key_id: str
    signature: bytes


def content_sha256(entry: AuditEntry) -> bytes:
    """Return the digest of what an entry says, whatever stands before it."""
    said = [
        entry.sequence, entry.at_ns, entry.actor, entry.role, entry.action, entry.subject,
        entry.payload_sha256,
    ]  # fmt: skip
    return hashlib.sha256(msgspec.json.encode(said)).digest()


def hash_of(previous_hash: str, content: bytes) -> str:
    """Return the hash of an entry: of the one before it, and of its own content."""
    return hashlib.sha256(bytes.fromhex(previous_hash) + content).hexdigest()


def next_entry(
    previous: AuditEntry | Checkpoint | None,
    *,
    at_ns: int,
    actor: str,
    role: str,
    action: str,
    subject: str,
    payload: Any,
) -> AuditEntry:
    """Return the entry that follows another, an anchor, or nothing."""
    encoded = to_json(payload)
    draft = AuditEntry(
        sequence=previous.sequence + 1 if previous else 1,
        at_ns=at_ns,
        actor=actor,
        role=role,
        action=action,
        subject=subject,
        payload=encoded,
        payload_sha256=hashlib.sha256(encoded).hexdigest(),
        previous_hash=previous.entry_hash if previous else GENESIS,
        entry_hash="",
    )
    hashed = hash_of(draft.previous_hash, content_sha256(draft))
    return msgspec.structs.replace(draft, entry_hash=hashed)


def checkpoint_of(
    entries: Sequence[AuditEntry], key: Ed25519PrivateKey, *, number: int, now_ns: int
) -> Checkpoint:
    """Sign the entries since the last checkpoint, in order.

    Raises
    ------
    ComplianceError
        When there is none, or more than one checkpoint covers.
    """
    if not 0 < len(entries) <= ENTRIES_PER_CHECKPOINT_MAX:
        raise ComplianceError(
            f"A checkpoint over {len(entries)} entries.",
            remedy=f"sign 1 to {ENTRIES_PER_CHECKPOINT_MAX} entries at a time",
        )
    unsigned = Checkpoint(
        number=number,
        kind=CheckpointKind.CHECKPOINT,
        first=entries[0].sequence,
        sequence=entries[-1].sequence,
        entry_hash=entries[-1].entry_hash,
        contents=b"".join(content_sha256(entry) for entry in entries),
        at_ns=now_ns,
        key_id=key_id_of(key.public_key()),
        signature=b"",
    )
    return _signed(unsigned, key)


def anchor_of(last: AuditEntry, key: Ed25519PrivateKey, *, number: int, now_ns: int) -> Checkpoint:
    """Sign the place of the entries up to ``last``, which are removed: their retention ended."""
    unsigned = Checkpoint(
        number=number,
        kind=CheckpointKind.ANCHOR,
        first=last.sequence + 1,
        sequence=last.sequence,
        entry_hash=last.entry_hash,
        contents=b"",
        at_ns=now_ns,
        key_id=key_id_of(key.public_key()),
        signature=b"",
    )
    return _signed(unsigned, key)


def signed_bytes(one: Checkpoint) -> bytes:
    """Return what a checkpoint's signature is over: a JSON array."""
    return msgspec.json.encode(
        [
            _SCHEME, one.number, one.kind, one.first, one.sequence, one.entry_hash,
            one.contents.hex(), one.at_ns, one.key_id,
        ]
    )  # fmt: skip


def _signed(unsigned: Checkpoint, key: Ed25519PrivateKey) -> Checkpoint:
    return msgspec.structs.replace(unsigned, signature=key.sign(signed_bytes(unsigned)))


def key_id_of(key: Ed25519PublicKey) -> str:
    """Return the name of a public key: the first 16 digits of its SHA-256."""
    raw = key.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    return hashlib.sha256(raw).hexdigest()[:16]
