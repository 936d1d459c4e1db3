"""The catalogue is the only list of reasons, and each rule finds what it is for and no more."""

import ast
from pathlib import Path

import polars as pl
import pytest

from contracts.errors import ContractError
from docs.data_quality import PAGE, page
from domain.market_data.intraday.rules import rules_for
from domain.market_data.quality import (
    CATALOGUE,
    FLAGS,
    RULES,
    SCOPES,
    flags_of,
    require_rules,
)
from sources.market_data.frames import sift
from tests.unit.intraday_cases import hours_of
from tests.unit.quality_cases import CASES, DAYS, GOOD, file, reasons
from tests.unit.source_cases import drop

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", CATALOGUE)
def test_a_rule_finds_what_it_is_for_and_nothing_else_does(name):
    broken, _ = CASES[name]
    assert broken() == {name}


@pytest.mark.parametrize("name", CATALOGUE)
def test_a_rule_leaves_alone_what_comes_close(name):
    _, whole = CASES[name]
    assert name not in whole()


def test_the_catalogue_is_complete_and_explains_itself():
    assert len(RULES) == len(CATALOGUE) >= 25
    assert set(CASES) == set(CATALOGUE)
    assert {rule.scope for rule in RULES} == set(SCOPES)
    for rule in RULES:
        assert rule.name.isidentifier()
        assert rule.description.endswith("."), rule.name
    assert all(CATALOGUE[flag].severity == "warning" for flag in FLAGS)


def test_every_refusal_of_a_file_names_a_rule_of_the_catalogue():
    named = {
        keyword.value.value
        for folder in ("sources", "domain/market_data", "sensors", "assets")
        for path in (ROOT / folder).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        for keyword in node.keywords
        if keyword.arg == "rule" and isinstance(keyword.value, ast.Constant) and keyword.value.value
    }
    assert len(named) >= 5
    assert named <= {rule.name for rule in RULES if rule.scope == "file"}


def test_a_reason_outside_the_catalogue_is_refused_by_every_reader():
    typed = pl.DataFrame({"line": [1], "raw": ["x"], "symbol": ["A"], "session": [None]})
    with pytest.raises(ContractError, match="'looks_odd' is no rule"):
        sift(drop(b"x", "a.csv"), "trade", typed, [("looks_odd", pl.lit(value=True))])
    require_rules(rule.name for rule in RULES)


def test_every_reason_of_a_feed_or_of_intraday_rows_is_in_the_catalogue():
    days = {"day": DAYS[0], "hours": hours_of(DAYS[0]), "known_ns": 0, "regular_hours_only": True}
    kinds = ("trade", "quote", "depth", "quote_bar_1m", "bar_1m")
    found = {name for kind in kinds for name, _ in rules_for(kind, **days)}
    for name in ("binance_feed", "fix_messages", "iex_tops", "pcap", "session_drops"):
        tree = ast.parse((ROOT / "sources" / "market_data" / f"{name}.py").read_text("utf-8"))
        for node in ast.walk(tree):
            text = node.value if isinstance(node, ast.Return) else None
            if isinstance(node, ast.Call) and ast.unparse(node.func) in {"Fault", "_Unreadable"}:
                text = node.args[0]
            if isinstance(text, ast.Constant) and isinstance(text.value, str):
                found.add(text.value)
    assert len(found) > 20
    require_rules(sorted(found))


def test_the_page_is_what_the_catalogue_says():
    assert PAGE.read_text(encoding="utf-8") == page(), (
        "run `python -m docs.data_quality` and commit the page"
    )


def test_flags_are_in_the_catalogues_order_whatever_the_columns():
    marks = pl.DataFrame({"jump": [True, False, None], "zero_volume": [True, False, True]})
    assert flags_of(marks).to_list() == ["zero_volume,jump", "", "zero_volume"]


def test_of_three_rows_two_of_which_agree_none_is_used():
    other = GOOD.replace("10.5", "10.6")
    assert reasons(GOOD, GOOD, other) == {"duplicate"}


def test_two_spellings_of_a_share_class_are_one_instrument():
    lines = ("20100104,BRK-B,10,11,9,10,1", "20100104,BRK.B,10,11,9,10.5,1")
    assert reasons(*lines) == {"duplicate"}


def test_a_symbol_that_is_not_listed_is_unknown_where_there_is_a_list():
    assert reasons(GOOD, known_symbols={"MSFT"}) == {"unknown_symbol"}
    assert reasons(GOOD, known_symbols={"AAPL"}) == set()


def test_a_file_of_cents_is_told_from_one_of_dollars_on_other_days_too():
    from tests.unit.quality_cases import delivery

    assert delivery(file(price=0.01, first=3), file()) == {"changed_unit"}
    assert delivery(file(volume=100, first=3), file()) == {"changed_unit"}
    assert delivery(file(volume=3, first=3), file()) == set()
