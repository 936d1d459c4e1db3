"""The pair of files that the platform reads where no source is configured: bars and symbols.

Without a directory they are the embedded demo's: a year of daily bars, and who the symbols are.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import polars as pl

from domain.market_data.normalise import VOLUME_UNIT_SHARES, read_rows
from sources.file_drops import EMBEDDED_BARS, EMBEDDED_VENDOR, RawDrop, vendor_drops
from sources.market_data.frames import QUARANTINE
from sources.market_data.protocol import PriceBasis, Reading, Refusal, Undated, Window


class VendorFiles(Undated):
    """The vendor's files in one directory, or the embedded ones."""

    price_basis: PriceBasis = "raw"
    volume_unit_shares = VOLUME_UNIT_SHARES

    def __init__(self, directory: Path | None) -> None:
        # What the rows of the bars name as their source.
        self.name = EMBEDDED_VENDOR if directory is None else directory.name
        self.directory = directory

    def fetch(self, window: Window, instruments: Sequence[str]) -> Iterator[RawDrop | Refusal]:
        """Yield both files: each holds everything."""
        del window, instruments
        yield from vendor_drops(self.directory)

    def is_daily(self, name: str) -> bool:
        """Tell the bars from the symbol list."""
        return name == EMBEDDED_BARS

    def read(self, drop: RawDrop) -> Reading:
        """Parse the bars; every line is judged by ``normalise``."""
        return Reading("bar_1d", read_rows(drop.data), pl.DataFrame(schema=QUARANTINE))
