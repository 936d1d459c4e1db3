"""Errors of compliance.

::

    QuantiVistaError
    └── ComplianceError              the desk's rules forbid what was asked
        ├── PermissionDeniedError    none of the person's roles allows the action
        ├── SegregationError         two duties that one person must not have
        ├── SelfApprovalError        somebody would approve what they asked for, or what is about
        │                            them
        ├── ApprovalMissingError     a four-eyes action has no approval, or none that was granted
        ├── ApprovalExpiredError     it came too late
        ├── ApprovalMismatchError    it is of another action or another payload
        ├── ApprovalUsedError        it was used, or decided on, before
        └── RuleSetError             a rule set cannot be read, or contradicts itself
"""

from __future__ import annotations

from contracts.errors import QuantiVistaError


class ComplianceError(QuantiVistaError):
    """The desk's rules forbid what was asked."""


class PermissionDeniedError(ComplianceError):
    """None of the person's roles allows the action."""


class SegregationError(ComplianceError):
    """One person would have two duties that must be kept apart."""


class SelfApprovalError(ComplianceError):
    """Somebody would approve what they asked for, or what is about them."""


class ApprovalMissingError(ComplianceError):
    """A four-eyes action has no approval, or none that was granted."""


class ApprovalExpiredError(ComplianceError):
    """An approval came, or is used, too late."""


class ApprovalMismatchError(ComplianceError):
    """An approval is of another action or of another payload."""


class ApprovalUsedError(ComplianceError):
    """An approval was used, or decided on, before."""


class RuleSetError(ComplianceError):
    """A rule set cannot be read, or contradicts itself."""
