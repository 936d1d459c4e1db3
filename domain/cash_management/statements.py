"""What a bank says of an account: statements of every format in one shape, and whether they add up.

``sources.bank_statements`` reads the formats; nothing here knows one. Amounts are signed from the
account holder's view: positive is cash that came in.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import itertools
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Literal

import msgspec

from contracts.errors import StatementBalanceError, StatementError, StatementGapError
from contracts.money import MINOR_UNIT_EXPONENT

NUMBER_MAX = 10**18
TEXT_CHARACTERS_MAX = 64
# Only a "statement" is final: intraday reports and notifications are repeated in it.
StatementKind = Literal["statement", "intraday", "notification"]
EntryStatus = Literal["booked", "pending", "information", "future"]
BalanceKind = Literal[
    "opening", "closing", "opening_available", "closing_available", "forward_available",
    "interim", "interim_available", "expected", "information", "previous_closing", "other",
]  # fmt: skip


class StatementBalance(msgspec.Struct, frozen=True):
    """A balance as stated; ``code`` is the format's own name of it (OPBD, 60F, ...)."""

    kind: BalanceKind
    code: str
    currency: str
    amount_minor: int
    date: dt.date


class EntryDetail(msgspec.Struct, frozen=True):
    """One transaction of an entry; ``amount_minor`` is None where the bank does not say it."""

    amount_minor: int | None = None
    end_to_end_id: str = ""
    instruction_id: str = ""
    transaction_id: str = ""
    account_servicer_ref: str = ""
    uetr: str = ""
    counterparty: str = ""
    counterparty_account: str = ""
    remittance: str = ""

    @property
    def references(self) -> tuple[str, ...]:
        """What may identify it, most specific to us first, without repetition."""
        found = (
            self.end_to_end_id,
            self.instruction_id,
            self.transaction_id,
            self.uetr,
            self.account_servicer_ref,
        )
        return tuple(dict.fromkeys(name for name in found if name))


class StatementEntry(msgspec.Struct, frozen=True):
    """One entry of an account.

    ``details`` has one row per transaction: one for most entries, several for a batch. A reversal
    takes back an earlier entry; its sign is that of the cash, like any entry's.
    """

    booking_date: dt.date | None
    value_date: dt.date | None
    currency: str
    amount_minor: int
    status: EntryStatus
    reversal: bool
    bank_transaction_code: str
    account_servicer_ref: str
    details: tuple[EntryDetail, ...]

    @property
    def date(self) -> dt.date | None:
        """The value date, or the booking date where the bank states no other."""
        return self.value_date or self.booking_date

    @property
    def references(self) -> tuple[str, ...]:
        """The references of its transactions and its own, without repetition."""
        own = (self.account_servicer_ref,) if self.account_servicer_ref else ()
        inner = (name for detail in self.details for name in detail.references)
        return tuple(dict.fromkeys((*inner, *own)))


class Statement(msgspec.Struct, frozen=True):
    """One page of a statement; most statements have one, which is both the first and the last.

    ``sequence`` is the bank's running number of the account's statements, 0 where it states none.
    """

    format: str
    kind: StatementKind
    account: str
    is_iban: bool
    currency: str
    statement_id: str
    sequence: int
    page: int
    first_page: bool
    last_page: bool
    balances: tuple[StatementBalance, ...]
    entries: tuple[StatementEntry, ...]

    def __post_init__(self) -> None:
        """Refuse what no bank sends and no store can keep."""
        numbers = 0 <= self.sequence <= NUMBER_MAX and 0 <= self.page <= NUMBER_MAX
        texts = max(len(self.account), len(self.statement_id)) <= TEXT_CHARACTERS_MAX
        if not numbers or not texts or self.currency not in {"", *MINOR_UNIT_EXPONENT}:
            raise StatementError(
                f"Statement {self.name[:TEXT_CHARACTERS_MAX]!r} has a currency that is none, an "
                f"account or id of more than {TEXT_CHARACTERS_MAX} characters, or numbers that no "
                "statement has.",
                remedy="ask the bank for the statement again",
            )

    def balance(self, kind: BalanceKind) -> StatementBalance | None:
        """Return the balance of a kind, None where it is not stated."""
        return next((row for row in self.balances if row.kind == kind), None)

    @property
    def opening(self) -> StatementBalance | None:
        """The booked balance before its entries."""
        return self.balance("opening") or self.balance("previous_closing")

    @property
    def closing(self) -> StatementBalance | None:
        """The booked balance after its entries."""
        return self.balance("closing")

    @property
    def booked_minor(self) -> int:
        """The sum of what is booked: pending and informative entries move no balance."""
        return sum(entry.amount_minor for entry in self.entries if entry.status == "booked")

    @property
    def content_sha256(self) -> str:
        """The hash of what it says: equal for a statement that is delivered twice."""
        return hashlib.sha256(msgspec.json.encode(self)).hexdigest()

    @property
    def name(self) -> str:
        """What people call it."""
        number = f"{self.statement_id or '-'}/{self.sequence}"
        return f"{self.account or '(no account)'} {self.currency} {number} page {self.page}"


class RefusedStatement(msgspec.Struct, frozen=True):
    """What a file holds and cannot be believed, kept with the reason and the bytes.

    ``statement`` is None where not even that could be read; ``raw`` is the whole file where it is
    no bank file at all.
    """

    reason: str
    message: str
    statement: Statement | None
    raw: bytes


def entry_ids(statement: Statement) -> tuple[str, ...]:
    """Return an id for each entry, in order: a digest of the account and of what the entry says.

    Entries that say the same in one statement are told apart by how many came before, so that a
    second delivery of the statement gives the same ids.
    """
    seen: Counter[bytes] = Counter()
    ids = []
    for entry in statement.entries:
        said = msgspec.json.encode((statement.account, entry))
        ids.append(hashlib.sha256(said + str(seen[said]).encode()).hexdigest())
        seen[said] += 1
    return tuple(ids)


def verify(
    statements: Iterable[Statement],
) -> tuple[tuple[Statement, ...], tuple[tuple[Statement, StatementError], ...]]:
    """Tell the pages that can be believed from those that cannot, each with its error.

    Pages belong together when account, currency, kind and running number agree, or the id where
    there is no number; they are believed or refused together. A whole statement without a number
    stands alone, because some banks give all of them one id.

    Refused are: pages that are missing or there twice with different content, a closing balance
    that is not the opening balance plus what is booked, and a statement without account, currency
    or balances. A page that is there twice with the same content counts once.

    Returns
    -------
    believed : tuple of Statement
        In the order given.
    refused : tuple of (Statement, StatementError)
        In the order given.
    """
    pages = tuple({page.content_sha256: page for page in statements}.values())
    groups: dict[tuple[str, ...], list[Statement]] = {}
    for page in pages:
        groups.setdefault(_group(page), []).append(page)
    verdicts: dict[tuple[str, ...], StatementError | None] = {}
    for key, group in groups.items():
        try:
            _verify_group(sorted(group, key=lambda page: page.page))
        except StatementError as error:
            verdicts[key] = error
    refused = [(page, verdicts.get(_group(page))) for page in pages]
    return (
        tuple(page for page, error in refused if error is None),
        tuple((page, error) for page, error in refused if error is not None),
    )


def require_continuity(previous: Statement, following: Statement) -> None:
    """Refuse a statement that does not go on where the one before it ended.

    Raises
    ------
    StatementGapError
        When a running number is left out, or the opening balance is not the last closing balance.
        A number that starts again at 1, as many banks' do in January, is no gap.
    """
    numbered = previous.sequence > 0 and following.sequence > 1
    if numbered and following.sequence not in {previous.sequence, previous.sequence + 1}:
        raise StatementGapError(
            f"Statement {following.name} follows number {previous.sequence}.",
            remedy="ask the bank for the statements in between, and load them first",
        )
    closed, opened = previous.closing, following.opening
    if closed and opened and closed.amount_minor != opened.amount_minor:
        raise StatementGapError(
            f"Statement {following.name} opens with {opened.amount_minor} minor units, the one "
            f"before closed with {closed.amount_minor}.",
            remedy="ask the bank for the statements in between, and load them first",
        )


def _group(page: Statement) -> tuple[str, ...]:
    key = (page.kind, page.account, page.currency, str(page.sequence))
    if page.sequence:
        # SWIFT's reference is the message's: each page has another.
        return key
    whole = page.first_page and page.last_page
    return (*key, page.statement_id, page.content_sha256 if whole else "")


def _verify_group(pages: Sequence[Statement]) -> None:
    first = pages[0]
    if not first.account or not first.currency:
        raise StatementError(
            f"Statement {first.name} names no account or no currency.",
            remedy="ask the bank for the whole statement",
        )
    if first.kind != "statement":
        return
    foreign = {row.currency for page in pages for row in page.balances}
    foreign |= {row.currency for page in pages for row in page.entries}
    if foreign - {first.currency}:
        raise StatementBalanceError(
            f"Statement {first.name} has amounts in {sorted(foreign)}: they cannot be summed.",
            remedy="ask the bank for the amounts in the account's currency",
        )
    numbers = [page.page for page in pages]
    wanted = list(range(first.page, first.page + len(pages)))
    if numbers != wanted or not first.first_page or not pages[-1].last_page:
        raise StatementGapError(
            f"Statement {first.name} has the pages {numbers}, first "
            f"{'there' if first.first_page else 'missing'}, last "
            f"{'there' if pages[-1].last_page else 'missing'}.",
            remedy="ask the bank for the missing pages, and load them together",
        )
    for page in pages:
        if len(pages) == 1 or (page.opening and page.closing):
            _require_sum(page.name, [page])
    for page, following in itertools.pairwise(pages):
        require_continuity(page, following)
    _require_sum(first.name, pages)


def _require_sum(name: str, pages: Sequence[Statement]) -> None:
    opening, closing = pages[0].opening, pages[-1].closing
    if opening is None or closing is None:
        raise StatementBalanceError(
            f"Statement {name} states no {'opening' if opening is None else 'closing'} balance.",
            remedy="ask the bank for the whole statement: without both, nothing shows it complete",
        )
    booked = sum(page.booked_minor for page in pages)
    if opening.amount_minor + booked != closing.amount_minor:
        raise StatementBalanceError(
            f"Statement {name} opens with {opening.amount_minor}, books {booked} and closes with "
            f"{closing.amount_minor} minor units: "
            f"{closing.amount_minor - opening.amount_minor - booked} are unexplained.",
            remedy="ask the bank for the entry that is missing, or for the statement again",
        )
