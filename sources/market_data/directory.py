"""Files that a vendor, or somebody, puts into a directory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import msgspec

from contracts.errors import SourceError
from sources.file_drops import DROP_BYTES_MAX, RawDrop, make_drop
from sources.market_data.protocol import Refusal


class Directory(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where the files lie, and how large one of them may be, unpacked."""

    path: Path
    bytes_max: Annotated[int, msgspec.Meta(ge=1, le=DROP_BYTES_MAX)] = DROP_BYTES_MAX


class SessionFiles(Directory, frozen=True, kw_only=True):
    """Files of single sessions.

    With ``regular_hours_only``, rows before the open or after the close are wrong.
    """

    regular_hours_only: bool = False


def files_below(root: Path, pattern: str) -> Iterator[Path]:
    """Yield the files that match, in the order of their names.

    Raises
    ------
    SourceError
        When the directory does not exist.
    """
    if not root.is_dir():
        raise SourceError(
            f"The directory {root} does not exist.", remedy="correct `path` in sources.toml"
        )
    yield from sorted(path for path in root.glob(pattern) if path.is_file() or path.is_symlink())


def take(source: str, root: Path, path: Path, bytes_max: int) -> RawDrop | Refusal:
    """Return a file as a drop named by its path below ``root``, or why it is not taken."""
    name = path.relative_to(root).as_posix()
    try:
        # A link out of the directory could name any file of the machine.
        if not path.resolve(strict=True).is_relative_to(root.resolve()):
            return Refusal(name, "is a link that leaves the directory")
        size = path.stat().st_size
        if size > bytes_max:
            return Refusal(name, f"has {size} bytes, `bytes_max` is {bytes_max}")
        return make_drop(source, name, path.read_bytes())
    except OSError as error:
        return Refusal(name, f"cannot be read: {error.strerror}")
    except SourceError as error:
        return Refusal(name, error.message)
