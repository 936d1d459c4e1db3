"""Corporate actions and ended data, applied to what the book holds."""

from __future__ import annotations

import msgspec

from domain.book.ledger import Ledger, trading_account
from domain.book.market import Market
from domain.book.state import Position, price_ticks, value_minor
from domain.market_data.reference import CorporateAction

# Paid in cash at the ex-date, and kinds of adjustment.
DIVIDENDS = ("special_dividend", "cash_dividend")


def apply_actions(ledger: Ledger, market: Market) -> None:
    """Apply to the holdings the actions that take effect before this session's open.

    An action takes effect on the first bar at or after its ex-session, so it applies to holdings
    whose last bar is older than that. Pending orders stay as they are, because a broker fills them
    as they were sent; ``targets.pending_actions`` keeps orders from going out over an ex-date.
    """
    for action in market.actions:
        held = ledger.positions.get(action.instrument_id)
        bar = market.bars.get(action.instrument_id)
        if bar is None or action.ex_session > market.session:
            continue
        if held is None or held.price_session >= action.ex_session:
            continue
        if action.kind == "split":
            _split(ledger, held, action, bar.open_ticks)
        elif action.kind in DIVIDENDS:
            _dividend(ledger, held, action)
        else:
            _spin_off(ledger, held, action, market)


def _split(ledger: Ledger, held: Position, action: CorporateAction, open_ticks: int) -> None:
    ratio = action.ratio or 1.0
    whole, in_lieu_minor = _whole_and_in_lieu(held.quantity * ratio, open_ticks)
    name = action.instrument_id
    account, reference = trading_account(name), f"{name}:split"
    ledger.post(ledger.cash, account, in_lieu_minor, cause="cash_in_lieu", reference=reference)
    if whole:
        ticks = round(held.price_ticks / ratio)
        ledger.positions[name] = Position(
            whole, held.cost_basis_minor - in_lieu_minor, ticks, held.price_session
        )
    else:
        ledger.positions.pop(name)
    ledger.adjust(
        name, cause="split", before=held.quantity, after=whole, cash_minor=in_lieu_minor,
        source=action.source,
    )  # fmt: skip


def _whole_and_in_lieu(exact: float, ticks: int) -> tuple[int, int]:
    """Return whole shares, and the fraction of one in cents: transfer agents pay it out in cash."""
    whole = int(exact)
    return whole, value_minor(round((exact - whole) * 1_000_000), ticks) // 1_000_000


def _dividend(ledger: Ledger, held: Position, action: CorporateAction) -> None:
    amount_minor = value_minor(held.quantity, price_ticks(action.cash_usd or 0.0))
    name, cause = action.instrument_id, action.kind
    reference = f"{name}:{action.ex_session}"
    account = ledger.special_dividend if cause == "special_dividend" else ledger.dividend
    ledger.post(ledger.cash, account, amount_minor, cause=cause, reference=reference)
    ledger.adjust(
        name, cause=cause, before=held.quantity, after=held.quantity,
        cash_minor=amount_minor, source=action.source,
    )  # fmt: skip


def _spin_off(ledger: Ledger, held: Position, action: CorporateAction, market: Market) -> None:
    """Move part of the holding's cost to the received shares; a fraction of one is paid in cash.

    Both are worth the received security's first price. Where the vendor has none, it is carried at
    what the parent lost overnight; it then counts as stale from its first day.
    """
    name, received = action.instrument_id, action.received or f"{action.instrument_id}.SPINOFF"
    ratio = action.ratio or 0.0
    parent, own = market.bars[name], market.bars.get(received)
    implied = max(0, round((held.price_ticks - parent.open_ticks) / ratio)) if ratio else 0
    ticks = own.open_ticks if own is not None else implied
    quantity, in_lieu_minor = _whole_and_in_lieu(held.quantity * ratio, ticks)
    worth_minor = value_minor(quantity, ticks)
    if not quantity and not in_lieu_minor:
        return
    reference, account = f"{name}:{action.ex_session}", trading_account(received)
    moved_minor = worth_minor + in_lieu_minor
    ledger.post(account, trading_account(name), moved_minor, cause="spin_off", reference=reference)
    ledger.post(ledger.cash, account, in_lieu_minor, cause="cash_in_lieu", reference=reference)
    before = ledger.positions.get(received, Position(0, 0, ticks, market.session))
    if quantity:
        basis_minor = before.cost_basis_minor + worth_minor
        ledger.positions[received] = Position(
            before.quantity + quantity, basis_minor, ticks, market.session
        )
    ledger.positions[name] = msgspec.structs.replace(
        held, cost_basis_minor=held.cost_basis_minor - moved_minor
    )
    ledger.adjust(
        received, cause="spin_off", before=before.quantity, after=before.quantity + quantity,
        cash_minor=in_lieu_minor, source=action.source,
    )  # fmt: skip


def close_ended(ledger: Ledger, stale_sessions_max: int) -> None:
    """Close holdings without a price for too long at their last price, saying so."""
    for name in sorted(ledger.positions):
        held = ledger.positions[name]
        if held.stale_sessions <= stale_sessions_max:
            continue
        amount_minor = held.market_value_minor
        account, reference = trading_account(name), f"{name}:{held.price_session}"
        ledger.post(ledger.cash, account, amount_minor, cause="data_ended", reference=reference)
        ledger.positions.pop(name)
        ledger.adjust(
            name, cause="data_ended", before=held.quantity, after=0, cash_minor=amount_minor,
            source=f"last price of {held.price_session}",
        )  # fmt: skip
