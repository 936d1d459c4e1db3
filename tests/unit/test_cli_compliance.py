"""The commands of people, approvals, rules and audit, as a desk of four uses them."""

import datetime as dt
import json
import re
import sqlite3
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import polars as pl
import pytest
from click.testing import Result
from typer.testing import CliRunner

from cli import acting
from cli.audit import sign_daily
from cli.main import app
from contracts.clock import FixedClock
from contracts.codec import to_json
from contracts.errors import ConfigurationError, QuantiVistaError
from domain.compliance.audit_verify import verify
from domain.compliance.engine import compiled, judge
from domain.compliance.errors import (
    ApprovalMissingError,
    ComplianceError,
    PermissionDeniedError,
    RuleSetError,
    SelfApprovalError,
)
from domain.compliance.people import Action, Role
from domain.compliance.rules import Stage
from execution.kill_switch import KillFile
from io_managers.lake import Lake
from ops_store.connection import sqlite_url
from ops_store.signing_key import signing_key
from ops_store.store import OpsStore
from orchestration.base.settings import Settings
from tests.unit.compliance_cases import FULL, NOW_NS, RULES, facts, intent

Home = Path


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    monkeypatch.setenv("QUANTIVISTA_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(acting, "login", lambda: "shared")
    return tmp_path / "home"


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments), env={"COLUMNS": "200"})


def ok(*arguments: str) -> str:
    result = run(*arguments)
    assert result.exit_code == 0, (result.output, result.exception)
    return result.output


def refused(kind: type[QuantiVistaError], *arguments: str) -> None:
    result = run(*arguments)
    assert isinstance(result.exception, kind), (result.output, result.exception)


@contextmanager
def store_of(home: Home) -> Iterator[OpsStore]:
    store = OpsStore.open(sqlite_url(home / "ops.db"), FixedClock(NOW_NS), migrate=True)
    yield store
    store.close()


def staffed() -> None:
    ok("people", "grant", "ada", "admin", "--as", "ada")
    for name, role in (("pat", "pm"), ("rita", "risk"), ("rob", "risk")):
        ok("people", "grant", name, role, "--as", "ada")


def asked(output: str) -> str:
    (found,) = re.findall(r"Asked as (\w{12})", output)
    return str(found)


def test_roles_are_listed_granted_and_revoked(home: Home) -> None:
    assert "Nobody has a role yet" in ok("people", "list")
    staffed()
    ok("people", "revoke", "pat", "pm", "--as", "ada")
    listed = ok("people", "list")
    assert "rita" in listed
    assert "pat" not in listed
    assert re.search(r"withdrawal .*operations.*risk", ok("people", "list", "--permissions"))
    refused(ComplianceError, "people", "grant", "rita", "pm", "--as", "ada")
    refused(PermissionDeniedError, "people", "grant", "eve", "pm", "--as", "pat")


@pytest.mark.parametrize("name", ["", " ada", "x" * 65, "a\nb"])
def test_a_name_that_no_person_can_be_told_by_has_no_role(home: Home, name: str) -> None:
    staffed()
    refused(ComplianceError, "people", "grant", name, "viewer", "--as", "ada")


def test_brackets_in_a_name_are_no_markup(home: Home) -> None:
    staffed()
    assert "a[/b] is now viewer" in ok("people", "grant", "a[/b]", "viewer", "--as", "ada")
    assert "a[/b]" in ok("people", "list")


@pytest.mark.parametrize(
    "content",
    [
        b"\xff\xfe\x00",
        FULL.replace("\n", '\ncurrency = "EUR"\n', 1).encode(),
        FULL.replace('name = "', f'name = "{"x" * 64}', 1).encode(),
    ],
)
def test_a_rule_set_that_could_not_apply_is_not_proposed(
    home: Home, tmp_path: Path, content: bytes
) -> None:
    staffed()
    file = tmp_path / "desk.toml"
    file.write_bytes(content)
    assert content != FULL.encode()
    refused(RuleSetError, "rules", "propose", str(file), "--reason", "new", "--as", "rita")


def test_a_persons_own_login_cannot_act_as_somebody_else(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    staffed()
    monkeypatch.setattr(acting, "login", lambda: "pat")
    refused(PermissionDeniedError, "people", "grant", "eve", "viewer", "--as", "ada")
    ok("audit", "holds")
    refused(PermissionDeniedError, "audit", "checkpoint")
    monkeypatch.setattr(acting, "login", lambda: "rita")
    ok("audit", "checkpoint")
    with store_of(home) as store:
        last = store.audit_entries()[-1]
    assert (last.actor, last.role, last.payload) == ("rita", "risk", b"{}")


def test_a_shared_login_is_kept_beside_the_person(home: Home) -> None:
    staffed()
    with store_of(home) as store:
        said = msgspec.json.decode(store.audit_entries()[1].payload)
    assert said == {"login": "shared", "said": {"role": "pm"}}


def test_a_rule_set_is_proposed_replayed_approved_and_applied(home: Home, tmp_path: Path) -> None:
    staffed()
    file = tmp_path / "desk.toml"
    file.write_text(FULL)
    refused(ConfigurationError, "rules", "what-if", str(file))
    one = intent(intent_id="d1", qty_lots=20_000)
    rows = [
        {"session": dt.date(2010, 8, 19), "decision_id": "d1", "rule_id": verdict.rule_id,
         "inputs": to_json(verdict.inputs).decode(), "month": "2010-08-01"}
        for verdict in judge(one, facts(), compiled(RULES, Stage.DECISION))
    ]  # fmt: skip
    Lake(home / "lake").write(
        ("compliance", "verdicts"), pl.DataFrame(rows), partition_column="month",
        partitions=["2010-08-01"],
    )  # fmt: skip
    said = ok("rules", "what-if", str(file))
    assert "Of 1 intents it would have blocked 1, worth 2,000,000.00 USD." in said
    identity = asked(ok("rules", "propose", str(file), "--reason", "new", "--as", "rita"))
    refused(ApprovalMissingError, "rules", "apply", str(file), "--approval", identity,
            "--as", "rita")  # fmt: skip
    refused(SelfApprovalError, "approvals", "approve", identity, "--reason", "r", "--as", "rita")
    refused(PermissionDeniedError, "approvals", "approve", identity, "--reason", "r", "--as", "pat")
    listed = ok("approvals", "list")
    assert identity in listed
    assert "lots_max" in listed, "the second person sees what they approve"
    ok("approvals", "approve", identity, "--reason", "replayed", "--as", "rob")
    assert "Nothing waits" in ok("approvals", "list")
    ok("rules", "apply", str(file), "--approval", identity, "--as", "rita")
    assert re.search(RULES.version[:12] + ".*yes", ok("rules", "list"))
    file.write_text(FULL.replace("lots_max = 10_000", "lots_max = -1"))
    refused(RuleSetError, "rules", "what-if", str(file))
    other = asked(ok("audit", "prune", "2003-01-01", "--reason", "old", "--as", "ada"))
    ok("approvals", "reject", other, "--reason", "no", "--as", "rob")
    assert "rejected" in ok("approvals", "list", "--all")


def test_stopping_needs_nothing_and_releasing_a_role(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = KillFile(home / "execution" / "service")
    ok("exec", "kill", "--reason", "drill", "--as", "eve")
    assert file.is_engaged()
    ok("exec", "release")
    assert not file.is_engaged()
    staffed()
    ok("exec", "kill", "--as", "eve")
    refused(PermissionDeniedError, "exec", "release", "--as", "eve")
    refused(PermissionDeniedError, "exec", "cancel", "Q1", "--as", "eve")
    assert file.is_engaged()
    ok("exec", "release", "--reason", "over", "--as", "rita")
    with store_of(home) as store:
        opened = store.open_incident(kind="k", subject="s", detail="d")
    refused(PermissionDeniedError, "incidents", "close", opened.incident_id, "--note", "n",
            "--as", "eve")  # fmt: skip
    ok("incidents", "close", opened.incident_id, "--note", "n", "--as", "rita")
    with store_of(home) as store:
        said = [(one.actor, one.action) for one in store.audit_entries()]
    assert said[:2] == [("eve", "kill_switch_engage"), ("shared", "kill_switch_release")]
    assert said[-3:] == [
        ("rita", "kill_switch_release"), ("service", "incident_opened"), ("rita", "incident_close"),
    ]  # fmt: skip
    (home / "ops.db").write_bytes(b"no database")
    assert "not in the audit trail" in " ".join(ok("exec", "kill").split())
    assert file.is_engaged()


def test_the_trail_is_verified_signed_and_copied(home: Home, tmp_path: Path) -> None:
    staffed()
    copy = tmp_path / "elsewhere.jsonl"
    assert "cut-off end would not show" in ok("audit", "verify")
    ok("audit", "checkpoint", "--copy-to", str(copy), "--as", "rita")
    assert "signed up to 5: nothing is wrong" in ok("audit", "verify", "--checkpoints", str(copy))
    ok("audit", "checkpoint", "--copy-to", str(copy), "--as", "rita")
    assert len(copy.read_bytes().splitlines()) == 2
    with sqlite3.connect(home / "ops.db") as database:
        database.execute("DROP TRIGGER audit_entries_no_delete")
        database.execute("DELETE FROM audit_entries WHERE sequence > 3")
        database.execute("DELETE FROM audit_checkpoints")
    assert "nothing is wrong" in ok("audit", "verify")
    found = run("audit", "verify", "--checkpoints", str(copy))
    assert found.exit_code == 1
    assert re.search(r"4 to 6 .*missing", found.output)
    before = copy.read_bytes()
    refused(ConfigurationError, "audit", "checkpoint", "--copy-to", str(copy), "--as", "rita")
    assert copy.read_bytes() == before


def test_an_examiner_reads_and_verifies_with_nothing_of_ours(home: Home, tmp_path: Path) -> None:
    staffed()
    odd = 'é\u2028\n\x7f\x00"\\<script>'
    with store_of(home) as store:
        store.emergency_action(Action.KILL_SWITCH_ENGAGE, odd, {"r": odd}, by="rita")
    target, archive = tmp_path / "export", tmp_path / "export.zip"
    ok("audit", "export", str(target), "--as", "rita")
    ok("audit", "export", str(archive), "--as", "rita")
    refused(ConfigurationError, "audit", "export", str(target), "--as", "rita")
    refused(PermissionDeniedError, "audit", "export", str(tmp_path / "x"), "--as", "pat")
    with zipfile.ZipFile(archive) as packed:
        names = set(packed.namelist())
    assert {"index.html", "entries.jsonl", "checkpoints.jsonl", "VERIFY.md"} <= names
    days = sorted(path.stem for path in (target / "days").glob("*.html"))
    index = (target / "index.html").read_text()
    assert all(f'href="days/{day}.html"' in index for day in days)
    pages = "".join((target / f"days/{day}.html").read_text() for day in days)
    assert "&lt;script&gt;" in pages
    assert "<script>" not in pages + index

    def examined(*more: str) -> tuple[int, str]:
        done = subprocess.run(
            [sys.executable, "-I", "verify_audit.py", ".", *more],
            cwd=target, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.stderr == ""
        return done.returncode, done.stdout

    assert examined()[0] == 0, examined()[1]
    assert "nothing is wrong" in examined()[1]
    lines = (target / "entries.jsonl").read_text().rstrip("\n").split("\n")
    for place, changed, words in (
        (2, lines[2].replace('"rita"', '"eve"'), "entry 3 was altered"),
        (3, None, "entry 4 is missing or displaced"),
        (len(lines) - 1, None, "were signed and are missing"),
    ):
        kept = [*lines[:place], *([changed] if changed else []), *lines[place + 1 :]]
        (target / "entries.jsonl").write_text("\n".join(kept) + "\n")
        code, said = examined()
        assert (code, words in said) == (1, True), said
    (target / "entries.jsonl").write_text("\n".join(lines) + "\n")
    points = (target / "checkpoints.jsonl").read_text()
    one = json.loads(points.splitlines()[0])
    (target / "checkpoints.jsonl").write_text(json.dumps(one | {"at_ns": 1}) + "\n")
    assert "no valid signature" in examined()[1]
    (target / "checkpoints.jsonl").write_text(points)
    assert examined()[0] == 0


def test_a_pruned_trail_is_exported_with_its_anchor(home: Home, tmp_path: Path) -> None:
    staffed()
    day = "2010-08-21"  # the embedded clock stands at 2010-08-20
    identity = asked(ok("audit", "prune", day, "--reason", "7 years", "--as", "ada"))
    ok("audit", "hold", "case7", "--reason", "matter", "--as", "rita")
    assert "case7" in ok("audit", "holds")
    ok("approvals", "approve", identity, "--reason", "checked", "--as", "rob")
    arguments = (
        "audit",
        "prune",
        day,
        "--reason",
        "7 years",
        "--approval",
        identity,
        "--as",
        "ada",
    )
    refused(ComplianceError, *arguments)
    free = asked(ok("audit", "release", "case7", "--reason", "settled", "--as", "ada"))
    ok("approvals", "approve", free, "--reason", "checked", "--as", "rob")
    ok("audit", "release", "case7", "--reason", "settled", "--approval", free, "--as", "ada")
    assert "a signed anchor stands" in ok(*arguments)
    assert "nothing is wrong" in ok("audit", "verify")
    ok("audit", "export", str(tmp_path / "out"), "--as", "rita")
    done = subprocess.run(
        [sys.executable, str(tmp_path / "out" / "verify_audit.py"), str(tmp_path / "out")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, "nothing is wrong" in done.stdout) == (0, True), done.stdout
    assert run("audit", "prune", "yesterday", "--reason", "r", "--as", "ada").exit_code == 2


def test_the_daily_run_signs_for_a_book_that_hands_off(home: Home) -> None:
    sign_daily(Settings(home=home))
    assert not home.exists(), "a book that only backtests has nothing to sign"
    live = Settings(home=home, go_live_session=dt.date(2010, 8, 20))
    sign_daily(live)
    with store_of(home) as store:
        store.grant_role("ada", Role.ADMIN, by="ada")
        sign_daily(live)
        points = store.audit_checkpoints()
        key = signing_key(home / "audit").public_key()
        assert [one.sequence for one in points] == [1]
        assert verify(store.audit_entries(), points, [key]) == []
