"""Combinatorial purged cross-validation: many paths through one history.

Lopez de Prado (2018), *Advances in Financial Machine Learning*, chapter 12 (purging and embargo:
chapter 7). The sessions are cut into N consecutive groups; every choice of k of them is tested once
by a model trained on the others. Each group is tested C(N-1, k-1) times, so the predictions make
that many whole paths through history, where walking forward makes one. It says how much a result
depends on the order of history; it is not how the platform trades (that is
``ml.splits.walk_forward``).
"""

from __future__ import annotations

import datetime as dt
import itertools
import math
from collections.abc import Sequence

import msgspec

from contracts.errors import ContractError
from ml.labels.forward import HORIZON_SESSIONS

# C(16, 8) is 12,870 trainings: beyond any use here.
SPLITS_MAX = 2_000


class CombinatorialPolicy(msgspec.Struct, frozen=True):
    """How to cut; lengths in exchange sessions.

    A label of session t spans t+1 .. t+1+h. A training session is purged when its label's span and
    a test session's overlap, on either side; ``embargo_sessions`` more are left out after a test
    group, since features there still look back into it.
    """

    groups: int = 6
    test_groups: int = 2
    horizon_sessions: int = HORIZON_SESSIONS
    embargo_sessions: int = 5


class Fold(msgspec.Struct, frozen=True):
    """One training and its tests; ``tested`` are the indices of its groups, ascending."""

    tested: tuple[int, ...]
    training: tuple[dt.date, ...]
    test: tuple[dt.date, ...]


class Plan(msgspec.Struct, frozen=True):
    """All folds, and which fold serves which group on each path.

    ``paths[p][g]`` is the index of the fold whose predictions of group g belong to path p; each
    fold serves each of its groups on exactly one path.
    """

    groups: tuple[tuple[dt.date, ...], ...]
    folds: tuple[Fold, ...]
    paths: tuple[tuple[int, ...], ...]


def n_folds(policy: CombinatorialPolicy) -> int:
    """Return C(N, k)."""
    return math.comb(policy.groups, policy.test_groups)


def n_paths(policy: CombinatorialPolicy) -> int:
    """Return C(N, k) k / N = C(N-1, k-1): how often each session is tested."""
    return math.comb(policy.groups - 1, policy.test_groups - 1)


def combinatorial_folds(
    usable: Sequence[dt.date],
    sessions: Sequence[dt.date],
    policy: CombinatorialPolicy | None = None,
) -> Plan:
    """Cut the usable sessions into groups and list every fold.

    Parameters
    ----------
    usable : sequence of date
        Sessions with labelled rows, in any order.
    sessions : sequence of date
        Exchange sessions, ascending: purge and embargo count these, gaps included.
    policy : CombinatorialPolicy, optional
        How to cut.

    Returns
    -------
    Plan
        Groups differ in size by one session at most, the longer ones first. Folds in the order of
        ``itertools.combinations``.

    Raises
    ------
    ContractError
        When the calendar is not ascending or lacks a usable session, the policy is impossible, or
        a group would be empty.
    """
    policy = policy or CombinatorialPolicy()
    _check(policy)
    places = _places(usable, sessions)
    if len(places) < policy.groups:
        raise ContractError(
            f"{len(places)} usable sessions make no {policy.groups} groups.",
            remedy="ask for fewer groups or bring a longer history",
        )
    groups = _cut(places, policy.groups)
    folds = []
    for tested in itertools.combinations(range(policy.groups), policy.test_groups):
        left = _allowed(groups, tested, policy)
        test = [place for group in tested for place in groups[group]]
        folds.append(
            Fold(
                tested=tested,
                training=tuple(sessions[place] for place in left),
                test=tuple(sessions[place] for place in test),
            )
        )
    return Plan(
        groups=tuple(tuple(sessions[place] for place in group) for group in groups),
        folds=tuple(folds),
        paths=_paths(folds, policy),
    )


def _check(policy: CombinatorialPolicy) -> None:
    possible = policy.groups >= 2 and 1 <= policy.test_groups < policy.groups
    if not possible or policy.horizon_sessions < 1 or policy.embargo_sessions < 0:
        raise ContractError(
            f"{policy} cuts nothing.",
            remedy="at least 2 groups, fewer test groups than groups, a horizon of 1 or more",
        )
    if n_folds(policy) > SPLITS_MAX:
        raise ContractError(
            f"{policy.test_groups} of {policy.groups} groups are {n_folds(policy)} trainings.",
            remedy=f"stay below {SPLITS_MAX}",
        )


def _places(usable: Sequence[dt.date], sessions: Sequence[dt.date]) -> list[int]:
    if any(later <= earlier for earlier, later in itertools.pairwise(sessions)):
        raise ContractError("The exchange sessions are not ascending.", remedy="sort them")
    place = {day: position for position, day in enumerate(sessions)}
    stray = [day for day in usable if day not in place]
    if stray:
        raise ContractError(
            f"{stray[0]} is not among the exchange sessions passed.",
            remedy="pass the calendar that the labels were made with",
        )
    return sorted({place[day] for day in usable})


def _cut(places: list[int], n_groups: int) -> list[list[int]]:
    size, longer = divmod(len(places), n_groups)
    ends = list(itertools.accumulate(size + (group < longer) for group in range(n_groups)))
    return [places[start:end] for start, end in zip([0, *ends[:-1]], ends, strict=True)]


def _allowed(
    groups: list[list[int]], tested: tuple[int, ...], policy: CombinatorialPolicy
) -> list[int]:
    """Return the places whose label's span meets no test session's, and no embargo."""
    reach = policy.horizon_sessions  # of a label beyond its first session, t+1
    barred: set[int] = set()
    for group in tested:
        for place in groups[group]:
            # t+1 .. t+1+h meets s+1 .. s+1+h when |t - s| <= h.
            barred.update(range(place - reach, place + reach + 1))
        last = groups[group][-1]
        barred.update(range(last, last + 1 + reach + 1 + policy.embargo_sessions))
    return [
        place
        for group, members in enumerate(groups)
        if group not in tested
        for place in members
        if place not in barred
    ]


def _paths(folds: list[Fold], policy: CombinatorialPolicy) -> tuple[tuple[int, ...], ...]:
    """Give the j-th fold that tests a group, in the folds' order, to the j-th path."""
    serving: list[list[int]] = [[] for _ in range(policy.groups)]
    for index, fold in enumerate(folds):
        for group in fold.tested:
            serving[group].append(index)
    return tuple(zip(*serving, strict=True))
