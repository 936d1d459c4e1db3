"""Why a vendor gave nothing. All are ``SourceError``; what may be asked again says when."""

from __future__ import annotations

from contracts.errors import SourceError


class VendorUnavailableError(SourceError):
    """The vendor did not answer, or not wholly: the same question may be answered later.

    Parameters
    ----------
    wait_s : float, optional
        How long the vendor, or its documentation, says to wait.
    """

    def __init__(self, message: str, *, remedy: str, wait_s: float | None = None) -> None:
        super().__init__(message, remedy=remedy)
        self.wait_s = wait_s


class VendorQuotaError(SourceError):
    """The vendor answers nothing more until the quota is renewed, whatever is asked."""


class VendorCredentialError(SourceError):
    """The vendor does not accept the key, or there is none."""


class VendorSessionError(SourceError):
    """The session with the vendor has ended: nothing more is answered in it."""
