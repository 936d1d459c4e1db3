"""What is remembered of a broker: integer counts that decay with a half-life.

Integers, so that the same events give the same scores on every machine. Counts are kept in units
of 1/1024, so that a single share is not forgotten at once.
"""

from __future__ import annotations

import msgspec

UNITS = 1_024
_STEPS = 16
_PPB = 1_000_000_000
# 2^(-i/16) in parts of 1e9: written out, because the last digit must not depend on a library.
_DECAY_PPB = (
    1_000_000_000, 957_603_281, 917_004_043, 878_126_080, 840_896_415, 805_245_166, 771_105_413,
    738_413_073, 707_106_781, 677_127_773, 648_419_777, 620_928_906, 594_603_558, 569_394_317,
    545_253_866, 522_136_891,
)  # fmt: skip
PPM = 1_000_000


class History(msgspec.Struct, frozen=True):
    """Decayed counts, in units of 1/1024: lots sent and filled, answers, rejects, latency."""

    at_ns: int = 0
    sent: int = 0
    filled: int = 0
    answers: int = 0
    rejects: int = 0
    latency_us: int = 0

    def decayed(self, now_ns: int, half_life_ns: int) -> History:
        """Return the counts as they weigh now, in steps of a sixteenth of the half-life."""
        steps = max(0, now_ns - self.at_ns) * _STEPS // half_life_ns
        if not steps:
            return self
        halvings, sixteenths = divmod(steps, _STEPS)

        def less(count: int) -> int:
            # After 200 halvings nothing is left of any count.
            return count * _DECAY_PPB[sixteenths] // _PPB >> min(halvings, 200)

        return History(
            self.at_ns + steps * half_life_ns // _STEPS,
            less(self.sent),
            less(self.filled),
            less(self.answers),
            less(self.rejects),
            less(self.latency_us),
        )

    def with_end(self, sent_lots: int, filled_lots: int) -> History:
        """Return the counts after a slice's end."""
        return msgspec.structs.replace(
            self, sent=self.sent + sent_lots * UNITS, filled=self.filled + filled_lots * UNITS
        )

    def with_answer(self, latency_us: int, *, is_reject: bool) -> History:
        """Return the counts after the broker's first answer to a slice."""
        return msgspec.structs.replace(
            self,
            answers=self.answers + UNITS,
            rejects=self.rejects + (UNITS if is_reject else 0),
            latency_us=self.latency_us + latency_us * UNITS,
        )

    def fill_ppm(self, prior_lots: int) -> int:
        """Return the expected share filled of what is sent, in parts per million."""
        prior = prior_lots * UNITS
        return (self.filled + prior // 2) * PPM // (self.sent + prior)

    def reject_ppm(self) -> int:
        """Return the expected share of rejects; one answer that was none counts beforehand."""
        return self.rejects * PPM // (self.answers + UNITS)

    def mean_latency_us(self, prior_us: int) -> int:
        """Return the expected time to an answer; the prior counts as one answer."""
        return (self.latency_us + prior_us * UNITS) // (self.answers + UNITS)
