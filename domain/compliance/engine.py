"""The one engine: the same rules on a decision of the book and before an order leaves.

``judge`` keeps every verdict, with its inputs and numbers; ``first_block`` answers before an order
leaves, with nothing allocated for an order that passes; ``rooms`` says how much each rule allows,
for a book that clips instead of refusing. All three ask the same closures, so they cannot disagree.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from typing import Any

import msgspec

from domain.compliance.exposures import EXPOSURE_KINDS
from domain.compliance.facts import Facts, Intent
from domain.compliance.limits import ORDER_KINDS, Limit, worst_case
from domain.compliance.rules import RuleSet, Stage

_KINDS = ORDER_KINDS | EXPOSURE_KINDS
_RANK = {kind: rank for rank, kind in enumerate(_KINDS)}
# The name on a refusal of what is no order at all, when no rule of the set has caught it.
NO_ORDER = "no_order"
# What comparing or reading an unknown fact raises.
_UNKNOWN = (TypeError, AttributeError)


class Outcome(enum.StrEnum):
    """What a rule says about an intent."""

    PASS = "pass"  # noqa: S105 - no password
    WARN = "warn"
    BLOCK = "block"


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What one rule said, and what it looked at.

    ``value`` and ``limit`` are the numbers that were compared, in the unit that ``detail`` names;
    None where a rule compares no numbers. ``missing`` names the unknown facts that closed it.
    """

    rule_id: str
    kind: str
    rule_version: str
    outcome: Outcome
    intent_id: str
    value: int | None
    limit: int | None
    detail: str
    inputs: dict[str, Any]
    missing: tuple[str, ...] = ()

    @property
    def sentence(self) -> str:
        """The verdict for people and logs, with its rule and version."""
        numbers = "" if self.value is None else f"{self.value} "
        limit = "" if self.limit is None else f", limit {self.limit}"
        return f"{numbers}{self.detail}{limit} (rule {self.rule_id}@{self.rule_version[:12]})"


class Compiled(msgspec.Struct, frozen=True, kw_only=True):
    """A rule set ready to be asked at one stage.

    ``order_blocks`` and ``position_blocks`` are those of ``limits`` that can block, the latter with
    the worst case of the position.
    """

    version: str
    stage: Stage
    limits: tuple[Limit, ...]
    order_blocks: tuple[Limit, ...]
    position_blocks: tuple[Limit, ...]
    # What the rules of this stage need to know: a caller need not find out anything else.
    facts: frozenset[str]


def compiled(rule_set: RuleSet, stage: Stage, kinds: Iterable[type] | None = None) -> Compiled:
    """Return the rules of a set that apply at a stage, of all kinds or some, in integers.

    The order is by kind, from what is cheap and decisive to what looks at the whole book.
    """
    wanted = frozenset(_KINDS if kinds is None else kinds)
    chosen = [one for one in rule_set.rules if stage in one.at and type(one) in wanted]
    chosen.sort(key=lambda rule: _RANK[type(rule)])
    limits = tuple(_KINDS[type(rule)](rule) for rule in chosen)
    blocking = [limit for limit in limits if limit.rule.outcome == "block"]
    return Compiled(
        version=rule_set.version,
        stage=stage,
        limits=limits,
        order_blocks=tuple(one for one in blocking if not one.is_positional),
        position_blocks=tuple(one for one in blocking if one.is_positional),
        facts=frozenset(name for limit in limits for name in limit.facts),
    )


def first_block(intent: Intent, facts: Facts, rules: Compiled) -> Verdict | None:
    """Return the first refusal, None when the order may leave. Warnings are ``judge``'s."""
    limit: Limit | None = None
    try:
        for limit in rules.order_blocks:
            if limit.is_breached(intent, facts, 0, 0):
                return _broken(limit, intent, facts, (0, 0), rules.version)
        if rules.position_blocks:
            limit = rules.position_blocks[0]
            before, after = worst_case(intent, facts)
            for limit in rules.position_blocks:
                if limit.is_breached(intent, facts, before, after):
                    return _broken(limit, intent, facts, (before, after), rules.version)
    except _UNKNOWN:
        return _closed(limit, intent, facts, rules.version)
    if intent.qty_lots <= 0 or intent.price_ticks <= 0:
        return _no_order(intent, rules.version)
    return None


def judge(intent: Intent, facts: Facts, rules: Compiled) -> tuple[Verdict, ...]:
    """Return the verdict of every rule, in the order they are asked."""
    verdicts = [_judged(limit, intent, facts, rules.version) for limit in rules.limits]
    if intent.qty_lots <= 0 or intent.price_ticks <= 0:
        verdicts.append(_no_order(intent, rules.version))
    return tuple(verdicts)


def worst(verdicts: Iterable[Verdict]) -> Outcome:
    """Return the gravest outcome; a pass when there is no verdict."""
    outcomes = {one.outcome for one in verdicts}
    return next((o for o in (Outcome.BLOCK, Outcome.WARN) if o in outcomes), Outcome.PASS)


class Room(msgspec.Struct, frozen=True):
    """How many lots of an intent one rule allows."""

    rule_id: str
    qty_lots: int


def rooms(intent: Intent, facts: Facts, rules: Compiled) -> tuple[Room, ...]:
    """Return the blocking rules that allow less than the whole intent, the tightest last.

    What a rule allows is found by bisection with the check that judges: the allowed quantities are
    0 up to a bound, because a rule on a position allows what brings the worst case down and then
    what stays within its limit.
    """
    if intent.qty_lots <= 0 or intent.price_ticks <= 0:
        return (Room(NO_ORDER, 0),)
    found = []
    for limit in (*rules.order_blocks, *rules.position_blocks):
        allowed = _room(limit, intent, facts)
        if allowed < intent.qty_lots:
            found.append(Room(limit.rule.rule_id, allowed))
    return tuple(sorted(found, key=lambda room: -room.qty_lots))


def _room(limit: Limit, intent: Intent, facts: Facts) -> int:
    def is_allowed(lots: int) -> bool:
        smaller = msgspec.structs.replace(intent, qty_lots=lots)
        try:
            before, after = worst_case(smaller, facts) if limit.is_positional else (0, 0)
            return not limit.is_breached(smaller, facts, before, after)
        except _UNKNOWN:
            _require_unknown(limit, facts)
            return False

    low, high = 0, intent.qty_lots
    if is_allowed(high):
        return high
    while high - low > 1:
        middle = (low + high) // 2
        if is_allowed(middle):
            low = middle
        else:
            high = middle
    return low


def _judged(limit: Limit, intent: Intent, facts: Facts, version: str) -> Verdict:
    try:
        worst_lots = worst_case(intent, facts) if limit.is_positional else (0, 0)
        is_breached = limit.is_breached(intent, facts, *worst_lots)
    except _UNKNOWN:
        return _closed(limit, intent, facts, version)
    if is_breached:
        return _broken(limit, intent, facts, worst_lots, version)
    return _verdict(limit, intent, facts, worst_lots, version, Outcome.PASS)


def _broken(
    limit: Limit, intent: Intent, facts: Facts, worst_lots: tuple[int, int], version: str
) -> Verdict:
    outcome = Outcome(limit.rule.outcome)
    return _verdict(limit, intent, facts, worst_lots, version, outcome)


def _verdict(
    limit: Limit,
    intent: Intent,
    facts: Facts,
    worst_lots: tuple[int, int],
    version: str,
    outcome: Outcome,
) -> Verdict:
    try:
        value, most, detail = limit.measured(intent, facts, *worst_lots)
    except _UNKNOWN:
        # It was decided without the fact, e.g. a buy without a locate.
        value, most, detail = None, None, "not asked"
    return Verdict(
        rule_id=limit.rule.rule_id,
        kind=_kind_of(limit),
        rule_version=version,
        outcome=outcome,
        intent_id=intent.intent_id,
        value=value,
        limit=most,
        detail=detail,
        inputs=_inputs(limit, intent, facts),
    )


def _closed(limit: Limit | None, intent: Intent, facts: Facts, version: str) -> Verdict:
    """Refuse for a fact that is not known: what cannot be judged is not allowed."""
    assert limit is not None  # noqa: S101 - only a limit reads facts
    missing = _require_unknown(limit, facts)
    return Verdict(
        rule_id=limit.rule.rule_id,
        kind=_kind_of(limit),
        rule_version=version,
        outcome=Outcome(limit.rule.outcome),
        intent_id=intent.intent_id,
        value=None,
        limit=None,
        detail=f"unknown: {', '.join(missing)}",
        inputs=_inputs(limit, intent, facts),
        missing=missing,
    )


def _require_unknown(limit: Limit, facts: Facts) -> tuple[str, ...]:
    """Return the unknown facts of a limit; without any, the error being handled is a defect."""
    missing = tuple(name for name in limit.facts if getattr(facts, name) is None)
    if not missing:
        raise
    return missing


def _no_order(intent: Intent, version: str) -> Verdict:
    return Verdict(
        rule_id=NO_ORDER,
        kind=NO_ORDER,
        rule_version=version,
        outcome=Outcome.BLOCK,
        intent_id=intent.intent_id,
        value=None,
        limit=None,
        detail=f"{intent.qty_lots} lots at {intent.price_ticks} ticks are no order",
        inputs={"qty_lots": intent.qty_lots, "price_ticks": intent.price_ticks},
    )


def _inputs(limit: Limit, intent: Intent, facts: Facts) -> dict[str, Any]:
    """Return what a rule looked at, and all of the intent: another rule may ask for it later."""
    said = {name: getattr(intent, name) for name in intent.__struct_fields__}
    del said["intent_id"]
    found = {name: value for name, value in said.items() if value or name in limit.intent}
    found["now_ns"] = facts.now_ns
    for name in limit.facts:
        found[name] = msgspec.to_builtins(getattr(facts, name))
    return found


def _kind_of(limit: Limit) -> str:
    """Return the name of a limit's kind, as rule sets write it."""
    return str(type(limit.rule).__struct_config__.tag)
