"""The overlapping decile book against days worked out by hand and against a plain loop."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.errors import ContractError
from ml.validation.decile_portfolio import (
    decile_shares,
    formations,
    overlapping_book,
    prices_of,
    scores_on,
)
from tests.unit.validation_cases import bars_of, calendar, market

SESSIONS = calendar(60)


def test_ten_distinct_scores_fill_a_decile_each():
    shares = decile_shares(np.array([5.0, 1, 2, 3, 4, 6, 7, 8, 9, 0]))
    assert shares.argmax(axis=1).tolist() == [5, 1, 2, 3, 4, 6, 7, 8, 9, 0]
    assert shares.max(axis=1).tolist() == [1.0] * 10


def test_equal_scores_share_their_places():
    # Of twenty, the last three tie for two places of decile 9 and one of decile 8.
    shares = decile_shares(np.array([*range(17), 50, 50, 50], dtype=float))
    assert shares[17:, 9] == pytest.approx([2 / 3] * 3)
    assert shares[17:, 8] == pytest.approx([1 / 3] * 3)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 12), min_size=1, max_size=70))
def test_every_name_lies_somewhere_once_and_every_decile_has_its_size(values):
    shares = decile_shares(np.array(values, dtype=float))
    n = len(values)
    assert shares.sum(axis=1) == pytest.approx(np.ones(n))
    sizes = [len([p for p in range(n) if p * 10 // n == d]) for d in range(10)]
    assert shares.sum(axis=0) == pytest.approx(sizes)


def test_a_constant_score_holds_nothing():
    assert not formations(np.zeros((3, 60))).any()


def test_a_thin_session_forms_nothing():
    scores = np.full((1, 60), np.nan)
    scores[0, :49] = np.arange(49)
    assert not formations(scores).any()
    scores[0, 49] = 50
    weights = formations(scores)
    assert weights[0, 45:50] == pytest.approx([0.2] * 5)
    assert weights[0, :5] == pytest.approx([-0.2] * 5)


def steady():
    """Scores 0 .. 59 on the ten sessions that have bars."""
    scores = np.full((60, 60), np.nan)
    scores[:10] = np.arange(60.0)
    return scores


def flat_world(**moves):
    """Sixty names at 100 but for the (session, name) opens named."""
    opens = np.full((10, 60), 100.0)
    for session, name, value in moves.values():
        opens[session:, name] = value
    return prices_of(bars_of(opens, SESSIONS), SESSIONS)


def test_one_day_by_hand():
    # The top six of sixty are bought at the open of session 1, and one gains 12 % until the open of
    # session 2: 2 % of the capital. Building the book trades 2, at 10 bps; keeping it through the
    # gain trades the 0.02 that it drifted by.
    prices = flat_world(up=(2, 59, 112.0))
    scores = steady()
    book = overlapping_book(scores, prices, horizon=1, cost_bps=10)
    days = book.days
    assert days["session"].to_list() == SESSIONS[:8].to_list()
    assert days["gross_return"][0] == pytest.approx(0.02)
    assert days["gross_return"][1:].to_list() == [0.0] * 7
    assert days["turnover"].to_list() == pytest.approx([2.0, 0.02] + [0.0] * 6)
    assert days["net_return"][0] == pytest.approx(0.02 - 2 * 0.0010)
    assert days["net_return"][1] == pytest.approx(-0.02 * 0.0010)


def test_a_tranche_earns_its_share_for_as_long_as_it_is_held():
    # The ranks are turned upside down at session 4; with two tranches the book needs two sessions
    # to follow, and each turns over one tranche: half of 4.
    scores = steady()
    scores[4:] = scores[4:, ::-1]
    book = overlapping_book(scores, flat_world(), horizon=2, cost_bps=0)
    assert book.days["session"][0] == SESSIONS[1]
    assert book.days["turnover"].to_list() == pytest.approx([1, 0, 0, 2, 2, 0, 0])


def test_the_book_is_what_a_plain_loop_makes_of_it():
    opens = market(40, 60, seed=9)
    opens[11, 3] = opens[25, 8] = np.nan
    prices = prices_of(bars_of(opens, SESSIONS), SESSIONS)
    scores = np.random.default_rng(3).normal(size=(60, 60))
    scores[40:] = np.nan
    scores[20] = np.nan
    horizon, cost = 5, 12.0
    found = overlapping_book(scores, prices, horizon=horizon, cost_bps=cost).days
    filled = pl.DataFrame(opens).fill_nan(None).fill_null(strategy="forward").to_numpy()
    tranches, before, rows = [], np.zeros(60), []
    for t in range(38):
        weights = np.zeros(60)
        if not np.isnan(scores[t, 0]):
            order = scores[t].argsort()
            weights[order[-6:]], weights[order[:6]] = 1 / 6, -1 / 6
        tranches = [*tranches, weights][-horizon:]
        target = sum(tranches) / horizon
        gain = filled[t + 2] / filled[t + 1] - 1
        traded = abs(target - before).sum()
        if t >= horizon - 1:
            gross = (target * gain).sum()
            rows.append((SESSIONS[t], gross, gross - traded * cost / 1e4, traded))
        before = target * (1 + gain)
    assert found["session"].to_list() == [row[0] for row in rows]
    for column, name in enumerate(("gross_return", "net_return", "turnover"), start=1):
        assert found[name].to_numpy() == pytest.approx([row[column] for row in rows], abs=1e-14)


def test_a_missing_open_earns_nothing_until_the_next_one_and_is_counted():
    opens = np.full((10, 60), 100.0)
    opens[3, 59] = np.nan
    opens[4:, 59] = 106.0
    prices = prices_of(bars_of(opens, SESSIONS), SESSIONS)
    scores = steady()
    book = overlapping_book(scores, prices, horizon=1, cost_bps=0)
    assert book.days["gross_return"].to_list() == pytest.approx([0, 0, 0.01] + [0] * 5)
    # One of twelve positions on one of eight days.
    assert book.unpriced_share == pytest.approx(1 / 12 / 8)


def test_an_unexplained_jump_is_no_gain_and_is_counted():
    opens = np.full((10, 60), 100.0)
    opens[5:, 59] = 300.0
    bars = bars_of(opens, SESSIONS).with_columns(
        ((pl.col("session") == SESSIONS[5]) & (pl.col("instrument_id") == "US.059")).alias(
            "unexplained_jump"
        )
    )
    scores = steady()
    book = overlapping_book(scores, prices_of(bars, SESSIONS), horizon=1, cost_bps=0)
    assert book.days["gross_return"].to_list() == [0.0] * 8
    assert book.n_jumps == 1


def test_too_short_for_its_tranches_is_no_book():
    scores = steady()
    assert overlapping_book(scores, flat_world(), horizon=8, cost_bps=0).days.height == 1
    assert overlapping_book(scores, flat_world(), horizon=9, cost_bps=0).days.height == 0
    assert overlapping_book(scores * np.nan, flat_world(), horizon=1, cost_bps=0).days.height == 0


def test_scores_need_bars_and_occur_once():
    prices = flat_world()
    row = pl.DataFrame({"instrument_id": ["US.007"], "session": [SESSIONS[2]], "score": [1.5]})
    placed = scores_on(row, prices)
    assert placed[2, 7] == 1.5
    assert np.isnan(placed).sum() == placed.size - 1
    with pytest.raises(ContractError, match="twice"):
        scores_on(pl.concat([row, row]), prices)
    for stranger in ("AA.000", "US.0075", "ZZ.000"):
        with pytest.raises(ContractError, match=f"{stranger} is scored"):
            scores_on(row.with_columns(pl.lit(stranger).alias("instrument_id")), prices)
    with pytest.raises(ContractError):
        overlapping_book(placed, prices, horizon=0, cost_bps=1)
    with pytest.raises(ContractError):
        overlapping_book(placed, prices, horizon=1, cost_bps=-1)
