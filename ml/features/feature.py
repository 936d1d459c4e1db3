"""What a feature is, as data."""

from __future__ import annotations

from typing import Literal

import msgspec

Family = Literal["alpha158", "price", "indicator", "news", "cross-section", "sector"]
BARS_SOURCE = "adjusted bars, known at the close of t"


class Feature(msgspec.Struct, frozen=True):
    """One model input.

    ``formula`` is for people: exchange sessions, prices and volumes on the forward-adjusted basis.
    ``horizon_sessions`` is how far it looks back, t itself not counted; ``None`` is from the first
    bar on. ``source`` says what it is made of and since when that is known.
    """

    name: str
    formula: str
    horizon_sessions: int | None
    family: Family
    source: str = BARS_SOURCE
