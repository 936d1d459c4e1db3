"""Bars from trades: what counts, where the volume goes, and why a vendor's bars differ."""

import polars as pl
import pytest

from contracts.errors import SourceError
from domain.market_data.intraday.bars import SCHEMA, bars_from_trades
from domain.market_data.intraday.compare import compare_bars, counts_by_cause
from domain.market_data.intraday.sale_conditions import IEX, LEAN_BARS, SIP, Role
from tests.unit.intraday_cases import OPEN_NS, SECOND_NS, trades

MINUTE_NS = 60 * SECOND_NS
REGULAR, ISO, ODD_LOT, EXTENDED, LATE = "1", "20", "80000000", "2000", "801"


def bars(frame, conditions=SIP, period_ns=MINUTE_NS):
    return bars_from_trades(frame, period_ns, conditions)


def shown(frame):
    columns = ("start_ns", "open", "high", "low", "close", "volume", "trades")
    return [((row[0] - OPEN_NS) // SECOND_NS, *row[1:]) for row in frame.select(columns).rows()]


def test_a_bar_has_first_highest_lowest_last_and_all_volume():
    found = bars(trades((1, 10, 100, REGULAR), (2, 12, 50, ISO), (59.9, 11, 50, REGULAR),
                        (60, 9, 10, REGULAR)))  # fmt: skip
    assert shown(found) == [(0, 10, 12, 10, 11, 200, 3), (60, 9, 9, 9, 9, 10, 1)]
    assert found["vwap"].to_list() == [(10 * 100 + 12 * 50 + 11 * 50) / 200, 9.0]
    assert (found["end_ns"] - found["start_ns"]).to_list() == [MINUTE_NS] * 2
    assert dict(found.schema) == SCHEMA


def test_odd_lots_and_extended_hours_have_volume_and_no_price_on_the_tape():
    found = bars(trades((1, 99, 5, ODD_LOT), (2, 10, 100, REGULAR), (61, 50, 7, EXTENDED)))
    assert shown(found) == [
        (0, 10, 10, 10, 10, 105, 2), (60, None, None, None, None, 7, 1),
    ]  # fmt: skip
    assert found["vwap"].to_list() == [10.0, None]


def test_a_late_report_widens_a_bar_but_neither_opens_nor_closes_it():
    found = bars(trades((1, 8, 1, LATE), (2, 10, 1, REGULAR), (3, 11, 1, REGULAR), (4, 15, 1, LATE),
                        (61, 7, 1, LATE), (62, 6, 1, LATE)))  # fmt: skip
    assert shown(found) == [(0, 10, 15, 8, 11, 4, 4), (60, 7, 7, 6, 6, 2, 2)]


def test_official_prices_and_suspicious_trades_are_no_trades():
    frame = trades((1, 10, 100, REGULAR), (2, 99, 10**6, "1000000"), (3, 99, 10**6, "4000000"),
                   (4, 500, 100, REGULAR, "D", True))  # fmt: skip
    assert shown(bars(frame)) == [(0, 10, 10, 10, 10, 100, 1)]
    assert bars(frame.filter(pl.col("line") > 1)).equals(pl.DataFrame(schema=SCHEMA))


def test_leans_bars_book_sweeps_to_the_last_bar_with_a_price():
    frame = trades((1, 99, 1, ISO), (60, 10, 100, REGULAR), (61, 99, 2, ISO), (125, 99, 4, ISO),
                   (180, 11, 8, REGULAR))  # fmt: skip
    assert shown(bars(frame, LEAN_BARS)) == [
        (60, 10, 10, 10, 10, 107, 4), (180, 11, 11, 11, 11, 8, 1),
    ]  # fmt: skip
    assert shown(bars(frame.filter(pl.col("conditions") == ISO), LEAN_BARS))[-1][-2:] == (4, 1)


def test_volume_is_not_carried_to_another_instrument():
    frame = pl.concat([trades((1, 10, 100, REGULAR)), trades((2, 20, 3, ISO), symbol="SPZ")])
    found = bars(frame, LEAN_BARS)
    assert found.select("symbol", "open", "volume").rows() == [
        ("SPY", 10.0, 100.0), ("SPZ", None, 3.0),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("rules", "conditions", "role"),
    [
        (SIP, "1", Role.PRICE), (SIP, "0", Role.PRICE), (SIP, "20000020", Role.PRICE),
        (SIP, "20100200", Role.VOLUME), (SIP, "1000000", Role.NOTHING), (SIP, "801", Role.RANGE),
        (SIP, "@", Role.VOLUME), (SIP, "", Role.VOLUME), (LEAN_BARS, "20002020", Role.PRICE),
        (LEAN_BARS, "100000", Role.PRICE), (LEAN_BARS, "20100000", Role.VOLUME),
        (LEAN_BARS, "80", Role.NOTHING), (IEX, "00", Role.PRICE), (IEX, "60", Role.VOLUME),
    ],
)  # fmt: skip
def test_the_first_rule_that_a_trade_meets_decides(rules, conditions, role):
    assert rules.role_of(conditions) == role
    assert rules.roles(pl.Series([conditions, conditions])).tolist() == [role, role]


def test_every_rule_says_where_it_is_from():
    for rules in (SIP, LEAN_BARS, IEX):
        assert rules.source
        assert all(rule.why and rule.all_of for rule in rules.rules)


@pytest.mark.parametrize("period_ns", [0, -1])
def test_a_bar_of_no_length_is_refused(period_ns):
    with pytest.raises(SourceError, match="is none"):
        bars(trades((1, 1, 1, REGULAR)), period_ns=period_ns)


def test_differences_from_a_vendors_bars_are_counted_by_cause():
    frame = trades((0, 10, 5, REGULAR), (1, 9, 100, "40", "N"), (70, 11, 5, REGULAR),
                   (130, 12, 5, REGULAR), (200, 13, 5, REGULAR), (205, 12.5, 50, "80", "N"),
                   (260, 14, 5, REGULAR))  # fmt: skip
    built = bars(frame, LEAN_BARS)
    vendor = built.select("symbol", "start_ns", "open", "high", "low", "close", "volume")
    assert counts_by_cause(compare_bars(built, vendor, frame))["equal"] == 5
    at = (pl.col("start_ns") - OPEN_NS) // SECOND_NS

    def changed(row, **values):
        return [
            pl.when(at == row).then(value).otherwise(pl.col(name)).alias(name)
            for name, value in values.items()
        ]

    vendor = (
        vendor.with_columns(changed(0, open=9.0, low=9.0, volume=105.0))
        .with_columns(changed(60, high=99.0))
        .with_columns(changed(180, low=12.5, close=12.5, volume=55.0))
        .filter(at != 120)
    )
    extra = vendor.tail(1).with_columns(start_ns=OPEN_NS + 600 * SECOND_NS)
    vendor = pl.concat([vendor, extra, extra.with_columns(
        pl.lit(12.5).alias(name) for name in ("open", "high", "low", "close")
    ).with_columns(start_ns=OPEN_NS + 660 * SECOND_NS, volume=60.0)])  # fmt: skip
    compared = compare_bars(built, vendor, frame)
    assert compared["cause"].to_list() == [
        "opening_auction", "unexplained", "only_built", "closing_auction", "equal", "only_vendor",
        "closing_auction",
    ]  # fmt: skip
    assert counts_by_cause(compared) == {
        "equal": 1, "opening_auction": 1, "closing_auction": 2, "only_vendor": 1, "only_built": 1,
        "unexplained": 1,
    }  # fmt: skip
