"""Two accounts of the same things, compared key by key; what differs, as sentences and breaks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from domain.cash_management.cash_items import BreakKind, Finding


class Difference(msgspec.Struct, frozen=True):
    """One execution or position that broker and platform state differently; None is not stated.

    ``difference_minor`` is the cash of the broker's version less that of the other.
    """

    what: Literal["execution", "position"]
    key: str
    broker: tuple[Any, ...] | None
    other: tuple[Any, ...] | None
    other_name: str
    difference_minor: int

    @property
    def sentence(self) -> str:
        """What people read."""
        return (
            f"{self.what} {self.key}: the broker says {self.broker}, the {self.other_name} "
            f"{self.other}"
        )


def differences(
    what: Literal["execution", "position"],
    broker: Mapping[str, tuple[Any, ...]],
    other: Mapping[str, tuple[Any, ...]],
    other_name: str,
    cash_minor: Mapping[str, tuple[int, int]],
) -> tuple[Difference, ...]:
    """Compare two mappings; ``cash_minor`` has both versions' cash by key."""
    return tuple(
        Difference(
            what=what,
            key=key,
            broker=broker.get(key),
            other=other.get(key),
            other_name=other_name,
            difference_minor=cash_minor[key][0] - cash_minor[key][1],
        )
        for key in sorted({*broker, *other})
        if broker.get(key) != other.get(key)
    )


def broker_findings(
    found: Mapping[str, tuple[Difference, ...]], account: str, currency: str
) -> tuple[Finding, ...]:
    """Return differences, by session, as findings that age like a bank's.

    An item's id is its session, kind and key, so a difference that is still there when the session
    is reconciled again is the same break.
    """
    findings = []
    for session, rows in sorted(found.items()):
        for row in rows:
            ids = (f"{session}/{row.what}/{row.key}",)
            kind: BreakKind = "amount_differs"
            if row.broker is None:
                kind = "missing_at_bank"
            elif row.other is None:
                kind = "missing_in_books"
            findings.append(
                Finding(
                    kind=kind,
                    account=account,
                    currency=currency,
                    bank_ids=ids if row.broker is not None else (),
                    book_ids=ids if row.other is not None else (),
                    difference_minor=row.difference_minor,
                )
            )
    return tuple(findings)
