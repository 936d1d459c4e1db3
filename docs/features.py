"""Write docs/features.md from the declared features, so that it cannot drift.

``python -m docs.features`` writes it; the suite refuses a stale one.
"""

from __future__ import annotations

from pathlib import Path

from ml.features.compute import FEATURES, FEATURES_VERSION
from ml.features.feature import Family, Feature
from ml.features.news import NEWS_COLUMNS
from ml.features.panel import LOOKBACK_SESSIONS, VALID_MIN

PAGE = Path(__file__).parent / "features.md"
HEAD = f"""\
# Features

<!-- written by `python -m docs.features` from ml/features/compute.py -->

What a model may know of one instrument at the close of session t: {len(FEATURES)} values, version
`{FEATURES_VERSION}`. `O H L C` are forward-adjusted prices, `V` is split-adjusted shares. A window
counts exchange sessions, t the last of them. **Horizon** is how many sessions before t a value
looks back; `-` is from the instrument's first bar on.

A value is finite or null. It is null with fewer valid sessions than a window asks for
({", ".join(f"{least} of {window}" for window, least in VALID_MIN.items())}), where an end point is
missing, and where its formula is undefined: a range or a volume of zero, a correlation of
something constant.

A value's bits depend on nothing outside its horizon: not on where the series starts, on later
sessions, on other instruments (but for ranks and sectors, at the same session) or on threads. So
one session is updated from the last {LOOKBACK_SESSIONS + 1} with the bits of a full run. Sums are
added in a written-down order, which polars' running sums are not; what crosses instruments is an
order statistic. Values are stored as 32-bit floats, which is what XGBoost reads; `volatility_20`
has 64 bits, because expected returns and risk are scaled by it.
"""
TITLES: dict[Family, tuple[str, str]] = {
    "price": ("Prices, risk and liquidity", ""),
    "indicator": (
        "Indicators",
        "Made free of the price's scale. A price level is taken relative to the close, a price "
        "difference as a share of it, a running sum of volumes as its change in units of the "
        "volume traded meanwhile.",
    ),
    "alpha158": (
        "Alpha158",
        "The set of Microsoft's Qlib but for `VWAP0`: daily bars hold no average price. Where "
        "Qlib adds 1e-12 to a denominator of zero, the value here is null.",
    ),
    "news": (
        "News",
        "Null as long as there is no table of news scores. It would hold one row per instrument "
        "and session that the vendor covered, `n_items` 0 where nothing was written: "
        + ", ".join(f"`{name}`" for name in NEWS_COLUMNS) + ".",
    ),
    "cross-section": ("Ranks among the session's instruments", "(average rank - 1/2) / n."),
    "sector": (
        "Relative to the sector",
        "**Not point in time**: the sector is the one that the instruments table holds today "
        "(`sector_as_of`). An instrument that changed its sector is compared with its later peers.",
    ),
}  # fmt: skip


def page() -> str:
    """Return the page."""
    parts = [HEAD]
    for family, (title, text) in TITLES.items():
        rows = [_row(feature) for feature in FEATURES if feature.family == family]
        sources = sorted({feature.source for feature in FEATURES if feature.family == family})
        parts.append(f"\n## {title}\n\n" + (f"{text}\n\n" if text else ""))
        parts.append(f"Source: {'; '.join(sources)}.\n\n")
        parts.append("| feature | formula | horizon |\n|---|---|---|\n" + "\n".join(rows) + "\n")
    return "".join(parts)


def _row(feature: Feature) -> str:
    horizon = "-" if feature.horizon_sessions is None else feature.horizon_sessions
    return f"| `{feature.name}` | {feature.formula.replace('|', chr(92) + '|')} | {horizon} |"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
