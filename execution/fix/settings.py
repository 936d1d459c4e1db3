"""The session's settings, and quickfix's rendering of them."""

from __future__ import annotations

from pathlib import Path

import msgspec
import quickfix as fix

from contracts.errors import ConfigurationError
from contracts.hosts import require_private_line

# One field of a FIX identity: no control characters and no '=', which would forge other fields.
_IDENTITY_CHARS_MAX = 64
_VERIFY_AND_REQUIRE = 2


class FixConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One FIX 4.4 session with one broker.

    Parameters
    ----------
    host, port
        Where the broker listens.
    sender_comp_id, target_comp_id
        Our id and the broker's.
    account : str
        Account(1) of the orders.
    username, password_file
        Logon credentials; the password is read from a file and never logged.
    heartbeat_s : int
        HeartBtInt. quickfix tests the line after 1.2 and drops it after 2.4 intervals of silence.
    reconnect_s : int
        Pause between attempts to connect.
    poss_dup_ttl_ms : int
        An order that quickfix wants to repeat later than this is withheld: the price it was made
        for is gone. The engine learns from the broker that it never arrived.
    tls_ca_file : str
        When set, TLS with exactly this CA. quickfix does not check the broker's host name, so
        only a private CA says whom we talk to.
    """

    host: str
    port: int
    sender_comp_id: str
    target_comp_id: str
    account: str = "QUANTIVISTA"
    username: str = ""
    password_file: str = ""
    heartbeat_s: int = 10
    reconnect_s: int = 1
    poss_dup_ttl_ms: int = 2_000
    tls_ca_file: str = ""


def _identity(name: str, value: str) -> str:
    if not value or len(value) > _IDENTITY_CHARS_MAX or not value.isprintable() or "=" in value:
        raise ConfigurationError(
            f"{name}={value!r} is no FIX identity.",
            remedy=f"use up to {_IDENTITY_CHARS_MAX} printable characters without '='",
        )
    return value


def initiator_text(config: FixConfig, store: Path) -> str:
    """Return quickfix settings for our end.

    No data dictionary: fields are checked by ``fix.parse``, after the raw message is journaled.
    No daily reset: recovery rests on sequence numbers that go on.

    Raises
    ------
    ConfigurationError
        When an identity would forge settings, or a password would go over a network in the open.
    """
    require_private_line(
        config.host, has_password=bool(config.password_file), has_tls=bool(config.tls_ca_file)
    )
    lines = [
        "[DEFAULT]",
        "ConnectionType=initiator",
        "NonStopSession=Y",
        "UseDataDictionary=N",
        "SocketNodelay=Y",
        "ResetOnLogon=N",
        "ResetOnLogout=N",
        "ResetOnDisconnect=N",
        "PersistMessages=Y",
        # Asks once more when a gap is not filled as promised. Without it, a damaged message within
        # a gap leaves quickfix waiting for good, deaf to whatever comes.
        "SendRedundantResendRequests=Y",
        "TimestampPrecision=6",
        f"FileStorePath={store}",
        f"SocketConnectHost={_identity('host', config.host)}",
        f"SocketConnectPort={config.port}",
        f"HeartBtInt={config.heartbeat_s}",
        f"ReconnectInterval={config.reconnect_s}",
    ]
    if config.tls_ca_file:
        lines += [
            # By quickfix's own names: it ignores a setting that it does not know, and would then
            # accept any certificate.
            f"{fix.CERTIFICATE_AUTHORITIES_FILE}={config.tls_ca_file}",
            f"{fix.CERTIFICATE_VERIFY_LEVEL}={_VERIFY_AND_REQUIRE}",
            "SSLProtocol=+TLSv1_2 +TLSv1_3",
        ]
    lines += [
        "[SESSION]",
        "BeginString=FIX.4.4",
        f"SenderCompID={_identity('sender_comp_id', config.sender_comp_id)}",
        f"TargetCompID={_identity('target_comp_id', config.target_comp_id)}",
    ]
    return "\n".join(lines) + "\n"
