"""The audit trail: 10,000 random edits, each of them found and located."""

import random
from collections.abc import Callable

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from domain.compliance.audit import (
    AuditEntry,
    Checkpoint,
    CheckpointKind,
    anchor_of,
    checkpoint_of,
    next_entry,
)
from domain.compliance.audit_verify import Finding, FindingKind, verify
from domain.compliance.errors import ComplianceError

NOW_NS = 1_282_248_000_000_000_000
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
KEYS = [KEY.public_key()]
N_ENTRIES, N_PER_CHECKPOINT = 30, 10
EDITS = 10_000


def entry_after(previous: AuditEntry | Checkpoint | None, word: str) -> AuditEntry:
    number = previous.sequence + 1 if previous else 1
    return next_entry(
        previous, at_ns=NOW_NS + number, actor="mary", role="risk", action="note",
        subject=f"s{number}", payload={"word": word, "n": number},
    )  # fmt: skip


def trail(count: int = N_ENTRIES) -> list[AuditEntry]:
    entries: list[AuditEntry] = []
    for number in range(count):
        entries.append(entry_after(entries[-1] if entries else None, f"w{number}"))
    return entries


def signed(entries: list[AuditEntry], size: int = N_PER_CHECKPOINT) -> list[Checkpoint]:
    return [
        checkpoint_of(entries[at : at + size], KEY, number=at // size + 1, now_ns=NOW_NS)
        for at in range(0, len(entries), size)
    ]


TRAIL = trail()
CHECKPOINTS = signed(TRAIL)


def rehashed(entries: list[AuditEntry], at: int) -> list[AuditEntry]:
    """Write all hashes anew from a position on, as somebody does who has the code, not the key."""
    done = entries[:at]
    for old in entries[at:]:
        done.append(
            next_entry(
                done[-1] if done else None, at_ns=old.at_ns, actor=old.actor, role=old.role,
                action=old.action, subject=old.subject, payload=msgspec.json.decode(old.payload),
            )
        )  # fmt: skip
    return done


Edit = tuple[list[AuditEntry], int, int]


def flip(rng: random.Random) -> Edit:
    at = rng.randrange(N_ENTRIES)
    entry = TRAIL[at]
    name = rng.choice(entry.__struct_fields__)
    value = getattr(entry, name)
    if name == "sequence":
        value = rng.choice([n for n in range(1, N_ENTRIES + 9) if n != value])
    elif isinstance(value, int):
        value ^= 1 << rng.randrange(60)
    elif isinstance(value, bytes):
        place = rng.randrange(len(value))
        value = value[:place] + bytes([value[place] ^ (1 << rng.randrange(8))]) + value[place + 1 :]
    else:
        place = rng.randrange(len(value))
        value = (
            value[:place] + chr(ord(value[place]) ^ (1 << rng.randrange(6))) + value[place + 1 :]
        )
    edited = [*TRAIL]
    edited[at] = msgspec.structs.replace(entry, **{name: value})
    touched = sorted((at + 1, edited[at].sequence))  # where it was, and where it says it is
    return edited, touched[0], touched[1]


def delete(rng: random.Random) -> Edit:
    at, count = rng.randrange(N_ENTRIES), rng.randint(1, 4)
    edited = TRAIL[:at] + TRAIL[at + count :]
    return edited, at + 1, min(N_ENTRIES, at + count)


def insert(rng: random.Random) -> Edit:
    at = rng.randrange(N_ENTRIES)  # behind the last one it is an entry like any other
    extra = rng.choice([rng.choice(TRAIL), entry_after(TRAIL[at - 1] if at else None, "forged")])
    return [*TRAIL[:at], extra, *TRAIL[at:]], extra.sequence, extra.sequence


def swap(rng: random.Random) -> Edit:
    one, other = sorted(rng.sample(range(N_ENTRIES), 2))
    edited = [*TRAIL]
    edited[one], edited[other] = edited[other], edited[one]
    return edited, one + 1, other + 1


def truncate(rng: random.Random) -> Edit:
    count = rng.randint(1, N_ENTRIES)
    return TRAIL[:-count], N_ENTRIES - count + 1, N_ENTRIES


def rewrite(rng: random.Random) -> Edit:
    at = rng.randrange(N_ENTRIES)
    edited = [*TRAIL]
    edited[at] = msgspec.structs.replace(edited[at], actor="nobody")
    return rehashed(edited, at), at + 1, at + 1


def rewrite_one(rng: random.Random) -> Edit:
    at = rng.randrange(N_ENTRIES)
    edited = [*TRAIL]
    edited[at] = entry_after(edited[at - 1] if at else None, "forged")
    return edited, at + 1, at + 1


def rewrite_without(rng: random.Random) -> Edit:
    at = rng.randrange(N_ENTRIES)
    return rehashed(TRAIL[:at] + TRAIL[at + 1 :], at), at + 1, N_ENTRIES


def rewrite_with(rng: random.Random) -> Edit:
    at = rng.randrange(N_ENTRIES - 1)
    return rehashed([*TRAIL[:at], TRAIL[at], *TRAIL[at:]], at), at + 2, N_ENTRIES


KINDS: list[Callable[[random.Random], Edit]] = [
    flip, delete, insert, swap, truncate, rewrite, rewrite_one, rewrite_without, rewrite_with,
]  # fmt: skip


def is_located(findings: list[Finding], first: int, last: int) -> bool:
    """Whether both ends of the edit are named, and nothing further than an entry away."""
    named = [range(one.first, one.last + 1) for one in findings]
    exact = all(any(place in one for one in named) for place in (first, last))
    return exact and findings[0].first >= first - 1


def test_an_intact_trail_has_no_finding() -> None:
    assert verify(TRAIL, CHECKPOINTS, KEYS) == []
    assert verify(TRAIL, [], KEYS) == []
    assert verify([], [], KEYS) == []
    longer = [*TRAIL, entry_after(TRAIL[-1], "later")]
    assert verify(longer, [*CHECKPOINTS, *CHECKPOINTS], KEYS) == []


@pytest.mark.parametrize("kind", KINDS)
def test_random_edits_are_all_found_and_located(kind: Callable[[random.Random], Edit]) -> None:
    rng = random.Random(kind.__name__)  # noqa: S311 - edits, not secrets
    missed = []
    for _ in range(-(-EDITS // len(KINDS))):
        edited, first, last = kind(rng)
        if edited == TRAIL:
            continue
        findings = verify(edited, CHECKPOINTS, KEYS)
        if not findings or not is_located(findings, first, last):
            missed.append((first, last, findings))
    assert missed[:3] == []


def test_the_kinds_of_findings_say_what_was_done() -> None:
    def kinds(entries: list[AuditEntry]) -> set[FindingKind]:
        return {one.kind for one in verify(entries, CHECKPOINTS, KEYS)}

    altered = msgspec.structs.replace(TRAIL[4], actor="eve")
    assert kinds([*TRAIL[:4], altered, *TRAIL[5:]]) == {FindingKind.ALTERED}
    assert kinds(TRAIL[:4] + TRAIL[5:]) == {FindingKind.MISSING}
    assert kinds([*TRAIL, TRAIL[3]]) == {FindingKind.INSERTED}
    assert kinds([TRAIL[1], TRAIL[0], *TRAIL[2:]]) == {FindingKind.OUT_OF_ORDER}
    assert kinds(rehashed([*TRAIL[:4], altered, *TRAIL[5:]], 4)) == {FindingKind.REWRITTEN}
    forged = entry_after(TRAIL[3], "forged")
    assert kinds([*TRAIL[:4], forged, *TRAIL[5:]]) == {FindingKind.REWRITTEN, FindingKind.UNLINKED}
    assert kinds(TRAIL[:-3]) == {FindingKind.MISSING}


def test_a_cut_off_end_shows_against_a_checkpoint_kept_elsewhere_only() -> None:
    cut, theirs = TRAIL[:20], CHECKPOINTS[:2]
    assert verify(cut, theirs, KEYS) == [], "what nobody outside has seen can be cut off"
    assert verify(TRAIL[:25], theirs, KEYS) == []
    (found,) = verify(cut, [*theirs, *CHECKPOINTS], KEYS)
    assert (found.kind, found.first, found.last) == (FindingKind.MISSING, 21, 30)


def test_checkpoints_cannot_be_forged_dropped_or_replaced() -> None:
    other = Ed25519PrivateKey.from_private_bytes(bytes(32))
    theirs = checkpoint_of(TRAIL[10:20], other, number=2, now_ns=NOW_NS)
    (found,) = verify(TRAIL, [CHECKPOINTS[0], theirs, CHECKPOINTS[1], CHECKPOINTS[2]], KEYS)
    assert (found.kind, found.first, found.last) == (FindingKind.CHECKPOINT_FORGED, 11, 20)
    for name, value in (
        ("sequence", 19), ("number", 4), ("entry_hash", "0" * 64), ("at_ns", 0), ("first", 12),
        ("contents", b""), ("signature", b"x"), ("key_id", "y"), ("kind", CheckpointKind.ANCHOR),
    ):  # fmt: skip
        bent = msgspec.structs.replace(CHECKPOINTS[1], **{name: value})
        kinds = {one.kind for one in verify(TRAIL, [CHECKPOINTS[0], bent, CHECKPOINTS[2]], KEYS)}
        assert FindingKind.CHECKPOINT_FORGED in kinds, name
    (gap,) = verify(TRAIL, [CHECKPOINTS[0], CHECKPOINTS[2]], KEYS)
    assert (gap.kind, gap.first, gap.last) == (FindingKind.CHECKPOINT_MISSING, 11, 30)
    again = checkpoint_of(TRAIL[10:20], KEY, number=2, now_ns=NOW_NS + 1)
    (twice,) = verify(TRAIL, [*CHECKPOINTS, again], KEYS)
    assert twice.kind is FindingKind.CHECKPOINT_DIFFERS


def test_a_pruned_trail_begins_at_its_anchor_and_only_a_signed_one_counts() -> None:
    anchor = anchor_of(TRAIL[11], KEY, number=4, now_ns=NOW_NS)
    assert verify(TRAIL[12:], [*CHECKPOINTS, anchor], KEYS) == []
    assert entry_after(anchor, "w12") == TRAIL[12]
    (found,) = verify(TRAIL[12:], CHECKPOINTS, KEYS)
    assert (found.kind, found.first, found.last) == (FindingKind.MISSING, 1, 12)
    (more,) = verify(TRAIL[14:], [*CHECKPOINTS, anchor], KEYS)
    assert (more.kind, more.first, more.last) == (FindingKind.MISSING, 13, 14)
    (back,) = verify(TRAIL[10:], [*CHECKPOINTS, anchor], KEYS)
    assert (back.kind, back.first, back.last) == (FindingKind.INSERTED, 11, 12)


def test_a_checkpoint_covers_at_least_one_entry() -> None:
    with pytest.raises(ComplianceError, match="0 entries"):
        checkpoint_of([], KEY, number=1, now_ns=NOW_NS)
