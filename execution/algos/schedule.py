"""Schedules: how much should be out by when, as integers.

A schedule is a step function. After an interruption up to one step is made up for at once. Where
more was missed, the rest follows the same shape over what is left of it: no burst.
"""

from __future__ import annotations

import random
from bisect import bisect_right

import msgspec

from execution.algos import almgren_chriss
from execution.algos.contract import BPS, Parent
from execution.algos.params import Close, Shortfall, Twap, Vwap


class Schedule(msgspec.Struct, frozen=True):
    """From ``times_ns[i]`` on, ``cum_lots[i]`` in total; both ascend, and the last is all."""

    times_ns: tuple[int, ...]
    cum_lots: tuple[int, ...]

    @property
    def lots(self) -> int:
        """What it adds up to."""
        return self.cum_lots[-1] if self.cum_lots else 0

    def at(self, now_ns: int) -> int:
        """Return the lots that should be out by an instant."""
        steps = bisect_right(self.times_ns, now_ns)
        return self.cum_lots[steps - 1] if steps else 0

    def step_lots(self, now_ns: int) -> int:
        """Return the lots of the latest step; 0 before the first."""
        steps = bisect_right(self.times_ns, now_ns)
        if steps < 2:
            return self.cum_lots[0] if steps else 0
        return self.cum_lots[steps - 1] - self.cum_lots[steps - 2]


class Anchor(msgspec.Struct, frozen=True):
    """Where a schedule is followed from: at ``at_ns``, ``lots`` were out already.

    ``scheduled_lots`` is what the schedule says of that instant.
    """

    at_ns: int
    lots: int = 0
    scheduled_lots: int = 0


def target_lots(schedule: Schedule, anchor: Anchor, end_ns: int, now_ns: int) -> int:
    """Return what should be out now, following the schedule's shape from an anchor.

    What was left at the anchor is spread as the schedule spreads its own rest; evenly until
    ``end_ns`` where it has none.
    """
    left = max(0, schedule.lots - anchor.lots)
    rest = schedule.lots - anchor.scheduled_lots
    if rest > 0:
        return anchor.lots + left * (schedule.at(now_ns) - anchor.scheduled_lots) // rest
    if now_ns >= end_ns or end_ns <= anchor.at_ns:
        return anchor.lots + left
    return anchor.lots + left * (now_ns - anchor.at_ns) // (end_ns - anchor.at_ns)


def twap(parent: Parent, algo: Twap) -> Schedule:
    """Return even slices; sizes differ by at most one round lot, and the last has the odd rest."""
    rng = random.Random(f"{algo.seed}/{parent.parent_id}")  # noqa: S311 - replayable, not secret
    window_ns = parent.end_ns - parent.start_ns
    jitter_ns = window_ns * algo.jitter_bps // (algo.slices * BPS)
    return _even(parent, window_ns, parent.qty_lots, [
        rng.randint(0, jitter_ns) if jitter_ns else 0 for _ in range(algo.slices)
    ])  # fmt: skip


def before_auction(parent: Parent, algo: Close) -> Schedule:
    """Return even slices, until the auction orders are sent, of what the auction may not take."""
    auction_lots = algo.auction_lots_expected * parent.participation_max_bps // BPS
    lots = max(0, parent.qty_lots - auction_lots)
    window_ns = algo.submit_ns - parent.start_ns
    if not lots or not window_ns:
        return Schedule((), ())
    return _even(parent, window_ns, lots, [0] * algo.slices)


def _even(parent: Parent, window_ns: int, lots: int, delays_ns: list[int]) -> Schedule:
    n = len(delays_ns)
    times = [parent.start_ns + window_ns * i // n + delay for i, delay in enumerate(delays_ns)]
    return Schedule(tuple(times), _rounded([lots * (i + 1) for i in range(n)], n, lots, parent))


def vwap(parent: Parent, algo: Vwap) -> Schedule:
    """Return the window's part of the volume curve, in even steps of time.

    A step's lots are those of the volume expected within it, released at its beginning.
    """
    window_ns = parent.end_ns - parent.start_ns
    edges = [parent.start_ns + window_ns * i // algo.slices for i in range(algo.slices + 1)]
    cum = [0]
    for share in algo.share_ppb:
        cum.append(cum[-1] + share)

    def volume(at_ns: int) -> int:
        bucket, within = divmod(at_ns - algo.open_ns, algo.bucket_ns)
        if bucket >= len(algo.share_ppb):
            return cum[-1] * algo.bucket_ns
        return cum[bucket] * algo.bucket_ns + algo.share_ppb[bucket] * within

    first = volume(edges[0])
    total = volume(edges[-1]) - first
    if not total:  # no volume is expected in the window: evenly
        return twap(parent, Twap(slices=algo.slices))
    parts = [(volume(edge) - first) * parent.qty_lots for edge in edges[1:]]
    return Schedule(tuple(edges[:-1]), _rounded(parts, total, parent.qty_lots, parent))


def shortfall(parent: Parent, algo: Shortfall) -> Schedule:
    """Return the optimal trajectory in lots; each interval's trade is released at its beginning."""
    window_ns = parent.end_ns - parent.start_ns
    path = almgren_chriss.optimal(
        algo.impact,
        shares=float(parent.qty_lots),
        days=window_ns / algo.day_ns,
        intervals=algo.intervals,
        risk_aversion=algo.risk_aversion,
    )
    n = algo.intervals
    times = tuple(parent.start_ns + window_ns * i // n for i in range(n))
    traded = [min(parent.qty_lots, int(parent.qty_lots - left)) for left in path.holdings[1:]]
    return Schedule(times, _rounded(traded, 1, parent.qty_lots, parent))


def _rounded(parts: list[int], divisor: int, lots: int, parent: Parent) -> tuple[int, ...]:
    """Round cumulative lots down to round lots; the last is exact, so that all of it is traded."""
    rounded = [part // divisor // parent.round_lots * parent.round_lots for part in parts]
    rounded[-1] = lots
    return tuple(rounded)
