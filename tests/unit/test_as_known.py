"""Prices as they were known: an instant's view has its actions and no later ones."""

import datetime as dt

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.clock import datetime_ns
from contracts.errors import ContractError
from domain.market_data.adjust import forward_adjusted, total_returns
from domain.market_data.as_known import adjusted_as_known, factors, known_actions
from domain.market_data.reference import CorporateAction
from tests.unit.test_adjust import DAY, bars

# 14:30 UTC is 9:30 in New York in January.
OPEN = dt.time(14, 30)


def at(day, time=OPEN):
    return datetime_ns(dt.datetime.combine(DAY + dt.timedelta(days=day), time, tzinfo=dt.UTC))


def acted(kind, day, *, ratio=None, cash=None, known_ns=None):
    ex = DAY + dt.timedelta(days=day)
    return CorporateAction("US.A", ex, kind, ratio, cash, None, "t", None, known_ns)


SERIES = bars((100, 100), (50, 50), (49, 49)).with_columns(volume_shares=pl.lit(1_000))
SPLIT = acted("split", 1, ratio=2.0)
PAID = acted("cash_dividend", 2, cash=1.0)


def test_a_view_back_adjusts_by_what_is_known():
    view = adjusted_as_known(SERIES, [SPLIT, PAID], as_of_ns=at(3), basis="split_adjusted")
    assert view["close"].to_list() == [50.0, 50.0, 49.0]
    assert view["volume_shares"].to_list() == [2_000, 1_000, 1_000]
    assert set(view["price_basis"]) == {"split_adjusted"}
    assert set(view["basis_as_of"]) == {DAY + dt.timedelta(days=3)}
    whole = adjusted_as_known(SERIES, [SPLIT, PAID], as_of_ns=at(3), basis="total_return")
    assert whole["close"].to_list() == pytest.approx([49.0, 49.0, 49.0])


def test_a_view_before_an_action_is_as_traded():
    before = at(1) - 1
    view = adjusted_as_known(SERIES, [SPLIT, PAID], as_of_ns=before, basis="total_return")
    assert view["close"].to_list() == [100.0, 50.0, 49.0]
    assert known_actions([SPLIT, PAID], at(1)) == [SPLIT]


def test_an_action_that_we_learnt_of_late_is_in_no_earlier_view():
    late = acted("split", 1, ratio=2.0, known_ns=at(2))
    assert known_actions([late], at(1)) == []
    assert known_actions([late], at(2)) == [late]
    # Known long before, it still takes effect at its open.
    early = acted("split", 1, ratio=2.0, known_ns=at(-30))
    assert known_actions([early], at(1) - 1) == []
    # Another exchange opens when it says.
    tokyo = {DAY + dt.timedelta(days=1): at(1, dt.time(0, 0))}
    assert known_actions([early], at(1, dt.time(0, 0)), tokyo) == [early]


def test_bars_that_were_not_known_are_in_no_view():
    known = SERIES.with_columns(
        knowledge_time=pl.col("session").cast(pl.Datetime("us", "UTC")) + pl.duration(hours=21)
    )
    view = adjusted_as_known(known, [SPLIT, PAID], as_of_ns=at(2), basis="total_return")
    assert view["close"].to_list() == [50.0, 50.0]


def test_what_was_paid_is_in_the_total_return_alone():
    plain = forward_adjusted(SERIES, [SPLIT, PAID])
    assert plain["adj_close"].to_list() == [100.0, 100.0, 98.0]
    earned = total_returns(SERIES, [SPLIT, PAID])
    assert earned["total_return"].to_list() == [None, 0.0, pytest.approx(0.0)]
    assert earned["total_return_index"].to_list() == [1.0, 1.0, pytest.approx(1.0)]


def test_a_split_and_a_dividend_of_one_day_are_one_row():
    both = [acted("split", 1, ratio=2.0), acted("special_dividend", 1, cash=10.0)]
    adjusted = forward_adjusted(bars((100, 100), (45, 45)), both)
    assert adjusted.height == 2
    assert adjusted["adj_open"].to_list() == pytest.approx([100.0, 100.0])
    assert adjusted["factor_basis"].to_list() == [None, "special_dividend+split"]


def test_a_distribution_of_more_than_the_price_is_of_unknown_value():
    adjusted = forward_adjusted(bars((10, 10), (2, 2)), [acted("special_dividend", 1, cash=10.0)])
    assert adjusted["overnight_ratio"][1] == pytest.approx(1.0)
    assert adjusted["factor_basis"][1] == "implied_by_open"


def test_an_action_before_the_first_bar_has_no_effect():
    adjusted = forward_adjusted(bars((10, 10), (10, 10)), [acted("split", -5, ratio=3.0)])
    assert adjusted["factor"].to_list() == [1.0, 1.0]
    assert adjusted["factor_basis"].to_list() == [None, None]


def test_a_basis_that_cannot_be_had_is_refused():
    with pytest.raises(ContractError, match="no basis 'raw'"):
        adjusted_as_known(SERIES, [], as_of_ns=at(3), basis="raw")
    whole = SERIES.with_columns(price_basis=pl.lit("total_return"))
    with pytest.raises(ContractError, match="cannot be brought back"):
        adjusted_as_known(whole, [], as_of_ns=at(3), basis="split_adjusted")
    with pytest.raises(ContractError, match="holds the cash_dividend"):
        factors([PAID], whole, at(3))


@given(
    st.lists(st.floats(1, 1_000), min_size=2, max_size=12),
    st.lists(
        st.tuples(st.integers(-1, 13), st.sampled_from([0.1, 0.5, 1.5, 2.0, 7.0]), st.booleans()),
        max_size=5,
    ),
    st.integers(0, 12),
)
def test_forwards_and_backwards_tell_the_same_returns_and_the_future_nothing(prices, moves, day):
    series = bars(*((price, price) for price in prices))
    actions = [
        acted("split", when, ratio=size)
        if is_split
        else acted("cash_dividend", when, cash=size / 9)
        for when, size, is_split in moves
    ]
    far = at(400)
    back = adjusted_as_known(series, actions, as_of_ns=far, basis="total_return")
    forward = forward_adjusted(series, actions, total_return=True)
    ratio = back["close"] / forward["adj_close"]
    assert ((ratio / ratio[0]) - 1).abs().max() < 1e-9
    assert back["close"][-1] == prices[-1]
    # What happens later changes no view of today.
    then = adjusted_as_known(series, actions, as_of_ns=at(day), basis="total_return")
    past = [one for one in actions if one.ex_session <= DAY + dt.timedelta(days=day)]
    assert then.equals(adjusted_as_known(series, past, as_of_ns=at(day), basis="total_return"))
