"""Orders of a rebalance before the rules: what is allowed of each, and what each rule said."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import msgspec

from contracts.codec import to_json
from contracts.envelope import digest
from domain.book.market import Market
from domain.book.policy import BookPolicy
from domain.book.rows import VerdictRow
from domain.book.state import TICKS_PER_MINOR, BookState, PendingOrder, value_minor
from domain.compliance.engine import Compiled, Verdict, compiled, first_block, judge, rooms
from domain.compliance.facts import Facts, Intent
from domain.compliance.rules import RuleSet, Stage

STAGE = Stage.DECISION


@functools.lru_cache(maxsize=64)
def _compiled(version: str, text: bytes) -> Compiled:
    del version  # names the set for the cache
    return compiled(msgspec.json.decode(text, type=RuleSet), STAGE)


def rules_of(policy: BookPolicy) -> tuple[Compiled, ...]:
    """Return the rules of a policy that apply to decisions: the book's own, then the desk's."""
    return tuple(_compiled(one.version, to_json(one)) for one in (policy.rules, *policy.desk))


class PreTrade:
    """The book's exposures while its orders are judged one after the other.

    Sells come first and count as done: a rebalance replaces what it sells, and a limit that saw
    both at once would let a book that is nearly full never turn over. The wire judges the worst
    case again, with what is open then.
    """

    def __init__(self, state: BookState, market: Market, policy: BookPolicy) -> None:
        self._rules = rules_of(policy)
        self._now_ns = market.close_ns
        self._nav_ticks = state.nav_minor * TICKS_PER_MINOR
        self._sectors = market.sectors
        self._held = {name: held.quantity for name, held in state.positions.items()}
        self._gross_ticks = 0
        self._sector_ticks: dict[str, int] = {}
        for name, held in state.positions.items():
            self._add(name, held.market_value_minor * TICKS_PER_MINOR)
        self._n_orders = self._sent_ticks = 0
        self.verdicts: list[tuple[str, Verdict]] = []

    def allowed(self, instrument_id: str, change: int, ticks: int, bar_id: str | None) -> _Allowed:
        """Return how much of a change the rules allow, and the tightest of those that cut it."""
        intent = self._intent(instrument_id, change, ticks, bar_id)
        facts = self._facts(instrument_id, ticks)
        lots, rule_id = abs(change), None
        for rules in self._rules:
            if first_block(intent, facts, rules) is None:
                continue
            for room in rooms(intent, facts, rules):
                if room.qty_lots < lots:
                    lots, rule_id = room.qty_lots, room.rule_id
        return _Allowed(lots if change > 0 else -lots, rule_id)

    def take(self, instrument_id: str, change: int, ticks: int, bar_id: str | None) -> None:
        """Count a change as made, and keep what every rule said of it."""
        intent, facts = (
            self._intent(instrument_id, change, ticks, bar_id), self._facts(instrument_id, ticks)
        )  # fmt: skip
        for rules in self._rules:
            self.verdicts.extend((instrument_id, one) for one in judge(intent, facts, rules))
        held = self._held.get(instrument_id, 0)
        self._held[instrument_id] = held + change
        self._add(instrument_id, (abs(held + change) - abs(held)) * ticks)
        self._n_orders += 1
        self._sent_ticks += abs(change) * ticks

    def _add(self, instrument_id: str, ticks: int) -> None:
        sector = self._sectors.get(instrument_id, "unknown")
        self._gross_ticks += ticks
        self._sector_ticks[sector] = self._sector_ticks.get(sector, 0) + ticks

    def _intent(self, instrument_id: str, change: int, ticks: int, bar_id: str | None) -> Intent:
        return Intent(
            intent_id=instrument_id,
            instrument_id=instrument_id,
            side="buy" if change > 0 else "sell",
            qty_lots=abs(change),
            price_ticks=ticks,
            arrival_ticks=ticks,
            bar_id=bar_id or "",
        )

    def _facts(self, instrument_id: str, ticks: int) -> Facts:
        sector = self._sectors.get(instrument_id, "unknown")
        return Facts(
            now_ns=self._now_ns,
            reference_ticks=ticks,
            held_lots=self._held.get(instrument_id, 0),
            # Orders are good for one session: none is open at its close.
            open_buy_lots=0,
            open_sell_lots=0,
            opposite_lots=0,
            gross_ticks=self._gross_ticks,
            # Long only: what is held is gross and net alike.
            net_ticks=self._gross_ticks,
            nav_ticks=self._nav_ticks,
            sector=sector,
            sector_ticks=self._sector_ticks.get(sector, 0),
            open_orders=self._n_orders,
            day_orders=self._n_orders,
            day_ticks=self._sent_ticks,
        )


class _Allowed(msgspec.Struct, frozen=True):
    """A change in shares, signed, and the rule that cut it to that; None when none did."""

    change: int
    rule_id: str | None


def verdict_rows(
    verdicts: Sequence[tuple[str, Verdict]], orders: Sequence[PendingOrder], market: Market
) -> list[VerdictRow]:
    """Return what the rules said of the orders that came of it, with the decisions' ids."""
    decided = {order.instrument_id: order for order in orders}
    rows = []
    for instrument_id, verdict in verdicts:
        order = decided.get(instrument_id)
        if order is None:
            continue
        rows.append(
            VerdictRow(
                event_id=digest(
                    (order.decision_id, str(STAGE), verdict.rule_version, verdict.rule_id)
                ),
                session=market.session,
                decision_id=order.decision_id,
                instrument_id=instrument_id,
                stage=str(STAGE),
                rule_id=verdict.rule_id,
                kind=verdict.kind,
                rule_version=verdict.rule_version,
                outcome=str(verdict.outcome),
                value=verdict.value,
                limit_value=verdict.limit,
                detail=verdict.detail,
                missing=",".join(verdict.missing),
                inputs=to_json(verdict.inputs).decode(),
                notional_minor=value_minor(abs(order.quantity), order.arrival_ticks),
            )
        )
    return rows
