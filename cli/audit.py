"""`quantivista audit`: verify the trail, sign it, export it, keep it as long as it must be."""

from __future__ import annotations

import datetime as dt
import zipfile
from pathlib import Path
from typing import Annotated, Any

import typer
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from rich.console import Console
from rich.table import Table

from cli import verify_audit
from cli.acting import As, acting
from contracts.clock import datetime_ns
from contracts.codec import from_json
from contracts.errors import ConfigurationError
from domain.compliance.audit import Checkpoint, key_id_of
from domain.compliance.audit_export import Export, files_of, lines
from domain.compliance.audit_verify import verify
from domain.compliance.people import Action
from ops_store.signing_key import PUBLIC_KEY_FILE, public_pem, read_public_key, signing_key
from ops_store.store import OpsStore
from orchestration.base.ops import clock_of, incident_store, ops_store
from orchestration.base.settings import Settings, read_settings

app = typer.Typer(no_args_is_help=True, help="Verify the audit trail, sign it, export it.")
console = Console()
ID_CHARS = 12
Elsewhere = Annotated[
    list[Path] | None,
    typer.Option("--checkpoints", help="Copies of checkpoints that were kept elsewhere."),
]
PublicKeys = Annotated[
    list[Path] | None,
    typer.Option("--public-key", help="The keys that count, in PEM; else the home's own."),
]
Approved = Annotated[str, typer.Option("--approval", help="The id, once it was approved.")]
Reason = Annotated[str, typer.Option(help="Why; kept.")]


def key_directory(settings: Settings) -> Path:
    """Return where the signing key lies."""
    return settings.home / "audit"


def sign_daily(settings: Settings) -> None:
    """Sign what the day brought, for a book that hands off; others have no store to sign."""
    with ops_store(settings) as store:
        if store is not None:
            store.sign_audit(signing_key(key_directory(settings)))


@app.command("verify")
def verify_command(checkpoints: Elsewhere = None, public_key: PublicKeys = None) -> None:
    """Find whatever was changed, removed or added; end with 1 when there is anything."""
    settings = read_settings()
    with incident_store(settings) as store:
        entries, points = store.audit_entries(), store.audit_checkpoints()
    outside = [one for path in checkpoints or [] for one in read_checkpoints(path)]
    findings = verify(entries, [*points, *outside], _keys(settings, public_key))
    if findings:
        table = Table("entries", "kind", "what")
        for one in findings:
            table.add_row(f"{one.first} to {one.last}", one.kind, one.detail)
        console.print(table)
        raise typer.Exit(1)
    signed = max((one.sequence for one in [*points, *outside]), default=0)
    console.print(f"{len(entries):,} entries, signed up to {signed}: nothing is wrong.")
    if not outside:
        console.print("Without --checkpoints from elsewhere a cut-off end would not show.")


def _keys(settings: Settings, given: list[Path] | None) -> list[Ed25519PublicKey]:
    own = key_directory(settings) / PUBLIC_KEY_FILE
    paths = given or ([own] if own.exists() else [])
    return [read_public_key(path) for path in paths]


def read_checkpoints(path: Path) -> list[Checkpoint]:
    """Return the checkpoints in a file of JSON lines."""
    return [from_json(line, Checkpoint) for line in path.read_bytes().splitlines() if line]


@app.command()
def checkpoint(
    copy_to: Annotated[
        Path | None,
        typer.Option(help="A file elsewhere that gets all checkpoints, e.g. on another machine."),
    ] = None,
    as_: As = "",
) -> None:
    """Sign what is new in the trail."""
    settings = read_settings()
    with acting(settings, as_) as (store, by):
        store.human_action(Action.AUDIT_CHECKPOINT, "audit trail", {}, by=by)
        made = store.sign_audit(signing_key(key_directory(settings)))
        points = store.audit_checkpoints()
    console.print(f"Signed up to entry {made[-1].sequence}, checkpoint {made[-1].number}.")
    if copy_to is not None:
        _copy(points, copy_to)
        console.print(f"{len(points)} checkpoints are in {copy_to}.", soft_wrap=True)


def _copy(points: list[Checkpoint], target: Path) -> None:
    """Write all checkpoints to a file elsewhere, unless that file knows of others."""
    known = read_checkpoints(target) if target.exists() else []
    strange = [one.number for one in known if one not in points]
    if strange:
        raise ConfigurationError(
            f"{target} has checkpoints {strange} that the store does not have.",
            remedy="the trail was cut off or rewritten: run `quantivista audit verify "
            f"--checkpoints {target}`, and keep that file",
        )
    draft = target.with_name(f"{target.name}.new")
    draft.write_bytes(lines(points))
    draft.replace(target)


@app.command()
def export(
    target: Annotated[Path, typer.Argument(help="A new directory, or a new file *.zip.")],
    public_key: PublicKeys = None,
    as_: As = "",
) -> None:
    """Write the trail for an examiner: an index to follow, the data, and how to verify it."""
    settings = read_settings()
    if target.exists():
        raise ConfigurationError(f"{target} exists.", remedy="name a new directory or file")
    with acting(settings, as_) as (store, by):
        store.human_action(Action.AUDIT_EXPORT, target.name, {}, by=by)
        store.sign_audit(signing_key(key_directory(settings)))
        entries, points, holds = store.audit_entries(), store.audit_checkpoints(), store.holds()
    keys = _keys(settings, public_key)
    files = files_of(
        Export(
            made_by=by,
            made_ns=clock_of(settings).now_ns(),
            entries=tuple(entries),
            checkpoints=tuple(points),
            findings=tuple(verify(entries, points, keys)),
            holds=tuple(f"{one.name} ({one.reason})" for one in holds),
            public_keys={key_id_of(key): public_pem(key) for key in keys},
            verifier=Path(verify_audit.__file__).read_bytes(),
        )
    )
    _write(files, target)
    console.print(f"{len(entries):,} entries in {target}; begin with index.html.", soft_wrap=True)


def _write(files: dict[str, bytes], target: Path) -> None:
    if target.suffix == ".zip":
        with zipfile.ZipFile(target, "x", zipfile.ZIP_DEFLATED) as archive:
            for name, content in files.items():
                archive.writestr(name, content)
        return
    for name, content in files.items():
        path = target / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


@app.command()
def prune(
    before: Annotated[str, typer.Argument(help="A day, e.g. 2003-08-20; later entries stay.")],
    reason: Reason,
    approval: Approved = "",
    as_: As = "",
) -> None:
    """Remove entries whose retention ended: first asks for an approval, then needs it."""
    settings = read_settings()
    before_ns = _midnight_ns(before)
    with acting(settings, as_) as (store, by):
        if not approval:
            _ask(store, Action.AUDIT_PRUNE, {"before_ns": before_ns}, before, by, reason)
            return
        key = signing_key(key_directory(settings))
        count = store.prune_audit(before_ns, store.approval_id(approval), key=key, by=by)
    console.print(f"{count:,} entries are gone; a signed anchor stands for them.")


def _ask(
    store: OpsStore, action: Action, payload: dict[str, Any], subject: str, by: str, reason: str
) -> None:
    asked = store.request_approval(action, payload, subject=subject, by=by, reason=reason)
    console.print(f"Asked as {asked.approval_id[:ID_CHARS]}: a second person approves it.")


def _midnight_ns(day: str) -> int:
    try:
        moment = dt.datetime.combine(dt.date.fromisoformat(day), dt.time(), dt.UTC)
    except ValueError as error:
        raise typer.BadParameter(f"{day!r} is not a day like 2003-08-20.") from error
    return datetime_ns(moment)


@app.command()
def holds() -> None:
    """List the legal holds."""
    with acting(read_settings(), "") as (store, _):
        found = store.holds()
    for one in found:
        console.print(f"{one.name}: {one.reason} ({one.placed_by})", soft_wrap=True, markup=False)
    if not found:
        console.print("There is no legal hold.")


@app.command()
def hold(
    name: Annotated[str, typer.Argument(help="Of the hold, e.g. of the matter.")],
    reason: Reason,
    as_: As = "",
) -> None:
    """Forbid to remove anything from the trail until the hold is released."""
    with acting(read_settings(), as_) as (store, by):
        store.place_hold(name, reason=reason, by=by)
    console.print(f"Hold {name} is placed.", markup=False)


@app.command()
def release(
    name: Annotated[str, typer.Argument(help="Of the hold.")],
    reason: Reason,
    approval: Approved = "",
    as_: As = "",
) -> None:
    """Release a legal hold: first asks for an approval, then needs it."""
    with acting(read_settings(), as_) as (store, by):
        if not approval:
            _ask(store, Action.LEGAL_HOLD_RELEASE, {"hold": name}, name, by, reason)
            return
        store.release_hold(name, store.approval_id(approval), by=by)
    console.print(f"Hold {name} is released.", markup=False)
