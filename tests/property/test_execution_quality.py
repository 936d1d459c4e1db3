"""Whatever was filled: a shortfall's components sum to it, and each is its exact value, rounded."""

from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from domain.book.state import value_minor
from domain.trade_execution.scorecard import scorecard
from domain.trade_execution.shortfall import SIGN, implementation_shortfall
from tests.unit.execution_quality_cases import DAY, bar, measured, order, trade

PRICES = st.integers(1, 9_999_999)
SIDES = st.sampled_from(["buy", "sell"])
FILLS = st.lists(st.tuples(st.integers(1, 50_000), PRICES), max_size=6)


def minor(quantity, ticks):
    return Fraction(quantity * ticks, 100)


@given(SIDES, FILLS, st.integers(0, 50_000), PRICES, PRICES, PRICES, st.integers(-500, 90_000))
def test_the_components_sum_to_the_shortfall(side, fills, unfilled, decided, released, end, fees):
    filled = sum(quantity for quantity, _ in fills)
    found = implementation_shortfall(
        side=side, order_qty=filled + unfilled, filled_qty=filled,
        filled_minor=sum(value_minor(quantity, price) for quantity, price in fills),
        fees_minor=fees, decision_ticks=decided, release_ticks=released, end_ticks=end,
    )  # fmt: skip
    assert found.components_minor == found.total_minor
    sign = SIGN[side]
    paid = sum(minor(quantity, price) for quantity, price in fills)
    exact = (
        (found.delay_minor, sign * (minor(filled, released) - minor(filled, decided)), 1),
        (found.execution_minor, sign * (paid - minor(filled, released)), 1 + len(fills) / 2),
        (found.opportunity_minor, sign * (minor(unfilled, end) - minor(unfilled, decided)), 2),
    )
    for stated, value, apart in exact:
        assert abs(stated - value) <= apart
    # Everything filled leaves no opportunity; nothing filled leaves only that and the fees.
    if not unfilled:
        assert found.opportunity_minor == 0
    if not filled:
        assert found.delay_minor == found.execution_minor == 0


@given(FILLS, st.integers(0, 9_000), PRICES, PRICES, PRICES)
def test_both_sides_lose_what_the_other_gains(fills, unfilled, decided, released, end):
    filled = sum(quantity for quantity, _ in fills)
    bought, sold = (
        implementation_shortfall(
            side=side, order_qty=filled + unfilled, filled_qty=filled, fees_minor=0,
            filled_minor=sum(value_minor(quantity, price) for quantity, price in fills),
            decision_ticks=decided, release_ticks=released, end_ticks=end,
        )
        for side in ("buy", "sell")
    )  # fmt: skip
    assert bought.total_minor == -sold.total_minor
    assert bought.delay_minor == -sold.delay_minor


ORDERS = st.lists(
    st.tuples(SIDES, st.integers(1, 900), st.integers(0, 900), st.integers(1, 40),
              st.floats(1, 900).map(lambda x: round(x, 2))),
    min_size=1, max_size=8,
)  # fmt: skip


@given(ORDERS)
def test_a_scorecard_is_the_sum_of_its_orders(given_orders):
    orders, trades, prices = [], [], {}
    for n, (side, qty, filled, fee, price) in enumerate(given_orders):
        one = order(f"o{n}", qty, min(qty, filled), side=side)
        orders.append(one)
        prices[one["cl_ord_id"]] = price
        if filled:
            trades.append(trade(one, min(qty, filled), price, fee))
    quality = measured(orders, trades, prices, [bar()])
    parts = ("delay_minor", "execution_minor", "opportunity_minor", "fees_minor")
    assert quality["shortfall_minor"].null_count() == 0
    cards = scorecard(quality, "broker")
    for name in (*parts, "shortfall_minor", "paper_minor"):
        assert cards[name].sum() == quality[name].sum()
    assert sum(cards[name].sum() for name in parts) == cards["shortfall_minor"].sum()
    shuffled = measured(orders[::-1], trades[::-1], prices, [bar()], go_live=None)
    assert shuffled.equals(quality)
    assert scorecard(shuffled, "broker").equals(cards)
    assert set(cards["broker"]) <= {"paper", "SIMULATED"}
    assert DAY in set(quality["session"])
