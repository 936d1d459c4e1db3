"""Write docs/data-quality.md from the catalogue of rules, so that it cannot drift.

``python -m docs.data_quality`` writes it; the suite refuses a stale one.
"""

from __future__ import annotations

from pathlib import Path

from domain.market_data.quality import RULES, Rule, Scope

PAGE = Path(__file__).parent / "data-quality.md"
HEAD = """\
# Data quality

<!-- written by `python -m docs.data_quality` from domain/market_data/quality.py -->

Every reason for which market data is refused, set aside or flagged is a rule of this catalogue. A
row that breaks an **error** goes to the quarantine with the first rule it breaks (in the order
below), its text, its file's SHA-256 and its line: nothing is lost, and nothing of it reaches the
indicators. A **warning** stays on the bar in `quality_flags`: it may be true, and often is. A file
that breaks an error of its own is refused whole, and the files before it stay in force.

Rules on series look backwards only and start at a name's first bar: a bar's errors and flags are
the same whatever comes later. That is why a spike is told from a move only when it has reverted, on
the bar that reverts it.

A row dated after the last session that was asked for is not judged and not used: a replay of a past
day must not see it. A row dated after the day on which its file was received is `future_time`.
"""
TITLES: dict[Scope, str] = {
    "file": "Files",
    "row": "Rows",
    "session": "Sessions",
    "series": "Series",
}
TAIL = """
How many good rows are set aside, and how much of planted errors is found, is measured by
`python -m benchmarks.data_quality`.
"""


def page() -> str:
    """Return the page."""
    parts = [HEAD]
    for scope, title in TITLES.items():
        rows = [_row(rule) for rule in RULES if rule.scope == scope]
        parts.append(f"\n## {title}\n\n| rule | severity | what is wrong |\n|---|---|---|\n")
        parts.append("\n".join(rows) + "\n")
    return "".join(parts) + TAIL


def _row(rule: Rule) -> str:
    return f"| `{rule.name}` | {rule.severity} | {rule.description} |"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
