"""Daily archives in pystock's layout: ``prices.csv`` within ``YYYYMMDD.tar.gz``.

The date in the name is the day on which the vendor wrote the archive. Each holds that session and
the one before it, as corrected since: a later archive is a later knowledge of the same session.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated

import msgspec
import polars as pl

from contracts.clock import datetime_ns
from sources.file_drops import DROP_BYTES_MAX, RawDrop
from sources.market_data.archives import tar_gz_member
from sources.market_data.directory import Directory, files_below, take
from sources.market_data.frames import (
    layout_rules,
    number,
    require_columns,
    sift_daily,
    split_lines,
    with_fields,
)
from sources.market_data.protocol import PriceBasis, Reading, Refusal, Window

PRICES = "prices.csv"
COLUMNS = ("symbol", "date", "open", "high", "low", "close", "volume", "adj_close")
_NAME = re.compile(r"(?:.*/)?(\d{8})\.tar\.gz")


class PystockFiles(Directory, frozen=True, kw_only=True, tag_field="type", tag="pystock"):
    """The directory of the archives; those of a year may lie in a directory of their own."""

    # A day has 0.3 MB, 1 MB unpacked.
    bytes_max: Annotated[int, msgspec.Meta(ge=1, le=DROP_BYTES_MAX)] = 100_000_000

    def open(self, name: str, environ: Mapping[str, str]) -> PystockSource:
        """Return the source."""
        del environ
        return PystockSource(name, self)


class PystockSource:
    """Daily bars with the vendor's adjusted close beside them."""

    price_basis: PriceBasis = "raw"
    volume_unit_shares = 1

    def __init__(self, name: str, config: PystockFiles) -> None:
        self.name, self.config = name, config

    def fetch(self, window: Window, instruments: Sequence[str]) -> Iterator[RawDrop | Refusal]:
        """Yield the archives that were written within the window; each holds all instruments."""
        del instruments
        root = self.config.path
        for path in files_below(root, "**/*.tar.gz"):
            written = _written(path.name)
            if written is None:
                name = path.relative_to(root).as_posix()
                yield Refusal(name, "is not named by a day, as in 20160201.tar.gz")
            elif written in window:
                yield take(self.name, root, path, self.config.bytes_max)

    def is_daily(self, name: str) -> bool:
        """Tell whether it holds daily bars: they all do."""
        del name
        return True

    def written_ns(self, name: str) -> int | None:
        """Return the end of the day in the name, UTC: by then the archive was written."""
        written = _written(name)
        if written is None:
            return None
        after = dt.datetime.combine(written, dt.time(), dt.UTC) + dt.timedelta(days=1)
        return datetime_ns(after)

    def read(self, drop: RawDrop) -> Reading:
        """Parse an archive's prices. There are days on which the vendor wrote none: no rows.

        Raises
        ------
        SourceError
            When the archive is broken or unsafe, or its prices have other columns.
        """
        data = tar_gz_member(drop.data, PRICES, bytes_max=self.config.bytes_max)
        lines = split_lines(data)
        header = lines["raw"][0].split(",") if lines.height else list(COLUMNS)
        require_columns(header, {name: name for name in COLUMNS}, f"{PRICES} of {drop.name}")
        typed = with_fields(lines[1:], header).with_columns(
            pl.col("date").str.to_date("%Y-%m-%d", strict=False).alias("session"),
            *(number(name) for name in COLUMNS[2:]),
        )
        return sift_daily(drop, typed, layout_rules(len(header)))


def _written(name: str) -> dt.date | None:
    found = _NAME.fullmatch(name)
    try:
        return dt.date.fromisoformat(found[1]) if found else None
    except ValueError:
        return None
