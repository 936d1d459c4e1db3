"""The page about reference data shows what happens, and its settings are read."""

import datetime as dt
import doctest
import re
import tomllib
import typing
from pathlib import Path

import polars as pl

from domain.market_data.membership import members_on
from domain.market_data.reference import with_permanent_ids
from orchestration.base.settings import Settings
from sources.file_drops import DropStore
from sources.reference_data import configuration
from sources.reference_data.reference import read_reference

PAGE = Path(__file__).parents[2] / "docs" / "reference-data.md"


def test_the_examples_of_the_page_run(tmp_path: Path) -> None:
    globs = {
        "home": tmp_path, "store": DropStore(tmp_path / "drops"), "dt": dt, "datetime": dt,
        "pl": pl,
        "sessions_between": Settings().sessions_between, "read_reference": read_reference,
        "members_on": members_on, "with_permanent_ids": with_permanent_ids,
    }  # fmt: skip
    text = PAGE.read_text(encoding="utf-8")
    page = doctest.DocTestParser().get_doctest(text, globs, PAGE.name, str(PAGE), 0)
    found = doctest.DocTestRunner(verbose=False).run(page)
    assert found.attempted >= 10
    assert found.failed == 0


def test_the_toml_of_the_page_is_read_and_every_type_is_named(tmp_path: Path) -> None:
    text = PAGE.read_text(encoding="utf-8")
    (toml,) = re.findall(r"```toml\n(.*?)```", text, flags=re.DOTALL)
    (tmp_path / "sources.toml").write_text(toml)
    found = configuration.read_reference_config(tmp_path / "sources.toml")
    assert configuration.universe_of(found) == tomllib.loads(toml)["reference"]["universe"]
    assert found.identifiers[0].as_of == dt.date(2025, 11, 11)
    kinds = (
        configuration.SpellFiles, configuration.ActionFiles, configuration.MembershipFiles,
        configuration.IdentifierFiles,
    )  # fmt: skip
    types = {
        name for kind in kinds for name in typing.get_args(typing.get_type_hints(kind)["type"])
    }
    assert [name for name in types if f"`{name}`" not in text] == []
