"""The two guides say what the code does: their example parses, and no incident is left out."""

import json
import re
from pathlib import Path

from contracts.codec import from_json
from execution.config import ServiceConfig

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
