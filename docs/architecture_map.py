"""Write the map in ARCHITECTURE.md from the catalog and the asset graph, so that it cannot drift.

``python -m docs.architecture_map`` writes it between its markers; the suite refuses a stale one.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path

from contracts.catalog import CATALOG, WORKFLOWS, CatalogEntry, Workflow
from orchestration.base.settings import Settings
from orchestration.definitions import build_defs

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "ARCHITECTURE.md"
BEGIN = "<!-- map: written by `python -m docs.architecture_map` -->"
END = "<!-- end of the map -->"

# Logic that does not lie in a package of its workflow's name, with the reason in ARCHITECTURE.md.
ELSEWHERE: dict[str, tuple[str, ...]] = {
    "01": ("sources", "domain/market_data"),
    "04": ("ml",),
    "06": ("domain/book",),
    "07": ("domain/book", "domain/portfolio_management"),
    "08": ("domain/book", "execution", "ops_store"),
    "09": ("domain/reporting", "dbt"),
    "14": ("domain/cash_management", "domain/book", "ops_store"),
}


def assets_by_workflow() -> dict[str, list[str]]:
    """Return the tables of each workflow that the definitions declare, by its number."""
    with tempfile.TemporaryDirectory() as home:
        graph = build_defs(Settings(home=Path(home))).resolve_asset_graph()
    found: dict[str, list[str]] = {}
    for node in graph.asset_nodes:
        found.setdefault(node.tags["workflow"], []).append("/".join(node.key.path))
    return {number: sorted(names) for number, names in found.items()}


def folders_of(workflow: Workflow) -> tuple[str, ...]:
    """Return where the logic of a workflow lies."""
    found = ELSEWHERE.get(workflow.number, (f"domain/{workflow.folder}",))
    return tuple(folder for folder in found if (ROOT / folder).is_dir())


def _coded(names: Iterable[str]) -> str:
    return "<br>".join(f"`{name}`" for name in names) or "–"


def _diagram(built: Iterable[CatalogEntry]) -> list[str]:
    entries = list(built)
    numbers = {n for entry in entries for n in (entry.producer, *entry.consumers)}
    lines = ["```mermaid", "flowchart LR"]
    lines += [f'  w{w.number}["{w.number} {w.title}"]' for w in WORKFLOWS if w.number in numbers]
    for entry in entries:
        label = entry.event.removesuffix("Event")
        lines += [f"  w{entry.producer} -- {label} --> w{reader}" for reader in entry.consumers]
    return [*lines, "```"]


def render() -> str:
    """Return the map as Markdown: a diagram, what is built, what is planned."""
    assets = assets_by_workflow()
    built = [entry for entry in CATALOG if entry.status == "built"]
    lines = [*_diagram(built), "", "| workflow | logic | tables | events, and who reads them |"]
    lines.append("|---|---|---|---|")
    for workflow in WORKFLOWS:
        if workflow.number not in assets:
            continue
        events = [
            f"`{entry.event}` → {', '.join(entry.consumers) or 'nobody yet'}"
            for entry in built
            if entry.producer == workflow.number
        ]
        lines.append(
            f"| {workflow.number} {workflow.title} | {_coded(folders_of(workflow))} | "
            f"{_coded(assets[workflow.number])} | {'<br>'.join(events) or '–'} |"
        )
    planned = [entry for entry in CATALOG if entry.status == "planned"]
    lines += ["", "Planned, a name only until something produces it:", ""]
    for workflow in WORKFLOWS:
        names = [entry.event for entry in planned if entry.producer == workflow.number]
        if names:
            lines.append(f"- {workflow.number} {workflow.title}: {', '.join(names)}")
    return "\n".join(lines)


def with_map(page: str) -> str:
    """Return a page with a current map between its markers."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{render()}\n{END}{after}"


def main() -> None:
    """Write the map."""
    PAGE.write_text(with_map(PAGE.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
