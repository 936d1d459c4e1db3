"""The page about cash shows what happens."""

import doctest
from pathlib import Path

from ops_store.connection import sqlite_url

PAGE = Path(__file__).parents[2] / "docs" / "cash.md"


def test_the_example_of_the_page_runs(tmp_path: Path) -> None:
    examples = PAGE.read_text(encoding="utf-8").replace("```", "")
    globs = {"url": sqlite_url(tmp_path / "ops.db")}
    page = doctest.DocTestParser().get_doctest(examples, globs, PAGE.name, str(PAGE), 0)
    found = doctest.DocTestRunner(verbose=False).run(page)
    assert found.attempted > 20
    assert found.failed == 0
