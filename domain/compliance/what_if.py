"""A rule set over history: "what would it have blocked?", answered.

The history is what was judged: intents with the facts as they were known then. Replaying another
rule set over it answers a proposed rule change before anybody approves it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import msgspec

from domain.compliance.engine import Outcome, Verdict, compiled, judge, worst
from domain.compliance.facts import Facts, Intent
from domain.compliance.rules import RuleSet, Stage

EXAMPLES_MAX = 5


class Occasion(msgspec.Struct, frozen=True):
    """An intent, and what was known when it was judged."""

    intent: Intent
    facts: Facts


class Tally(msgspec.Struct, frozen=True, kw_only=True):
    """What one rule would have said over a history.

    ``n_alone`` counts the intents that no other rule would have blocked, ``n_unknown`` those that
    it would have blocked or warned of because a fact was not known.
    """

    rule_id: str
    kind: str
    n_pass: int = 0
    n_warn: int = 0
    n_block: int = 0
    n_alone: int = 0
    n_unknown: int = 0
    blocked_ticks: int = 0
    examples: tuple[str, ...] = ()


class WhatIf(msgspec.Struct, frozen=True, kw_only=True):
    """The summary of a replay; ``tallies`` are sorted by what they would have blocked."""

    rule_version: str
    stage: Stage
    n_intents: int
    n_blocked: int
    blocked_ticks: int
    tallies: tuple[Tally, ...]


def occasions_of(inputs: Iterable[tuple[str, str]]) -> list[Occasion]:
    """Return what was judged, from the inputs that its verdicts kept.

    Parameters
    ----------
    inputs : iterable of (str, str)
        By verdict: the intent's id, and the verdict's inputs as JSON. Verdicts of the same intent
        are put together: what none of its rules looked at stays unknown.
    """
    known: dict[str, dict[str, Any]] = {}
    for intent_id, found in inputs:
        known.setdefault(intent_id, {}).update(json.loads(found))
    return [
        Occasion(
            msgspec.convert(values | {"intent_id": intent_id}, Intent),
            msgspec.convert(values, Facts),
        )
        for intent_id, values in known.items()
    ]


def what_would_have(
    rule_set: RuleSet, stage: Stage, history: Iterable[Occasion]
) -> tuple[tuple[Verdict, ...], ...]:
    """Return every verdict that a rule set would have given, one tuple per occasion."""
    rules = compiled(rule_set, stage)
    return tuple(judge(one.intent, one.facts, rules) for one in history)


def summary(rule_set: RuleSet, stage: Stage, history: Iterable[Occasion]) -> WhatIf:
    """Return what a rule set would have blocked, rule by rule.

    Rules that would have said nothing but a pass are listed, too: a rule that never blocked is news
    to whoever proposes it.
    """
    occasions = list(history)
    tallies: dict[str, Tally] = {}
    n_intents = n_blocked = blocked_ticks = 0
    replayed = what_would_have(rule_set, stage, occasions)
    for occasion, verdicts in zip(occasions, replayed, strict=True):
        notional_ticks = abs(occasion.intent.qty_lots * occasion.intent.price_ticks)
        n_intents += 1
        if worst(verdicts) is Outcome.BLOCK:
            n_blocked += 1
            blocked_ticks += notional_ticks
        n_blocks = sum(one.outcome is Outcome.BLOCK for one in verdicts)
        for verdict in verdicts:
            before = tallies.get(verdict.rule_id) or Tally(
                rule_id=verdict.rule_id, kind=verdict.kind
            )
            tallies[verdict.rule_id] = _counted(before, verdict, notional_ticks, n_blocks)
    return WhatIf(
        rule_version=rule_set.version,
        stage=stage,
        n_intents=n_intents,
        n_blocked=n_blocked,
        blocked_ticks=blocked_ticks,
        tallies=tuple(sorted(tallies.values(), key=lambda t: (-t.n_block, t.rule_id))),
    )


def _counted(tally: Tally, verdict: Verdict, notional_ticks: int, n_blocks: int) -> Tally:
    is_block = verdict.outcome is Outcome.BLOCK
    is_pass = verdict.outcome is Outcome.PASS
    examples = tally.examples
    if not is_pass and len(examples) < EXAMPLES_MAX:
        examples = (*examples, verdict.intent_id)
    return msgspec.structs.replace(
        tally,
        n_pass=tally.n_pass + is_pass,
        n_warn=tally.n_warn + (verdict.outcome is Outcome.WARN),
        n_block=tally.n_block + is_block,
        n_alone=tally.n_alone + (is_block and n_blocks == 1),
        n_unknown=tally.n_unknown + bool(verdict.missing),
        blocked_ticks=tally.blocked_ticks + (notional_ticks if is_block else 0),
        examples=examples,
    )
