"""Instrument identity: permanent ids that survive a change of ticker."""

from __future__ import annotations

import re

from contracts.errors import ContractError

_SYMBOL = re.compile(r"[A-Z][A-Z0-9]*(?:\.[A-Z]+)?")


def instrument_id(symbol: str, *, country: str = "US") -> str:
    """Return the permanent id of the instrument first listed as ``symbol``, e.g. ``US.ETFC``.

    A rename keeps the id of the first symbol; ``domain.market_data.reference`` holds the spells.

    Raises
    ------
    ContractError
        When the symbol is not an exchange symbol: upper-case letters and digits, at most one share-
        class suffix.
    """
    if not _SYMBOL.fullmatch(symbol):
        raise ContractError(
            f"{symbol!r} is not an exchange symbol.", remedy="pass e.g. 'AAPL' or 'BRK.B'"
        )
    return f"{country}.{symbol}"
