"""What counts as changed, and what a bar reaches."""

import datetime as dt

import polars as pl

from domain.market_data.blast_radius import reachable_rows, table_change, value_columns

DAYS = [dt.date(2020, 1, 31), dt.date(2020, 2, 3), dt.date(2020, 2, 4)]


def table(values, ids="x"):
    return pl.DataFrame(
        {
            "instrument_id": ["US.A", "US.B"] * 3,
            "session": [day for day in DAYS for _ in range(2)],
            "month": ["2020-01-01"] * 2 + ["2020-02-01"] * 4,
            "value": values,
            "reasons": [[name, ids] if name == "b" else [name] for name in "aabaaa"],
            "event_id": [f"{ids}{n}" for n in range(6)],
        }
    )


SAME = [1.0, 2.0, 3.0, 4.0, float("nan"), -0.0]


def test_an_id_alone_changes_nothing_nor_does_the_order_of_rows():
    old, new = table(SAME), table(SAME).with_columns(pl.lit("other").alias("event_id"))
    assert not table_change("t", old, new.reverse(), 6).is_changed
    assert value_columns(old) == ["instrument_id", "session", "month", "value", "reasons"]


def test_changes_are_counted_and_placed():
    changed = table_change("t", table(SAME), table([*SAME[:3], 4.5, *SAME[4:]]), 5)
    assert (changed.rows_before, changed.rows_after, changed.instruments) == (1, 1, 1)
    assert (changed.first, changed.last, changed.partitions) == (DAYS[1], DAYS[1], ("2020-02-01",))
    assert changed.sample == ("2020-02-03 US.B",)
    assert table_change("t", table(SAME), table(SAME, ids="y"), 5).rows_after == 1  # in `reasons`


def test_of_equal_rows_the_number_counts():
    twice = pl.concat([table(SAME), table(SAME)])
    change = table_change("t", twice, table(SAME), 0)
    assert (change.rows_before, change.rows_after) == (6, 0)


def test_a_bar_reaches_later_rows_of_its_own_or_of_all():
    def reached(frame, *, apart):
        return reachable_rows(
            frame, instrument_id="US.A", session=DAYS[1], keeps_instruments_apart=apart
        )

    assert reached(table(SAME), apart=True).height == 2
    assert reached(table(SAME), apart=False).height == 4
    monthly = table(SAME).drop("session")
    assert reached(monthly, apart=False)["month"].unique().to_list() == ["2020-02-01"]
