"""Which sessions may teach the model of a month, and which may calibrate it.

::

    ... training ...  | purge + embargo |  calibration  | labels pending | month m ...
    label known before the calibration's first close        known before m's first session

The model of month m is the one that could have existed before m's first open, whatever is known
today.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from itertools import pairwise

import msgspec

from contracts.errors import ContractError
from ml.labels import HORIZON_SESSIONS


class SplitPolicy(msgspec.Struct, frozen=True):
    """Lengths in exchange sessions.

    A training label spans t+1 .. t+1+h. ``embargo_sessions`` pass between its end and the first
    calibration session, because features of neighbouring sessions share their windows (Lopez de
    Prado 2018, chapter 7). Forty training sessions hold eight labels that do not overlap: fewer is
    not training. With the embedded year this makes 2010-03 the first month with a model: 34 bars
    warm the indicators up, and the fortnight without data around 2009-11-01 costs its labels.

    The training slice rolls: a year holds fifty labels of each name that do not overlap, and what
    was true of markets before it weighs less than the cost of training on it (all of seven years
    for each of their months would take four times as long).
    """

    horizon_sessions: int = HORIZON_SESSIONS
    embargo_sessions: int = 5
    calibration_sessions: int = 20
    training_sessions_min: int = 40
    training_sessions_max: int = 252


class Split(msgspec.Struct, frozen=True):
    """Sessions of one month's model, ascending; ``train_cutoff`` is when its last label is known.

    ``calibration_known`` is the session at which the last calibration label is known: nothing the
    model uses is younger, and it lies before the month.
    """

    month: str
    training: tuple[dt.date, ...]
    calibration: tuple[dt.date, ...]
    train_cutoff: dt.date
    calibration_known: dt.date


def split_month(
    usable: Sequence[dt.date],
    sessions: Sequence[dt.date],
    month: str,
    policy: SplitPolicy | None = None,
) -> Split | None:
    """Split the past of a month into a training and a calibration slice.

    Parameters
    ----------
    usable : sequence of date
        Sessions with labelled, warm rows, in any order.
    sessions : sequence of date
        Exchange sessions, ascending.
    month : str
        First day of the month to be evaluated, ``YYYY-MM-DD``.
    policy : SplitPolicy, optional
        Lengths of the slices.

    Returns
    -------
    Split or None
        ``None`` when the past is too short for an honest model.

    Raises
    ------
    ContractError
        When ``sessions`` is not ascending or a usable session is not in it.
    """
    policy = policy or SplitPolicy()
    if any(later <= earlier for earlier, later in pairwise(sessions)):
        raise ContractError("The exchange sessions are not ascending.", remedy="sort them")
    place = {day: position for position, day in enumerate(sessions)}
    stray = [day for day in usable if day not in place]
    if stray:
        raise ContractError(
            f"{stray[0]} is not among the exchange sessions passed.",
            remedy="pass the calendar that the labels were made with",
        )
    reach = policy.horizon_sessions + 1
    first_day = dt.date.fromisoformat(month)
    known = [
        position
        for position in sorted(place[day] for day in set(usable))
        if position + reach < len(sessions) and sessions[position + reach] < first_day
    ]
    calibration = known[-policy.calibration_sessions :]
    if len(calibration) < policy.calibration_sessions:
        return None
    last = calibration[0] - reach - policy.embargo_sessions
    training = [position for position in known if position < last][-policy.training_sessions_max :]
    if len(training) < policy.training_sessions_min:
        return None
    return Split(
        month=month,
        training=tuple(sessions[position] for position in training),
        calibration=tuple(sessions[position] for position in calibration),
        train_cutoff=sessions[training[-1] + reach],
        calibration_known=sessions[calibration[-1] + reach],
    )
