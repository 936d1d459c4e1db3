"""The preferred source against each other one, over what both have."""

import datetime as dt

import polars as pl

from domain.checks import check_vendors
from domain.market_data.vendor_reconciliation import COUNTS_SCHEMA, Reconciliation, against_each

DAYS = [dt.date(2020, 1, day) for day in (2, 3, 6, 7)]


def bars(closes, days=DAYS, name="US.A"):
    return pl.DataFrame(
        {
            "instrument_id": [name] * len(closes), "session": days[: len(closes)],
            "price_basis": ["raw"] * len(closes),
            "high": closes, "low": closes, "close": closes, "volume_shares": [100] * len(closes),
        },
        schema_overrides={"close": pl.Float64, "high": pl.Float64, "low": pl.Float64},
    )  # fmt: skip


def test_one_source_has_nothing_to_compare():
    discrepancies, counts = against_each({"first": bars([10, 11])})
    assert discrepancies.is_empty()
    assert counts.is_empty()
    assert dict(counts.schema) == COUNTS_SCHEMA


def test_only_what_both_have_is_compared_with_each():
    first = pl.concat([bars([10.0, 11.0, 12.0, 13.0]), bars([5.0] * 4, name="US.B")])
    second = bars([10.0, 11.0, 15.0], DAYS[:3])
    third = bars([100.0, 110.0, 120.0, 130.0])
    discrepancies, counts = against_each({"first": first, "second": second, "third": third})
    returns = discrepancies.filter(field="return")
    assert returns.select("session", "second_source", "severity").rows() == [
        (DAYS[2], "second", "error")
    ]
    by_source = {
        name: counts.filter(second_source=name)["n_common"].sum() for name in ("second", "third")
    }
    assert by_source == {"second": 3, "third": 4}
    # Sessions and names that only one of them covers are nobody's gap.
    assert counts["n_only_primary"].sum() == 0


def test_bars_that_are_adjusted_for_other_things_are_counted_and_judged_more_mildly():
    closes = [100.0 + day for day in range(4)]
    adjusted = bars([*closes[:3], 99.0]).with_columns(price_basis=pl.lit("total_return"))
    many = [bars(closes, name=f"US.N{n}") for n in range(25)]
    same = [frame.with_columns(price_basis=pl.lit("total_return")) for frame in many]
    first = pl.concat([bars(closes), *many])
    for second, passed in (
        (pl.concat([bars([*closes[:3], 99.0]), *many]), False),
        (pl.concat([adjusted, *same]), True),
    ):
        discrepancies, counts = against_each({"first": first, "second": second})
        verdict = check_vendors(Reconciliation(discrepancies, counts), "2020-01-01")
        assert verdict.passed == passed, verdict.violations
    assert counts["n_other_basis"].sum() == 26 * 4
