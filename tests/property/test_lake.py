"""The lake keeps its promises in any order, under failure, and against hostile names."""

import datetime as dt
import itertools
import multiprocessing as mp
from concurrent.futures import ProcessPoolExecutor

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from contracts.errors import LakeError, PartitionError, SchemaDriftError, UnsafePathError
from io_managers.canonical import canonical_hash
from io_managers.lake import Lake

KEY = ("market_data", "bars")
PRIMARY_KEY = ("instrument_id", "session")
MONTHS = ("2010-01-01", "2010-02-01", "2010-03-01", "2010-04-01")


def month_rows(month: str, count: int = 3) -> pl.DataFrame:
    first = dt.date.fromisoformat(month)
    return pl.DataFrame(
        {
            "month": [month] * count,
            "instrument_id": [f"US.A{i}" for i in range(count)],
            "session": [first + dt.timedelta(days=i) for i in range(count)],
            "close": [10.0 + i + first.month for i in range(count)],
        }
    )


FULL_HASH = canonical_hash(pl.concat(month_rows(m) for m in MONTHS), PRIMARY_KEY)


@settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    order=st.permutations(MONTHS), cuts=st.sets(st.integers(1, 3)), again=st.sampled_from(MONTHS)
)
def test_any_order_and_grouping_of_writes_gives_the_same_hash(tmp_path_factory, order, cuts, again):
    lake = Lake(tmp_path_factory.mktemp("lake"))
    bounds = [0, *sorted(cuts), len(order)]
    for start, end in itertools.pairwise(bounds):
        group = order[start:end]
        rows = pl.concat(month_rows(m) for m in group).sample(fraction=1.0, shuffle=True, seed=1)
        lake.write(KEY, rows, partition_column="month", partitions=group)
    lake.write(KEY, month_rows(again), partition_column="month", partitions=[again])
    assert canonical_hash(lake.read(KEY), PRIMARY_KEY) == FULL_HASH


@given(st.lists(st.floats(), min_size=1, max_size=20), st.randoms())
def test_hash_ignores_row_order_zero_sign_and_lineage(values, random):
    frame = pl.DataFrame({"id": range(len(values)), "x": values})
    shuffled = list(range(len(values)))
    random.shuffle(shuffled)
    other = frame[shuffled].with_columns(
        pl.when(pl.col("x") == 0.0).then(-pl.col("x")).otherwise("x").alias("x"),
        pl.lit("r").alias("run_id"),
    )
    assert canonical_hash(frame, ["id"]) == canonical_hash(other, ["id"])


@pytest.mark.parametrize(
    "change",
    [
        pl.col("close").shift(1, fill_value=0.0),
        pl.col("close").cast(pl.Float32),
        pl.when(pl.col("close") > 12).then(None).otherwise(pl.col("close")).alias("close"),
        (pl.col("close") * (1 + 2**-52)).alias("close"),
    ],
)
def test_hash_sees_every_change_of_content(change):
    frame = month_rows(MONTHS[0])
    assert canonical_hash(frame.with_columns(change), PRIMARY_KEY) != canonical_hash(
        frame, PRIMARY_KEY
    )


@given(st.text(max_size=40))
def test_no_key_escapes_the_root(tmp_path_factory, text):
    lake = Lake(tmp_path_factory.getbasetemp() / "root")
    try:
        path = lake.path_of(("market_data", text))
    except UnsafePathError:
        return
    assert path.parent.parent == lake.root


@pytest.mark.parametrize("evil", ["..", "/etc", "a/b", "a'b", "2010-01-01' OR '1'='1", ""])
def test_hostile_partition_names_are_refused(tmp_path, evil):
    rows = month_rows(MONTHS[0]).with_columns(pl.lit(evil).alias("month"))
    with pytest.raises(UnsafePathError):
        Lake(tmp_path).write(KEY, rows, partition_column="month", partitions=[evil])


def test_a_symbolic_link_out_of_the_lake_is_refused(tmp_path):
    (tmp_path / "outside").mkdir()
    root = tmp_path / "lake"
    root.mkdir()
    (root / "market_data").symlink_to(tmp_path / "outside")
    with pytest.raises(UnsafePathError):
        Lake(root).path_of(KEY)


def test_rows_outside_the_run_are_refused_and_nothing_changes(tmp_path):
    lake = Lake(tmp_path)
    version = lake.write(
        KEY, month_rows(MONTHS[0]), partition_column="month", partitions=MONTHS[:1]
    )
    with pytest.raises(PartitionError, match="2010-02-01"):
        lake.write(KEY, month_rows(MONTHS[1]), partition_column="month", partitions=MONTHS[:1])
    assert lake.version(KEY) == version


def test_schema_drift_names_column_and_types(tmp_path):
    lake = Lake(tmp_path)
    version = lake.write(
        KEY, month_rows(MONTHS[0]), partition_column="month", partitions=MONTHS[:1]
    )
    drifted = month_rows(MONTHS[0]).with_columns(pl.col("close").cast(pl.Float32))
    with pytest.raises(SchemaDriftError, match="'close': expected Float64, found Float32"):
        lake.write(KEY, drifted, partition_column="month", partitions=MONTHS[:1])
    assert lake.version(KEY) == version


def test_a_failed_write_leaves_the_previous_version(tmp_path, monkeypatch):
    lake = Lake(tmp_path)
    lake.write(KEY, month_rows(MONTHS[0]), partition_column="month", partitions=MONTHS[:1])
    before = canonical_hash(lake.read(KEY), PRIMARY_KEY)

    def full_disk(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("io_managers.lake.write_deltalake", full_disk)
    with pytest.raises(LakeError, match="free space"):
        lake.write(KEY, month_rows(MONTHS[0], 9), partition_column="month", partitions=MONTHS[:1])
    assert canonical_hash(lake.read(KEY), PRIMARY_KEY) == before


def _write_one(root, month):
    Lake(root).write(KEY, month_rows(month), partition_column="month", partitions=[month])


def test_four_processes_write_different_partitions(tmp_path):
    # An executor lets its processes end by themselves; a pool terminates them, and one hung then.
    with ProcessPoolExecutor(4, mp_context=mp.get_context("spawn")) as pool:
        list(pool.map(_write_one, itertools.repeat(tmp_path), MONTHS))
    assert canonical_hash(Lake(tmp_path).read(KEY), PRIMARY_KEY) == FULL_HASH
