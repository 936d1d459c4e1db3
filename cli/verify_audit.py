"""Verify an exported audit trail, with nothing but Python and the package ``cryptography``.

Usage: ``python verify_audit.py DIRECTORY [CHECKPOINTS.jsonl ...]``. It is exported with the trail
and shares no code with the platform on purpose: an examiner reads it before running it.
"""

from __future__ import annotations

import base64
import hashlib
import json
import sys
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization

Row = dict[str, Any]
CONTENT = ("sequence", "at_ns", "actor", "role", "action", "subject", "payload_sha256")


def compact(value: Any) -> bytes:
    """Return JSON without spaces, in UTF-8."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def rows(path: Path) -> list[Row]:
    """Return the records of a file of JSON lines."""
    # Of bytes only line ends split: in text, other characters do so too.
    return [json.loads(line) for line in path.read_bytes().splitlines() if line]


def keys(directory: Path) -> dict[str, Any]:
    """Return the public keys beside the trail, by their ids."""
    found = {}
    for path in sorted(directory.glob("public_key_*.pem")):
        key = serialization.load_pem_public_key(path.read_bytes())
        raw = key.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
        found[hashlib.sha256(raw).hexdigest()[:16]] = key
    return found


def digest(entry: Row) -> bytes:
    """Return the SHA-256 of what an entry says."""
    return hashlib.sha256(compact([entry[name] for name in CONTENT])).digest()


def is_signed(one: Row, known: dict[str, Any]) -> bool:
    """Whether a checkpoint's signature holds."""
    contents = base64.b64decode(one["contents"])
    said = [
        "quantivista-audit-1", one["number"], one["kind"], one["first"], one["sequence"],
        one["entry_hash"], contents.hex(), one["at_ns"], one["key_id"],
    ]  # fmt: skip
    try:
        known[one["key_id"]].verify(base64.b64decode(one["signature"]), compact(said))
    except (KeyError, InvalidSignature):
        return False
    return bool(len(contents) == 32 * (one["sequence"] - one["first"] + 1))


def verified(entries: list[Row], checkpoints: list[Row], known: dict[str, Any]) -> list[str]:
    """Return what is wrong, a sentence each."""
    good: dict[int, Row] = {}
    wrong: list[str] = []
    for one in checkpoints:
        if not is_signed(one, known):
            wrong.append(f"checkpoint {one['number']} has no valid signature")
        elif good.setdefault(one["number"], one) != one:
            wrong.append(f"there are two checkpoints {one['number']}")
    wrong += [f"checkpoint {n} is missing" for n in range(1, max(good, default=0)) if n not in good]
    return wrong + chained(entries, list(good.values())) + covered(entries, list(good.values()))


def chained(entries: list[Row], good: list[Row]) -> list[str]:
    """Return which entries are altered, displaced or missing, by their own hashes."""
    wrong: list[str] = []
    anchors = [one for one in good if one["kind"] == "anchor"]
    anchor = max(anchors, key=lambda one: int(one["sequence"]), default=None)
    expected, before = (anchor["sequence"] + 1, anchor["entry_hash"]) if anchor else (1, "0" * 64)
    for entry in entries:
        sequence = entry["sequence"]
        if sequence != expected:
            wrong.append(f"entry {expected} is missing or displaced: {sequence} stands there")
        elif entry["previous_hash"] != before:
            wrong.append(f"entry {sequence} does not follow the one before it")
        payload = base64.b64decode(entry["payload"])
        hashed = hashlib.sha256(bytes.fromhex(entry["previous_hash"]) + digest(entry))
        is_paid = hashlib.sha256(payload).hexdigest() == entry["payload_sha256"]
        if not is_paid or hashed.hexdigest() != entry["entry_hash"]:
            wrong.append(f"entry {sequence} was altered")
        expected, before = sequence + 1, entry["entry_hash"]
    end = max([int(one["sequence"]) for one in good], default=0)
    if expected <= end:
        wrong.append(f"entries {expected} to {end} were signed and are missing")
    return wrong


def covered(entries: list[Row], good: list[Row]) -> list[str]:
    """Return which entries are not what a checkpoint signed."""
    wrong: list[str] = []
    contents = {entry["sequence"]: digest(entry) for entry in entries}
    for one in good:
        signed = base64.b64decode(one["contents"])
        for place, sequence in enumerate(range(one["first"], one["sequence"] + 1)):
            if contents.get(sequence, b"") not in (b"", signed[32 * place : 32 * place + 32]):
                wrong.append(f"entry {sequence} is not what checkpoint {one['number']} signed")
    return wrong


def main(arguments: list[str]) -> int:
    """Verify what the arguments name, say what is wrong, and return 1 for anything."""
    directory = Path(arguments[0] if arguments else ".")
    checkpoints = rows(directory / "checkpoints.jsonl")
    for name in arguments[1:]:
        checkpoints += rows(Path(name))
    entries, known = rows(directory / "entries.jsonl"), keys(directory)
    wrong = verified(entries, checkpoints, known)
    for sentence in wrong:
        sys.stdout.write(f"{sentence}\n")
    signed = max([int(one["sequence"]) for one in checkpoints], default=0)
    verdict = f"{len(wrong)} things are wrong" if wrong else "nothing is wrong"
    sys.stdout.write(f"{len(entries)} entries, signed up to {signed}: {verdict}.\n")
    sys.stdout.write(f"Keys that counted: {', '.join(known) or 'none'}.\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
