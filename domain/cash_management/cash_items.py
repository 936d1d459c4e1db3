"""What is matched, and what comes of it: the values that ``matching`` takes and gives."""

from __future__ import annotations

import datetime as dt
from typing import Literal

import msgspec

from contracts.errors import ReconciliationError

MatchRule = Literal["reference", "reference_sum", "amount_date", "sum"]
BreakKind = Literal[
    "missing_at_bank",
    "missing_in_books",
    "amount_differs",
    "date_differs",
    "duplicate",
    "ambiguous",
]


class CashItem(msgspec.Struct, frozen=True):
    """One movement of cash, as the bank booked it or as the books expect it; positive came in."""

    item_id: str
    account: str
    currency: str
    amount_minor: int
    value_date: dt.date
    references: tuple[str, ...] = ()
    counterparty: str = ""


class Tolerance(msgspec.Struct, frozen=True):
    """How much two items may differ and still be one.

    ``days`` are calendar days: three cover a weekend and a bank holiday on which the exchange is
    open. ``group_candidates_max`` bounds rule 5: an entry with more candidates is left to people.
    """

    amount_minor: int = 0
    days: int = 3
    group_size_max: int = 4
    group_candidates_max: int = 16

    def __post_init__(self) -> None:
        """Refuse negative tolerances and groups whose search would not end."""
        sane = self.amount_minor >= 0 and self.days >= 0
        if (
            not sane
            or not 2 <= self.group_size_max <= 6
            or not 2 <= self.group_candidates_max <= 24
        ):
            raise ReconciliationError(
                f"{self} is no tolerance.",
                remedy="no negative values, groups of 2 to 6, at most 24 candidates",
            )


class Match(msgspec.Struct, frozen=True):
    """Items that are one movement, and the rule that says so."""

    rule: MatchRule
    bank_ids: tuple[str, ...]
    book_ids: tuple[str, ...]
    interchangeable: bool = False


class Finding(msgspec.Struct, frozen=True):
    """Items that do not match, and how; ``difference_minor`` is the bank's amount less ours."""

    kind: BreakKind
    account: str
    currency: str
    bank_ids: tuple[str, ...]
    book_ids: tuple[str, ...]
    difference_minor: int


class Matching(msgspec.Struct, frozen=True):
    """Every item is in exactly one match, one finding, or (of the books) not due yet."""

    matches: tuple[Match, ...]
    findings: tuple[Finding, ...]
    not_due: tuple[str, ...]
