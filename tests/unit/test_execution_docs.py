"""The two guides say what the code does: their example parses, and no incident is left out."""

import json
import re
from pathlib import Path

from contracts.codec import from_json
from domain.compliance.exposures import EXPOSURE_KINDS
from domain.compliance.limits import ORDER_KINDS
from domain.compliance.rules import read_rules
from execution.config import ServiceConfig
from execution.facts import DayFacts

ROOT = Path(__file__).parent.parent.parent


def test_the_example_configuration_is_accepted() -> None:
    text = (ROOT / "docs" / "connect-a-broker.md").read_text()
    (example,) = re.findall(r"```json\n(.*?)```", text, re.DOTALL)
    config = from_json(json.dumps(json.loads(example)).encode(), ServiceConfig)
    assert config.durability == "sync"
    assert config.limits.restricted == frozenset({"US.XYZ"})


def test_every_incident_has_its_line_in_the_runbook() -> None:
    code = "".join(path.read_text() for path in (ROOT / "execution").rglob("*.py"))
    kinds = set(re.findall(r'(?:Note|OpenIncident)\(\s*"(\w+)"', code))
    assert len(kinds) > 10
    runbook = (ROOT / "docs" / "runbook-unknown-orders.md").read_text()
    assert {kind for kind in kinds if f"`{kind}`" not in runbook} == set()


def test_the_rule_set_of_the_guide_is_accepted_and_every_kind_is_in_its_table() -> None:
    text = (ROOT / "docs" / "compliance-rules.md").read_text()
    (example,) = re.findall(r"```toml\n(.*?)```", text, re.DOTALL)
    assert [rule.rule_id for rule in read_rules(example).rules] == ["position", "locate", "name"]
    kinds = {str(kind.__struct_config__.tag) for kind in ORDER_KINDS | EXPOSURE_KINDS}
    assert {kind for kind in kinds if f"`{kind}`" not in text} == set()


def test_the_days_facts_of_the_guide_are_accepted() -> None:
    text = (ROOT / "docs" / "connect-a-broker.md").read_text()
    (example,) = re.findall(r"- \*\*day\*\*.*?`(\{.*?\})`\.", text, re.DOTALL)
    day = from_json(example.encode(), DayFacts)
    assert set(day.locates) == set(day.sectors) == {"US.AAPL"}
