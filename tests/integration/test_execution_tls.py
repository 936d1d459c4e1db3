"""TLS with a private CA, and logon by password: the right ones work, the wrong ones say so."""

import datetime as dt
import time
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.integration.execution_harness import World, until
from tests.unit.execution_builders import decision

PASSWORD = "correct horse battery staple"  # noqa: S105 - of a venue that lives as long as its test
ATTEMPTS_S = 4.0


class Authority:
    """A private CA that signs the venue's certificate."""

    def __init__(self, directory: Path, name: str) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self._directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        self.file = directory / "ca.pem"
        self.file.write_bytes(self._signed(self._name, self._key.public_key(), is_ca=True))

    def _signed(
        self, subject: x509.Name, public: ec.EllipticCurvePublicKey, *, is_ca: bool
    ) -> bytes:
        now = dt.datetime.now(dt.UTC)
        built = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(days=1))
            .not_valid_after(now + dt.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
            .sign(self._key, hashes.SHA256())
        )
        return built.public_bytes(serialization.Encoding.PEM)

    def venue(self) -> dict[str, str]:
        """Sign a certificate; return the venue's settings."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "venue")])
        certificate, private = self._directory / "venue.pem", self._directory / "venue.key"
        certificate.write_bytes(self._signed(subject, key.public_key(), is_ca=False))
        private.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        return {"tls_cert_file": str(certificate), "tls_key_file": str(private)}


def line(root: Path, authority: Authority, ca: Path | str, password: str) -> World:
    """A venue that asks for TLS and a password, and a service with its own idea of both."""
    for name, text in (("theirs", PASSWORD), ("ours", password)):
        (root / name).write_text(text + "\n")
    venue: dict[str, Any] = authority.venue()
    venue |= {"username": "desk", "password_file": str(root / "theirs")}
    ours = {"username": "desk", "password_file": str(root / "ours"), "tls_ca_file": str(ca)}
    return World(root, venue=venue, fix=ours)


def leaks(root: Path, secret: str) -> list[str]:
    """Files below the state directories that hold a secret in clear."""
    return [
        str(path.relative_to(root))
        for folder in ("service", "venue")
        for path in sorted((root / folder).rglob("*"))
        if path.is_file() and secret.encode() in path.read_bytes()
    ]


def test_orders_travel_over_tls_with_a_password_and_no_file_keeps_it(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "ca", "ours")
    made = line(tmp_path, authority, authority.file, PASSWORD)
    try:
        made.start()
        made.trade(decision("US.AAPL", 100))
        made.market.run(step_ms=1)
        assert made.settle()["orders"] == {"filled": 1}
        made.assert_agreement()
        assert leaks(tmp_path, PASSWORD) == []
        # Quickfix still reads its store: what the venue asks for again is answered.
        made.venue.kill()
        made.start_venue()
        made.client.wait_ready()
        assert leaks(tmp_path, PASSWORD) == []
    finally:
        made.stop()


@pytest.mark.parametrize(
    ("wrong", "problem"),
    [
        ("ca", "no connection"),
        ("tls", "logon not accepted"),
        ("password", "unknown user or wrong password"),
    ],
)
def test_a_wrong_authority_or_password_is_refused_and_says_so(
    tmp_path: Path, wrong: str, problem: str
) -> None:
    authority = Authority(tmp_path / "ca", "ours")
    ca: Path | str = authority.file
    if wrong == "ca":
        ca = Authority(tmp_path / "other", "theirs").file
    elif wrong == "tls":
        ca = ""
    password = "not the password" if wrong == "password" else PASSWORD
    made = line(tmp_path, authority, ca, password)
    try:
        made.start_venue()
        made.market.wait_listening()
        made.start_service(ready=False)
        until("listening", lambda: (tmp_path / "service" / "endpoint.json").exists())
        made.issue(decision("US.AAPL", 100))

        def said() -> bool:
            return any(problem in one for one in made.client.health()["problems"])

        # Several attempts, a second apart: before the first, nothing is connected anyway.
        time.sleep(ATTEMPTS_S)
        until("said", said)
        assert made.client.health()["ok"] is False
        assert made.market.status()["is_logged_on"] is False
        assert made.market.order_messages() == 0
        assert leaks(tmp_path, password) == []
    finally:
        made.stop()
