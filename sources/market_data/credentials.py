"""Keys and passwords: ``sources.toml`` names the variable, the environment has the secret."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import msgspec

from sources.market_data.errors import VendorCredentialError

# An underscore is needed so that a key, which rarely has one, cannot be put here by mistake.
Variable = Annotated[str, msgspec.Meta(pattern=r"^[A-Z][A-Z0-9]*(_[A-Z0-9]+)+$")]


def read_secret(name: str, variable: str, environ: Mapping[str, str]) -> str:
    """Return what an environment variable holds; raise ``VendorCredentialError`` if nothing."""
    found = environ.get(variable, "").strip()
    if not found:
        raise VendorCredentialError(
            f"A credential of source {name!r} is not set.",
            remedy=f"set the environment variable {variable}",
        )
    return found
