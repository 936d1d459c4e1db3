"""Aliases within a month, challengers held back, and people's decisions, in the registry."""

import datetime as dt

import polars as pl
import pytest

from ml.errors import ChampionConflictError
from ml.registry import tracking
from ml.registry.champions import registered_name, versions_by_month
from ml.registry.model_card import Origin
from tests.unit.registry_cases import HORIZON, MONTHS, ORIGIN, registry_in, train

NAME = registered_name(HORIZON)


@pytest.fixture
def registry(tmp_path):
    return registry_in(tmp_path)


def test_an_alias_within_a_month_is_refused_until_the_month_is_recorded_again(registry):
    models = train(registry.store)
    registry.record(models, ORIGIN)
    with tracking.session(registry.url) as client:
        client.set_registered_model_alias(NAME, "from-2010-04-15", "1")
    now = registry.snapshot()
    assert now.of_session(dt.date(2010, 4, 14)).version == 2
    assert now.of_session(dt.date(2010, 4, 15)).version == 1
    with pytest.raises(ChampionConflictError, match="changes between 2010-04-01 and 2010-05-01"):
        registry.champions(models)
    registry.record(models, ORIGIN)
    assert len(registry.champions(models)) == 3
    history = registry.snapshot().versions[1].tags["history"]
    assert "not champion from 2010-04-15 any more" in history


def test_who_was_held_back_is_the_challenger_and_serves_nothing(registry):
    models = train(registry.store, held_back=MONTHS[2:])
    champions = registry.record(models, ORIGIN)
    assert [each.version for each in champions] == [1, 2, 2]
    known = registry.snapshot()
    assert (known.newest, known.challenger) == (2, 3)
    assert known.serving == ((dt.date(2010, 3, 1), 1), (dt.date(2010, 4, 1), 2))
    assert known.versions[3].tags["held_back_because"] == "worse, t = -3.00"
    # Judged anew, on corrected data, it is promoted: there is no challenger any more.
    registry.record(train(registry.store), ORIGIN)
    assert (registry.snapshot().newest, registry.snapshot().challenger) == (3, None)
    # And held back again, its days are taken from it.
    registry.record(models, ORIGIN)
    known = registry.snapshot()
    assert (known.newest, known.challenger) == (2, 3)
    assert known.of_session(dt.date(2010, 5, 3)).version == 2


def test_a_persons_decision_serves_from_its_session_on(registry):
    models = train(registry.store)
    registry.record(models, ORIGIN)
    first, last = models.row(0, named=True), models.row(2, named=True)
    day = dt.date(2010, 5, 17)
    decided = first | {
        "month": last["month"], "serves_from": day, "champion_since": day,
        "promoted_by": "risa", "promoted_because": "the newest one bets on one sector",
        "challenger_key": last["challenger_key"],
        "challenger_judgement": last["challenger_judgement"],
    }  # fmt: skip
    overruled = models.vstack(pl.DataFrame([decided], schema=models.schema))
    champions = registry.record(overruled, Origin("dagster-run-2", "main"))
    assert [each.version for each in champions] == [1, 2, 3, 1]
    known = registry.snapshot()
    assert known.of_session(dt.date(2010, 5, 14)).version == 3
    assert known.of_session(day).version == known.newest == 1
    assert known.versions[1].tags["promoted_by"] == "risa, Dagster run dagster-run-2"
    assert versions_by_month(overruled, champions)["2010-05"] == 1
    with pytest.raises(ChampionConflictError, match="changes between"):
        registry.champions(models)
