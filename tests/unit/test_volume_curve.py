"""The volume curve by hand, and on real minute bars."""

import datetime as dt
import itertools
import random
import zipfile
from pathlib import Path

import polars as pl
import pytest

from contracts.errors import SourceError
from domain.market_data.sessions import SessionTimes
from domain.trade_execution.volume_curve import NS_PER_MIN, PPB, shares_of, volume_curves
from execution.algos import machine
from execution.algos.params import Vwap
from tests.unit.algo_cases import parent

DATA = Path(__file__).parents[3] / "shared" / "data"
OPEN = dt.datetime(2013, 10, 7, 13, 30, tzinfo=dt.UTC)


def session_of(day: int, minutes: int = 60) -> SessionTimes:
    open_ns = int((OPEN + dt.timedelta(days=day)).timestamp()) * 1_000_000_000
    date = (OPEN + dt.timedelta(days=day)).date()
    return SessionTimes(date, open_ns, open_ns + minutes * NS_PER_MIN)


def bars(*rows: tuple[str, int, int, float | None]) -> pl.DataFrame:
    """Rows of (symbol, day, minute after the open, volume)."""
    at = [OPEN + dt.timedelta(days=day, minutes=minute) for _, day, minute, _ in rows]
    return pl.DataFrame(
        {
            "symbol": [row[0] for row in rows],
            "session": [one.date() for one in at],
            "start_time": pl.Series(at, dtype=pl.Datetime("us", "UTC")),
            "volume": [row[3] for row in rows],
        },
        schema_overrides={"volume": pl.Float64},
    )


SESSIONS = [session_of(0), session_of(1), session_of(2, minutes=30)]


def test_sessions_count_alike_and_half_days_and_outside_bars_do_not() -> None:
    found = volume_curves(
        bars(
            ("A", 0, 0, 100), ("A", 0, 14, 100), ("A", 0, 15, 200),  # half, half
            ("A", 1, 1, 9_000), ("A", 1, 59, 3_000),  # three quarters, none, none, one quarter
            ("A", 2, 0, 7),  # a half-day
            ("A", 0, -1, 999), ("A", 0, 60, 999), ("A", 0, 20, None), ("A", 0, 21, float("nan")),
            ("B", 0, 45, 5), ("C", 0, 5, 0),
        ),
        SESSIONS,
    )  # fmt: skip
    assert shares_of(found, "A") == (PPB * 5 // 8, PPB // 4, 0, PPB // 8)
    assert shares_of(found, "B") == (0, 0, 0, PPB)
    assert found.filter(pl.col("symbol") == "A")["sessions"].unique().to_list() == [2]
    with pytest.raises(SourceError, match="C has no volume curve"):
        shares_of(found, "C")


def test_shares_add_up_and_do_not_depend_on_the_rows_order() -> None:
    rng = random.Random(1)  # noqa: S311 - repeatable
    rows = [
        (s, d, m, float(rng.randint(0, 10**6))) for s in "AB" for d in (0, 1) for m in range(60)
    ]
    first = volume_curves(bars(*rows), SESSIONS, bucket_minutes=5)
    rng.shuffle(rows)
    assert volume_curves(bars(*rows), SESSIONS, bucket_minutes=5).equals(first)
    for symbol in "AB":
        assert sum(shares_of(first, symbol)) == PPB
        assert len(shares_of(first, symbol)) == 12


def test_impossible_bars_and_buckets_are_refused() -> None:
    with pytest.raises(SourceError, match="1 bars have an impossible volume"):
        volume_curves(bars(("A", 0, 0, -1.0)), SESSIONS)
    with pytest.raises(SourceError, match="impossible volume"):
        volume_curves(bars(("A", 0, 0, float("inf"))), SESSIONS)
    for minutes in (7, 0, -15):
        with pytest.raises(SourceError, match="do not divide"):
            volume_curves(bars(("A", 0, 0, 1.0)), SESSIONS, bucket_minutes=minutes)
    with pytest.raises(SourceError, match="do not divide"):
        volume_curves(bars(("A", 0, 0, 1.0)), [])


def test_a_curve_is_what_a_vwap_takes() -> None:
    found = volume_curves(bars(("A", 0, 0, 300), ("A", 0, 30, 100)), SESSIONS)
    one = SESSIONS[0]
    algo = Vwap(
        open_ns=one.open_ns, bucket_ns=15 * NS_PER_MIN, share_ppb=shares_of(found, "A"), slices=4
    )
    state = machine.start(parent(start_ns=one.open_ns, end_ns=one.close_ns), algo)
    assert state.schedule is not None
    assert state.schedule.cum_lots == (7_500, 7_500, 10_000, 10_000)


@pytest.mark.evaluation
@pytest.mark.skipif(not DATA.exists(), reason=f"no evaluation data at {DATA}")
@pytest.mark.parametrize("symbol", ["aig", "bac", "ibm", "spy"])
def test_the_curve_of_past_sessions_is_nearer_to_the_next_than_an_even_one(symbol: str) -> None:
    folder = DATA / "lean" / "Data" / "equity" / "usa" / "minute" / symbol
    frames, times = [], []
    for path in sorted(folder.glob("*_trade.zip")):
        date = dt.datetime.strptime(path.name[:8], "%Y%m%d").replace(tzinfo=dt.UTC)
        midnight = date + dt.timedelta(hours=4)  # New York in October
        with zipfile.ZipFile(path) as archive:
            raw = pl.read_csv(archive.read(archive.namelist()[0]), has_header=False)
        at = pl.lit(midnight).cast(pl.Datetime("us", "UTC")) + pl.duration(
            milliseconds=pl.col("column_0")
        )
        frames.append(
            raw.select(
                pl.lit(symbol).alias("symbol"), pl.lit(date.date()).alias("session"),
                at.alias("start_time"), pl.col("column_5").alias("volume"),
            )
        )  # fmt: skip
        open_ns = int((midnight + dt.timedelta(hours=9, minutes=30)).timestamp()) * 10**9
        times.append(SessionTimes(date.date(), open_ns, open_ns + 390 * NS_PER_MIN))
    assert len(frames) >= 3
    past = shares_of(volume_curves(pl.concat(frames[:-1]), times), symbol)
    next_day = shares_of(volume_curves(frames[-1], times), symbol)
    even = [PPB // 26] * 26

    def misplaced(curve) -> float:
        """Share of the volume that a curve has in the wrong quarter of an hour."""
        return sum(abs(a - b) for a, b in zip(curve, next_day, strict=True)) / 2 / PPB

    def ahead(curve) -> float:
        pairs = zip(itertools.accumulate(curve), itertools.accumulate(next_day), strict=True)
        return max(abs(a - b) for a, b in pairs) / PPB

    # Measured: 12 to 15 % against 16 to 23 %. Three sessions are few: BAC's curve is as far ahead
    # of its next day at the worst instant, 8 %, as an even one.
    assert misplaced(past) < 0.9 * misplaced(even)
    assert ahead(past) < 0.09
    assert past[-1] == max(past)  # the close is the busiest quarter of an hour
