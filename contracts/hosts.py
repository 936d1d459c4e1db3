"""Where a connection leads: to this machine, or over a network that others may read."""

from __future__ import annotations

import ipaddress

from contracts.errors import ConfigurationError


def is_loopback(host: str) -> bool:
    """Tell whether a host is this machine itself; a name that is not ``localhost`` is none.

    What a name resolves to may change between this look and the connection.
    """
    try:
        address = ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return host.rstrip(".").lower() == "localhost"
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback


def require_private_line(host: str, *, has_password: bool, has_tls: bool) -> None:
    """Refuse to log on by password where everybody on the way could read it.

    Raises
    ------
    ConfigurationError
        When there is a password, no TLS, and the host is not this machine.
    """
    if has_password and not has_tls and not is_loopback(host):
        raise ConfigurationError(
            f"The password would go to {host} over plain TCP, for everybody on the way to read.",
            remedy="set `tls_ca_file`, or reach the other side through a tunnel that ends at "
            "127.0.0.1",
        )
