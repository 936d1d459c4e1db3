"""The best bid and offer of several exchanges."""

import polars as pl

from domain.market_data.intraday.best_quotes import SCHEMA, consolidate
from tests.unit.intraday_cases import quotes

NO_SIDE = (None, None)


def sides(frame):
    return frame.select(pl.col("^(bid|ask)_(price|size|exchange)$")).rows()


def test_the_best_of_the_exchanges_with_the_shares_at_that_price():
    found = consolidate(quotes(
        (0, "P", 10.0, 100, 10.2, 300),
        (1, "Q", 10.1, 50, 10.2, 400),
        (2, "N", 10.0, 900, 10.3, 1),
        (3, "P", 10.1, 10, *NO_SIDE),
    ))  # fmt: skip
    assert sides(found) == [
        (10.0, 100, "P", 10.2, 300, "P"),
        (10.1, 50, "Q", 10.2, 700, "Q"),
        (10.1, 60, "Q", 10.2, 700, "Q"),
    ]
    assert found["line"].to_list() == [1, 2, 4]
    assert dict(found.schema) == SCHEMA
    assert not found["locked"].any()
    assert not found["crossed"].any()


def test_a_side_that_goes_away_leaves_the_next_best_or_nothing():
    found = consolidate(quotes(
        (0, "P", 10.0, 100, 10.2, 300),
        (1, "Q", 9.9, 50, *NO_SIDE),
        (2, "P", 0.0, 0, *NO_SIDE),
        (3, "Q", None, 0, *NO_SIDE),
        (4, "P", *NO_SIDE, None, 0),
    ))  # fmt: skip
    assert sides(found) == [
        (10.0, 100, "P", 10.2, 300, "P"), (9.9, 50, "Q", 10.2, 300, "P"),
        (None, 0, None, 10.2, 300, "P"), (None, 0, None, None, 0, None),
    ]  # fmt: skip


def test_locked_and_crossed_are_told_apart_and_no_side_is_neither():
    found = consolidate(quotes(
        (0, "P", 10.0, 1, *NO_SIDE), (1, "Q", *NO_SIDE, 10.0, 1), (2, "N", 10.1, 1, *NO_SIDE)
    ))  # fmt: skip
    assert found["locked"].to_list() == [False, True, False]
    assert found["crossed"].to_list() == [False, False, True]


def test_suspicious_quotes_are_left_out_and_change_nothing():
    found = consolidate(quotes(
        (0, "P", 10.0, 1, 10.2, 1), (1, "Q", 99.0, 1, *NO_SIDE, True), (2, "P", 10.0, 1, 10.2, 1)
    ))  # fmt: skip
    assert sides(found) == [(10.0, 1, "P", 10.2, 1, "P")]
    assert consolidate(quotes((0, "P", 1, 1, 2, 1, True))).equals(pl.DataFrame(schema=SCHEMA))


def test_a_national_best_quote_replaces_whatever_exchange_had_it():
    frame = quotes((0, "K", 10.0, 5, *NO_SIDE), (0, "Q", *NO_SIDE, 10.1, 7),
                   (1, "Q", 9.9, 3, *NO_SIDE), (1, "P", *NO_SIDE, 10.0, 2))  # fmt: skip
    assert sides(consolidate(frame, "national_best"))[-1] == (9.9, 3, "Q", 10.0, 2, "P")
    assert sides(consolidate(frame))[-1] == (10.0, 5, "K", 10.0, 2, "P")


def test_instruments_and_order_do_not_mix():
    one, two = quotes((0, "P", 10.0, 1, 11.0, 1)), quotes((0, "P", 5.0, 1, 6.0, 1), symbol="AAA")
    found = consolidate(pl.concat([one, two]))
    assert found["symbol"].to_list() == ["AAA", "SPY"]
    shuffled = consolidate(pl.concat([two, one]))
    assert found.equals(shuffled)
