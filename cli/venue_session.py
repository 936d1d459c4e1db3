"""The session that the paper venue replays: its bars go to the venue before they reach the lake."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from pathlib import Path

import polars as pl

from domain.cash_management.settlement import settlement_date
from domain.market_data.normalise import normalise, read_rows
from domain.market_data.reference import with_permanent_ids
from execution.venue.market import Bar, SessionHeader, write_session
from orchestration.base.settings import Settings
from sources.file_drops import vendor_drops
from sources.reference_data.reference import read_reference


def write_replay(settings: Settings, session: dt.date, path: Path) -> int:
    """Write the bars of a session for the venue; return how many there are.

    The rules of workflow 01 apply: a row that the platform would quarantine is not traded.
    """
    prices, _ = vendor_drops(settings.vendor_dir)
    times = settings.session_times()
    days = [entry.session for entry in times]
    upto = pl.Series("session", [day for day in days if day <= session], dtype=pl.Date)
    known = normalise(
        read_rows(prices.data), source=prices.source, sha256=prices.sha256, sessions=upto
    )
    spells = read_reference(settings.sources_file, None, settings.sessions_between).spells
    bars = with_permanent_ids(known.bars.filter(pl.col("session") == session), spells)
    index = days.index(session)
    header = SessionHeader(
        session=session.isoformat(),
        settlement_date=settlement_date("US", days, index).isoformat(),
        open_ns=times[index].open_ns,
        close_ns=times[index].close_ns,
    )
    rows = [
        Bar(
            instrument=row["instrument_id"],
            symbol=row["symbol"],
            open=Decimal(str(row["open"])),
            high=Decimal(str(row["high"])),
            low=Decimal(str(row["low"])),
            close=Decimal(str(row["close"])),
            volume=row["volume_shares"],
        )
        for row in bars.iter_rows(named=True)
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    write_session(path, header, rows)
    return len(rows)
