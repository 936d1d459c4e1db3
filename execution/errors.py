"""Errors of the execution world.

::

    QuantiVistaError
    └── ExecutionError               the execution service refuses, or cannot do, what was asked
        ├── IllegalTransitionError   an order cannot go from its state to that one
        ├── MalformedMessageError    a FIX message lacks a field or carries an impossible value
        ├── JournalError             the journal cannot be trusted or written
        │   ├── JournalCorruptError  a record in the middle is damaged
        │   └── JournalWriteError    the disk is full or failing: nothing may be sent
        ├── LockHeldError            another instance owns this state directory
        ├── FencedOutError           a newer instance has taken over while this one ran
        └── VenueError               the paper venue cannot do what was asked
"""

from __future__ import annotations

from contracts.errors import QuantiVistaError


class ExecutionError(QuantiVistaError):
    """The execution service refuses, or cannot do, what was asked."""


class IllegalTransitionError(ExecutionError):
    """An order cannot go from its state to the one asked for."""


class MalformedMessageError(ExecutionError):
    """A FIX message lacks a required field or carries an impossible value."""


class JournalError(ExecutionError):
    """The journal cannot be trusted or written."""


class JournalCorruptError(JournalError):
    """A record in the middle of the journal is damaged."""


class JournalWriteError(JournalError):
    """The journal cannot be written: nothing may be sent."""


class LockHeldError(ExecutionError):
    """Another instance owns this state directory."""


class FencedOutError(ExecutionError):
    """A newer instance has taken over while this one ran."""


class VenueError(ExecutionError):
    """The paper venue cannot do what was asked."""
