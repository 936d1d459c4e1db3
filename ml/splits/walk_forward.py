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
from ml.labels.forward import HORIZON_SESSIONS


class SplitPolicy(msgspec.Struct, frozen=True):
    """Lengths in exchange sessions, and how often a model is trained anew.

    A training label spans t+1 .. t+1+h. ``embargo_sessions`` pass between its end and the first
    calibration session, because features of neighbouring sessions share their windows (Lopez de
    Prado 2018, chapter 7). Forty training sessions hold eight labels of five sessions that do not
    overlap: fewer is not training. With the embedded year this makes 2010-03 the first month with a
    model: 34 bars warm the indicators up, and the fortnight without data around 2009-11-01 costs
    its labels.

    The training slice rolls: a year holds fifty labels of each name that do not overlap, and what
    was true of markets before it weighs less than the cost of training on it.

    A fifth of the known past calibrates, within its bounds: a hundred sessions carry an isotonic
    calibration (``ml.training.calibration``), fewer only a temperature. From ``stopping_from``
    training sessions on, the last ``stopping_sessions`` of them say when boosting stops, purged
    from those that fit; a shorter slice is boosted for a fixed number of rounds.

    The first model comes with the first month whose past is long enough; from then on one is
    trained for each month that ``retrain_months`` begins: 3 is quarterly, from January on.
    """

    horizon_sessions: int = HORIZON_SESSIONS
    embargo_sessions: int = 5
    calibration_share: float = 0.2
    calibration_sessions_min: int = 20
    calibration_sessions_max: int = 100
    training_sessions_min: int = 40
    training_sessions_max: int = 252
    stopping_from: int = 120
    stopping_sessions: int = 20
    retrain_months: int = 3


class Split(msgspec.Struct, frozen=True):
    """Sessions of one training, ascending; ``train_cutoff`` is when its last label is known.

    ``fitting`` and ``stopping`` lie inside ``training``, purged from each other; without stopping,
    fitting is all of it. ``calibration_known`` is the session at which the last calibration label
    is known: nothing the model uses is younger, and it lies before the month.
    """

    month: str
    training: tuple[dt.date, ...]
    fitting: tuple[dt.date, ...]
    stopping: tuple[dt.date, ...]
    calibration: tuple[dt.date, ...]
    train_cutoff: dt.date
    calibration_known: dt.date


def training_splits(
    usable: Sequence[dt.date],
    sessions: Sequence[dt.date],
    months: Sequence[str],
    policy: SplitPolicy | None = None,
) -> list[Split]:
    """Return the splits of all trainings up to the last of the months, ascending.

    Parameters
    ----------
    usable, sessions, policy
        As for ``split_month``.
    months : sequence of str
        Months to be evaluated. Whichever they are, the trainings are the same: those of all months
        since the first session.

    Raises
    ------
    ContractError
        As ``split_month``, or when ``retrain_months`` does not divide a year.
    """
    policy = policy or SplitPolicy()
    if policy.retrain_months < 1 or 12 % policy.retrain_months:
        raise ContractError(
            f"Models are trained every {policy.retrain_months} months.",
            remedy="choose 1, 2, 3, 4, 6 or 12: a period that divides a year",
        )
    last = max(months, default="")
    found: list[Split] = []
    for month in sorted({f"{day:%Y-%m-01}" for day in sessions}):
        due = not found or (int(month[5:7]) - 1) % policy.retrain_months == 0
        split = split_month(usable, sessions, month, policy) if month <= last and due else None
        if split is not None:
            found.append(split)
    return found


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
    wanted = int(len(known) * policy.calibration_share)
    bounds = (policy.calibration_sessions_min, policy.calibration_sessions_max)
    calibration = known[-min(max(wanted, bounds[0]), bounds[1]) :]
    if len(calibration) < policy.calibration_sessions_min:
        return None
    last = calibration[0] - reach - policy.embargo_sessions
    training = [position for position in known if position < last][-policy.training_sessions_max :]
    if len(training) < policy.training_sessions_min:
        return None
    fitting, stopping = _stopped(training, reach, policy)
    return Split(
        month=month,
        training=_days(training, sessions),
        fitting=_days(fitting, sessions),
        stopping=_days(stopping, sessions),
        calibration=_days(calibration, sessions),
        train_cutoff=sessions[training[-1] + reach],
        calibration_known=sessions[calibration[-1] + reach],
    )


def _stopped(training: list[int], reach: int, policy: SplitPolicy) -> tuple[list[int], list[int]]:
    """Divide the training slice into what fits and what says when to stop, purged."""
    if len(training) < policy.stopping_from:
        return training, []
    stopping = training[-policy.stopping_sessions :]
    return [place for place in training if place < stopping[0] - reach], stopping


def _days(places: list[int], sessions: Sequence[dt.date]) -> tuple[dt.date, ...]:
    return tuple(sessions[place] for place in places)
