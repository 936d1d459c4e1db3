"""An archive of a home directory: files, what they must be, and nothing that leads outside.

A gzipped tar: ``home/...``, a dump of the database where there is one, and last ``manifest.json``
with the SHA-256 of every member. Last, so that an archive that was cut off has none.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import sqlite3
import tarfile
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path, PurePosixPath
from typing import IO

import msgspec

from contracts.errors import QuantiVistaError

FORMAT = 1
HOME = "home"
DUMP = "postgres.dump"
MANIFEST = "manifest.json"
# Parquet is compressed already: more effort costs time and saves nothing.
GZIP_LEVEL = 1
MANIFEST_BYTES_MAX = 256 * 1024 * 1024
CHUNK_BYTES = 1024 * 1024
_SQLITE = b"SQLite format 3\0"


class BackupError(QuantiVistaError):
    """A home directory cannot be backed up, or an archive cannot be restored, as asked."""


class Member(msgspec.Struct, frozen=True):
    """One file of an archive."""

    sha256: str
    size: int


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What an archive holds, and what it was made by."""

    format: int
    created: str
    versions: dict[str, str]
    settings_fingerprint: str
    files: dict[str, Member]


class _Hashing(io.RawIOBase):
    """Reads exactly ``size`` bytes of a file, hashing them."""

    def __init__(self, source: IO[bytes], size: int) -> None:
        self._source, self._left = source, size
        self.sha256 = hashlib.sha256()

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        wanted = self._left if size < 0 else min(size, self._left)
        data = self._source.read(wanted)
        if len(data) < wanted:
            raise BackupError(
                f"{self._source.name} became shorter while it was read.",
                remedy="stop what writes into the home directory and run the backup again",
            )
        self._left -= len(data)
        self.sha256.update(data)
        return data


class Writer:
    """Adds files to an archive, and its manifest at the end."""

    def __init__(self, tar: tarfile.TarFile) -> None:
        self._tar = tar
        self.files: dict[str, Member] = {}

    def add(self, name: str, path: Path) -> None:
        """Add a file; an SQLite database as one consistent state of it."""
        with path.open("rb") as file:
            is_database = file.read(len(_SQLITE)) == _SQLITE
        if is_database:
            with tempfile.TemporaryDirectory() as scratch:
                copy = Path(scratch) / "copy.db"
                _copy_database(path, copy)
                self._add(name, copy)
        else:
            self._add(name, path)

    def _add(self, name: str, path: Path) -> None:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            info = tarfile.TarInfo(name)
            info.size, info.mode, info.mtime = (
                status.st_size,
                status.st_mode & 0o777,
                status.st_mtime,
            )
            source = _Hashing(file, info.size)
            self._tar.addfile(info, source)
        self.files[name] = Member(source.sha256.hexdigest(), info.size)

    def close(self, manifest: Manifest) -> None:
        """Add the manifest."""
        data = msgspec.json.encode(manifest)
        info = tarfile.TarInfo(MANIFEST)
        info.size, info.mode = len(data), 0o600
        self._tar.addfile(info, io.BytesIO(data))


def _copy_database(source: Path, target: Path) -> None:
    with (
        closing(sqlite3.connect(f"{source.as_uri()}?mode=ro", uri=True)) as old,
        closing(sqlite3.connect(target)) as new,
    ):
        old.backup(new)


@contextmanager
def writing(target: Path) -> Iterator[Writer]:
    """Yield a writer of a new archive, which is there only when all of it was written.

    Raises
    ------
    BackupError
        When something of that name exists.
    """
    if target.exists():
        raise BackupError(f"{target} exists.", remedy="name a new file, or delete the old one")
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}-")
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            # The archive holds settings and decisions: mkstemp lets nobody else read it.
            with (
                gzip.GzipFile(fileobj=file, mode="wb", compresslevel=GZIP_LEVEL) as zipped,
                tarfile.open(fileobj=zipped, mode="w|") as tar,
            ):
                yield Writer(tar)
            file.flush()
            os.fsync(file.fileno())
        # A link fails where a rename would silently replace what appeared meanwhile.
        os.link(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


def extract(source: Path, into: Path) -> Manifest:
    """Write an archive's members below ``into``, and return its manifest once all of them match it.

    Raises
    ------
    BackupError
        When the archive is damaged, cut off, of another format, or names a place outside.
    """
    found: dict[str, Member] = {}
    manifest: Manifest | None = None
    try:
        with tarfile.open(source, mode="r:gz") as tar:
            for info in tar:
                file = tar.extractfile(info) if info.isreg() else None
                if file is None:
                    raise _damaged(source, f"{info.name!r} is no regular file")
                if info.name == MANIFEST and manifest is None:
                    manifest = msgspec.json.decode(file.read(MANIFEST_BYTES_MAX), type=Manifest)
                elif info.name in found:
                    raise _damaged(source, f"{info.name!r} is there twice")
                else:
                    found[info.name] = _write(file, place_of(info.name, into), info.mode)
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile, msgspec.DecodeError) as error:
        raise _damaged(source, str(error) or type(error).__name__) from error
    if manifest is None:
        raise _damaged(source, "it has no manifest at its end")
    if manifest.format != FORMAT:
        raise BackupError(
            f"{source} has format {manifest.format}, this release reads {FORMAT}.",
            remedy="restore it with the release that made it",
        )
    differing = {
        name
        for name in found.keys() | manifest.files
        if found.get(name) != manifest.files.get(name)
    }
    if differing:
        raise _damaged(source, f"{min(differing)!r} is not what the manifest says")
    return manifest


def place_of(name: str, into: Path) -> Path:
    """Return where a member is written, refusing every name that could leave the directory.

    Raises
    ------
    BackupError
        When the name is absolute, climbs, or is neither the dump nor below ``home``.
    """
    parts = PurePosixPath(name).parts
    plain = (
        "\0" not in name
        and "\\" not in name
        and ".." not in parts
        and str(PurePosixPath(name)) == name
    )
    if not plain or not (name == DUMP or (len(parts) > 1 and parts[0] == HOME)):
        raise BackupError(
            f"The archive names {name!r}, which lies outside the home directory.",
            remedy="do not restore it: it was not made by `quantivista backup`",
        )
    return into.joinpath(*parts)


def _write(file: IO[bytes], path: Path, mode: int) -> Member:
    path.parent.mkdir(parents=True, exist_ok=True)
    sha256, size = hashlib.sha256(), 0
    with path.open("xb") as target:
        while chunk := file.read(CHUNK_BYTES):
            sha256.update(chunk)
            size += len(chunk)
            target.write(chunk)
        target.flush()
        os.fsync(target.fileno())
    path.chmod(mode & 0o777)
    return Member(sha256.hexdigest(), size)


def _damaged(source: Path, what: str) -> BackupError:
    return BackupError(
        f"{source} is damaged: {what}.", remedy="take another backup; nothing was restored"
    )
