"""What is wrong with an audit trail, and where: entry by entry as far as checkpoints reach.

A flip, a deletion, an insertion or a swap shows in the chain by itself. A rewrite that computes all
later hashes anew is found by the signed contents, and a cut-off end by a checkpoint of it that lies
elsewhere. What no checkpoint covers, anywhere, can be rewritten from some entry to the end without
a trace: sign often, and keep a copy.
"""

from __future__ import annotations

import enum
import hashlib
from collections.abc import Iterable, Mapping, Sequence

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from domain.compliance.audit import (
    DIGEST_BYTES,
    GENESIS,
    AuditEntry,
    Checkpoint,
    CheckpointKind,
    content_sha256,
    hash_of,
    key_id_of,
    signed_bytes,
)


class FindingKind(enum.StrEnum):
    """What is wrong with a trail."""

    ALTERED = "altered"
    REWRITTEN = "rewritten"
    UNLINKED = "unlinked"
    MISSING = "missing"
    INSERTED = "inserted"
    OUT_OF_ORDER = "out_of_order"
    CHECKPOINT_FORGED = "checkpoint_forged"
    CHECKPOINT_MISSING = "checkpoint_missing"
    CHECKPOINT_DIFFERS = "checkpoint_differs"


class Finding(msgspec.Struct, frozen=True):
    """What is wrong, and where: between two sequence numbers, both included."""

    kind: FindingKind
    first: int
    last: int
    detail: str


def verify(
    entries: Iterable[AuditEntry],
    checkpoints: Iterable[Checkpoint],
    keys: Iterable[Ed25519PublicKey],
) -> list[Finding]:
    """Return everything that is wrong with a trail, in its order: nothing, where it is intact.

    Parameters
    ----------
    entries : iterable of AuditEntry
        As they are stored or exported, in that order.
    checkpoints : iterable of Checkpoint
        Those stored beside the entries and those kept elsewhere: only the latter show that the end
        of the trail was cut off together with its newest checkpoints.
    keys : iterable of Ed25519PublicKey
        The keys that count.
    """
    good, findings = _sound(checkpoints, {key_id_of(key): key for key in keys})
    anchor = max(
        (one for one in good if one.kind is CheckpointKind.ANCHOR),
        key=lambda one: one.sequence,
        default=None,
    )
    start = anchor.sequence + 1 if anchor else 1
    given = list(entries)
    by_sequence, found = _arranged(given, start)
    findings += found
    end = max([start - 1, *by_sequence, *(one.sequence for one in good)])
    findings += _gaps(by_sequence, start, end)
    findings += _chain(by_sequence, anchor)
    findings += _covered(by_sequence, good)
    return _merged(findings)


def _sound(
    checkpoints: Iterable[Checkpoint], keys: Mapping[str, Ed25519PublicKey]
) -> tuple[list[Checkpoint], list[Finding]]:
    """Return the checkpoints whose signatures hold, by number, and what is wrong with others."""
    findings: list[Finding] = []
    good: dict[int, Checkpoint] = {}
    for one in checkpoints:
        if not _is_signed(one, keys):
            detail = f"checkpoint {one.number} has no valid signature of a key that counts"
            findings.append(Finding(FindingKind.CHECKPOINT_FORGED, one.first, one.sequence, detail))
            continue
        known = good.setdefault(one.number, one)
        if known != one:
            detail = f"two signed checkpoints have the number {one.number}"
            first = min(one.first, one.sequence)
            findings.append(Finding(FindingKind.CHECKPOINT_DIFFERS, first, one.sequence, detail))
    before: Checkpoint | None = None
    for number in sorted(good):
        missing = number - (before.number if before else 0) - 1
        if missing:
            first = before.sequence + 1 if before else 1
            detail = f"{missing} checkpoints are missing before checkpoint {number}"
            findings.append(
                Finding(FindingKind.CHECKPOINT_MISSING, first, good[number].sequence, detail)
            )
        before = good[number]
    return [good[number] for number in sorted(good)], findings


def _is_signed(one: Checkpoint, keys: Mapping[str, Ed25519PublicKey]) -> bool:
    key = keys.get(one.key_id)
    if key is None:
        return False
    try:
        key.verify(one.signature, signed_bytes(one))
    except InvalidSignature:
        return False
    covered = one.sequence - one.first + 1
    return len(one.contents) == covered * DIGEST_BYTES


def _arranged(
    given: Sequence[AuditEntry], start: int
) -> tuple[dict[int, AuditEntry], list[Finding]]:
    """Return the entries by sequence, and which of them are where none belongs."""
    findings: list[Finding] = []
    places: dict[int, list[int]] = {}
    for place, entry in enumerate(given):
        if entry.sequence >= start:
            places.setdefault(entry.sequence, []).append(place)
        else:
            detail = f"the trail begins at {start}"
            findings.append(Finding(FindingKind.INSERTED, entry.sequence, entry.sequence, detail))
    followed = {(entry.sequence - 1, entry.previous_hash) for entry in given}
    chosen = []
    for sequence, candidates in places.items():
        # Of several, the one that the next entry goes on from, nearest to where it belongs.
        best = min(
            candidates,
            key=lambda place: (
                (given[place].sequence, given[place].entry_hash) not in followed,
                abs(place - (given[place].sequence - start)),
            ),
        )
        chosen.append(best)
        if len(candidates) > 1:
            detail = f"{len(candidates)} entries have this sequence"
            findings.append(Finding(FindingKind.INSERTED, sequence, sequence, detail))
    kept = {given[place].sequence: given[place] for place in sorted(chosen)}
    in_order = sorted(kept)
    for actual, expected in zip(kept, in_order, strict=True):
        if actual != expected:
            detail = "it stands in another's place"
            findings.append(Finding(FindingKind.OUT_OF_ORDER, actual, actual, detail))
    return {sequence: kept[sequence] for sequence in in_order}, findings


def _gaps(by_sequence: Mapping[int, AuditEntry], start: int, end: int) -> list[Finding]:
    findings = []
    expected = start
    for sequence in (*by_sequence, end + 1):
        if sequence > expected:
            detail = f"{sequence - expected} entries are missing"
            findings.append(Finding(FindingKind.MISSING, expected, sequence - 1, detail))
        expected = sequence + 1
    return findings


def _chain(by_sequence: Mapping[int, AuditEntry], anchor: Checkpoint | None) -> list[Finding]:
    """Return the entries that are not what their hash says, and the links that do not hold."""
    findings: list[Finding] = []
    before = anchor.entry_hash if anchor else GENESIS
    expected = anchor.sequence + 1 if anchor else 1
    is_before_sound = True
    for sequence, entry in by_sequence.items():
        is_sound = _is_sound(entry)
        if not is_sound:
            detail = "it is not what its hash says"
            findings.append(Finding(FindingKind.ALTERED, sequence, sequence, detail))
        # Beside an altered entry a broken link says nothing new.
        elif sequence == expected and entry.previous_hash != before and is_before_sound:
            detail = "one of the two was replaced, with a hash of its own"
            first = max(1, sequence - 1)
            findings.append(Finding(FindingKind.UNLINKED, first, sequence, detail))
        before, expected, is_before_sound = entry.entry_hash, sequence + 1, is_sound
    return findings


def _is_sound(entry: AuditEntry) -> bool:
    if hashlib.sha256(entry.payload).hexdigest() != entry.payload_sha256:
        return False
    try:
        return hash_of(entry.previous_hash, content_sha256(entry)) == entry.entry_hash
    except ValueError:
        return False  # a previous hash that is no hexadecimal number


def _covered(
    by_sequence: Mapping[int, AuditEntry], checkpoints: Sequence[Checkpoint]
) -> list[Finding]:
    """Return the entries whose content is not what a checkpoint signed."""
    findings: list[Finding] = []
    for one in checkpoints:
        for place, sequence in enumerate(range(one.first, one.sequence + 1)):
            entry = by_sequence.get(sequence)
            signed = one.contents[place * DIGEST_BYTES : (place + 1) * DIGEST_BYTES]
            if entry is not None and content_sha256(entry) != signed and _is_sound(entry):
                detail = f"checkpoint {one.number} signed another content"
                findings.append(Finding(FindingKind.REWRITTEN, sequence, sequence, detail))
    return findings


def _merged(findings: Iterable[Finding]) -> list[Finding]:
    """Return findings in the trail's order, runs of the same kind as one."""
    merged: list[Finding] = []
    for one in sorted(findings, key=lambda finding: (finding.kind, finding.first, finding.last)):
        before = merged[-1] if merged else None
        if (
            before
            and (before.kind, before.detail) == (one.kind, one.detail)
            and (one.first <= before.last + 1)
        ):
            last = max(before.last, one.last)
            merged[-1] = Finding(before.kind, before.first, last, before.detail)
        else:
            merged.append(one)
    return sorted(merged, key=lambda finding: (finding.first, finding.last, finding.kind))
