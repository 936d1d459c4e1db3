"""A vendor's new file asks for a run of what it changes: once, and only when it is whole."""

import datetime as dt
import os
import shutil
import time

import dagster as dg
import polars as pl
import pytest
from typer.testing import CliRunner

from cli.main import app
from domain.market_data.changes import first_changed_month
from domain.market_data.normalise import read_lines
from io_managers.lake import Lake
from orchestration.base.ops import incident_store
from orchestration.base.settings import Settings
from orchestration.definitions import build_defs
from sensors import arrivals as module
from sensors.arrivals import arrivals
from sensors.restatements import SHA256_TAG, WHY_TAG
from sources.file_drops import EMBEDDED_BARS, EMBEDDED_SYMBOLS
from tests.orchestration.chain import MONTHS, run

MARCH_16 = dt.date(2010, 3, 16)
START, END = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"


class Desk:
    """A home with the whole history built, its vendor's directory, and the sensor's ticks."""

    def __init__(self, home, vendor, instance):
        self.vendor, self.instance = vendor, instance
        self.settings = Settings(home=home, vendor_dir=vendor)
        self.cursor = None

    def tick(self):
        context = dg.build_sensor_context(
            instance=self.instance, cursor=self.cursor,
            repository_def=build_defs(self.settings).get_repository_def(),
        )  # fmt: skip
        data = arrivals(self.settings).evaluate_tick(context)
        self.cursor = data.cursor
        return data

    def settled(self):
        """Tick twice, as a file has to stand still between two looks."""
        assert not self.tick().run_requests
        return self.tick()

    def edit(self, change):
        path = self.vendor / EMBEDDED_BARS
        header, *lines = path.read_text().splitlines()
        path.write_text("\n".join([header, *change(lines)]) + "\n")
        age(path)

    def execute(self, request):
        job = build_defs(self.settings).resolve_job_def(request.job_name)
        result = job.execute_in_process(
            instance=self.instance, partition_key=request.partition_key, tags=request.tags,
            raise_on_error=False,
        )  # fmt: skip
        return result.success

    def incidents(self):
        with incident_store(self.settings) as store:
            return store.incidents()


def age(path, seconds=60.0):
    """Make a file look as if its last change were some time ago."""
    changed = time.time() - seconds
    os.utime(path, (changed, changed))


@pytest.fixture
def desk(history, tmp_path):
    """An empty home, with the vendor's files in place for a minute."""
    shutil.copytree(history / "vendor", tmp_path / "vendor")
    for name in (EMBEDDED_BARS, EMBEDDED_SYMBOLS):
        age(tmp_path / "vendor" / name)
    with dg.DagsterInstance.ephemeral() as instance:
        yield Desk(tmp_path / "home", tmp_path / "vendor", instance)


@pytest.fixture
def built(history, desk):
    """The same with the whole history built from those files."""
    shutil.copytree(history / "home", desk.settings.home)
    assert "taken in last" in desk.settled().skip_message
    return desk


def raised(lines, prefix):
    """Add a cent to high, and so change, every line that begins with ``prefix``."""
    changed = []
    for line in lines:
        fields = line.split(",")
        if line.startswith(prefix):
            fields[3] = f"{float(fields[3]) + 0.01:.2f}"
        changed.append(",".join(fields))
    assert changed != lines
    return changed


def test_the_embedded_data_never_arrives(tmp_path):
    with dg.DagsterInstance.ephemeral() as instance:
        data = arrivals(Settings(home=tmp_path)).evaluate_tick(
            dg.build_sensor_context(instance=instance)
        )
    assert "never arrives" in data.skip_message


def test_the_first_file_asks_for_the_whole_history_once(desk):
    data = desk.settled()
    (request,) = data.run_requests
    assert request.job_name == "restate"
    assert (request.tags[START], request.tags[END]) == (MONTHS[0], MONTHS[-1])
    assert len(request.tags[SHA256_TAG]) == 64
    for _ in range(3):
        assert desk.tick().skip_message == "No new file."
    assert desk.execute(request)
    assert desk.tick().skip_message == "No new file."
    lake = Lake(desk.settings.lake_root)
    assert lake.read(("portfolio_management", "book_states"))["month"].n_unique() == len(MONTHS)
    assert not lake.exists(("trade_execution", "handoff"))


def test_a_file_that_is_being_written_waits(desk):
    path = desk.vendor / EMBEDDED_BARS
    with path.open("a") as file:
        file.write("20100820,ZZ,1,2")
    for _ in range(3):
        assert "being written" in desk.tick().skip_message  # it changed within the last seconds
    age(path)
    assert "being written" in desk.tick().skip_message  # it changed between two looks
    with path.open("a") as file:
        file.write(",1,1,1\n")
    age(path)
    assert "being written" in desk.tick().skip_message
    assert desk.tick().run_requests


def test_a_session_added_to_the_newest_month_asks_for_the_daily_job(built):
    built.edit(lambda lines: raised(lines, "20100820"))
    (request,) = built.settled().run_requests
    assert (request.job_name, request.partition_key) == ("daily", MONTHS[-1])
    assert "the vendor's file changed it" in request.tags[WHY_TAG]
    assert built.execute(request)


def test_a_correction_of_an_earlier_month_restates_from_there_as_a_rebuild_would(built, tmp_path):
    built.edit(lambda lines: raised(raised(lines, "20100820"), "20100316"))
    (request,) = built.settled().run_requests
    assert request.job_name == "restate"
    assert (request.tags[START], request.tags[END]) == ("2010-03-01", MONTHS[-1])
    assert built.execute(request)
    lake = Lake(built.settings.lake_root)
    whole = Settings(home=tmp_path / "whole", vendor_dir=built.vendor)
    assert run(whole, [(MONTHS[0], MONTHS[-1])]).success
    # Ids name the vendor's file; what rows say is that of a rebuild of everything.
    nav = [
        Lake(s.lake_root).read(("portfolio_management", "equity")) for s in (whole, built.settings)
    ]
    assert nav[0].sort("session").equals(nav[1].sort("session"))
    # A row that the new file repeats keeps the file, and so the id, with which it came.
    new = pl.col("raw_sha256") == request.tags[SHA256_TAG]
    corrected = lake.read(("market_data", "bars"), where=new)
    assert set(corrected["session"].cast(pl.String)) == {"2010-03-16", "2010-08-20"}
    revisions = lake.read(("market_data", "bar_revisions"), where=pl.col("session") == MARCH_16)
    assert sorted(revisions["revision"].unique()) == [1, 2]
    assert revisions.filter(pl.col("revision") == 2)["raw_sha256"].unique().to_list() == [
        request.tags[SHA256_TAG]
    ]


def test_a_file_that_is_taken_back_is_taken_in_again(built):
    path = built.vendor / EMBEDDED_BARS
    first = path.read_text()
    keys = set()
    for _ in range(2):
        built.edit(lambda lines: raised(lines, "20100820"))
        keys.add(built.settled().run_requests[0].run_key)
        path.write_text(first)
        age(path, 120)
        keys.add(built.settled().run_requests[0].run_key)
    assert len(keys) == 4


def test_a_file_whose_run_failed_is_made_good_by_the_next_ones_run(built):
    built.edit(lambda lines: raised(lines, "20100316"))
    assert built.settled().run_requests[0].tags[START] == "2010-03-01"  # and it never runs
    built.edit(lambda lines: raised(lines, "20100820"))
    (request,) = built.settled().run_requests
    assert request.tags[START] == "2010-03-01"
    assert "did not succeed" in request.tags[WHY_TAG]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b" \n", "is empty"),
        (b"\x1f\x8b\x08\x00 not text \xff\xfe", "Not UTF-8 text"),
        (b"date;ticker;px\n20100104;A;1\n", "Header is"),
        (b"Date,Symbol,Open,High,Low,Close,Volume\n", "no line"),
        (b"Date,Symbol,Open,High,Low,Close,Volume\n20100104,A,1,1,1,1,1\n", "ends on 20100104"),
    ],
)
def test_a_broken_file_opens_one_incident_and_starts_no_run(built, data, message):
    path = built.vendor / EMBEDDED_BARS
    path.write_bytes(data)
    age(path)
    refused = built.settled()
    assert message in refused.skip_message
    assert "Incident" in refused.skip_message
    assert not refused.run_requests
    assert built.tick().skip_message == "No new file."
    path.touch()
    age(path, 30)
    assert "Incident" in built.settled().skip_message  # looked at again, the same incident
    (incident,) = built.incidents()
    assert incident.kind == "vendor_file_unusable"
    assert message in incident.detail


def test_a_file_that_a_person_accepts_is_taken_in_at_the_next_look(built, monkeypatch):
    built.edit(lambda lines: [line for line in lines if line < "20100810"])
    refused = built.settled()
    assert "ends on 20100809, the file before it on 20100820" in refused.skip_message
    command = refused.skip_message.split("quantivista ")[1].split(" --as")[0]
    assert command in built.incidents()[0].detail
    assert built.tick().skip_message == "No new file."
    for name in ("home", "vendor_dir"):
        monkeypatch.setenv(f"QUANTIVISTA_{name.upper()}", str(getattr(built.settings, name)))
    for word in ("need not keep", "has accepted it already"):
        said = CliRunner().invoke(app, [*command.split(), "--because", "the vendor cut it"])
        assert said.exit_code == 0, said.output
        assert word in said.output
    (request,) = built.settled().run_requests
    assert (request.job_name, request.partition_key) == ("daily", MONTHS[-1])
    assert built.execute(request)
    bars = Lake(built.settings.lake_root).read(("market_data", "bars"))
    assert bars["session"].max() == dt.date(2010, 8, 9)
    assert built.tick().skip_message == "No new file."


def test_a_broken_symbol_list_is_refused_too(built):
    path = built.vendor / EMBEDDED_SYMBOLS
    path.write_text("<none/>")
    age(path)
    assert "no <symbol> element" in built.settled().skip_message


def test_lines_after_now_change_nothing(built):
    built.edit(lambda lines: [*lines, "20100901,A,1,1,1,1,1"])
    assert "outside the months" in built.settled().skip_message


def test_a_line_without_a_date_is_filed_under_the_first_month():
    header = b"Date,Symbol,Open,High,Low,Close,Volume\n"
    old = read_lines(header + b"20100820,A,1,1,1,1,1\n")
    new = read_lines(header + b"20100820,A,1,1,1,1,1\nsomeday,A,1,1,1,1,1\n")
    assert first_changed_month(new, old, MONTHS) == MONTHS[0]
    assert first_changed_month(old, old, MONTHS) is None


def test_order_and_numbers_of_lines_change_nothing():
    header = b"Date,Symbol,Open,High,Low,Close,Volume\n"
    days = [f"{month[:4]}{month[5:7]}15,A,1,1,1,1,1\n".encode() for month in MONTHS]
    old = read_lines(header + b"".join(days))
    assert first_changed_month(read_lines(header + b"".join(days[::-1])), old, MONTHS) is None
    twice = read_lines(header + b"".join([*days, days[4]]))
    assert first_changed_month(twice, old, MONTHS) == MONTHS[4]
    assert first_changed_month(old, twice, MONTHS) == MONTHS[4]


def test_an_unchanged_file_is_not_read(built, monkeypatch):
    monkeypatch.setattr(module, "vendor_drops", lambda _: pytest.fail("it was read"))
    assert built.tick().skip_message == "No new file."
