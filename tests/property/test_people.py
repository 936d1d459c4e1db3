"""Who may do what: every pair of roles, every action, every pair of people."""

import itertools

import msgspec
import pytest

from contracts.errors import ContractError
from domain.compliance.approvals import (
    VALID_NS,
    ApprovalState,
    decide,
    payload_sha256,
    request_approval,
    require_approval,
)
from domain.compliance.errors import (
    ApprovalExpiredError,
    ApprovalMismatchError,
    ApprovalMissingError,
    ApprovalUsedError,
    ComplianceError,
    PermissionDeniedError,
    SegregationError,
    SelfApprovalError,
)
from domain.compliance.people import (
    DUTY_OF,
    FOUR_EYES,
    PERMISSIONS,
    Action,
    Person,
    Role,
    conflicts,
    require_permission,
    with_role,
    without_role,
)

NOW_NS = 1_282_248_000_000_000_000
ADMIN = Person("root", frozenset({Role.ADMIN}))
PAYLOAD = {"account": "cash/usd", "amount_minor": 100_000}


def allowed_role_sets() -> list[frozenset[Role]]:
    """Every set of roles that one person may have, the empty one included."""
    sets = [
        frozenset(chosen)
        for size in range(len(Role) + 1)
        for chosen in itertools.combinations(Role, size)
    ]
    return [roles for roles in sets if not conflicts(roles)]


def test_every_action_has_permissions_and_the_four_eyes_actions_are_declared() -> None:
    assert set(PERMISSIONS) == set(Action)
    assert all(one.request for one in PERMISSIONS.values())
    assert {
        Action.WITHDRAWAL, Action.RULE_CHANGE, Action.KILL_SWITCH_RELEASE, Action.LIMIT_CHANGE,
        Action.BREAK_WRITE_OFF,
    } <= FOUR_EYES  # fmt: skip
    # A machine approves nothing, and whoever only looks changes nothing.
    assert not any(Role.SERVICE in one.approve for one in PERMISSIONS.values())
    may = {action for action in Action if Person("v", frozenset({Role.VIEWER})).may(action)}
    assert may == {Action.VIEW, Action.PRE_CLEARANCE}


@pytest.mark.parametrize("pair", list(itertools.combinations(Role, 2)))
def test_two_roles_are_apart_exactly_when_their_duties_differ(pair: tuple[Role, Role]) -> None:
    one, other = pair
    duties = {DUTY_OF[one], DUTY_OF[other]} - {None}
    expected = len(duties) == 2 or Role.SERVICE in pair
    assert bool(conflicts(pair)) is expected
    holder = Person("alice", frozenset({one}))
    if expected:
        with pytest.raises(SegregationError, match="alice"):
            with_role(holder, other, granted_by=ADMIN)
    else:
        assert with_role(holder, other, granted_by=ADMIN).roles == frozenset(pair)


def test_no_allowed_person_joins_two_duties() -> None:
    sets = allowed_role_sets()
    assert 10 < len(sets) < 2 ** len(Role)
    for roles in sets:
        assert len({DUTY_OF[role] for role in roles} - {None}) <= 1
        assert Role.SERVICE not in roles or roles == {Role.SERVICE}


def test_nobody_who_trades_controls_settles_or_hands_out_roles() -> None:
    guarded = {
        Action.LIMIT_CHANGE, Action.RULE_CHANGE, Action.WITHDRAWAL, Action.BREAK_WRITE_OFF,
        Action.AUDIT_PRUNE, Action.LEGAL_HOLD_RELEASE, Action.PRE_CLEARANCE,
    }  # fmt: skip
    for roles in allowed_role_sets():
        person = Person("x", roles)
        if person.may(Action.ORDER_SUBMIT):
            assert not any(person.may_approve(action) for action in guarded)
            assert not person.may(Action.ROLE_GRANT)
            assert not person.may(Action.WITHDRAWAL)


@pytest.mark.parametrize("role", list(Role))
def test_nobody_grants_or_revokes_for_themselves_and_only_admins_do(role: Role) -> None:
    for change, word in ((with_role, "granted_by"), (without_role, "revoked_by")):
        with pytest.raises(SegregationError, match="themselves"):
            change(ADMIN, role, **{word: ADMIN})
        for other in set(Role) - {Role.ADMIN}:
            with pytest.raises(PermissionDeniedError, match="admin"):
                change(Person("bob"), role, **{word: Person("eve", frozenset({other}))})
    assert without_role(Person("bob", frozenset({role})), role, revoked_by=ADMIN).roles == set()


@pytest.mark.parametrize("action", list(Action))
def test_over_all_pairs_of_people_only_a_second_and_able_one_approves(action: Action) -> None:
    sets = allowed_role_sets()
    permission = PERMISSIONS[action]
    for first_roles in sets:
        first = Person("first", first_roles)
        if not first_roles & permission.request:
            with pytest.raises(PermissionDeniedError):
                require_permission(first, action)
            continue
        require_permission(first, action)
        if action not in FOUR_EYES:
            with pytest.raises(ComplianceError, match="needs no approval"):
                request_approval(action, PAYLOAD, subject="s", by=first, reason="r", now_ns=NOW_NS)
            continue
        asked = request_approval(
            action, PAYLOAD, subject="s", by=first, reason="r", now_ns=NOW_NS, concerns=("mary",)
        )
        for own in ("first", "mary"):
            with pytest.raises(SelfApprovalError):
                decide(asked, by=Person(own, frozenset(Role)), grant=True, reason="r",
                       now_ns=NOW_NS)  # fmt: skip
        for second_roles in sets:
            second = Person("second", second_roles)
            if second_roles & permission.approve:
                granted = decide(asked, by=second, grant=True, reason="seen", now_ns=NOW_NS)
                used = require_approval(action, PAYLOAD, granted, by=first, now_ns=NOW_NS)
                assert (used.state, used.decided_by) == (ApprovalState.USED, "second")
            else:
                with pytest.raises(PermissionDeniedError):
                    decide(asked, by=second, grant=True, reason="seen", now_ns=NOW_NS)


def test_an_approval_counts_for_its_payload_in_time_and_once() -> None:
    first, second = (
        Person("ops", frozenset({Role.OPERATIONS})),
        Person("ri", frozenset({Role.RISK})),
    )
    action = Action.WITHDRAWAL
    asked = request_approval(
        action, PAYLOAD, subject="cash/usd", by=first, reason="rent", now_ns=NOW_NS
    )
    assert asked.payload_sha256 == payload_sha256(dict(reversed(PAYLOAD.items())))
    with pytest.raises(ApprovalMissingError, match="second person"):
        require_approval(action, PAYLOAD, None, by=first, now_ns=NOW_NS)
    with pytest.raises(ApprovalMissingError, match="requested"):
        require_approval(action, PAYLOAD, asked, by=first, now_ns=NOW_NS)
    refused = decide(asked, by=second, grant=False, reason="no invoice", now_ns=NOW_NS)
    with pytest.raises(ApprovalMissingError, match="rejected"):
        require_approval(action, PAYLOAD, refused, by=first, now_ns=NOW_NS)
    with pytest.raises(ApprovalUsedError):
        decide(refused, by=second, grant=True, reason="after all", now_ns=NOW_NS)
    granted = decide(asked, by=second, grant=True, reason="invoice 7", now_ns=NOW_NS)
    with pytest.raises(ApprovalMismatchError, match="exactly"):
        require_approval(action, PAYLOAD | {"amount_minor": 100_001}, granted, by=first,
                         now_ns=NOW_NS)  # fmt: skip
    with pytest.raises(ApprovalMismatchError):
        require_approval(Action.BREAK_WRITE_OFF, PAYLOAD, granted, by=first, now_ns=NOW_NS)
    late_ns = NOW_NS + VALID_NS
    with pytest.raises(ApprovalExpiredError):
        require_approval(action, PAYLOAD, granted, by=first, now_ns=late_ns)
    with pytest.raises(ApprovalExpiredError):
        decide(asked, by=second, grant=True, reason="late", now_ns=late_ns)
    used = require_approval(action, PAYLOAD, granted, by=first, now_ns=late_ns - 1)
    with pytest.raises(ApprovalUsedError, match="each counts once"):
        require_approval(action, PAYLOAD, used, by=first, now_ns=NOW_NS)
    with pytest.raises(ContractError, match="reason"):
        request_approval(action, PAYLOAD, subject="s", by=first, reason="  ", now_ns=NOW_NS)


def test_an_approval_that_was_altered_in_the_store_is_refused() -> None:
    first, second = (
        Person("ops", frozenset({Role.OPERATIONS})),
        Person("ri", frozenset({Role.RISK})),
    )
    asked = request_approval(
        Action.WITHDRAWAL, PAYLOAD, subject="a", by=first, reason="r", now_ns=NOW_NS
    )
    granted = decide(asked, by=second, grant=True, reason="r", now_ns=NOW_NS)
    for changes in (
        {"subject": "b"}, {"payload": b"{}"}, {"payload_sha256": payload_sha256({})},
        {"requested_by": "x"}, {"expires_ns": granted.expires_ns + 1}, {"concerns": ("y",)},
        {"reason": "another"}, {"requested_ns": NOW_NS - 1},
    ):  # fmt: skip
        altered = msgspec.structs.replace(granted, **changes)
        with pytest.raises(ApprovalMismatchError):
            require_approval(Action.WITHDRAWAL, PAYLOAD, altered, by=first, now_ns=NOW_NS)
    forged = msgspec.structs.replace(granted, decided_by="ops")
    with pytest.raises(SelfApprovalError):
        require_approval(Action.WITHDRAWAL, PAYLOAD, forged, by=first, now_ns=NOW_NS)
