"""Take in what a source gives: every drop is kept and noted before anything looks inside."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from sources.file_drops import RawDrop
from sources.market_data.protocol import MarketDataSource, Refusal, Window
from sources.market_data.receipts import Receipts


class Received(NamedTuple):
    """A drop that came, and whether its bytes are new under its name."""

    drop: RawDrop
    is_new: bool


def receive(
    source: MarketDataSource,
    receipts: Receipts,
    window: Window,
    instruments: Sequence[str],
    *,
    now_ns: int,
) -> Iterator[Received | Refusal]:
    """Fetch and keep, one drop after the other; see ``MarketDataSource.fetch``."""
    for found in source.fetch(window, instruments):
        if isinstance(found, RawDrop):
            yield Received(found, receipts.receive(found, now_ns=now_ns))
        else:
            yield found
