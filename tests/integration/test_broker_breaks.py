"""Breaks with the broker, as the assets roll them."""

import datetime as dt

import polars as pl
import pytest

from assets.cash_management import roll_broker_breaks
from contracts.clock import FixedClock
from domain.book.policy import BookPolicy
from ops_store.connection import sqlite_url
from ops_store.store import OpsStore
from orchestration.base.settings import Settings
from tests.unit.test_reconcile import BARS, STATEMENT

NO_TRADES = pl.DataFrame(
    schema={
        "session": pl.Date,
        "exec_id": pl.String,
        "cl_ord_id": pl.String,
        "side": pl.String,
        "last_qty": pl.Int64,
        "last_px": pl.Float64,
        "commission_minor": pl.Int64,
    }
)


@pytest.mark.parametrize(("upto", "is_rolled"), [("2010-07-01", False), ("2010-08-01", True)])
def test_a_run_of_an_earlier_month_makes_no_break_of_what_it_cannot_see(
    tmp_path, upto, is_rolled
) -> None:
    settings = Settings(home=tmp_path, now=dt.datetime(2010, 8, 31, 22, tzinfo=dt.UTC))
    store = OpsStore.open(sqlite_url(tmp_path / "ops.db"), FixedClock(1), migrate=True)
    roll_broker_breaks(store, settings, BookPolicy(), [STATEMENT], NO_TRADES, BARS, upto)
    assert bool(store.breaks()) == is_rolled
    store.close()
