"""The working copy of a state inside one step, and the double entries it leaves behind."""

from __future__ import annotations

import datetime as dt

from contracts.envelope import event_id
from contracts.errors import BookError
from domain.book.rows import AdjustmentRow, CashRow
from domain.book.state import BookState, Position, value_minor

CASH = "asset:cash"
CAPITAL = "equity:capital"
COMMISSION = "expense:commission"
SPECIAL_DIVIDEND = "income:special_dividend"


def trading_account(instrument_id: str) -> str:
    """Return the account that holds an instrument at what it cost, less what it brought."""
    return f"trading:{instrument_id}"


class Ledger:
    """Cash and positions while a step changes them. Every change of cash is a double entry."""

    def __init__(
        self, state: BookState, session: dt.date, currency: str, identity: tuple[str, str]
    ) -> None:
        self.session = session
        self.currency = currency
        self.cash_minor = state.cash_minor
        self.positions = dict(state.positions)
        self.entries: list[CashRow] = []
        self.adjustments: list[AdjustmentRow] = []
        self._policy_hash, self._logic_version = identity

    def post(
        self, debit: str, credit: str, amount_minor: int, *, cause: str, reference: str
    ) -> None:
        """Enter one movement. A negative amount is the same movement the other way round."""
        if amount_minor == 0:
            return
        if amount_minor < 0:
            debit, credit, amount_minor = credit, debit, -amount_minor
        if debit == credit:
            raise BookError(
                f"Entry of {amount_minor} for {reference} debits and credits {debit}.",
                remedy="an entry moves value between two accounts",
            )
        if debit == CASH:
            self.cash_minor += amount_minor
        if credit == CASH:
            self.cash_minor -= amount_minor
        sequence = len(self.entries)
        payload = (debit, credit, amount_minor, self.currency, cause)
        identity = event_id(
            event_type="CashMovementPostedEvent",
            key=f"{reference}:{sequence}",
            session=self.session.isoformat(),
            round_number=0,
            payload=payload,
            input_digests=[reference],
            policy_hash=self._policy_hash,
            logic_version=self._logic_version,
        )
        self.entries.append(
            CashRow(
                identity, self.session, sequence, debit, credit, amount_minor, self.currency,
                cause, reference,
            )
        )  # fmt: skip

    def trade(self, instrument_id: str, quantity: int, price_ticks: int, reference: str) -> int:
        """Book a signed quantity at a price; return the notional in minor units, unsigned."""
        amount_minor = value_minor(quantity, price_ticks)
        self.post(
            trading_account(instrument_id), CASH, amount_minor, cause="trade", reference=reference
        )
        held = self.positions.get(instrument_id)
        before = held.quantity if held else 0
        after = before + quantity
        if after < 0:
            raise BookError(
                f"A sale of {-quantity} {instrument_id} from {before} shares.",
                remedy="the book is long only; check the fill against its order",
            )
        basis = held.cost_basis_minor if held else 0
        basis += amount_minor if quantity > 0 else -(basis * -quantity // before)
        if after == 0:
            self.positions.pop(instrument_id, None)
        else:
            self.positions[instrument_id] = Position(after, basis, price_ticks, self.session)
        return abs(amount_minor)

    def adjust(
        self, instrument_id: str, *, cause: str, before: int, after: int, cash_minor: int,
        source: str,
    ) -> None:  # fmt: skip
        """Record a change of a holding that is no trade."""
        self.adjustments.append(
            AdjustmentRow(self.session, instrument_id, cause, before, after, cash_minor, source)
        )
