"""A refused file that is right: a person accepts it, and only the rule that refused it rests."""

import datetime as dt
import shutil

import polars as pl
import pytest
from typer.testing import CliRunner

from cli import acting
from cli.main import app
from contracts.errors import QuantiVistaError, SourceError
from domain.compliance.audit_verify import verify
from domain.compliance.errors import PermissionDeniedError
from domain.market_data.revisions import as_of
from orchestration.base.ops import incident_store
from sources.file_drops import make_drop
from tests.unit.test_daily_histories import CSV, DAYS, HEADER, NOW, NOW_NS, Feed, bar

NAMES = [f"S{letter}" for letter in "ABCDEFGHIJKL"]


@pytest.fixture
def feed(tmp_path, monkeypatch):
    made = Feed(tmp_path)
    monkeypatch.setenv("QUANTIVISTA_HOME", str(tmp_path))
    monkeypatch.setenv("QUANTIVISTA_HISTORY_START", "2014-12-01")
    monkeypatch.setenv("QUANTIVISTA_NOW", NOW.isoformat())
    monkeypatch.setattr(acting, "login", lambda: "shared")
    for person, role in (("ada", "admin"), ("rita", "risk"), ("tom", "trader")):
        assert ask("people", "grant", person, role, "--as", "ada").exit_code == 0
    return made


def ask(*arguments):
    return CliRunner().invoke(app, list(arguments))


def accept(feed, *, by="rita", because="an index left the feed", sha256=None):
    """Accept the newest file of the feed; the command as its refusal prints it."""
    row = feed.desk.receipts("feed").rows()[-1]
    prefix = sha256 or row.sha256[:12]
    return ask("sources", "accept", "feed", prefix, "--as", by, "--because", because)


def refused(result, kind, match):
    assert isinstance(result.exception, kind), result.output
    assert match in str(result.exception)


def entries(feed):
    with incident_store(feed.settings) as store:
        found = store.audit_entries()
    assert list(verify(found, [], [])) == []
    return [one for one in found if one.action == "delivery_accept"]


def whole(feed, price=10.0, names=NAMES, header=HEADER, day=0):
    lines = [
        f"{name},{date},{price},{price},{price},{price},100" for name in names for date in DAYS
    ]
    feed.send("a.csv", *lines, day=day, header=header)


def told(feed):
    (text,) = feed.history().quarantine.filter(source_seq=0)["raw"]
    return text


def test_a_shrunken_file_is_refused_accepted_and_taken_and_the_trail_says_so(feed):
    feed.send("a.csv", *(bar(day) for day in DAYS))
    feed.send("a.csv", *(bar(day) for day in DAYS[:-1]), day=1)
    sha256 = feed.desk.receipts("feed").rows()[-1].sha256
    assert f"quantivista sources accept feed {sha256[:12]} --as <person>" in told(feed)

    refused(accept(feed, by="tom"), PermissionDeniedError, "tom (trader) may not delivery_accept")
    refused(accept(feed, because=" "), QuantiVistaError, "No reason")
    assert feed.refusals() == ["shrunken_file"]
    assert entries(feed) == []

    done = accept(feed)
    assert done.exit_code == 0, done.output
    assert "rita says so" in done.output
    assert feed.refusals() == []
    assert len(feed.closes()) == len(DAYS) - 1
    (entry,) = entries(feed)
    assert (entry.actor, entry.role, entry.subject) == ("rita", "risk", f"feed {sha256}")
    (row,) = feed.desk.acceptances("feed").rows()
    assert (row.person, row.because, row.rule) == (
        "rita", "an index left the feed", "shrunken_file"
    )  # fmt: skip

    again = accept(feed)
    assert again.exit_code == 0
    assert "rita has accepted it already" in again.output
    assert len(entries(feed)) == 1
    assert len(feed.desk.acceptances("feed").rows()) == 1


def test_what_was_accepted_is_known_from_then_on_and_a_rebuild_says_the_same(feed):
    feed.send("a.csv", *(bar(day) for day in DAYS))
    feed.send("a.csv", *(bar(day, 11.0) for day in DAYS[:-1]), day=-9)
    before = feed.history().revisions
    assert accept(feed).exit_code == 0
    revisions = feed.history().revisions
    new = revisions.filter(pl.col("knowledge_time") == NOW)
    assert (new.height, new["withdrawn"].sum()) == (len(DAYS), 1)
    earlier = NOW - dt.timedelta(seconds=1)
    assert as_of(revisions, earlier).equals(as_of(before, earlier))
    shutil.rmtree(feed.settings.drops_root / "histories")
    assert feed.history().revisions.equals(revisions)
    # What comes later is judged against what was accepted, and adds to it.
    feed.send("a.csv", *(bar(day, 12.0) for day in DAYS[:-1]), day=1)
    assert feed.refusals() == []
    shutil.rmtree(feed.settings.drops_root / "histories")
    assert set(feed.closes().values()) == {12.0}


def test_every_other_rule_still_judges_an_accepted_file(feed):
    whole(feed)
    text = [f"{NAMES[0]},2015-01-05,1,1,1,-1,1"]
    lines = [f"{name},{DAYS[-1]},1e3,1e3,1e3,1e3,100" for name in NAMES]
    feed.send("a.csv", *lines, *text, day=1)
    assert feed.refusals() == ["shrunken_file"]
    assert accept(feed).exit_code == 0
    assert feed.refusals() == ["changed_unit"]
    assert accept(feed).exit_code == 0
    history = feed.history()
    assert history.quarantine["reason"].to_list() == ["price_negative"]
    assert [row.rule for row in feed.desk.acceptances("feed").rows()] == [
        "shrunken_file", "changed_unit"
    ]  # fmt: skip
    assert set(feed.closes().values()) == {1e3, 10.0}


def test_a_file_under_another_header_is_read_by_the_one_before_it(feed):
    whole(feed)
    header = "Ticker,Day,First,High,Low,Last,Shares\n"
    whole(feed, price=11.0, header=header, day=1)
    assert feed.refusals() == ["changed_header"]
    assert "If it is right" in told(feed)
    assert accept(feed).exit_code == 0
    assert feed.refusals() == []
    assert set(feed.closes().values()) == {11.0}
    (row,) = feed.desk.acceptances("feed").rows()
    assert row.header == HEADER.strip()
    # Lines that a later step wants to show are found, too.
    texts = feed.desk.texts_of(feed.history().revisions)
    assert texts.height == 2 * len(NAMES) * len(DAYS)
    # The next one is not the file that was accepted.
    whole(feed, price=12.0, header=header, day=2)
    assert feed.refusals() == ["changed_header"]


def test_a_header_of_another_number_of_columns_cannot_be_accepted(feed):
    whole(feed)
    feed.send("a.csv", "SA,2015-01-05,1,1,1,1,1,9", header="t,d,a,b,c,e,f,g\n", day=1)
    assert feed.refusals() == ["changed_header"]
    refused(accept(feed), SourceError, "8 columns, not 7")
    assert entries(feed) == []


def test_only_what_is_refused_and_newest_can_be_accepted(feed):
    feed.configure(CSV)
    whole(feed)
    old = feed.desk.receipts("feed").rows()[-1].sha256
    refused(accept(feed), SourceError, "no refused file")
    whole(feed, names=NAMES[:3], day=1)
    part = feed.desk.receipts("feed").rows()[-1].sha256
    whole(feed, price=10.5, day=2)
    refused(accept(feed, sha256=part), SourceError, "no refused file")
    refused(accept(feed, sha256=old), SourceError, "no refused file")
    damaged = make_drop("feed", "a.csv", "S,2015".encode("utf-16"))
    feed.desk.receipts("feed").receive(damaged, now_ns=NOW_NS)
    refused(accept(feed), SourceError, "cannot be read by the header of the file before it")
    assert entries(feed) == []
