"""What a detector says: an alert with its evidence, or that it could not judge."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

import msgspec

from contracts.envelope import digest
from contracts.events import Measure
from domain.compliance.order_flow import OrderEvent, OrderFlow

# A flood of messages is evidence by its number; more ids than a person can follow say no more.
ORDER_IDS_MAX = 1_000


class Alert(msgspec.Struct, frozen=True, kw_only=True):
    """Conduct that a person has to look at. It is a suspicion, not a finding.

    ``alert_id`` is a function of detector, owner, instrument, session and the first event of the
    conduct. Numbers and parameters stay out: later evidence of the same conduct, or a new version
    of the parameters, gives the same alert, and so the same case. ``order_ids`` are the first
    ``ORDER_IDS_MAX`` of ``n_orders``.
    """

    alert_id: str
    detector: str
    detector_version: str
    follows: str
    owner: str
    accounts: tuple[str, ...]
    traders: tuple[str, ...]
    instrument_id: str
    session: dt.date
    start_ns: int
    end_ns: int
    n_orders: int
    order_ids: tuple[str, ...]
    fill_ids: tuple[str, ...]
    measures: tuple[Measure, ...]


class Unjudged(msgspec.Struct, frozen=True):
    """A detector lacked what it needs for an owner's session: not the same as finding nothing."""

    detector: str
    instrument_id: str
    session: dt.date
    owner: str
    reason: str


class Found(msgspec.Struct, frozen=True):
    """What one detector, or all of them, say of one flow or of many."""

    alerts: tuple[Alert, ...] = ()
    unjudged: tuple[Unjudged, ...] = ()


def alert_of(
    flow: OrderFlow,
    owner: str,
    *,
    detector: str,
    version: str,
    follows: str,
    evidence: Sequence[OrderEvent],
    measures: Sequence[Measure],
) -> Alert:
    """Return the alert that rests on some events of a flow; there is at least one."""
    events = sorted(set(evidence), key=lambda event: (event.time_ns, event.event_id))
    anchor = events[0].event_id
    session = flow.session.isoformat()
    # In the order of time: what is shown of many is how the conduct began.
    order_ids = tuple(dict.fromkeys(event.order_id for event in events))
    return Alert(
        alert_id=digest(("alert", detector, owner, flow.instrument_id, session, anchor)),
        detector=detector,
        detector_version=version,
        follows=follows,
        owner=owner,
        accounts=tuple(sorted({event.account for event in events})),
        traders=tuple(sorted({event.trader for event in events})),
        instrument_id=flow.instrument_id,
        session=flow.session,
        start_ns=events[0].time_ns,
        end_ns=events[-1].time_ns,
        n_orders=len(order_ids),
        order_ids=order_ids[:ORDER_IDS_MAX],
        fill_ids=tuple(event.event_id for event in events if event.kind == "fill"),
        measures=tuple(measures),
    )
