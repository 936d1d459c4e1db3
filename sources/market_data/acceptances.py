"""Files that a rule refused and a person accepted: who, why, and from when on they count.

A rule on whole files compares a file with the one before it, and cannot know that a vendor meant
what it sent. An acceptance names one file by its bytes and one rule; every other rule still judges
it. Like a receipt it is never changed: what was refused until then stays refused until then.
"""

from __future__ import annotations

import shlex
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import msgspec

from contracts.errors import SourceError
from sources.file_drops import DropStore, RawDrop
from sources.market_data.json_lines import JsonLines
from sources.market_data.receipts import Receipt

# What can be right though it looks wrong. A file that is cut off cannot.
ACCEPTABLE = frozenset({"shrunken_file", "changed_unit", "changed_header"})
SHA256_CHARS = 12


class Acceptance(msgspec.Struct, frozen=True):
    """One rule that one file need not keep.

    ``after`` is how many drops of the source had come by then; ``header`` is the line that is read
    in the place of the file's first one, where the rule is ``changed_header``.
    """

    source: str
    sha256: str
    rule: str
    person: str
    because: str
    accepted_ns: int
    after: int
    header: str | None = None


class Allowance(NamedTuple):
    """What is accepted of a file's bytes: rules, and the header to read them by."""

    rules: frozenset[str] = frozenset()
    header: str | None = None


class Arrival(NamedTuple):
    """A drop when it came, or again when it was accepted, and what was accepted of it by then."""

    receipt: Receipt
    allowed: Allowance


class RefusedFile(NamedTuple):
    """A file that a rule on whole files refuses, and what the rule saw."""

    source: str
    name: str
    sha256: str
    rule: str
    why: str


class Acceptances(JsonLines[Acceptance]):
    """The acceptances of one source: ``<drops>/accepted/<source>.jsonl``."""

    def __init__(self, store: DropStore, source: str) -> None:
        super().__init__(store.root / "accepted" / f"{source}.jsonl", Acceptance)

    def allowed(self, sha256: str) -> Allowance:
        """Return what is accepted of a file by now."""
        return _allowance(row for row in self.rows() if row.sha256 == sha256)


def arrivals(receipts: Sequence[Receipt], accepted: Sequence[Acceptance]) -> Iterator[Arrival]:
    """Yield drops in the order in which they could be used.

    A file that had been refused comes a second time with its acceptance, at that instant. What
    comes after it with the same bytes is accepted, too.
    """
    said = defaultdict[str, list[Acceptance]](list)
    place = 0
    for row in accepted:
        for receipt in receipts[place : row.after]:
            yield Arrival(receipt, _allowance(said[receipt.sha256]))
        place = max(place, row.after)
        said[row.sha256].append(row)
        refused = [receipt for receipt in receipts[: row.after] if receipt.sha256 == row.sha256]
        for receipt in refused[-1:]:
            again = msgspec.structs.replace(receipt, received_ns=row.accepted_ns)
            yield Arrival(again, _allowance(said[row.sha256]))
    for receipt in receipts[place:]:
        yield Arrival(receipt, _allowance(said[receipt.sha256]))


def as_allowed(drop: RawDrop, allowed: Allowance) -> RawDrop:
    """Return a drop as it is read: under the accepted header, if there is one."""
    if allowed.header is None:
        return drop
    _, newline, rest = drop.data.partition(b"\n")
    return msgspec.structs.replace(drop, data=allowed.header.encode() + newline + rest)


def header_for(drop: RawDrop, before: RawDrop, separator: str) -> str:
    """Return the header of the file before, where it can stand for another file's own.

    Raises
    ------
    SourceError
        When one of them is no text, or has another number of columns.
    """
    try:
        old, new = (one.data.split(b"\n", 1)[0].decode().strip() for one in (before, drop))
    except UnicodeDecodeError:
        old, new = "", ""
    n_old, n_new = (len(line.split(separator)) for line in (old, new))
    if not (old.isprintable() and new.isprintable()) or n_old != n_new or n_old < 2:
        raise SourceError(
            f"{drop.name} cannot be read by the header of the file before it: {n_new} columns, "
            f"not {n_old}.",
            remedy="map its `columns` in sources.toml, or ask the vendor for the layout as it was",
        )
    return old


def how_to_accept(rule: str | None, source: str, sha256: str) -> str:
    """Return the sentence that tells how a person accepts a refused file, if one can."""
    if rule not in ACCEPTABLE:
        return ""
    return (
        f" If it is right: quantivista sources accept {shlex.quote(source)} "
        f"{sha256[:SHA256_CHARS]} --as <person> --because <text>"
    )


def _allowance(rows: Iterable[Acceptance]) -> Allowance:
    found = list(rows)
    headers = [row.header for row in found if row.header is not None]
    return Allowance(frozenset(row.rule for row in found), headers[-1] if headers else None)
