"""People, approvals, rules and the audit trail, kept on SQLite and on Postgres."""

import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from contracts.clock import FixedClock
from contracts.errors import ConfigurationError, ContractError
from domain.compliance.approvals import VALID_NS, ApprovalState
from domain.compliance.audit_verify import FindingKind, verify
from domain.compliance.errors import (
    ApprovalExpiredError,
    ApprovalMismatchError,
    ApprovalMissingError,
    ApprovalUsedError,
    ComplianceError,
    PermissionDeniedError,
    RuleSetError,
    SegregationError,
    SelfApprovalError,
)
from domain.compliance.people import Action, Role
from domain.compliance.rules import in_force, read_rules
from ops_store.signing_key import public_pem, read_public_key, signing_key
from ops_store.store import OpsStore
from tests.unit.compliance_cases import FULL, NOW_NS, RULES
from tests.unit.execution_builders import decision, evidence, request

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
DAY_NS = 86_400_000_000_000


@pytest.fixture
def store(url: str) -> Iterator[OpsStore]:
    opened = OpsStore.open(url, FixedClock(NOW_NS), migrate=True)
    yield opened
    opened.close()


def staffed(store: OpsStore) -> OpsStore:
    """An admin, and somebody for each duty, two of them in risk."""
    store.grant_role("ada", Role.ADMIN, by="ada")
    for name, role in (
        ("pat", Role.PM), ("rita", Role.RISK), ("rob", Role.RISK), ("otto", Role.OPERATIONS),
    ):  # fmt: skip
        store.grant_role(name, role, by="ada")
    return store


def later(url: str, by_ns: int) -> OpsStore:
    return OpsStore.open(url, FixedClock(NOW_NS + by_ns))


def is_sound(store: OpsStore) -> bool:
    points = store.audit_checkpoints()
    return verify(store.audit_entries(), points, [KEY.public_key()]) == []


def test_the_first_admin_appoints_themselves_and_nobody_else_does(store: OpsStore) -> None:
    for name, role, by in (("ada", Role.RISK, "ada"), ("bob", Role.ADMIN, "ada")):
        with pytest.raises(SegregationError, match="first admin"):
            store.grant_role(name, role, by=by)
    staffed(store)
    with pytest.raises(SegregationError, match="themselves"):
        store.grant_role("ada", Role.VIEWER, by="ada")
    with pytest.raises(SegregationError, match="both"):
        store.grant_role("pat", Role.RISK, by="ada")
    with pytest.raises(PermissionDeniedError):
        store.grant_role("eve", Role.PM, by="pat")
    store.revoke_role("pat", Role.PM, by="ada")
    assert store.grant_role("pat", Role.RISK, by="ada").roles == {Role.RISK}
    assert [one.person_id for one in store.people()] == ["ada", "otto", "pat", "rita", "rob"]
    assert store.person("nobody").roles == set()
    trail = store.audit_entries()
    assert {one.action for one in trail} == {"role_grant", "role_revoke"}
    assert (trail[0].actor, trail[0].role, trail[1].role) == ("ada", "admin", "admin")
    assert is_sound(store)


def test_an_approval_is_used_once_however_many_try(store: OpsStore, url: str) -> None:
    staffed(store)
    payload = {"amount_minor": 5}
    asked = store.request_approval(
        Action.WITHDRAWAL, payload, subject="cash", by="otto", reason="rent", concerns=("rob",)
    )
    with pytest.raises(SelfApprovalError):
        store.decide_approval(asked.approval_id, by="rob", is_granted=True, reason="mine")
    with pytest.raises(ApprovalMissingError, match="0 approvals"):
        store.decide_approval("abc", by="rita", is_granted=True, reason="short")
    granted = store.decide_approval(
        asked.approval_id[:8], by="rita", is_granted=True, reason="seen"
    )
    assert store.approvals(ApprovalState.APPROVED) == [granted]
    with pytest.raises(ApprovalMismatchError):
        store.use_approval(Action.WITHDRAWAL, {"amount_minor": 6}, asked.approval_id, by="otto")
    late = later(url, VALID_NS)
    with pytest.raises(ApprovalExpiredError):
        late.use_approval(Action.WITHDRAWAL, payload, asked.approval_id, by="otto")
    late.close()
    outcomes: list[str] = []
    barrier = threading.Barrier(8)

    def work() -> None:
        barrier.wait()
        try:
            store.use_approval(Action.WITHDRAWAL, payload, asked.approval_id, by="otto")
            outcomes.append("used")
        except ApprovalUsedError:
            outcomes.append("refused")

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["refused"] * 7 + ["used"]
    words = [one.action for one in store.audit_entries() if one.action.startswith("approval")]
    assert words == ["approval_request", "approval_grant", "approval_use"]


def test_a_rule_set_needs_the_approval_of_exactly_itself(store: OpsStore) -> None:
    staffed(store)
    asked = store.request_approval(
        Action.RULE_CHANGE, RULES, subject="desk", by="rita", reason="new desk"
    )
    with pytest.raises(ApprovalMissingError):
        store.change_rules(RULES, asked.approval_id, by="rita")
    store.decide_approval(asked.approval_id, by="rob", is_granted=True, reason="replayed")
    other = read_rules(FULL.replace("lots_max = 10_000", "lots_max = 20_000"))
    with pytest.raises(ApprovalMismatchError):
        store.change_rules(other, asked.approval_id, by="rita")
    assert store.rule_sets() == []
    store.change_rules(RULES, asked.approval_id, by="rita")
    with pytest.raises(ApprovalUsedError):
        store.change_rules(RULES, asked.approval_id, by="rita")
    assert store.rule_sets() == [RULES]
    assert in_force(store.rule_sets(), NOW_NS) == RULES
    with store._engine.begin() as connection:
        connection.execute(sa.text("UPDATE rule_sets SET payload = :p"), {"p": b"{}"})
    with pytest.raises((RuleSetError, ContractError)):
        store.rule_sets()


def test_four_writers_leave_no_gap_and_one_chain(store: OpsStore, url: str) -> None:
    each, barrier = 25, threading.Barrier(4)

    def work(number: int) -> None:
        mine = OpsStore.open(url, FixedClock(NOW_NS + number))
        barrier.wait()
        for step in range(each):
            mine.emergency_action(
                Action.KILL_SWITCH_ENGAGE, f"{number}/{step}", {"n": step}, by=f"w{number}"
            )
        mine.close()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    trail = store.audit_entries()
    assert [one.sequence for one in trail] == list(range(1, 4 * each + 1))
    assert len({one.subject for one in trail}) == 4 * each
    assert store.sign_audit(KEY)[0].sequence == 4 * each
    assert is_sound(store)


def test_what_the_store_does_is_in_the_trail(store: OpsStore) -> None:
    store.attest(list(evidence()))
    for _ in range(2):
        store.issue(book="main", mode="paper", requests=[request(decision())])
        opened = store.open_incident(kind="k", subject="s", detail="d")
    store.engage_kill_switch("drill", by="mary")
    staffed(store)
    with pytest.raises(PermissionDeniedError):
        store.close_incident(opened.incident_id, note="n", by="mary")
    with pytest.raises(PermissionDeniedError):
        store.release_kill_switch("over", by="ada")
    store.close_incident(opened.incident_id, note="n", by="rita")
    store.release_kill_switch("over", by="rita")
    said = [(one.actor, one.role, one.action) for one in store.audit_entries()]
    assert said[:3] == [
        ("service", "service", "decisions_issued"),
        ("service", "service", "incident_opened"),
        ("mary", "unassigned", "kill_switch_engage"),
    ]
    assert said[-2:] == [
        ("rita", "risk", "incident_close"),
        ("rita", "risk", "kill_switch_release"),
    ]
    assert is_sound(store)


def test_the_database_itself_refuses_to_change_or_drop_an_entry(store: OpsStore) -> None:
    staffed(store)
    for statement in (
        "UPDATE audit_entries SET actor = 'eve' WHERE sequence = 2",
        "DELETE FROM audit_entries WHERE sequence = 2",
    ):
        with pytest.raises(sa.exc.DBAPIError, match="only grows"), store._engine.begin() as one:
            one.execute(sa.text(statement))
    assert is_sound(store)


def test_whoever_gets_around_the_database_is_found(store: OpsStore, url: str) -> None:
    staffed(store)
    store.sign_audit(KEY)
    with store._engine.begin() as one:
        if url.startswith("sqlite"):
            one.execute(sa.text("DROP TRIGGER audit_entries_no_update"))
        else:
            one.execute(sa.text("ALTER TABLE audit_entries DISABLE TRIGGER ALL"))
        one.execute(sa.text("UPDATE audit_entries SET subject = 'eve' WHERE sequence = 2"))
    points = store.audit_checkpoints()
    (found,) = verify(store.audit_entries(), points, [KEY.public_key()])
    assert (found.kind, found.first, found.last) == (FindingKind.ALTERED, 2, 2)


def test_retention_leaves_a_signed_anchor_and_a_hold_forbids_it(store: OpsStore, url: str) -> None:
    staffed(store)
    store.sign_audit(KEY)
    new = later(url, DAY_NS)
    new.emergency_action(Action.KILL_SWITCH_ENGAGE, "s", {}, by="pat")
    before_ns = NOW_NS + 1
    prune = {"before_ns": before_ns}
    hold = new.place_hold("litigation", reason="case 7", by="rita")
    assert new.holds() == [hold]

    def approved(action: Action, payload: dict[str, object]) -> str:
        asked = new.request_approval(action, payload, subject="trail", by="ada", reason="7 years")
        new.decide_approval(asked.approval_id, by="rita", is_granted=True, reason="checked")
        return asked.approval_id

    first = approved(Action.AUDIT_PRUNE, prune)
    with pytest.raises(ComplianceError, match="litigation"):
        new.prune_audit(before_ns, first, key=KEY, by="ada")
    assert len(new.audit_entries()) == 9, "the refusal left nothing, the approval is not used"
    release = approved(Action.LEGAL_HOLD_RELEASE, {"hold": "litigation"})
    new.release_hold("litigation", release, by="ada")
    assert new.prune_audit(before_ns, first, key=KEY, by="ada") == 5
    left = new.audit_entries()
    assert left[0].sequence == 6
    assert is_sound(new)
    new.emergency_action(Action.KILL_SWITCH_ENGAGE, "s", {}, by="pat")
    new.sign_audit(KEY)
    assert is_sound(new)
    numbers = [one.number for one in new.audit_checkpoints()]
    assert numbers == list(range(1, len(numbers) + 1))
    # Everything is old by now, and the newest entry stays: the chain goes on from it.
    again = approved(Action.AUDIT_PRUNE, {"before_ns": NOW_NS + 9 * DAY_NS})
    assert new.prune_audit(NOW_NS + 9 * DAY_NS, again, key=KEY, by="ada") > 5
    assert [one.action for one in new.audit_entries()] == ["audit_prune"]
    assert is_sound(new)
    new.close()


def test_the_key_is_its_owners_alone(tmp_path: Path) -> None:
    directory = tmp_path / "audit"
    key = signing_key(directory)
    path = directory / "signing_key.pem"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    again = signing_key(directory).public_key()
    assert public_pem(again) == public_pem(key.public_key())
    assert public_pem(read_public_key(directory / "public_key.pem")) == public_pem(again)
    path.chmod(0o640)
    with pytest.raises(ConfigurationError, match="read by others"):
        signing_key(directory)
    path.chmod(0o600)
    path.write_bytes(b"no key")
    with pytest.raises(ConfigurationError, match="no Ed25519 key"):
        signing_key(directory)
