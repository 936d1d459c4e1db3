"""What outlives a restart of the database: a call that lost its connection is made again."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Concatenate, ParamSpec, Protocol, TypeVar

import psycopg2
import sqlalchemy as sa
import stamina
import structlog
from stamina.instrumentation import RetryDetails, set_on_retry_hooks

log = structlog.get_logger()
_LOST = (psycopg2.OperationalError, psycopg2.InterfaceError)
WAIT_FIRST_S = 0.1
WAIT_MAX_S = 2.0

P = ParamSpec("P")
T = TypeVar("T")


class Patient(Protocol):
    """Something that may wait for its database."""

    patience_s: float


S = TypeVar("S", bound=Patient)


def is_connection_lost(error: Exception) -> bool:
    """Tell whether the server went away, rather than refused what it was asked.

    psycopg2 raises these two for lost connections only; SQLite uses their namesakes for mistakes in
    a statement too, and its file does not restart.
    """
    if isinstance(error, sa.exc.DBAPIError):
        return error.connection_invalidated or isinstance(error.orig, _LOST)
    return isinstance(error, _LOST)


def _say(details: RetryDetails) -> None:
    # The library's own line has the call's arguments, which are other people's data.
    log.warning(
        # The hook is the library's only one: it hears of retries of vendors and web hooks too.
        "database_lost" if is_connection_lost(details.caused_by) else "asked_again",
        call=details.name,
        attempt=details.retry_num,
        wait_s=round(details.wait_for, 2),
        error=type(details.caused_by).__name__,
    )


set_on_retry_hooks((_say,))


def with_patience(patience_s: float, call: Callable[P, T]) -> Callable[P, T]:
    """Return the call, made again for up to ``patience_s`` seconds when it lost the database.

    Only for transactions that may be made twice: of a commit whose answer was lost nobody knows
    whether it happened.
    """
    if patience_s <= 0:
        return call
    return stamina.retry(
        on=is_connection_lost,
        attempts=None,
        timeout=patience_s,
        wait_initial=WAIT_FIRST_S,
        wait_max=WAIT_MAX_S,
        wait_jitter=WAIT_FIRST_S,
    )(call)


def patient(method: Callable[Concatenate[S, P], T]) -> Callable[Concatenate[S, P], T]:
    """Give a method the patience of its object, see ``with_patience``."""

    @functools.wraps(method)
    def call(self: S, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return with_patience(self.patience_s, method)(self, *args, **kwargs)

    return call
