"""Every fill explains itself back to the vendor's bytes."""

import json

import polars as pl
import pytest

from cli.explain import explain
from contracts.errors import LakeError
from domain.market_data.normalise import read_rows
from io_managers.lake import Lake
from ml.labels.forward import HORIZON_SESSIONS
from ml.registry.champions import registered_name
from ml.registry.model_store import ModelStore
from sources.file_drops import DropStore


@pytest.fixture(scope="module")
def lake(whole):
    return Lake(whole[0].lake_root)


def names(walk):
    return [name for name, _ in walk.links]


def test_sampled_fills_lead_to_the_raw_line_of_their_instrument(lake, whole):
    store = DropStore(whole[0].drops_root)
    trades = lake.read(("trade_execution", "trades")).sample(60, seed=7)
    lines = {}
    for trade in trades.iter_rows(named=True):
        walk = dict(explain(lake, trade["event_id"]).links)
        raw, decision = walk["raw line"], walk["decision"]
        if raw["sha256"] not in lines:
            rows = read_rows(store.get(raw["sha256"]))
            lines[raw["sha256"]] = dict(rows.select("line", "raw").iter_rows())
        text = lines[raw["sha256"]][raw["line"]]
        assert text.startswith(decision["session"].replace("-", ""))
        assert float(text.split(",")[5]) == pytest.approx(decision["arrival_price"])


def test_a_fill_with_a_model_names_its_training_window_and_its_version(lake, whole):
    late = lake.read(("trade_execution", "trades")).filter(
        pl.col("session") == pl.col("session").max()
    )
    walk = explain(lake, late["event_id"][0], ModelStore(whole[0].models_root))
    assert names(walk) == [
        "fill", "order", "decision", "signal", "evaluation", "model", "indicators", "bars",
        "bar", "raw line",
    ]  # fmt: skip
    model = dict(walk.links)["model"]
    assert model["calibration_known"] < dict(walk.links)["decision"]["session"]
    assert model["promoted_because"]
    name = registered_name(HORIZON_SESSIONS)
    assert model["registered"].startswith(f"{name} version ")
    assert len(model["mlflow_run_id"]) == 32
    assert json.loads(walk.to_json())[-1]["link"] == "raw line"


def test_an_exec_id_can_be_named_with_its_day(lake):
    trade = lake.read(("trade_execution", "trades")).row(0, named=True)
    day, short = trade["session"], trade["exec_id"]
    assert dict(explain(lake, f"{day}/{short}").links)["fill"]["exec_id"] == short
    with pytest.raises(LakeError, match="No fill, order"):
        explain(lake, f"1999-01-04/{short}")


def test_an_order_and_a_decision_explain_themselves_too(lake):
    order = lake.read(("trade_execution", "orders")).row(0, named=True)
    assert names(explain(lake, order["cl_ord_id"]))[0] == "order"
    decisions = lake.read(("portfolio_coordination", "decisions"))
    held = decisions.filter(pl.col("action") == "hold").row(0, named=True)
    assert names(explain(lake, held["event_id"]))[0] == "decision"
    assert names(explain(lake, held["event_id"][:16]))[0] == "decision"


@pytest.mark.parametrize(
    ("identity", "message"), [("abc", "too short"), ("no-such-id-anywhere", "No fill, order")]
)
def test_an_id_that_nothing_has_is_refused(lake, identity, message):
    with pytest.raises(LakeError, match=message):
        explain(lake, identity)


def test_a_torn_lineage_is_named(lake, monkeypatch):
    order = lake.read(("trade_execution", "orders")).row(0, named=True)
    original = Lake.read

    def without_bars(self, key, **options):
        rows = original(self, key, **options)
        return rows.clear() if tuple(key) == ("market_data", "bars") else rows

    monkeypatch.setattr(Lake, "read", without_bars)
    with pytest.raises(LakeError, match="0 rows of market_data/bars"):
        explain(lake, order["cl_ord_id"])
