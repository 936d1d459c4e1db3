"""Brinson-Fachler against a published example; the sums hold exactly; no month knows the next."""

import datetime as dt
import math

import polars as pl
import pytest

from contracts.errors import ContractError
from domain.portfolio_management.attribution import (
    ATTRIBUTION_SCHEMA,
    CASH_SECTOR,
    EFFECTS,
    Day,
    SectorDay,
    attribute,
    brinson_fachler,
    carino_factor,
    link,
)
from domain.portfolio_management.benchmark import equal_weight_benchmark

# Bacon, Practical Portfolio Performance Measurement and Attribution (2008), table 5.1:
# portfolio 8.3 %, benchmark 6.4 %.
BACON = {
    "UK": SectorDay(
        portfolio_weight=0.4, benchmark_weight=0.4, portfolio_return=0.2, benchmark_return=0.1
    ),
    "Japan": SectorDay(
        portfolio_weight=0.3, benchmark_weight=0.2, portfolio_return=-0.05, benchmark_return=-0.04
    ),
    "US": SectorDay(
        portfolio_weight=0.3, benchmark_weight=0.4, portfolio_return=0.06, benchmark_return=0.08
    ),
}
JAN = [dt.date(2010, 1, d) for d in (27, 28, 29)]
FEB = [dt.date(2010, 2, d) for d in (1, 2, 3)]
DAYS = [*JAN, *FEB]
CLOSES = {
    "US.A": (100.0, 103.0, 101.0, 99.0, 104.0, 108.0),
    "US.B": (50.0, 49.0, 52.0, 53.0, 51.0, 50.0),
    "US.C": (20.0, 20.5, None, 21.0, 21.5, 20.0),
}
INSTRUMENTS = pl.DataFrame(
    {"instrument_id": ["US.A", "US.B", "US.C"], "sector": ["Energy", "Health", None]}
)


FILLS = [
    (DAYS[1], "US.A", "buy", 400, 101.0, 30, 40),
    (DAYS[1], "US.C", "buy", 1000, 20.2, 20, 10),
    (DAYS[3], "US.A", "sell", 200, 100.0, 15, 20),
]
TRADES = ("session", "instrument_id", "side", "last_px", "notional_minor", "commission_minor",
          "spread_cost_minor")  # fmt: skip
EQUITY = ("session", "month", "nav_minor", "daily_return", "commission_minor",
          "spread_cost_minor", "capital_minor")  # fmt: skip


def valued():
    """Return the equity and position rows that FILLS lead to; cash earns 0."""
    cash, quantity, equity, positions, last = 10_000_000, {}, [], [], {}
    for i, day in enumerate(DAYS):
        commission = spread = 0
        for when, name, side, qty, price, fee, half in FILLS:
            if when == day:
                sign = 1 if side == "buy" else -1
                quantity[name] = quantity.get(name, 0) + sign * qty
                cash -= sign * round(qty * price * 100) + fee
                commission, spread = commission + fee, spread + half
        last |= {n: c[i] for n, c in CLOSES.items() if c[i] is not None}
        value = {n: round(q * last[n] * 100) for n, q in quantity.items()}
        nav = cash + sum(value.values())
        positions += [(day, n, v / nav) for n, v in value.items()]
        daily = nav / equity[-1][2] - 1 if equity else None
        equity.append((day, day.strftime("%Y-%m-01"), nav, daily, commission, spread, 0))
    return equity, positions


def book():
    """Buy A and C at the open of the second session, half of A sold on the fourth."""
    bars = pl.DataFrame(
        [
            {"instrument_id": name, "session": day, "close": close, "adj_close": close}
            for name, closes in CLOSES.items()
            for day, close in zip(DAYS, closes, strict=True)
            if close is not None
        ]
    )
    equity, positions = valued()
    trades = [(d, n, s, p, round(q * p * 100), c, h) for d, n, s, q, p, c, h in FILLS]
    return {
        "positions": pl.DataFrame(
            positions, schema=["session", "instrument_id", "weight"], orient="row"
        ),
        "trades": pl.DataFrame(trades, schema=TRADES, orient="row"),
        "equity": pl.DataFrame(equity, schema=EQUITY, orient="row"),
        "adjusted_bars": bars,
        "instruments": INSTRUMENTS,
        "benchmark": equal_weight_benchmark(bars, pl.Series("session", DAYS)),
    }


def active(row):
    return row["portfolio_return"] - row["benchmark_return"]


def test_bacons_published_example():
    effects = {name: brinson_fachler(part, 0.064) for name, part in BACON.items()}
    assert [e.allocation for e in effects.values()] == pytest.approx([0.0, -0.0104, -0.0016])
    assert [e.selection for e in effects.values()] == pytest.approx([0.04, -0.002, -0.008])
    assert [e.interaction for e in effects.values()] == pytest.approx([0.0, -0.001, 0.002])
    total = link([Day(session=DAYS[0], portfolio=0.083, benchmark=0.064, sectors=BACON)], "m")[0]
    assert total["allocation"] == pytest.approx(-0.012)
    assert total["selection"] == pytest.approx(0.030)
    assert total["interaction"] == pytest.approx(0.001)


def test_a_sector_that_one_side_lacks_is_all_allocation():
    only_book = SectorDay(portfolio_weight=0.1, portfolio_return=0.3)
    only_index = SectorDay(benchmark_weight=0.1, benchmark_return=0.3)
    assert brinson_fachler(only_book, 0.1).allocation == pytest.approx(0.02)
    assert brinson_fachler(only_index, 0.1).allocation == pytest.approx(-0.02)
    for part in (only_book, only_index):
        assert brinson_fachler(part, 0.1).selection == 0.0
        assert brinson_fachler(part, 0.1).interaction == 0.0


def test_carino_links_periods_without_a_rest():
    assert carino_factor(0.05, 0.02) == pytest.approx((math.log(1.05) - math.log(1.02)) / 0.03)
    assert carino_factor(0.05, 0.05) == pytest.approx(1 / 1.05)
    days = [Day(session=day, portfolio=0.083, benchmark=0.064, sectors=BACON) for day in DAYS[:3]]
    total = link(days, "m")[0]
    assert total["portfolio_return"] == pytest.approx(1.083**3 - 1)
    assert sum(total[k] for k in EFFECTS) == pytest.approx(active(total), abs=1e-14)
    with pytest.raises(ContractError, match="total loss"):
        carino_factor(-1.0, 0.0)


def test_sectors_cost_and_residual_sum_to_the_active_return():
    result = attribute(**book())
    assert dict(result.schema) == ATTRIBUTION_SCHEMA
    for month in ("2010-01-01", "2010-02-01"):
        rows = result.filter(month=month)
        total = rows.filter(level="total").row(0, named=True)
        sectors = rows.filter(level="sector")
        assert sum(total[k] for k in EFFECTS) == pytest.approx(active(total), abs=1e-12)
        for effect in EFFECTS:
            assert sectors[effect].sum() == pytest.approx(total[effect], abs=1e-12)
        assert sectors["portfolio_weight"].sum() == pytest.approx(1.0)
        assert sectors["benchmark_weight"].sum() == pytest.approx(1.0)
        assert total["cost"] < 0
    assert CASH_SECTOR in result["name"]


def test_trading_explains_its_own_sectors_and_leaves_cash_only_rounding():
    rows = attribute(**book()).filter(month="2010-02-01", level="sector")
    residual = dict(rows.select("name", "residual").iter_rows())
    # 200 A sold at 100.00 on a day that closed at 99.00, plus the spread the price contained.
    assert residual["Energy"] == pytest.approx((200_00 + 20) / 10_000_000, rel=0.05)
    assert abs(residual[CASH_SECTOR]) < 1e-7
    assert residual["unknown"] == 0.0


def test_costs_of_no_fill_are_cash():
    tables = book()
    fee = pl.when(pl.col("session") == FEB[2]).then(5_000).otherwise(pl.col("commission_minor"))
    tables["equity"] = tables["equity"].with_columns(fee.alias("commission_minor"))
    rows = attribute(**tables).filter(month="2010-02-01", name=CASH_SECTOR)
    assert rows["cost"].item() == pytest.approx(-5_000 / 10_000_000, rel=0.05)


def test_a_month_depends_on_nothing_after_it():
    tables = book()
    whole = attribute(**tables)
    cut = {
        k: v.filter(pl.col("session") <= JAN[-1]) if "session" in v.columns else v
        for k, v in tables.items()
    }
    assert attribute(**cut).equals(whole.filter(month="2010-01-01"))
    assert attribute(**tables, months=["2010-02-01"]).equals(whole.filter(month="2010-02-01"))


def test_the_order_of_rows_does_not_change_a_bit():
    tables = book()
    shuffled = {
        k: v.sample(fraction=1, shuffle=True, seed=3) if k != "benchmark" else v
        for k, v in tables.items()
    }
    assert attribute(**shuffled).equals(attribute(**tables))


def test_a_book_without_a_return_has_no_rows():
    tables = book()
    tables["equity"] = tables["equity"].head(1)
    result = attribute(**tables)
    assert result.height == 0
    assert dict(result.schema) == ATTRIBUTION_SCHEMA
