"""A model is what its hash says, or it is refused."""

import hashlib

import msgspec
import pytest

from contracts.errors import ContractError
from ml.registry.model_store import ModelStore

KEY = "ab" * 32


class Row(msgspec.Struct, frozen=True):
    month: str
    temperature: float


def test_bytes_come_back_under_their_hash(tmp_path):
    store = ModelStore(tmp_path)
    sha256 = store.put(b"model")
    assert sha256 == hashlib.sha256(b"model").hexdigest() == store.put(b"model")
    assert store.get(sha256) == b"model"
    assert [path.name for path in (tmp_path / "models").iterdir()] == [f"{sha256}.ubj"]


def test_changed_bytes_are_refused_before_xgboost_sees_them(tmp_path):
    store = ModelStore(tmp_path)
    sha256 = store.put(b"model")
    (tmp_path / "models" / f"{sha256}.ubj").write_bytes(b"another")
    assert not store.has(sha256)
    for refuse in (store.get, store.load):
        with pytest.raises(ContractError, match="refused"):
            refuse(sha256)
    store.put(b"model")
    assert store.get(sha256) == b"model"


def test_an_absent_model_and_a_hostile_name_are_refused(tmp_path):
    store = ModelStore(tmp_path)
    with pytest.raises(ContractError, match="is not in"):
        store.get(KEY)
    for name in ("../../etc/passwd", KEY.upper(), KEY + "\n", ""):
        with pytest.raises(ContractError, match="not a SHA-256"):
            store.get(name)
    with pytest.raises(ContractError, match="0 bytes"):
        store.put(b"")


def test_a_training_is_remembered_and_a_torn_entry_is_forgotten(tmp_path):
    store = ModelStore(tmp_path)
    assert store.find(KEY, Row) is None
    store.remember(KEY, Row("2010-03-01", 0.1 + 0.2))
    assert store.find(KEY, Row) == Row("2010-03-01", 0.1 + 0.2)
    (tmp_path / "index" / f"{KEY}.json").write_bytes(b'{"month": "2010')
    assert store.find(KEY, Row) is None


def test_a_failed_write_leaves_nothing(tmp_path, monkeypatch):
    store = ModelStore(tmp_path)

    def full(_handle):
        raise OSError("no space left on device")

    monkeypatch.setattr("ml.registry.model_store.os.fsync", full)
    with pytest.raises(OSError, match="no space"):
        store.put(b"model")
    assert list((tmp_path / "models").iterdir()) == []
