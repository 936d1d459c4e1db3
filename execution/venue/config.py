"""The paper venue's configuration."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import msgspec

from contracts.codec import from_json
from execution.venue.market import Liquidity


class VenueConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One venue process.

    Parameters
    ----------
    state_dir : str
        Its record of orders and fills, its FIX store, and ``endpoint.json``.
    fix_port : int
        Where it listens: on every interface, because quickfix has no setting for one. On a shared
        network, close the port to others or set a password.
    comp_id, client_comp_id : str
        Its id and the client's.
    market_data_comp_id : str
        When set, a second session, for market data, with this client; it cannot trade.
    bars : str
        Bars file of the session to replay; another may be loaded later.
    seed : int
        Of everything random: paths, quote sizes, rejects.
    tls_cert_file, tls_key_file : str
        When set, TLS with this certificate and key (PEM).
    username, password_file : str
        When set, what a logon must bring; the password is read from a file.
    latency_ms : float
        Added to every report.
    fee_per_share, fee_min : Decimal
        Commission per execution, rounded to the cent.
    reject_rate : float
        Share of new orders rejected at random.
    is_strict : bool
        Check every message against FIX 4.4's dictionary, and reject at the session level what does
        not fit, as many brokers do. Without it, only what the venue reads is checked.
    resets_on_logon : bool
        Sequence numbers begin anew at each logon: nothing is repeated after a broken line.
    """

    state_dir: str
    fix_port: int
    comp_id: str = "VENUE"
    client_comp_id: str = "QUANTIVISTA"
    market_data_comp_id: str = ""
    bars: str = ""
    seed: int = 7
    latency_ms: float = 0.0
    fee_per_share: Decimal = Decimal("0.0035")
    fee_min: Decimal = Decimal(0)
    reject_rate: float = 0.0
    liquidity: Liquidity = Liquidity()
    heartbeat_s: int = 10
    http_port: int = 0
    tls_cert_file: str = ""
    tls_key_file: str = ""
    username: str = ""
    password_file: str = ""
    is_strict: bool = False
    resets_on_logon: bool = False


def read_config(path: Path) -> VenueConfig:
    """Read and check a configuration file."""
    return from_json(path.read_bytes(), VenueConfig)
