"""Errors of the operations store.

::

    QuantiVistaError
    └── OpsStoreError                 the store refuses, or cannot do, what it was asked
        ├── MigrationError            the schema is not at the version this release needs
        ├── ModeRefusedError          only paper and live decisions may be issued
        ├── AttestationRefusedError   a consumed hash lacks a positive, unexpired attestation
        ├── DecisionConflictError     another payload exists under the same idempotency key
        ├── ReportConflictError       another report exists at the same journal position
        ├── CaseUnknownError          no compliance case has the id that was named
        ├── CaseHistoryError          a compliance case is not what its history says
        ├── IncidentUnknownError      no open incident has the id that was named
        ├── ReservationRefusedError  the ledger does not hold the cash that an order would need
        ├── AccountUnknownError       the ledger has no account of the name
        ├── StatementConflictError    another statement was loaded under the bank's number
        ├── BreakUnknownError         not exactly one break has the id that was named
        └── FencedError               a newer instance of the consumer has taken over
"""

from __future__ import annotations

from contracts.errors import QuantiVistaError


class OpsStoreError(QuantiVistaError):
    """The store refuses, or cannot do, what it was asked."""


class MigrationError(OpsStoreError):
    """The schema is not at the version this release needs."""


class ModeRefusedError(OpsStoreError):
    """Only decisions of the modes paper and live may be issued."""


class AttestationRefusedError(OpsStoreError):
    """A content hash that a decision consumed lacks a positive, unexpired attestation."""


class DecisionConflictError(OpsStoreError):
    """Another payload exists under the same idempotency key."""


class ReportConflictError(OpsStoreError):
    """Another report exists at the same position of the execution journal."""


class FencedError(OpsStoreError):
    """A newer instance of the consumer has taken over."""


class IncidentUnknownError(OpsStoreError):
    """No open incident has the id that was named."""


class ReservationRefusedError(OpsStoreError):
    """The ledger does not hold the cash that an order would need."""


class AccountUnknownError(OpsStoreError):
    """The ledger has no account of the name."""


class CaseUnknownError(OpsStoreError):
    """No compliance case has the id that was named."""


class CaseHistoryError(OpsStoreError):
    """A compliance case is not what its history says."""


class StatementConflictError(OpsStoreError):
    """Another statement was loaded under the number that the bank gave it."""


class BreakUnknownError(OpsStoreError):
    """Not exactly one break has the id that was named."""
