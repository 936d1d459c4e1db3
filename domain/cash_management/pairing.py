"""The rules of ``matching``, one method each, on the items of one account and currency."""

from __future__ import annotations

import bisect
import datetime as dt
import itertools
from collections.abc import Iterable, Iterator, Sequence

import msgspec

from domain.cash_management.cash_items import (
    BreakKind,
    CashItem,
    Finding,
    Match,
    Matching,
    MatchRule,
    Tolerance,
)


class Claim(msgspec.Struct, frozen=True):
    """An item and the groups of the other side that sum to it; two groups are one too many."""

    side: int
    target: str
    groups: tuple[tuple[str, ...], ...]


# Difference of amount, difference of days, whether the counterparty is another; the two ids.
Edge = tuple[tuple[int, int, bool], str, str]
_BANK, _BOOKS = 0, 1


class Pairing:
    """The items of both sides that are still open, and what has become of the others.

    Ids are only unique within a side, so everything here is a pair: bank first, books second.
    """

    def __init__(
        self, bank: Iterable[CashItem], books: Iterable[CashItem], tolerance: Tolerance
    ) -> None:
        self._items = tuple(
            {item.item_id: item for item in sorted(side, key=_order)} for side in (bank, books)
        )
        self._open: tuple[set[str], set[str]] = (set(self._items[0]), set(self._items[1]))
        self._tolerance = tolerance
        self._matches: list[Match] = []
        self._findings: list[Finding] = []

    def by_reference(self) -> None:
        """Match what has a reference in common, nearest first."""
        edges = [
            edge
            for edge in (self._edge(*pair) for pair in self._shared_references())
            if edge is not None
        ]
        self._resolve(edges, "reference")

    def by_reference_sum(self) -> None:
        """Match one item with all items that its references lead to, if they sum to it."""
        for banks, books in _components(self._shared_references()):
            if (len(banks) == 1) == (len(books) == 1):
                continue
            total = self._sum(_BANK, banks) - self._sum(_BOOKS, books)
            days = [self._items[_BANK][name].value_date for name in banks]
            days += [self._items[_BOOKS][name].value_date for name in books]
            spread = (max(days) - min(days)).days
            if abs(total) <= self._tolerance.amount_minor and spread <= self._tolerance.days:
                self._match("reference_sum", banks, books)

    def set_mismatches_aside(self) -> None:
        """Report one item and what shares its reference, when amount or date differ.

        Where it shares the reference with several (a standing order's), only those near in date
        are meant.
        """
        for banks, books in _components(self._shared_references()):
            if len(banks) > 1 and len(books) > 1:
                continue
            near = self._near_in_date(banks, books)
            if all(near):
                difference = self._sum(_BANK, near[_BANK]) - self._sum(_BOOKS, near[_BOOKS])
                same = abs(difference) <= self._tolerance.amount_minor
                self._report("date_differs" if same else "amount_differs", *near)

    def _near_in_date(self, banks: list[str], books: list[str]) -> tuple[list[str], list[str]]:
        if len(banks) == len(books) == 1:
            return banks, books
        day = self._items[_BANK][banks[0]].value_date
        if len(banks) > 1:
            day = self._items[_BOOKS][books[0]].value_date
        return self._around(day, _BANK, banks), self._around(day, _BOOKS, books)

    def _around(self, day: dt.date, side: int, names: Iterable[str]) -> list[str]:
        """Return the named items within the date window, in their order."""
        return [
            name
            for name in self._ordered(side, names)
            if abs((self._items[side][name].value_date - day).days) <= self._tolerance.days
        ]

    def by_amount_and_date(self) -> None:
        """Match what agrees in amount and date, nearest first; what stays unclear is a finding."""
        edges = list(self._near())
        self._resolve(edges, "amount_date")

    def by_sum(self) -> None:
        """Match one item with the only group of the other side that sums to it."""
        # Items with an equal on the other side have a nearer explanation, if not a clear one.
        contested: tuple[set[str], set[str]] = (set(), set())
        for _, bank, book in self._near():
            contested[_BANK].add(bank)
            contested[_BOOKS].add(book)
        claims = [
            claim
            for side in (_BANK, _BOOKS)
            for target in sorted(self._open[side] - contested[side])
            if (claim := self._claim(side, target, self._open[1 - side] - contested[1 - side]))
        ]
        for group in _overlapping(claims):
            only = group[0]
            if len(group) == 1 and len(only.groups) == 1:
                pair = ([only.target], list(only.groups[0]))
                self._match("sum", *(pair if only.side == _BANK else pair[::-1]))
                continue
            ids: tuple[set[str], set[str]] = (set(), set())
            for claim in group:
                ids[claim.side].add(claim.target)
                ids[1 - claim.side].update(*claim.groups)
            self._report("ambiguous", sorted(ids[_BANK]), sorted(ids[_BOOKS]))

    def finish(self, as_of: dt.date) -> Matching:
        """Report what is left: duplicates, what is unclear, and what is missing on one side."""
        self._report_repeated(_BANK)
        self._report_repeated(_BOOKS)
        for banks, books in _components((bank, book) for _, bank, book in self._near()):
            self._report("ambiguous", banks, books)
        not_due = [
            name for name in self._open[_BOOKS] if self._items[_BOOKS][name].value_date > as_of
        ]
        self._open[_BOOKS].difference_update(not_due)
        for name in sorted(self._open[_BANK]):
            self._report("missing_in_books", [name], [])
        for name in sorted(self._open[_BOOKS]):
            self._report("missing_at_bank", [], [name])
        return Matching(tuple(self._matches), tuple(self._findings), tuple(sorted(not_due)))

    def _edge(self, bank: str, book: str) -> Edge | None:
        """Return how near two items are, None when they are out of tolerance."""
        one, other = self._items[_BANK][bank], self._items[_BOOKS][book]
        amount = abs(one.amount_minor - other.amount_minor)
        days = abs((one.value_date - other.value_date).days)
        if amount > self._tolerance.amount_minor or days > self._tolerance.days:
            return None
        same = bool(one.counterparty) and _plain(one.counterparty) == _plain(other.counterparty)
        return ((amount, days, not same), bank, book)

    def _shared_references(self) -> list[tuple[str, str]]:
        holders: dict[str, list[str]] = {}
        for name in self._open[_BOOKS]:
            for reference in self._items[_BOOKS][name].references:
                holders.setdefault(_plain(reference), []).append(name)
        pairs = {
            (name, other)
            for name in self._open[_BANK]
            for reference in self._items[_BANK][name].references
            if _plain(reference)
            for other in holders.get(_plain(reference), [])
        }
        return sorted(pairs)

    def _near(self) -> Iterator[Edge]:
        """Yield the open pairs within the tolerance."""
        books = sorted(
            (self._items[_BOOKS][name].amount_minor, name) for name in self._open[_BOOKS]
        )
        for name in sorted(self._open[_BANK]):
            amount = self._items[_BANK][name].amount_minor
            start = bisect.bisect_left(books, (amount - self._tolerance.amount_minor, ""))
            for other_amount, other in itertools.islice(books, start, None):
                if other_amount > amount + self._tolerance.amount_minor:
                    break
                edge = self._edge(name, other)
                if edge is not None:
                    yield edge

    def _resolve(self, edges: Sequence[Edge], rule: MatchRule) -> None:
        """Match nearest first: at each distance, whatever fits with nothing else that is open."""
        for cost in sorted({edge[0] for edge in edges}):
            usable = [
                (bank, book)
                for nearness, bank, book in edges
                if nearness <= cost and bank in self._open[_BANK] and book in self._open[_BOOKS]
            ]
            known = set(usable)
            for banks, books in _components(usable):
                complete = all(pair in known for pair in itertools.product(banks, books))
                if complete and len(banks) == len(books):
                    self._pair(banks, books, rule)
        usable = [
            (bank, book)
            for _, bank, book in edges
            if bank in self._open[_BANK] and book in self._open[_BOOKS]
        ]
        for banks, books in _components(usable):
            self._pair_clones(banks, books, rule)

    def _pair(self, banks: Sequence[str], books: Sequence[str], rule: MatchRule) -> None:
        in_order = zip(self._ordered(_BANK, banks), self._ordered(_BOOKS, books), strict=True)
        for bank, book in in_order:
            self._match(rule, [bank], [book], interchangeable=len(banks) > 1)

    def _pair_clones(self, banks: Sequence[str], books: Sequence[str], rule: MatchRule) -> None:
        """Match what can be where the larger side repeats one thing; its surplus is duplicate."""
        count = min(len(banks), len(books))
        larger = _BANK if len(banks) > len(books) else _BOOKS
        said = {
            msgspec.structs.replace(self._items[larger][name], item_id="")
            for name in (banks if larger == _BANK else books)
        }
        if len(said) > 1 or len(banks) == len(books):
            return
        ordered = (self._ordered(_BANK, banks), self._ordered(_BOOKS, books))
        self._pair(ordered[_BANK][:count], ordered[_BOOKS][:count], rule)
        for name in ordered[larger][count:]:
            self._report("duplicate", *(([name], []) if larger == _BANK else ([], [name])))

    def _report_repeated(self, side: int) -> None:
        """Report open items that repeat the reference and the amount of a matched one."""
        matched = {
            (_plain(reference), item.amount_minor)
            for found in self._matches
            for name in (found.bank_ids if side == _BANK else found.book_ids)
            for item in [self._items[side][name]]
            for reference in item.references
        }
        for name in self._ordered(side, self._open[side]):
            item = self._items[side][name]
            if any((_plain(one), item.amount_minor) in matched for one in item.references):
                self._report("duplicate", *(([name], []) if side == _BANK else ([], [name])))

    def _claim(self, side: int, target: str, others: set[str]) -> Claim | None:
        wanted = self._items[side][target]
        most = abs(wanted.amount_minor) + self._tolerance.amount_minor
        sign = 1 if wanted.amount_minor > 0 else -1
        candidates = [
            name
            for name in self._around(wanted.value_date, 1 - side, others)
            if 0 < sign * self._items[1 - side][name].amount_minor <= most
        ]
        if len(candidates) > self._tolerance.group_candidates_max:
            candidates = [
                name
                for name in candidates
                if wanted.counterparty
                and _plain(self._items[1 - side][name].counterparty) == _plain(wanted.counterparty)
            ]
        if not 2 <= len(candidates) <= self._tolerance.group_candidates_max:
            return None
        groups = (
            group
            for size in range(2, self._tolerance.group_size_max + 1)
            for group in itertools.combinations(candidates, size)
            if abs(self._sum(1 - side, group) - wanted.amount_minor) <= self._tolerance.amount_minor
        )
        found = tuple(itertools.islice(groups, 2))
        return Claim(side, target, found) if found else None

    def _ordered(self, side: int, names: Iterable[str]) -> list[str]:
        return sorted(names, key=lambda name: _order(self._items[side][name]))

    def _sum(self, side: int, names: Iterable[str]) -> int:
        return sum(self._items[side][name].amount_minor for name in names)

    def _match(
        self,
        rule: MatchRule,
        banks: Sequence[str],
        books: Sequence[str],
        *,
        interchangeable: bool = False,
    ) -> None:
        self._close(banks, books)
        ids = (tuple(sorted(banks)), tuple(sorted(books)))
        self._matches.append(Match(rule, *ids, interchangeable))

    def _report(self, kind: BreakKind, banks: Sequence[str], books: Sequence[str]) -> None:
        self._close(banks, books)
        some = self._items[_BANK][banks[0]] if banks else self._items[_BOOKS][books[0]]
        self._findings.append(
            Finding(
                kind=kind,
                account=some.account,
                currency=some.currency,
                bank_ids=tuple(banks),
                book_ids=tuple(books),
                difference_minor=self._sum(_BANK, banks) - self._sum(_BOOKS, books),
            )
        )

    def _close(self, banks: Iterable[str], books: Iterable[str]) -> None:
        self._open[_BANK].difference_update(banks)
        self._open[_BOOKS].difference_update(books)


def _order(item: CashItem) -> tuple[dt.date, int, str]:
    return (item.value_date, item.amount_minor, item.item_id)


def _plain(text: str) -> str:
    """Return a text as banks may change it on its way: without case, blanks and punctuation."""
    return "".join(character for character in text.upper() if character.isalnum())


def _components(edges: Iterable[tuple[str, str]]) -> list[tuple[list[str], list[str]]]:
    """Return the connected parts of a two-sided graph, each as its two sorted sides."""
    graph: dict[tuple[int, str], set[tuple[int, str]]] = {}
    for left, right in edges:
        graph.setdefault((_BANK, left), set()).add((_BOOKS, right))
        graph.setdefault((_BOOKS, right), set()).add((_BANK, left))
    seen: set[tuple[int, str]] = set()
    parts = []
    for start in sorted(graph):
        if start in seen:
            continue
        seen.add(start)
        found, stack = {start}, [start]
        while stack:
            fresh = graph[stack.pop()] - seen
            seen |= fresh
            found |= fresh
            stack.extend(fresh)
        parts.append(
            (
                sorted(name for side, name in found if side == _BANK),
                sorted(name for side, name in found if side == _BOOKS),
            )
        )
    return parts


def _overlapping(claims: Sequence[Claim]) -> list[list[Claim]]:
    """Return claims by whether they share an item, directly or through others."""
    edges = []
    for number, claim in enumerate(claims):
        names = {(claim.side, claim.target)}
        names |= {(1 - claim.side, name) for group in claim.groups for name in group}
        edges += [(str(number), f"{side}:{name}") for side, name in names]
    return [[claims[int(number)] for number in numbers] for numbers, _ in _components(edges)]
