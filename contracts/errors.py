"""Typed errors. Each carries the offending value and the remedy.

::

    QuantiVistaError
    ├── ConfigurationError       a setting is missing or contradicts another
    ├── ContractError            a message does not satisfy its contract
    │   └── MessageTooLargeError an encoded message is over its limit
    ├── SourceError              a vendor's bytes cannot be used at all (single bad rows are
    quarantined instead)
    ├── StatementError           a bank's statement cannot be believed as it stands
    │   ├── StatementBalanceError    its closing balance is not its opening plus its entries
    │   └── StatementGapError        a page, or the statement before it, is missing
    ├── SettlementError          a trade's settlement date is not known
    ├── ReconciliationError      what is to be matched, or a break, contradicts itself
    ├── PaymentError             a payment may not leave, or could not be read where it arrives
    ├── LakeError                a table cannot be read or written as asked
    │   ├── SchemaDriftError     a frame's schema differs from the declared one
    │   ├── UnsafePathError      a key would leave the lake's root
    │   ├── PartitionError       rows lie outside the partitions being written, or the partition is
    off the calendar
    │   └── MissingUpstreamError a partition that must exist does not
    ├── MartsError               the analysts' marts cannot be built, published or read
    ├── BookError                the book cannot step from the state it was given
    ├── CaseRefusedError         a compliance case may not be changed as asked
    ├── DisagreementError        two that account for the same thing say different things
    └── HandoffRefusedError      a run may not hand decisions to execution
"""


class QuantiVistaError(Exception):
    """Base of every error the platform raises on purpose.

    Parameters
    ----------
    message : str
        What is wrong, naming the offending value.
    remedy : str
        What the reader can do about it.
    """

    def __init__(self, message: str, *, remedy: str) -> None:
        super().__init__(f"{message} Remedy: {remedy}")
        self.message = message
        self.remedy = remedy


class ConfigurationError(QuantiVistaError):
    """A setting is missing or contradicts another."""


class ContractError(QuantiVistaError):
    """A message does not satisfy its contract."""


class MessageTooLargeError(ContractError):
    """An encoded message is over its size limit."""


class SourceError(QuantiVistaError):
    """A vendor's bytes cannot be used at all.

    Parameters
    ----------
    rule : str, optional
        The rule of the data quality catalogue that the whole file breaks, where it is one.
    """

    def __init__(self, message: str, *, remedy: str, rule: str | None = None) -> None:
        super().__init__(message, remedy=remedy)
        self.rule = rule


class StatementError(QuantiVistaError):
    """A bank's statement cannot be believed as it stands."""


class StatementBalanceError(StatementError):
    """A statement's closing balance is not its opening balance plus its entries."""


class StatementGapError(StatementError):
    """A page of a statement, or the statement before it, is missing."""


class SettlementError(QuantiVistaError):
    """A trade's settlement date is not known."""


class ReconciliationError(QuantiVistaError):
    """What is to be matched, or a break, contradicts itself."""


class PaymentError(QuantiVistaError):
    """A payment may not leave, or could not be read where it arrives."""


class LakeError(QuantiVistaError):
    """A table cannot be read or written as asked."""


class SchemaDriftError(LakeError):
    """A frame's schema differs from the declared one."""


class UnsafePathError(LakeError):
    """A key would leave the lake's root."""


class PartitionError(LakeError):
    """Rows lie outside the partitions being written, or a partition is off the calendar."""


class MissingUpstreamError(LakeError):
    """A partition that must exist does not."""


class HandoffRefusedError(QuantiVistaError):
    """A run may not hand decisions to execution."""


class CaseRefusedError(QuantiVistaError):
    """A compliance case may not be changed as asked."""


class BookError(QuantiVistaError):
    """The book cannot step from the state it was given."""


class MartsError(QuantiVistaError):
    """The analysts' marts cannot be built, published or read."""


class DisagreementError(QuantiVistaError):
    """Two that account for the same thing say different things."""
