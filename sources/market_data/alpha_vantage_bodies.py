"""Whether Alpha Vantage answered at all: its refusals come with HTTP 200, as its answers do."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from contracts.errors import SourceError
from sources.market_data.errors import (
    VendorCredentialError,
    VendorQuotaError,
    VendorUnavailableError,
)

# A free key has 25 questions a day and one a second, and is told so in these two fields; the
# second once meant the limit per minute, the first also what a plan does not include.
_INFORMATION, _NOTE, _ERROR = "Information", "Note", "Error Message"
THROTTLED_S = 60.0
BURST_S = 2.0


def require_answer(body: bytes, *, wants_csv: bool, hide: Callable[[str], str]) -> None:
    """Raise for a body that is a refusal, an error page or cut off.

    Parameters
    ----------
    body : bytes
        With HTTP status 200.
    wants_csv : bool
        Whether CSV was asked for; refusals are JSON even then.
    hide : callable
        Takes the key out of a text: some refusals repeat it.

    Raises
    ------
    VendorUnavailableError
        When the same question may be answered later: throttled, or cut off on the way.
    VendorQuotaError, VendorCredentialError
        When no question will be answered until the quota is renewed, or the key mended.
    SourceError
        When this question will not.
    """
    start = body.lstrip()[:1]
    if not start:
        raise _cut_off("The body is empty")
    if start == b"<":
        raise VendorUnavailableError(
            f"The vendor answers with HTML: {hide(body[:60].decode(errors='replace'))!r}.",
            remedy="ask again later; a proxy on the way may have answered",
        )
    if start != b"{":
        if not wants_csv:
            raise SourceError("The body is no JSON object.", remedy="check `format`")
        if not body.endswith(b"\n"):
            raise _cut_off("The last line has no end")
        return
    try:
        found = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise _cut_off("The JSON has no end") from None
    _require_no_refusal(found, hide)
    if wants_csv:
        raise SourceError(
            f"The body is JSON with {', '.join(found)[:120]!r}, not CSV.", remedy="check `format`"
        )


def _require_no_refusal(found: Mapping[str, Any], hide: Callable[[str], str]) -> None:
    said = hide(str(found.get(_INFORMATION) or found.get(_NOTE) or found.get(_ERROR) or ""))[:300]
    lower = said.lower()
    if _ERROR in found:
        if "apikey" in lower or "api key" in lower:
            raise VendorCredentialError(
                f"The vendor does not accept the key: {said}",
                remedy="check the variable that `key_env` in sources.toml names",
            )
        raise SourceError(
            f"The vendor does not know what was asked for: {said}", remedy="check the symbol"
        )
    if _INFORMATION not in found and _NOTE not in found:
        return
    if "premium endpoint" in lower or "premium feature" in lower:
        raise SourceError(
            f"The key's plan does not include it: {said}", remedy="ask the vendor for another plan"
        )
    if "per day" in lower and "per minute" not in lower and "per second" not in lower:
        raise VendorQuotaError(
            f"The key's questions of the day are used up: {said}",
            remedy="go on tomorrow: what came is kept",
        )
    if "demo" in lower and "api key" in lower and "rate limit" not in lower:
        raise VendorCredentialError(
            f"The key is the vendor's example: {said}", remedy="get a key of your own"
        )
    wait_s = BURST_S if "per second" in lower else THROTTLED_S
    raise VendorUnavailableError(
        f"The vendor is asked too often: {said}",
        remedy="lower `requests_per_minute` in sources.toml",
        wait_s=wait_s,
    )


def _cut_off(message: str) -> VendorUnavailableError:
    return VendorUnavailableError(
        f"{message}: it was cut off on the way.", remedy="ask again later"
    )
