"""Damaged messages; `python -m benchmarks.fix_mutations` sends 200,000."""

import random
from pathlib import Path

import pytest

from benchmarks import fix_wire as wire
from benchmarks.fix_mutants import KINDS, mutant
from benchmarks.fix_mutations import VenueRun
from benchmarks.fix_mutations_broker import ServiceRun

FIELDS = [
    (b"35", b"D"), (b"34", b"7"), (b"49", b"A"), (b"52", b"20260102-03:04:05.000"), (b"56", b"B"),
    (b"11", b"C1"), (b"55", b"SA"), (b"54", b"1"), (b"38", b"100"), (b"44", b"10.5"),
]  # fmt: skip


def test_the_same_seed_gives_the_same_mutants_and_every_kind() -> None:
    runs = []
    for _ in range(2):
        rng = random.Random(5)  # noqa: S311 - repeatable
        runs.append([mutant(rng, FIELDS) for _ in range(2_000)])
    assert runs[0] == runs[1]
    assert {one.kind for one in runs[0]} == set(KINDS)
    share = sum(one.is_framed for one in runs[0]) / 2_000
    assert 0.4 < share < 0.9, "both what a session drops and what it must read"


def test_what_follows_a_broken_frame_makes_up_for_what_it_promised() -> None:
    rng = random.Random(6)  # noqa: S311 - repeatable
    for _ in range(2_000):
        one = mutant(rng, FIELDS)
        if not one.is_framed and not one.is_deaf:
            assert len(one.filler) > one.missing_bytes
            assert b"8=" not in one.filler
        if one.is_framed:
            assert wire.is_framed(one.raw)


@pytest.mark.parametrize("is_strict", [False, True])
def test_the_venue_neither_ends_nor_hangs_nor_books_what_nobody_sent(
    tmp_path: Path, *, is_strict: bool
) -> None:
    outcome = VenueRun(tmp_path, seed=11, is_strict=is_strict).run(2_500)
    assert outcome.problems == []
    assert outcome.messages == 2_500
    assert outcome.counts["orders"] > 50
    assert outcome.counts["reports"] > 200


@pytest.mark.slow
def test_the_service_neither_ends_nor_hangs_nor_is_wrong_in_silence(tmp_path: Path) -> None:
    outcome = ServiceRun(tmp_path, seed=12).run(1_000)
    assert outcome.problems == []
    assert outcome.messages == 1_000
    assert outcome.counts["reports owed"] > 20
    assert outcome.counts["orders as the broker has them"] >= 50
