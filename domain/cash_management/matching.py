"""What the bank booked against what the books expect: by reference, by amount and date, by sum.

The rules, in their order; each takes what the ones before it left, within one account and currency:

1. ``reference``: a reference in common, amount and date within the tolerance.
2. ``reference_sum``: one entry on one side, several on the other, connected by references, of one
   sum (a batch that the bank booked as one entry).
3. What shares a reference with only one entry of the other side and is none of these is a break,
   ``amount_differs`` or ``date_differs``: the reference is the stronger evidence, so neither half
   is matched otherwise.
4. ``amount_date``: amount and date within the tolerance.
5. ``sum``: one entry is the sum of two to ``group_size_max`` of the other side; exactly one
   combination must fit.

Within rules 1 and 4, candidates are taken nearest first: smallest difference of amount, then of
days, then those with the same counterparty. As many entries as candidates that all fit equally are
paired by value date, amount and id, and marked ``interchangeable``: which one is which does not
matter, and is not known. If there are more on one side, and those of that side say the same, the
surplus are ``duplicate``; otherwise nothing is guessed and all of them are one ``ambiguous`` break.

The result depends on the set of items only, not on their order.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable

from contracts.errors import ReconciliationError
from domain.cash_management.cash_items import CashItem, Matching, Tolerance
from domain.cash_management.pairing import Pairing
from domain.cash_management.statements import Statement, entry_ids


def bank_items(statement: Statement) -> tuple[CashItem, ...]:
    """Return what a statement books; pending and informative entries are no movement."""
    items = []
    for item_id, entry in zip(entry_ids(statement), statement.entries, strict=True):
        if entry.status != "booked":
            continue
        closing = statement.closing
        day = entry.date or (closing.date if closing else None)
        if day is None:
            raise ReconciliationError(
                f"An entry of {entry.amount_minor} in {statement.name} has no date.",
                remedy="match final statements; a notification may leave the date out",
            )
        names = {detail.counterparty for detail in entry.details}
        items.append(
            CashItem(
                item_id=item_id,
                account=statement.account,
                currency=entry.currency,
                amount_minor=entry.amount_minor,
                value_date=day,
                references=entry.references,
                counterparty=names.pop() if len(names) == 1 else "",
            )
        )
    return tuple(items)


def match(
    bank: Iterable[CashItem],
    books: Iterable[CashItem],
    as_of: dt.date,
    tolerance: Tolerance | None = None,
) -> Matching:
    """Match two sides by the rules above.

    Parameters
    ----------
    bank, books : iterable of CashItem
        Ids are unique on each side.
    as_of : date
        What the books expect later and the bank has not booked is not due, and no break.
    tolerance : Tolerance, optional
        The default allows three days and no difference in amount.

    Raises
    ------
    ReconciliationError
        When an id is there twice on one side.
    """
    sides: dict[tuple[str, str], tuple[list[CashItem], list[CashItem]]] = {}
    for number, items in enumerate((list(bank), list(books))):
        ids = [item.item_id for item in items]
        if len(set(ids)) != len(ids):
            twice = next(name for name in ids if ids.count(name) > 1)
            raise ReconciliationError(
                f"Item {twice!r} is there twice.", remedy="give every item an id of its own"
            )
        for item in items:
            sides.setdefault((item.account, item.currency), ([], []))[number].append(item)
    results = [_reconciled(*sides[key], tolerance or Tolerance(), as_of) for key in sorted(sides)]
    return Matching(
        matches=tuple(one for result in results for one in result.matches),
        findings=tuple(one for result in results for one in result.findings),
        not_due=tuple(one for result in results for one in result.not_due),
    )


def _reconciled(
    bank: list[CashItem], books: list[CashItem], tolerance: Tolerance, as_of: dt.date
) -> Matching:
    pairing = Pairing(bank, books, tolerance)
    pairing.by_reference()
    pairing.by_reference_sum()
    pairing.set_mismatches_aside()
    pairing.by_amount_and_date()
    pairing.by_sum()
    return pairing.finish(as_of)
