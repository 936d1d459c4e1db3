"""Models by content: a file is named by the SHA-256 of its bytes, and never trusted without it.

The only loader of models. They are XGBoost's UBJ; nothing is ever pickled.
"""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from contracts.errors import ContractError
from ml.errors import ModelRefusedError

if TYPE_CHECKING:
    import xgboost

_SHA256 = re.compile(r"[0-9a-f]{64}")
# A model of 80 rounds is about 400 kB; a gigabyte is a mistake.
MODEL_BYTES_MAX = 1_073_741_824


class Registration(msgspec.Struct, frozen=True):
    """Where a training is found in the registry."""

    training_key: str
    model: str
    version: int
    run_id: str


class ModelStore:
    """Content-addressed models under one root, with an index from training to result.

    Parameters
    ----------
    root : Path
        Directory with ``models/<sha256>.ubj`` and ``index/<training key>.json``; made on first use.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def put(self, data: bytes) -> str:
        """Write a model's bytes, atomically and durably, and return their SHA-256.

        Writing the same bytes again changes nothing.
        """
        if not 0 < len(data) <= MODEL_BYTES_MAX:
            raise ContractError(
                f"A model of {len(data)} bytes is not stored.",
                remedy=f"store between 1 and {MODEL_BYTES_MAX} bytes",
            )
        sha256 = hashlib.sha256(data).hexdigest()
        if not self.has(sha256):
            _write(self._model_path(sha256), data)
        return sha256

    def has(self, sha256: str) -> bool:
        """Tell whether a model is stored with exactly these bytes."""
        path = self._model_path(sha256)
        return path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == sha256

    def get(self, sha256: str) -> bytes:
        """Return a model's bytes.

        Raises
        ------
        ModelRefusedError
            When they are absent, or not those that the hash names.
        """
        path = self._model_path(sha256)
        try:
            data = path.read_bytes()
        except FileNotFoundError as error:
            raise ModelRefusedError(
                f"Model {sha256} is not in {self.root}.",
                remedy="train the month again, or restore the store from its backup",
            ) from error
        found = hashlib.sha256(data).hexdigest()
        if found != sha256:
            raise ModelRefusedError(
                f"Model {sha256} has bytes with SHA-256 {found}: refused.",
                remedy="delete the file and train the month again; find out who changed it",
            )
        return data

    def load(self, sha256: str, threads: int = 1) -> xgboost.Booster:
        """Return the booster, built only after its bytes matched their hash."""
        data = self.get(sha256)
        import xgboost  # two seconds that only those who load a model pay

        booster = xgboost.Booster({"nthread": threads})
        booster.load_model(bytearray(data))
        return booster

    def remember(self, training_key: str, row: msgspec.Struct) -> None:
        """Keep the result of a training under the hash of everything that went into it."""
        _write(self._index_path(training_key), msgspec.json.encode(row))

    def find(self, training_key: str, kind: type[Any]) -> Any | None:
        """Return the remembered row as ``kind``; ``None`` when there is none or it is unreadable.

        An entry that cannot be read costs a training, never a wrong model: its ``model_sha256``
        still has to match the bytes.
        """
        try:
            return msgspec.json.decode(self._index_path(training_key).read_bytes(), type=kind)
        except (FileNotFoundError, msgspec.DecodeError):
            return None

    def note_registration(self, place: Registration) -> None:
        """Keep beside a training where it is registered, so that a reader needs no registry."""
        _write(self._registration_path(place.training_key), msgspec.json.encode(place))

    def registration(self, training_key: str) -> Registration | None:
        """Return where a training is registered; ``None`` when that was never noted.

        For people to follow. The champion of a session comes from the registry itself.
        """
        try:
            data = self._registration_path(training_key).read_bytes()
            return msgspec.json.decode(data, type=Registration)
        except (FileNotFoundError, msgspec.DecodeError):
            return None

    def _registration_path(self, training_key: str) -> Path:
        return self.root / "index" / f"{_checked(training_key)}.registered.json"

    def _model_path(self, sha256: str) -> Path:
        return self.root / "models" / f"{_checked(sha256)}.ubj"

    def _index_path(self, training_key: str) -> Path:
        return self.root / "index" / f"{_checked(training_key)}.json"


def _checked(sha256: str) -> str:
    if not _SHA256.fullmatch(sha256):
        raise ContractError(
            f"{sha256!r} is not a SHA-256.", remedy="pass 64 hexadecimal digits in lower case"
        )
    return sha256


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".writing-")
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        directory = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
    finally:
        temporary.unlink(missing_ok=True)
