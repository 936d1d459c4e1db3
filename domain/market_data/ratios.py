"""Split ratios as companies announce them: a few new shares for a few old ones."""

from __future__ import annotations

from fractions import Fraction

# 3:2, 4:3, 5:4 and 6:5 have been; what is finer may be the adjustment of a spin-off. From ten on
# only whole ratios count: among many fractions one is near any number.
DENOMINATOR_MAX = 5
WHOLE_FROM = 10
# Alpha Vantage gives Apple's 7-for-1 as 7.00000700001; LEAN's old factors have few digits: its TWX
# of 1999-11-23 was 2-for-1 by 2.000293.
RELATIVE_TOLERANCE = 2e-4


def nearest_ratio(value: float) -> Fraction:
    """Return the nearest n:m, its smaller part at most ``DENOMINATOR_MAX``; ``value`` > 0."""
    if value < 1:
        return 1 / nearest_ratio(1 / value)
    finest = 1 if value >= WHOLE_FROM - 0.5 else DENOMINATOR_MAX
    return Fraction(value).limit_denominator(finest)


def clean_ratio(value: float) -> float:
    """Return a vendor's rounded split ratio as the ratio that was meant, else as it is.

    7.00000700001 shares for one would leave every holder a fraction of a share too many.
    """
    if value <= 0:
        return value
    near = float(nearest_ratio(value))
    # A small stock dividend is no rounding of nothing.
    return near if near != 1 and abs(value / near - 1) <= RELATIVE_TOLERANCE else value
