"""Which failures are worth another try: those of the world, never those of data or limits."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator
from typing import Any, ParamSpec, TypeVar, cast

import dagster as dg

from contracts.errors import QuantiVistaError

# A disk, a network share or a database that was away: tried again after about 2 and 6 seconds.
RETRIES = dg.RetryPolicy(
    max_retries=2, delay=2, backoff=dg.Backoff.EXPONENTIAL, jitter=dg.Jitter.PLUS_MINUS
)

P = ParamSpec("P")
T = TypeVar("T")


def final(function: Callable[P, T]) -> Callable[P, T]:
    """Let the platform's own errors end a step at once.

    They say what is wrong with data, settings or limits, and it would still be wrong at the next
    try. Everything else follows the step's retry policy.
    """
    if inspect.isgeneratorfunction(function):

        @functools.wraps(function)
        def generate(*args: P.args, **kwargs: P.kwargs) -> Iterator[Any]:
            try:
                yield from function(*args, **kwargs)
            except QuantiVistaError as error:
                raise _failure(error) from error

        return cast("Callable[P, T]", generate)

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return function(*args, **kwargs)
        except QuantiVistaError as error:
            raise _failure(error) from error

    return call


def _failure(error: QuantiVistaError) -> dg.Failure:
    return dg.Failure(
        description=error.message, metadata={"remedy": error.remedy}, allow_retries=False
    )
