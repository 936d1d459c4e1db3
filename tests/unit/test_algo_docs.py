"""The traders' page names every parameter, and says the numbers that the code has."""

from pathlib import Path

from execution.algos import bounds
from execution.algos.contract import Parent, Tactic
from execution.algos.params import Close, Pov, Shortfall, Twap, Vwap
from execution.router.contract import Weights
from tests.unit.algo_cases import impact

PAGE = (Path(__file__).parents[2] / "docs" / "algos.md").read_text(encoding="utf-8")
INTERNAL = {"parent_id", "prior_latency_us"}


def test_every_parameter_is_on_the_page() -> None:
    structs = (Parent, Tactic, Twap, Vwap, Pov, Shortfall, Close, Weights, type(impact()))
    names = {name for one in structs for name in one.__struct_fields__} - INTERNAL
    assert {name for name in names if f"`{name}`" not in PAGE} == set()


def test_the_defaults_on_the_page_are_the_codes() -> None:
    tactic = Tactic()
    for name in ("patience_ms", "child_gap_ms", "quote_age_max_ms", "sweep_ms", "cancel_retry_ms"):
        (line,) = [one for one in PAGE.splitlines() if one.startswith(f"| `{name}` |")]
        assert line.split("|")[2].strip() == f"{getattr(tactic, name):,}"
    assert f"At most {bounds.LIVE_MAX} children live at once, {bounds.CHILDREN_MAX:,}" in PAGE
