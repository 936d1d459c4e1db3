"""A case: what a person does about an alert or a violation, and how it ends.

A pure state machine. Each action gives an event, and a case is what its events make of its opening:
the history is only ever appended to, and replaying it gives the case. An alert opens one case,
however often it is raised.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal

import msgspec

from contracts.codec import to_json
from contracts.envelope import digest
from contracts.errors import CaseRefusedError
from domain.compliance.alerts import Alert

State = Literal["open", "under_review", "escalated", "closed"]
Source = Literal["alert", "violation"]
Action = Literal["opened", "assigned", "escalated", "closed"]
Disposition = Literal["true_positive", "false_positive", "reported", "no_action"]
STATES: tuple[State, ...] = ("open", "under_review", "escalated", "closed")
# Who opens a case that nobody asked for.
SYSTEM = "surveillance"

# What an action makes of a state; a pair that is not here is refused. A case that nobody has looked
# at cannot be closed, and a closed one stays closed: new facts are a new alert.
TRANSITIONS: Mapping[Action, Mapping[State, State]] = {
    "opened": {},
    "assigned": {
        "open": "under_review", "under_review": "under_review", "escalated": "escalated",
    },
    "escalated": {"open": "escalated", "under_review": "escalated"},
    "closed": {"under_review": "closed", "escalated": "closed"},
}  # fmt: skip


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """A case as it stands.

    ``subjects`` are the people and owners it is about, ``evidence`` is the JSON of what opened it.
    """

    case_id: str
    source: Source
    source_id: str
    kind: str
    subjects: tuple[str, ...]
    summary: str
    evidence: str
    opened_ns: int
    state: State = "open"
    owner: str | None = None
    disposition: Disposition | None = None
    reason: str | None = None
    changed_ns: int
    n_events: int = 1


class CaseEvent(msgspec.Struct, frozen=True, kw_only=True):
    """One action on a case; ``sequence`` counts from 1, the opening."""

    case_id: str
    sequence: int
    action: Action
    actor: str
    at_ns: int
    owner: str | None = None
    disposition: Disposition | None = None
    reason: str | None = None


def opened(
    *, source: Source, source_id: str, kind: str, subjects: Iterable[str], summary: str,
    evidence: str, at_ns: int,
) -> Case:  # fmt: skip
    """Return a new case; its id is a function of its source, so that one source is one case."""
    return Case(
        case_id=digest(("case", source, source_id)), source=source, source_id=source_id, kind=kind,
        subjects=tuple(sorted(set(subjects))), summary=summary, evidence=evidence,
        opened_ns=at_ns, changed_ns=at_ns,
    )  # fmt: skip


def case_of(alert: Alert, *, source: Source, at_ns: int) -> Case:
    """Return the case that an alert or a violation opens: about its owner and its traders."""
    numbers = ", ".join(
        f"{one.name} {one.value} against {one.threshold} {one.unit}" for one in alert.measures
    )
    return opened(
        source=source, source_id=alert.alert_id, kind=alert.detector,
        subjects=(alert.owner, *alert.traders),
        summary=f"{alert.instrument_id} on {alert.session}: {numbers}",
        evidence=to_json(alert).decode(), at_ns=at_ns,
    )  # fmt: skip


def opening_event(case: Case) -> CaseEvent:
    """Return the first event of a case's history."""
    return CaseEvent(
        case_id=case.case_id, sequence=1, action="opened", actor=SYSTEM, at_ns=case.opened_ns
    )


def assign(case: Case, *, actor: str, owner: str, at_ns: int) -> CaseEvent:
    """Give a case to somebody, who looks at it from then on.

    Raises
    ------
    CaseRefusedError
        When the case is closed, or ``actor`` or ``owner`` is a subject of it.
    """
    _refuse_subject(case, owner, "own")
    return _event(case, "assigned", actor, at_ns, owner=owner)


def escalate(case: Case, *, actor: str, owner: str, reason: str, at_ns: int) -> CaseEvent:
    """Hand a case to somebody who decides more.

    Raises
    ------
    CaseRefusedError
        When it is escalated or closed, a subject acts or would own it, it would stay with its
        owner, or no reason is given.
    """
    _refuse_subject(case, owner, "own")
    if case.owner is not None and _same(owner, case.owner):
        raise CaseRefusedError(
            f"Case {case.case_id[:12]} belongs to {case.owner} already.",
            remedy="escalate it to somebody else",
        )
    return _event(case, "escalated", actor, at_ns, owner=owner, reason=_said(case, reason))


def close(
    case: Case, *, actor: str, disposition: Disposition, reason: str, at_ns: int
) -> CaseEvent:
    """Close a case with what was found and why.

    Raises
    ------
    CaseRefusedError
        When nobody has looked at it, it is closed, ``actor`` is a subject or is not its owner, or
        no reason is given.
    """
    event = _event(
        case, "closed", actor, at_ns, owner=case.owner, disposition=disposition,
        reason=_said(case, reason),
    )  # fmt: skip
    if case.owner is None or not _same(actor, case.owner):
        raise CaseRefusedError(
            f"Case {case.case_id[:12]} belongs to {case.owner}, not to {actor}.",
            remedy="let its owner close it, or assign it first",
        )
    return event


def after(case: Case, event: CaseEvent) -> Case:
    """Return what an event makes of a case.

    Raises
    ------
    CaseRefusedError
        When the event is of another case, does not follow the last one, or is not allowed in the
        case's state.
    """
    if event.case_id != case.case_id or event.sequence != case.n_events + 1:
        raise CaseRefusedError(
            f"Event {event.sequence} of case {event.case_id[:12]} does not follow event "
            f"{case.n_events} of case {case.case_id[:12]}.",
            remedy="read the case again: somebody else acted on it",
        )
    return msgspec.structs.replace(
        case,
        state=_next_state(case, event.action),
        owner=event.owner,
        disposition=event.disposition,
        reason=event.reason,
        changed_ns=event.at_ns,
        n_events=event.sequence,
    )


def replayed(case: Case, events: Iterable[CaseEvent]) -> Case:
    """Return the case that a history makes of ``case``'s opening, whatever ``case`` says itself."""
    found = msgspec.structs.replace(
        case, state="open", owner=None, disposition=None, reason=None, changed_ns=case.opened_ns,
        n_events=1,
    )  # fmt: skip
    for event in events:
        if event.action != "opened":
            found = after(found, event)
    return found


def _next_state(case: Case, action: Action) -> State:
    state = TRANSITIONS[action].get(case.state)
    if state is None:
        allowed = [name for name, moves in TRANSITIONS.items() if case.state in moves]
        raise CaseRefusedError(
            f"Case {case.case_id[:12]} is {case.state} and cannot be {action}.",
            remedy=f"it can be {' or '.join(allowed)}" if allowed else "a closed case stays closed",
        )
    return state


def _event(
    case: Case, action: Action, actor: str, at_ns: int, *, owner: str | None,
    disposition: Disposition | None = None, reason: str | None = None,
) -> CaseEvent:  # fmt: skip
    _refuse_subject(case, actor, "act on")
    _next_state(case, action)
    return CaseEvent(
        case_id=case.case_id, sequence=case.n_events + 1, action=action, actor=actor.strip(),
        at_ns=at_ns, owner=owner, disposition=disposition, reason=reason,
    )  # fmt: skip


def _same(one: str, other: str) -> bool:
    return one.strip().casefold() == other.strip().casefold()


def _refuse_subject(case: Case, person: str, what: str) -> None:
    if not person.strip():
        raise CaseRefusedError("Nobody is named.", remedy="say who acts, and for whom")
    if any(_same(person, subject) for subject in case.subjects):
        raise CaseRefusedError(
            f"{person} is a subject of case {case.case_id[:12]} and may not {what} it.",
            remedy="let somebody do it whom the case is not about",
        )


def _said(case: Case, reason: str) -> str:
    if not reason.strip():
        raise CaseRefusedError(
            f"No reason is given for case {case.case_id[:12]}.",
            remedy="say what was found, in a sentence that an examiner understands",
        )
    return reason.strip()
