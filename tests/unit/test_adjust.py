"""Corporate actions on the forward-adjusted series, by hand-made cases and on the embedded file."""

import datetime as dt

import exchange_calendars as xcals
import polars as pl
import pytest

from contracts.errors import ContractError
from domain.market_data.adjust import forward_adjusted
from domain.market_data.normalise import normalise, read_rows
from domain.market_data.reference import ACTIONS, CorporateAction, with_permanent_ids
from sources.file_drops import embedded_drop

DAY = dt.date(2010, 1, 4)


def bars(*opens_and_closes, instrument="US.A", basis="raw"):
    return pl.DataFrame(
        {
            "instrument_id": instrument,
            "session": [DAY + dt.timedelta(days=i) for i in range(len(opens_and_closes))],
            "open": [float(o) for o, _ in opens_and_closes],
            "high": [float(max(pair)) for pair in opens_and_closes],
            "low": [float(min(pair)) for pair in opens_and_closes],
            "close": [float(c) for _, c in opens_and_closes],
            "price_basis": basis,
        }
    )


def action(kind, day=1, ratio=None, cash=None, received=None):
    return CorporateAction("US.A", DAY + dt.timedelta(days=day), kind, ratio, cash, received, "t")


def test_a_split_leaves_the_series_continuous():
    adjusted = forward_adjusted(bars((100, 100), (50, 55)), [action("split", ratio=2.0)])
    assert adjusted["factor"].to_list() == [1.0, 2.0]
    assert adjusted["adj_close"].to_list() == [100.0, 110.0]


def test_a_special_dividend_counts_as_reinvested():
    adjusted = forward_adjusted(bars((40, 40), (30, 30)), [action("special_dividend", cash=10.0)])
    assert adjusted["adj_open"].to_list() == pytest.approx([40.0, 40.0])


def test_a_spin_off_is_worth_what_the_received_shares_open_at():
    both = pl.concat([bars((45, 45), (15, 15)), bars((9, 9), (30, 31), instrument="US.N")])
    adjusted = forward_adjusted(both, [action("spin_off", ratio=1.0, received="US.N")])
    parent = adjusted.filter(instrument_id="US.A")
    assert parent["adj_open"].to_list() == pytest.approx([45.0, 45.0])
    assert parent["factor_basis"].to_list() == [None, "spin_off"]


def test_an_unpriced_spin_off_gives_no_overnight_return_and_says_so():
    adjusted = forward_adjusted(
        bars((45, 45), (20, 22)), [action("spin_off", ratio=0.5, received="US.N")]
    )
    assert adjusted["overnight_ratio"][1] == pytest.approx(1.0)
    assert adjusted["factor_basis"][1] == "implied_by_open"


def test_an_action_on_a_missing_session_applies_on_the_next_bar():
    gapped = bars((100, 100), (0.1, 0.1), (50, 50)).filter(pl.col("open") > 1)
    assert forward_adjusted(gapped, [action("split", ratio=2.0)])["factor"][1] == 2.0


def test_a_distribution_after_a_split_of_the_same_gap_is_of_the_new_shares():
    gapped = bars((100, 100), (1, 1), (1, 1), (49, 49)).filter(pl.col("open") > 1)
    acted = [action("cash_dividend", day=2, cash=1.0), action("split", day=1, ratio=2.0)]
    found = forward_adjusted(gapped, acted, total_return=True)
    assert found["factor"][1] == pytest.approx(2 * 100 / 98)
    assert found["adj_close"].to_list() == pytest.approx([100.0, 100.0])
    # Of the same day, or earlier, it is of the old ones.
    for day in (1, 0):
        acted = [action("cash_dividend", day=1, cash=1.0), action("split", day=2 - day, ratio=2.0)]
        found = forward_adjusted(gapped, acted, total_return=True)
        assert found["factor"][1] == pytest.approx(2 * 100 / 99)


def test_a_later_action_never_changes_a_past_value():
    series = bars((100, 100), (101, 102), (51, 52))
    before = forward_adjusted(series, [])
    after = forward_adjusted(series, [action("split", day=2, ratio=2.0)])
    assert after["adj_close"][:2].to_list() == before["adj_close"][:2].to_list()


def test_an_unexplained_jump_is_flagged_and_not_adjusted():
    adjusted = forward_adjusted(bars((100, 100), (50, 50)), [])
    assert adjusted["unexplained_jump"].to_list() == [False, True]
    assert adjusted["factor"].to_list() == [1.0, 1.0]


@pytest.mark.parametrize(
    ("basis", "kind", "refused"),
    [
        ("raw", "split", False),
        ("split_adjusted", "split", True),
        ("split_adjusted", "special_dividend", False),
        ("split_adjusted", "spin_off", False),
        ("total_return", "split", True),
        ("total_return", "special_dividend", True),
    ],
)
def test_what_the_prices_hold_already_is_refused(basis, kind, refused):
    series = bars((10, 10), (9, 9), basis=basis)
    ratio, cash = (None, 1.0) if kind == "special_dividend" else (2.0, None)
    acted = [action(kind, ratio=ratio, cash=cash)]
    if refused:
        with pytest.raises(ContractError, match=f"{basis}.*{kind}"):
            forward_adjusted(series, acted)
    else:
        assert forward_adjusted(series, acted)["factor"][1] > 1
    # An action of somebody else's is no reason.
    other = [CorporateAction("US.B", DAY, kind, ratio, cash, None, "t")]
    assert forward_adjusted(series, other)["factor"].to_list() == [1.0, 1.0]


def test_the_embedded_year_has_no_unexplained_jump():
    drop = embedded_drop()
    calendar = xcals.get_calendar("XNYS", start="2009-01-01", end="2010-12-31")
    sessions = pl.Series([s.date() for s in calendar.sessions])
    result = normalise(
        read_rows(drop.data), source=drop.source, sha256=drop.sha256, sessions=sessions
    )
    identified = with_permanent_ids(result.bars)
    assert forward_adjusted(identified, [])["unexplained_jump"].sum() == 6
    adjusted = forward_adjusted(identified, ACTIONS)
    assert adjusted["unexplained_jump"].sum() == 0
    renamed = adjusted.filter(instrument_id="US.ETFC")
    assert renamed.height == 240
    assert renamed["symbol"].unique().sort().to_list() == ["ETFC", "ETFCD"]
    assert adjusted.filter(instrument_id="US.FPL").height == 245
    mcafee = adjusted.filter(instrument_id="US.MFE", session=dt.date(2010, 8, 19))
    assert mcafee["overnight_ratio"].item() == pytest.approx(1.58, abs=0.01)
