"""Zip and tar archives opened in memory: nothing is written, and nothing grows without a limit."""

from __future__ import annotations

import io
import struct
import tarfile
import zipfile
import zlib
from pathlib import PurePosixPath

from contracts.errors import SourceError

TAR_MEMBERS_MAX = 1_000
_UNREADABLE = (
    zipfile.BadZipFile, zlib.error, struct.error, EOFError, OSError, ValueError, RuntimeError,
    OverflowError, KeyError, IndexError, tarfile.TarError,
)  # fmt: skip
# Zip also knows LZMA and bzip2, which no vendor of ours uses: less to attack.
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


def sole_zip_member(data: bytes, *, bytes_max: int) -> tuple[str, bytes]:
    """Return the name and the bytes of the only file in a zip.

    Raises
    ------
    SourceError
        When it is no zip, holds another number of files, is encrypted, compressed by another method
        than deflate, or larger than ``bytes_max`` when unpacked.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = archive.infolist()
            if len(members) != 1:
                raise _refused(f"The zip holds {len(members)} files, one is expected.")
            member = members[0]
            if member.compress_type not in _METHODS:
                raise _refused(f"{member.filename[:80]!r} is compressed by an unusual method.")
            with archive.open(member) as file:
                # What the directory says of the size is not believed.
                found = file.read(bytes_max + 1)
    except _UNREADABLE as error:
        raise _refused(f"The zip cannot be read: {error}.") from error
    if len(found) > bytes_max:
        raise _refused(
            f"{member.filename[:80]!r} unpacks to more than {bytes_max} bytes.", "oversized_file"
        )
    return member.filename, found


def tar_gz_member(data: bytes, name: str, *, bytes_max: int) -> bytes:
    """Return one file of a tar.gz by its name.

    Raises
    ------
    SourceError
        When it is no tar.gz, is cut off, unpacks to more than ``bytes_max``, does not hold the
        file once, or holds anything that a careless unpacker could be harmed by: links, devices,
        and names that leave the directory.
    """
    inflater = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
    try:
        plain = inflater.decompress(data, bytes_max + 1)
    except zlib.error as error:
        raise _refused(f"The archive is no gzip: {error}.") from error
    if len(plain) > bytes_max:
        raise _refused(f"The archive unpacks to more than {bytes_max} bytes.", "oversized_file")
    if not inflater.eof or inflater.unused_data:
        raise _refused("The gzip is cut off, or something follows it.")
    found = []
    try:
        with tarfile.open(fileobj=io.BytesIO(plain), mode="r:") as archive:
            for count, member in enumerate(archive, start=1):
                _require_harmless(member, count)
                if member.isfile() and member.name == name:
                    file = archive.extractfile(member)
                    found.append(file.read() if file else b"")
    except _UNREADABLE as error:
        raise _refused(f"The tar cannot be read: {error}.") from error
    if len(found) != 1:
        raise _refused(f"The tar holds {name} {len(found)} times.")
    return found[0]


def _require_harmless(member: tarfile.TarInfo, count: int) -> None:
    path = PurePosixPath(member.name)
    if count > TAR_MEMBERS_MAX:
        raise _refused(f"The tar holds more than {TAR_MEMBERS_MAX} members.")
    # A sparse file's holes would be filled in memory, past any limit on the archive.
    if member.issparse() or not (member.isfile() or member.isdir()):
        raise _refused(f"The tar's {member.name[:80]!r} is a link, a device or full of holes.")
    if path.is_absolute() or ".." in path.parts or "\\" in member.name:
        raise _refused(f"The tar's {member.name[:80]!r} leaves its directory.")


def _refused(message: str, rule: str = "broken_archive") -> SourceError:
    return SourceError(message, remedy="ask the vendor to send it again", rule=rule)
