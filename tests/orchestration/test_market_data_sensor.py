"""A desk with sources of its own: its files are taken in, restated, and read in one run each."""

import datetime as dt
import os
import time

import dagster as dg
import polars as pl
import pytest
from typer.testing import CliRunner

from cli.main import app
from io_managers.lake import Lake
from orchestration.base.ops import incident_store
from orchestration.base.settings import Settings
from orchestration.definitions import build_defs
from sensors.market_data import market_data
from sensors.restatements import WHY_TAG
from sources.file_drops import EMBEDDED_BARS, embedded_drop
from tests.orchestration.chain import MONTHS, TRAPS

START, END = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"
SOURCES = """
[sources.daily]
type = "csv"
path = "daily"
date_format = "%Y%m%d"
columns = { symbol = "Symbol", date = "Date", open = "Open", high = "High", low = "Low", close = "Close", volume = "Volume" }
volume_unit_shares = 100

[sources.other]
type = "pystock"
path = "other"

[bars]
daily = ["daily"]
"""  # noqa: E501
HEADER, *LINES = embedded_drop(EMBEDDED_BARS).data.decode().splitlines()
LINES = [line for line in LINES if line.split(",")[1] in TRAPS]


class Desk:
    """A home with a source of its own, one file a month, and the sensor's ticks."""

    def __init__(self, home, instance):
        self.settings, self.instance, self.cursor = Settings(home=home), instance, None
        home.mkdir()
        (home / "other").mkdir()
        self.settings.sources_file.write_text(SOURCES)
        self.files = home / "daily"
        self.files.mkdir()

    def put(self, month, lines):
        path = self.files / f"{month[:7]}.csv"
        path.write_text("\n".join([HEADER, *lines]) + "\n")
        changed = time.time() - 60
        os.utime(path, (changed, changed))

    def tick(self):
        context = dg.build_sensor_context(
            instance=self.instance, cursor=self.cursor,
            repository_def=build_defs(self.settings).get_repository_def(),
        )  # fmt: skip
        data = market_data(self.settings).evaluate_tick(context)
        self.cursor = data.cursor or self.cursor
        return data

    def settled(self):
        self.tick()
        return self.tick()

    def execute(self, request):
        job = build_defs(self.settings).resolve_job_def(request.job_name)
        return job.execute_in_process(
            instance=self.instance, partition_key=request.partition_key, tags=request.tags
        ).success

    def table(self, name, *where):
        found = Lake(self.settings.lake_root).read(("market_data", name))
        return found.filter(*where)


def of(month):
    return [line for line in LINES if line.startswith(f"{month[:4]}{month[5:7]}")]


def raised(line):
    fields = line.split(",")
    fields[3] = f"{float(fields[3]) + 0.01:.2f}"
    return ",".join(fields)


@pytest.fixture
def desk(tmp_path):
    with dg.DagsterInstance.ephemeral() as instance:
        made = Desk(tmp_path / "home", instance)
        for month in MONTHS[:-1]:
            made.put(month, of(month))
        made.put(MONTHS[-1], [line for line in of(MONTHS[-1]) if line < "20100820"])
        yield made


def test_a_desk_of_its_own_sources_runs_the_chain_and_takes_in_corrections(desk):
    (request,) = desk.settled().run_requests
    assert (request.tags[START], request.tags[END]) == (MONTHS[0], MONTHS[-1])
    assert desk.execute(request)
    drops = desk.table("vendor_drops")
    assert set(drops["name"]) == {f"{month[:7]}.csv" for month in MONTHS}
    assert desk.table("drops_daily").height == len(MONTHS)
    assert desk.table("drops_other").is_empty()
    assert desk.tick().skip_message == "No new file."

    desk.put(MONTHS[-1], of(MONTHS[-1]))
    (request,) = desk.settled().run_requests
    assert (request.job_name, request.partition_key) == ("daily", MONTHS[-1])
    assert desk.execute(request)
    built = desk.table("bars")
    assert built["session"].max() == dt.date(2010, 8, 20)
    assert Lake(desk.settings.lake_root).read(("portfolio_management", "equity")).height

    corrected, *others = of("2010-07-01")
    desk.put("2010-07-01", [raised(corrected), *others[:-1]])
    (request,) = desk.settled().run_requests
    assert request.tags[START] == "2010-07-01"
    assert "the vendor's file changed it" in request.tags[WHY_TAG]
    assert desk.execute(request)
    again = desk.table("bars")
    # One is corrected and one is taken back; all others keep their ids.
    assert again.height == built.height - 1
    assert again.join(built, on="event_id", how="anti").height == 1
    newest = desk.table("bar_revisions", pl.col("revision") == 2)
    assert sorted(newest["withdrawn"]) == [False, True]


def test_what_a_source_refuses_opens_one_incident(desk):
    (desk.files / "bad.csv").write_bytes(b"")
    os.utime(desk.files / "bad.csv", (1, 1))
    assert desk.settled().run_requests
    with incident_store(desk.settings) as store:
        (incident,) = store.incidents()
    assert incident.kind == "source_refused"
    assert "bad.csv" in incident.detail


def test_a_refused_file_that_a_person_accepts_is_taken_in_at_the_next_look(desk, monkeypatch):
    assert desk.settled().run_requests
    desk.put("2010-07-01", of("2010-07-01")[:5])
    assert not desk.settled().run_requests
    with incident_store(desk.settings) as store:
        (incident,) = store.incidents()
    command = incident.detail.split("quantivista ")[1].split(" --as")[0]
    assert desk.tick().skip_message == "No new file."
    monkeypatch.setenv("QUANTIVISTA_HOME", str(desk.settings.home))
    said = CliRunner().invoke(app, [*command.split(), "--because", "the index was cut"])
    assert said.exit_code == 0, said.output
    (request,) = desk.settled().run_requests
    assert (request.job_name, request.tags[START]) == ("restate", "2009-08-01")
    assert desk.tick().skip_message == "No new file."


def test_without_sources_of_its_own_it_watches_nothing(tmp_path):
    with dg.DagsterInstance.ephemeral() as instance:
        data = market_data(Settings(home=tmp_path)).evaluate_tick(
            dg.build_sensor_context(instance=instance)
        )
    assert "No source of the daily bars" in data.skip_message
