"""The page about sources shows what happens, and its settings are read."""

import datetime as dt
import doctest
import re
from pathlib import Path

import msgspec
import polars as pl

from sources.file_drops import make_drop
from sources.market_data import frames
from sources.market_data.configuration import SourceConfig, read_sources
from sources.market_data.protocol import Window
from sources.market_data.vendor_library import LibraryLimits

PAGE = Path(__file__).parents[2] / "docs" / "adding-a-source.md"


def test_the_examples_of_the_page_run(tmp_path: Path) -> None:
    examples = PAGE.read_text(encoding="utf-8")
    names = ("layout_rules", "number", "sift_daily", "split_lines", "with_fields")
    globs = {
        "home": tmp_path, "dt": dt, "msgspec": msgspec, "pl": pl, "make_drop": make_drop,
        "read_sources": read_sources, "Window": Window,
        **{name: getattr(frames, name) for name in names},
    }  # fmt: skip
    page = doctest.DocTestParser().get_doctest(examples, globs, PAGE.name, str(PAGE), 0)
    found = doctest.DocTestRunner(verbose=False).run(page)
    assert found.attempted >= 14
    assert found.failed == 0


def test_the_toml_of_the_reference_is_read_and_every_type_is_named(tmp_path: Path) -> None:
    text = (PAGE.parent / "sources.md").read_text(encoding="utf-8")
    (toml,) = re.findall(r"```toml\n(.*?)```", text, flags=re.DOTALL)
    (tmp_path / "sources.toml").write_text(toml)
    sources = read_sources(tmp_path / "sources.toml")
    found = sources["av"]
    assert found.http.requests_per_minute == 5
    assert sources["reuters"].symbols == {"VOD.L": "VOD"}
    assert (sources["bbg"].interval, sources["bbg"].limits.timeout_s) == ("1min", 30)
    types = {kind.__struct_config__.tag for kind in SourceConfig.__args__}
    assert [name for name in types if f"`{name}`" not in text] == []
    limits = (*type(found.http).__struct_fields__, *LibraryLimits.__struct_fields__)
    assert [name for name in limits if f"`{name}`" not in text] == []
