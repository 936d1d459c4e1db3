"""What a user sees when the input is bad: a reason, a remedy, an exit code, nothing half-done."""

import os
import resource
import signal
import subprocess
import sys
import time

import polars as pl
import pytest

from contracts.errors import PartitionError
from io_managers.lake import Lake
from orchestration.base.settings import Settings
from sources.file_drops import EMBEDDED_BARS, EMBEDDED_SYMBOLS
from tests.orchestration.chain import MONTHS, hashes, write_vendor_files

HEADER = "Date,Symbol,Open,High,Low,Close,Volume"


def quantivista(home, vendor, *arguments, limit=None, **environment):
    """Run the command in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "cli.main", *arguments],
        env=os.environ
        | {
            "QUANTIVISTA_HOME": str(home),
            "QUANTIVISTA_VENDOR_DIR": str(vendor),
            "DAGSTER_HOME": str(home / "dagster"),
        }
        | environment,
        preexec_fn=limit,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def vendor(tmp_path):
    return write_vendor_files(tmp_path / "vendor", every=10_000)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is empty"),
        (b"\x1f\x8b\x08\x00 not text \xff\xfe", "Not UTF-8 text"),
        (b"date;ticker;px\n20100104;A;1\n", "Header is 'date;ticker;px'"),
    ],
)
def test_an_unusable_file_stops_the_run_and_says_why(tmp_path, vendor, data, message):
    (vendor / EMBEDDED_BARS).write_bytes(data)
    done = quantivista(tmp_path / "home", vendor, "demo")
    assert done.returncode == 1
    assert message in done.stdout
    assert "Remedy:" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
    assert not Lake(tmp_path / "home" / "lake").exists(("market_data", "bars"))


def test_an_absent_file_is_named(tmp_path, vendor):
    (vendor / EMBEDDED_SYMBOLS).unlink()
    done = quantivista(tmp_path / "home", vendor, "demo")
    assert done.returncode == 1
    assert EMBEDDED_SYMBOLS in done.stdout
    assert "QUANTIVISTA_VENDOR_DIR" in done.stdout


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("QUANTIVISTA_NOW", "yesterday", "now"),
        ("QUANTIVISTA_NOW", "2009-08-02T00:00:00Z", "No session"),
        ("QUANTIVISTA_HISTORY_START", "", "history_start"),
        ("QUANTIVISTA_GO_LIVE_SESSION", "2010-08-21", "the next is 2010-08-23"),
        ("QUANTIVISTA_GO_LIVE_SESSION", "2009-07-31", "does not lie after 2009-08-01"),
    ],
)
def test_a_setting_that_does_not_fit_is_named(tmp_path, vendor, name, value, message):
    done = quantivista(tmp_path / "home", vendor, "daily", **{name: value})
    assert done.returncode == 1
    assert message in done.stdout
    assert "Remedy:" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


@pytest.mark.slow
def test_bad_rows_are_set_aside_with_a_reason_and_the_rest_goes_on(tmp_path):
    bad = {
        "20100104,BAD,-1,2,1,1,100": "price_negative",
        "20100105,BAD,nan,2,1,1,100": "not_a_number",
        "20100106,BAD,1,2,1,1,100": "duplicate",
        "20100106,BAD,1,3,1,1,100": "duplicate",
        "20100107,b@d,1,2,1,1,100": "unknown_symbol",
        "20100109,BAD,1,2,1,1,100": "not_a_session",
        "20100108,BAD,1,2": "wrong_field_count",
        "someday,BAD,1,2,1,1,100": "unreadable_date",
    }
    vendor = write_vendor_files(
        tmp_path / "vendor", every=10_000, edit=lambda lines: [*lines, *bad]
    )
    done = quantivista(tmp_path / "home", vendor, "backfill", MONTHS[0], MONTHS[-1])
    assert done.returncode == 0, done.stdout + done.stderr
    lake = Lake(tmp_path / "home" / "lake")
    found = lake.read(("market_data", "quarantine")).select("raw", "reason")
    assert dict(found.filter(pl.col("raw").is_in(list(bad))).iter_rows()) == bad
    bars = lake.read(("market_data", "bars"))
    assert "US.BAD" not in bars["instrument_id"]
    for reason in set(bad.values()):
        assert f"quarantined: {reason}" in done.stdout


def test_a_full_disk_leaves_the_previous_version(tmp_path):
    lake = Lake(tmp_path / "lake")
    key = ("market_data", "bars")
    before = pl.DataFrame({"month": ["2010-01-01"] * 3, "x": [1, 2, 3]})
    lake.write(key, before, partition_column="month", partitions=["2010-01-01"])
    script = (
        "import polars as pl, sys\n"
        "from pathlib import Path\n"
        "from io_managers.lake import Lake\n"
        "from contracts.errors import LakeError\n"
        "frame = pl.DataFrame({'month': ['2010-01-01'] * 300_000, 'x': range(300_000)})\n"
        "try:\n"
        f"    Lake(Path({str(lake.root)!r})).write({key!r}, frame, partition_column='month',\n"
        "        partitions=['2010-01-01'])\n"
        "except LakeError as error:\n"
        "    sys.exit(str(error))\n"
    )

    def no_space():
        # A file-size limit fails the write just as a full disk does, without needing a mount.
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))

    done = subprocess.run(
        [sys.executable, "-c", script],
        preexec_fn=no_space, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    assert "previous version is untouched" in done.stderr
    assert lake.read(key).sort("x").equals(before)


def test_a_partition_off_the_calendar_is_refused_by_the_lake(tmp_path):
    frame = pl.DataFrame({"month": ["2010-13-01"], "x": [1]})
    with pytest.raises(PartitionError, match="2010-13-01"):
        Lake(tmp_path).write(
            ("market_data", "bars"), frame, partition_column="month", partitions=["2010-12-01"]
        )
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_killed_run_leaves_whole_tables_and_running_again_completes_it(tmp_path):
    vendor = write_vendor_files(tmp_path / "vendor", every=40)
    home = tmp_path / "killed"
    process = subprocess.Popen(
        [sys.executable, "-m", "cli.main", "backfill", MONTHS[0], MONTHS[-1]],
        env=os.environ
        | {
            "QUANTIVISTA_HOME": str(home),
            "QUANTIVISTA_VENDOR_DIR": str(vendor),
            "DAGSTER_HOME": str(home / "dagster"),
        },
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    # In the middle of the book's tables: some written, some not.
    positions = home / "lake" / "portfolio_management" / "positions"
    deadline = time.monotonic() + 120
    while not positions.exists() and time.monotonic() < deadline:
        time.sleep(0.005)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    lake = Lake(home / "lake")
    assert not lake.exists(("portfolio_management", "book_states"))
    for table in (home / "lake").glob("*/*"):
        if lake.exists(table.parts[-2:]):
            lake.read(table.parts[-2:])  # every committed version is whole
    again = quantivista(home, vendor, "backfill", MONTHS[0], MONTHS[-1])
    assert again.returncode == 0, again.stdout + again.stderr
    calm = tmp_path / "calm"
    assert quantivista(calm, vendor, "backfill", MONTHS[0], MONTHS[-1]).returncode == 0
    assert hashes(Settings(home=home, vendor_dir=vendor)) == hashes(
        Settings(home=calm, vendor_dir=vendor)
    )


@pytest.mark.slow
def test_a_second_demo_does_no_work(tmp_path, vendor):
    home = tmp_path / "home"
    assert quantivista(home, vendor, "demo").returncode == 0
    lake = Lake(home / "lake")
    keys = [table.parts[-2:] for table in (home / "lake").glob("*/*")]
    before = {key: lake.version(key) for key in keys}
    again = quantivista(home, vendor, "demo")
    assert again.returncode == 0
    assert "no work to do" in again.stdout
    assert {key: lake.version(key) for key in keys} == before
