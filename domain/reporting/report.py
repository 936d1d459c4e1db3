"""One month's report as a single HTML document that needs nothing else: no script, no network.

The template holds the looks, ``sections`` the words, ``evidence`` the numbers, ``charts`` the
pictures. Equal inputs give equal bytes. Every text is escaped; only our own SVG goes in as it is.
"""

from __future__ import annotations

import functools
import hashlib

import jinja2
import msgspec

from domain.reporting.evidence import ModelQuality
from domain.reporting.figures import day
from domain.reporting.inputs import ReportInputs
from domain.reporting.sections import book_sections
from domain.reporting.workings import working_sections

__all__ = ["ModelQuality", "Report", "ReportInputs", "render_report"]


class Report(msgspec.Struct, frozen=True):
    """A rendered report: the document, the SHA-256 of its UTF-8 bytes, and its section keys."""

    html: str
    sha256: str
    sections: tuple[str, ...]


def render_report(inputs: ReportInputs) -> Report:
    """Render the report of the month of ``inputs.as_of``.

    Parameters
    ----------
    inputs : ReportInputs
        The tables; missing ones make their sections say that there is nothing yet.

    Returns
    -------
    Report
        Always with every section, in the same order.

    Raises
    ------
    ContractError
        When a table with rows lacks a declared column, or returns are not finite.
    """
    sections = [*book_sections(inputs), *working_sections(inputs)]
    cutoff = inputs.knowledge_cutoff
    known = "" if cutoff is None else f" · knowledge cut-off {cutoff:%Y-%m-%d %H:%M} {cutoff:%Z}"
    html = _template().render(
        title=f"Report {inputs.as_of:%B %Y}",
        subtitle=f"As of the close of {day(inputs.as_of)}{known.rstrip()}",
        book=inputs.book,
        sections=sections,
    )
    digest = hashlib.sha256(html.encode()).hexdigest()
    return Report(html=html, sha256=digest, sections=tuple(s.key for s in sections))


@functools.cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("domain.reporting"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
    )
    return environment.get_template("report.html.j2")
