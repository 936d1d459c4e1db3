"""The book's state: everything a step needs from the past, and nothing that it can look up."""

from __future__ import annotations

import datetime as dt

import msgspec

from contracts.codec import from_json, to_json
from contracts.envelope import digest
from contracts.errors import BookError
from domain.cash_management.accounts import Totals
from domain.cash_management.chart import CASH, OVERDRAFT

PRICE_SCALE = 10_000  # price ticks per currency unit
TICKS_PER_MINOR = 100  # price ticks per cent


def price_ticks(price: float) -> int:
    """Return a price in ticks of 1e-4."""
    return round(price * PRICE_SCALE)


def value_minor(quantity: int, ticks: int) -> int:
    """Return ``quantity`` shares at ``ticks`` in minor units, rounded half to even, in integers."""
    whole, rest = divmod(quantity * ticks, TICKS_PER_MINOR)
    half = TICKS_PER_MINOR // 2
    return whole + (1 if rest > half or (rest == half and whole % 2) else 0)


class Position(msgspec.Struct, frozen=True):
    """Shares held, what they cost, and the last raw price seen."""

    quantity: int
    cost_basis_minor: int
    price_ticks: int
    price_session: dt.date
    stale_sessions: int = 0

    @property
    def market_value_minor(self) -> int:
        """Value at the last price, in minor units."""
        return value_minor(self.quantity, self.price_ticks)


class PendingOrder(msgspec.Struct, frozen=True):
    """A market-on-open order for the next session, good for that session only."""

    cl_ord_id: str
    decision_id: str
    decision_session: dt.date
    instrument_id: str
    quantity: int
    """Signed: positive buys."""
    arrival_ticks: int
    reservation_id: str
    reserved_minor: int = 0
    reserved_ns: int = 0
    expires_ns: int = 0


class BookState(msgspec.Struct, frozen=True, kw_only=True):
    """The closing state of a session."""

    session: dt.date | None = None
    accounts: dict[str, Totals] = {}
    """The trial balance of the book's ledger."""
    funded: bool = False
    positions: dict[str, Position] = {}
    pending: tuple[PendingOrder, ...] = ()
    blocked: dict[str, dt.date] = {}
    """Instruments with a jump that no vendor evidence explains, and since when."""
    last_rebalance_index: int | None = None
    last_nav_minor: int | None = None

    def to_text(self) -> str:
        """Return the state as JSON with a fixed key order."""
        return to_json(self).decode()

    @classmethod
    def from_text(cls, text: str) -> BookState:
        """Read a state written by ``to_text``.

        Raises
        ------
        BookError
            When an earlier release wrote it, whose books held no accounts.
        """
        state = from_json(text.encode(), cls)
        if state.funded and not state.accounts:
            raise BookError(
                f"The state of {state.session} holds no accounts: an earlier release wrote it.",
                remedy="rebuild the book from its first month; one that has gone live begins again "
                "under another name of QUANTIVISTA_BOOK",
            )
        return state

    @property
    def hash(self) -> str:
        """SHA-256 of the state."""
        return digest(self)

    @property
    def cash_minor(self) -> int:
        """Cash in hand, reserved or not, less what is overdrawn, in minor units."""
        return sum(
            totals[0] - totals[1]
            for name, totals in self.accounts.items()
            if name.startswith((CASH, OVERDRAFT))
        )

    @property
    def nav_minor(self) -> int:
        """Cash plus positions at their last prices, in minor units."""
        return self.cash_minor + sum(p.market_value_minor for p in self.positions.values())


def opening_of(text: str, state_hash: str) -> BookState:
    """Read a frozen state, refusing one that is not what was frozen.

    Raises
    ------
    BookError
        When its hash is another one.
    """
    state = BookState.from_text(text)
    if state.hash != state_hash:
        raise BookError(
            f"The frozen state of {state.session} has hash {state.hash}, not {state_hash}.",
            remedy="restore the table book_openings of the ops store from its backup",
        )
    return state


def differences(one: BookState, other: BookState, *, shown_max: int = 10) -> list[str]:
    """Say in which cash, holdings and orders two states differ; empty when they are the same."""
    if one.hash == other.hash:
        return []
    found = []
    if one.cash_minor != other.cash_minor:
        found.append(f"cash {one.cash_minor} against {other.cash_minor} cents")
    for name in sorted({*one.positions, *other.positions}):
        mine, theirs = one.positions.get(name), other.positions.get(name)
        if mine != theirs:
            held = (mine.quantity if mine else 0, theirs.quantity if theirs else 0)
            found.append(f"{name} {held[0]} against {held[1]} shares")
    if one.pending != other.pending:
        found.append(f"{len(one.pending)} against {len(other.pending)} pending orders")
    more = len(found) - shown_max
    return found[:shown_max] + ([f"and {more} more"] if more > 0 else []) or ["bookkeeping only"]
