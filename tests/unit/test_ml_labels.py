"""Labels by hand, gaps and ties included."""

import datetime as dt
import math

import polars as pl
import pytest

from ml.labels.forward import HORIZONS, forward_returns, rating_classes

FIRST = dt.date(2010, 3, 1)
DAYS = pl.Series("session", [FIRST + dt.timedelta(days=i) for i in range(10)])


def bars(opens, jumps=()):
    rows = [(DAYS[place], value) for place, value in enumerate(opens) if value is not None]
    return pl.DataFrame(
        rows, schema={"session": pl.Date, "adj_open": pl.Float64}, orient="row"
    ).with_columns(
        pl.lit("US.A").alias("instrument_id"),
        pl.lit("2010-03-01").alias("month"),
        pl.col("session").is_in([DAYS[place] for place in jumps]).alias("unexplained_jump"),
    )


def test_the_return_runs_from_the_next_open_over_the_horizon():
    found = forward_returns(bars([100.0 + i for i in range(10)]), DAYS, horizon=5)
    first = found.row(0, named=True)
    assert first["forward_return"] == pytest.approx(math.log(106 / 101))
    assert first["label_known_session"] == DAYS[6]
    assert first["horizon_sessions"] == 5
    assert found["forward_return"].is_not_null().to_list() == [True] * 4 + [False] * 6
    assert found["label_known_session"].is_not_null().to_list() == [True] * 4 + [False] * 6


@pytest.mark.parametrize("horizon", HORIZONS)
def test_every_horizon_holds_as_many_sessions(horizon):
    days = pl.Series("session", [FIRST + dt.timedelta(days=i) for i in range(30)])
    frame = bars([100.0]).drop("session").join(days.to_frame(), how="cross").with_columns(
        (100.0 + pl.int_range(30)).alias("adj_open"))  # fmt: skip
    row = forward_returns(frame, days, horizon).row(2, named=True)
    assert row["forward_return"] == pytest.approx(math.log((103 + horizon) / 103))
    assert row["label_known_session"] == days[3 + horizon]
    assert row["horizon_sessions"] == horizon


def test_a_missing_bar_inside_the_holding_period_leaves_no_label():
    opens = [100.0 + i for i in range(10)]
    opens[5] = None
    found = forward_returns(bars(opens), DAYS, horizon=2)
    labelled = found.filter(pl.col("forward_return").is_not_null())["session"].to_list()
    # t needs t+1 .. t+3: 2, 3 and 4 would span the gap; 5 has no bar of its own.
    assert labelled == [DAYS[0], DAYS[1], DAYS[6]]
    row = found.row(by_predicate=pl.col("session") == DAYS[3], named=True)
    assert row["label_known_session"] == DAYS[6]


def test_a_jump_counts_from_after_the_entry_until_the_exit():
    found = forward_returns(bars([100.0] * 10, jumps=(5,)), DAYS, horizon=2)
    assert found.filter("label_jump")["session"].to_list() == [DAYS[2], DAYS[3]]


def names(values):
    return pl.DataFrame(
        {
            "instrument_id": [f"US.{i:03d}" for i in range(len(values))],
            "session": FIRST,
            "value": values,
        },
        schema_overrides={"value": pl.Float64},
    )


def test_classes_are_quintiles_and_ties_go_by_name():
    found = rating_classes(names([1.0] * 50), "value")
    assert found["rating_class"].to_list() == [i // 10 for i in range(50)]
    assert (
        found.sample(fraction=1.0, shuffle=True, seed=1)
        .drop("rating_class")
        .pipe(rating_classes, "value")
        .sort("instrument_id")["rating_class"]
        .to_list()
        == found["rating_class"].to_list()
    )


def test_a_null_takes_no_place_and_few_names_make_no_classes():
    with_null = rating_classes(names([None, *range(50)]), "value")["rating_class"].to_list()
    assert with_null == [None, *(i // 10 for i in range(50))]
    assert rating_classes(names(range(49)), "value")["rating_class"].null_count() == 49
    assert rating_classes(names([None, *range(49)]), "value")["rating_class"].null_count() == 50
