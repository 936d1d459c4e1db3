"""The audit trail for an examiner: files that need none of our software to be read or verified."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import jinja2
import msgspec

from contracts.clock import utc_datetime
from contracts.codec import to_json
from domain.compliance.audit import AuditEntry, Checkpoint
from domain.compliance.audit_verify import Finding

ENTRIES, CHECKPOINTS, INDEX = "entries.jsonl", "checkpoints.jsonl", "index.html"
INSTRUCTION, VERIFIER = "VERIFY.md", "verify_audit.py"
_TEMPLATES = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


class Export(msgspec.Struct, frozen=True, kw_only=True):
    """What is exported: who asked for it, when, and everything there is.

    ``public_keys`` are PEM by key id; ``verifier`` is the source of the stand-alone program.
    """

    made_by: str
    made_ns: int
    entries: tuple[AuditEntry, ...]
    checkpoints: tuple[Checkpoint, ...]
    findings: tuple[Finding, ...]
    holds: tuple[str, ...]
    public_keys: Mapping[str, bytes]
    verifier: bytes


def files_of(export: Export) -> dict[str, bytes]:
    """Return the export's files by their names: an index to follow, a page per day, the data."""
    days = _days(export.entries)
    files = {
        INDEX: _page("audit_index.html", export, days=days),
        ENTRIES: lines(export.entries),
        CHECKPOINTS: lines(export.checkpoints),
        INSTRUCTION: _TEMPLATES.get_template("audit_verify.md").render(export=export).encode(),
        VERIFIER: export.verifier,
    }
    for key_id, pem in export.public_keys.items():
        files[f"public_key_{key_id}.pem"] = pem
    for day, numbered in days.items():
        files[f"days/{day}.html"] = _page("audit_day.html", export, day=day, numbered=numbered)
    return files


def lines(rows: Iterable[msgspec.Struct]) -> bytes:
    """Return records as JSON lines."""
    return b"".join(to_json(row) + b"\n" for row in rows)


def _days(entries: Sequence[AuditEntry]) -> dict[str, list[tuple[int, AuditEntry]]]:
    """Return the entries by UTC day, each with its line in the file of entries."""
    days: dict[str, list[tuple[int, AuditEntry]]] = {}
    for number, entry in enumerate(entries, start=1):
        days.setdefault(instant(entry.at_ns)[:10], []).append((number, entry))
    return days


def _page(template: str, export: Export, **values: object) -> bytes:
    counts = Counter((one.actor, one.role, one.action) for one in export.entries)
    page = _TEMPLATES.get_template(template).render(
        export=export, counts=sorted(counts.items()), instant=instant, particulars=_particulars,
        **values,
    )  # fmt: skip
    return page.encode()


def _particulars(entry: AuditEntry) -> str:
    try:
        return json.dumps(json.loads(entry.payload), indent=1, ensure_ascii=False)
    except ValueError:
        return entry.payload.decode(errors="replace")  # altered: shown as it is


def instant(at_ns: int) -> str:
    """Return an instant for people: UTC, to the microsecond."""
    return f"{utc_datetime(at_ns):%Y-%m-%d %H:%M:%S.%f}Z"
