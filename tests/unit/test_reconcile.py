"""A broker's statement, the service and the lake: agreement, and every way to differ."""

import datetime as dt

import msgspec
import polars as pl
import pytest

from contracts.errors import SourceError
from domain.trade_execution.reconcile import BrokerStatement, StatementFill, reconcile
from sources.broker_statements import read_statements, write_statement

DAY = dt.date(2010, 8, 20)
FILL = StatementFill("E1", "Q1", "NEE", "buy", 100, 501_250, 3_500)
STATEMENT = BrokerStatement(
    session=DAY,
    orders=1,
    fills=(FILL,),
    broker_positions={"NEE": (100, -50_125_000)},
    service_positions={"US.FPL": (100, "-5012.50")},
)
BARS = pl.DataFrame({"session": [DAY], "instrument_id": ["US.FPL"], "symbol": ["NEE"]})


def trades(**changes):
    row = {"session": DAY, "exec_id": "E1", "cl_ord_id": "Q1", "side": "buy",
           "last_qty": 100, "last_px": 50.125,
           "commission_minor": 35}  # fmt: skip
    return pl.DataFrame([row | changes])


def only(statement, table):
    return reconcile([statement], table, BARS).row(0, named=True)


def test_equal_accounts_agree_to_the_share_and_the_cent():
    row = only(STATEMENT, trades())
    assert (row["fills_agree"], row["positions_agree"], row["differences"]) == (True, True, "")
    assert (row["shares"], row["cash_minor"], row["fees_minor"]) == (100, -501_250, 35)


@pytest.mark.parametrize(
    "change",
    [
        {"last_qty": 99},
        {"last_px": 50.1251},
        {"commission_minor": 34},
        {"exec_id": "E9"},
        {"side": "sell"},
        {"cl_ord_id": "Q2"},
    ],
)
def test_a_fill_that_differs_is_named(change):
    row = only(STATEMENT, trades(**change))
    assert not row["fills_agree"]
    assert "execution E1: the broker says" in row["differences"]


@pytest.mark.parametrize("position", [(99, "-5012.50"), (100, "-5012.51")])
def test_a_position_that_differs_is_named(position):
    other = msgspec.structs.replace(STATEMENT, service_positions={"US.FPL": position})
    row = only(other, trades())
    assert row["fills_agree"]
    assert not row["positions_agree"]
    assert row["differences"].startswith("position NEE")


def test_a_statement_survives_its_file_and_belongs_to_its_month(tmp_path):
    write_statement(tmp_path, STATEMENT)
    assert read_statements(tmp_path, ["2010-08-01"]) == [STATEMENT]
    assert read_statements(tmp_path, ["2010-07-01"]) == []
    (tmp_path / "statement-2010-08-21.json").write_text("{}")
    with pytest.raises(SourceError, match="2010-08-21"):
        read_statements(tmp_path, ["2010-08-01"])
