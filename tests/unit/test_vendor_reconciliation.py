"""Two vendors on one market: where they differ, what is compared, and whose bars a series has."""

import polars as pl
import pytest

from contracts.errors import ContractError
from domain.checks import check_vendors
from domain.market_data.vendor_reconciliation import (
    Tolerances,
    prefer,
    reconcile_vendors,
    switches,
)
from tests.unit.quality_cases import DAYS, bar, closes, frame, market


def found(primary, second, **tolerances):
    result = reconcile_vendors(frame(primary), frame(second), Tolerances(**tolerances))
    return result.discrepancies.select("session", "field", "severity").rows(), result


def totals(result):
    return {n: int(result.counts[n].sum()) for n in result.counts.columns if n != "session"}


def test_levels_may_differ_where_returns_agree():
    rows, result = found(closes(10, 10.5, 11), closes(5, 5.25, 5.5))
    assert rows == []
    assert totals(result)["n_compared"] == 2


def test_a_return_that_differs_is_shown_with_its_size_on_both_sessions_that_it_touches():
    rows, result = found(closes(10, 10.1, 10), closes(10, 10.2, 10))
    assert rows == [(DAYS[1], "return", "error"), (DAYS[2], "return", "error")]
    assert result.discrepancies["difference_bp"].to_list() == pytest.approx([-100.0, 97.07], 1e-3)
    assert found(closes(10, 10.1), closes(10, 10.11))[0] == [(DAYS[1], "return", "warning")]
    assert found(closes(10, 10.1), closes(10, 10.11), return_bp=25)[0] == []


def test_a_return_begins_where_both_have_a_bar():
    # The second vendor lacks a session: the return across it is the same.
    primary = closes(10, 11, 12)
    rows, result = found(primary, [primary[0], primary[2]])
    assert rows == []
    assert totals(result)["n_compared"] == 1
    assert totals(result)["n_only_primary"] == 1


def test_a_name_does_not_continue_the_one_before_it():
    two = [*closes(10, 11), *closes(50, 55, symbol="B")]
    assert found(two, two)[0] == []
    assert totals(found(two, two)[1])["n_compared"] == 2


def test_volume_and_range_have_tolerances_of_their_own():
    low_volume = [bar(0, 10, volume=1_000)]
    assert found(low_volume, [bar(0, 10, volume=1_600)])[0] == [(DAYS[0], "volume", "warning")]
    assert found(low_volume, [bar(0, 10, volume=1_400)])[0] == []
    assert found(low_volume, [bar(0, 10, volume=0)])[0] == [(DAYS[0], "volume", "warning")]
    assert found([bar(0, 10, volume=0)], [bar(0, 10, volume=0)])[0] == []
    assert found([bar(0, 10, high=10.2)], [bar(0, 10)])[0] == [(DAYS[0], "range", "warning")]


def test_two_rows_for_one_key_are_refused():
    with pytest.raises(pl.exceptions.ComputeError, match="1:1"):
        found([bar(0, 10), bar(0, 11)], [bar(0, 10)])


def test_the_check_passes_what_agrees_and_fails_what_cannot_be_compared():
    assert check_vendors(found(market(0, 1, 2), market(0, 1, 2))[1], "2010-01-01").passed
    apart = closes(10, 13, 10, 13)
    assert check_vendors(found(apart, closes(10, 10, 10, 10))[1], "2010-01-01").violations == (
        "returns_disagree: 3 rows",
    )
    nothing = check_vendors(found(market(0, 1), market(2, 3))[1], "2010-01-01")
    assert nothing.violations == ("nothing_compared", "second_vendor_incomplete")


def sources(result):
    return result["source"].to_list()


def with_basis(bars, basis):
    return frame(bars).with_columns(pl.lit(basis).alias("price_basis"))


def test_the_first_source_is_preferred_and_the_second_fills_its_gaps():
    whole = closes(10, 11, 12, 13)
    gapped = [whole[0], whole[2], whole[3]]
    picked = prefer({"a": frame(gapped), "b": frame(whole)}, ["a", "b"])
    assert sources(picked) == ["a", "b", "a", "a"]
    assert switches(picked).select("session", "detail").rows() == [
        (DAYS[1], "from a to b"), (DAYS[2], "from b to a"),
    ]  # fmt: skip
    assert sources(prefer({"a": frame(gapped), "b": frame(whole)}, ["b", "a"])) == ["b"] * 4


@pytest.mark.parametrize(
    "second",
    [
        with_basis(closes(10, 11, 12, 13), "total_return"),
        # The same basis as of another day: a split lies between the two levels.
        with_basis(closes(5, 5.5, 6, 6.5), "raw"),
        # Nothing in common before the gap.
        with_basis(closes(10, 11, 12, 13)[1:], "raw"),
    ],
)
def test_a_series_is_not_spliced_where_that_would_make_a_return(second):
    whole = closes(10, 11, 12, 13)
    picked = prefer({"a": frame([whole[0], whole[2], whole[3]]), "b": second}, ["a", "b"])
    assert sources(picked) == ["a", "a", "a"]
    assert switches(picked).is_empty()


def test_a_name_that_only_the_second_source_has_is_the_second_sources():
    frames = {"a": frame(closes(10, 11)), "b": frame(closes(3, 4, symbol="B"))}
    assert sources(prefer(frames, ["a", "b"])) == ["a", "a", "b", "b"]


@pytest.mark.parametrize("order", [[], ["a", "a"], ["a", "c"]])
def test_an_order_that_is_none_is_refused(order):
    with pytest.raises(ContractError, match="is not of the sources"):
        prefer({"a": frame(closes(1)), "b": frame(closes(1))}, order)
