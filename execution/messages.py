"""What goes into the engine and what comes out of it."""

from __future__ import annotations

import msgspec

from execution.orders import Order
from execution.records import AnyRecord, Decision


class DecisionReceived(msgspec.Struct, frozen=True):
    """The poller read an issued decision from the outbox."""

    decision: Decision


class FixInbound(msgspec.Struct, frozen=True):
    """The broker sent an application message, or rejected one of ours."""

    sequence_number: int
    raw: bytes


class SessionUp(msgspec.Struct, frozen=True):
    """The FIX session logged on."""


class SessionDown(msgspec.Struct, frozen=True):
    """The FIX session logged out or broke."""

    reason: str = ""


class KillSwitch(msgspec.Struct, frozen=True):
    """The kill switch was seen engaged or released."""

    engaged: bool
    reason: str


class CancelOrder(msgspec.Struct, frozen=True):
    """A person wants an order cancelled."""

    cl_ord_id: str
    reason: str


class ReplaceOrder(msgspec.Struct, frozen=True):
    """A person wants an order's total quantity or limit changed."""

    cl_ord_id: str
    qty_lots: int
    limit_ticks: int | None


class ResumeInstrument(msgspec.Struct, frozen=True):
    """A person cleared an instrument that had been halted."""

    instrument_id: str
    reason: str


class ResolveOrder(msgspec.Struct, frozen=True):
    """A person found out that an UNKNOWN order is dead at the broker."""

    cl_ord_id: str
    reason: str


class Drain(msgspec.Struct, frozen=True):
    """The process is about to stop: begin nothing new."""


class Tick(msgspec.Struct, frozen=True):
    """Time has passed."""


class CallbackFailed(msgspec.Struct, frozen=True):
    """A FIX callback raised; it was caught, and the session lives on."""

    where: str
    error: str


class ReportRefused(msgspec.Struct, frozen=True):
    """The session itself refused a message of the broker's, and its number is consumed.

    It may have been an execution: nobody will send it again.
    """

    detail: str


Event = (
    DecisionReceived
    | FixInbound
    | SessionUp
    | SessionDown
    | KillSwitch
    | CancelOrder
    | ReplaceOrder
    | ResumeInstrument
    | ResolveOrder
    | Drain
    | Tick
    | CallbackFailed
    | ReportRefused
)


class Append(msgspec.Struct, frozen=True):
    """Write a record to the journal, before any effect behind it."""

    record: AnyRecord


class SendOrder(msgspec.Struct, frozen=True):
    """Send NewOrderSingle. ``is_resend`` sets PossResend: the broker may have it already."""

    order: Order
    is_resend: bool = False


class SendCancel(msgspec.Struct, frozen=True):
    """Send OrderCancelRequest under the order's pending id."""

    order: Order


class SendReplace(msgspec.Struct, frozen=True):
    """Send OrderCancelReplaceRequest under the order's pending id."""

    order: Order
    qty_lots: int
    limit_ticks: int | None


class SendStatus(msgspec.Struct, frozen=True):
    """Send OrderStatusRequest."""

    order: Order


class SendMassStatus(msgspec.Struct, frozen=True):
    """Send OrderMassStatusRequest for all orders."""

    request_id: str


class OpenIncident(msgspec.Struct, frozen=True):
    """Tell a person."""

    kind: str
    subject: str
    detail: str


Effect = Append | SendOrder | SendCancel | SendReplace | SendStatus | SendMassStatus | OpenIncident
