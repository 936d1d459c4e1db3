"""The desk's sources as they are configured, with what each has sent so far."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import polars as pl

from contracts.errors import ConfigurationError, SourceError
from domain.market_data.instruments import NOT_LISTED, read_symbols
from domain.market_data.normalise import read_rows
from sources.file_drops import EMBEDDED_BARS, EMBEDDED_SYMBOLS, DropStore, RawDrop, make_drop
from sources.market_data.acceptances import Acceptances, as_allowed
from sources.market_data.configuration import SourceConfig, read_daily_order, read_sources
from sources.market_data.daily import WHOLE_FILE, Calendar, DailyHistory, daily_history
from sources.market_data.embedded import VendorFiles
from sources.market_data.protocol import MarketDataSource
from sources.market_data.receipts import Receipt, Receipts


class Desk:
    """Sources by name.

    Parameters
    ----------
    sources_file : Path
        Their configuration; it need not exist.
    vendor_dir : Path or None
        The vendor's files, for a desk that names no source for its daily bars.
    drops_root : Path
        Where all bytes are kept.
    environ : mapping of str to str
        Holds the keys that the configuration names.
    """

    def __init__(
        self, sources_file: Path, vendor_dir: Path | None, drops_root: Path,
        environ: Mapping[str, str],
    ) -> None:  # fmt: skip
        self._file, self._environ = sources_file, environ
        self.store = DropStore(drops_root)
        self.vendor = VendorFiles(vendor_dir)

    @property
    def configured(self) -> dict[str, SourceConfig]:
        """Return the configured sources."""
        return read_sources(self._file)

    @property
    def reads_vendor_files(self) -> bool:
        """Tell whether the daily bars are those of the vendor's files, for want of another."""
        return not read_daily_order(self._file)

    @property
    def daily_order(self) -> tuple[str, ...]:
        """Return the sources that the daily bars are made of, the preferred one first."""
        return read_daily_order(self._file) or (self.vendor.name,)

    def source(self, name: str) -> MarketDataSource:
        """Return a source, ready to be asked.

        Raises
        ------
        ConfigurationError
            When there is none of that name.
        """
        if name == self.vendor.name and self.reads_vendor_files:
            return self.vendor
        configs = self.configured
        if name not in configs:
            raise ConfigurationError(
                f"There is no source {name!r}; there are: {', '.join(configs) or 'none'}.",
                remedy=f"add [sources.{name}] to {self._file}",
            )
        return configs[name].open(name, self._environ)

    def receipts(self, name: str) -> Receipts:
        """Return what a source has sent."""
        return Receipts(self.store, name)

    def acceptances(self, name: str) -> Acceptances:
        """Return what people have accepted of a source's files."""
        return Acceptances(self.store, name)

    def kept(self, source: str, name: str, sha256: str) -> RawDrop:
        """Return a drop that came, as it is read by now."""
        drop = make_drop(source, name, self.store.get(sha256))
        return as_allowed(drop, self.acceptances(source).allowed(sha256))

    def received(self) -> list[Receipt]:
        """Return all that came from the configured sources and from those of the daily bars."""
        names = dict.fromkeys((*self.daily_order, *self.configured))
        return [row for name in names for row in self.receipts(name).rows()]

    def named(self, calendar: Calendar) -> tuple[pl.DataFrame, pl.DataFrame]:
        """Return all rows with ``symbol`` and ``date``, and the list of symbols, if there is one.

        See ``domain.market_data.instruments.instrument_master``.
        """
        if self.reads_vendor_files:
            history = self.daily(calendar)[self.vendor.name]
            refused = set(history.quarantine.filter(source_seq=WHOLE_FILE)["raw_sha256"])
            usable = {
                row.name: row.sha256
                for row in self.receipts(self.vendor.name).rows()
                if row.sha256 not in refused
            }
            if EMBEDDED_BARS not in usable:
                why = "; ".join(history.quarantine.filter(source_seq=WHOLE_FILE)["raw"].unique())
                raise SourceError(
                    f"No {EMBEDDED_BARS} that has come can be used: {why}",
                    remedy="ask the vendor to send it again",
                )
            bars = self.kept(self.vendor.name, EMBEDDED_BARS, usable[EMBEDDED_BARS])
            return read_rows(bars.data), read_symbols(self.store.get(usable[EMBEDDED_SYMBOLS]))
        rows = pl.concat(one.revisions for one in self.daily(calendar).values())
        dated = pl.col("session").dt.strftime("%Y%m%d").alias("date")
        return rows.filter(~pl.col("withdrawn")).select("symbol", dated, "close"), NOT_LISTED

    def texts_of(self, bars: pl.DataFrame) -> pl.DataFrame:
        """Return the vendors' lines of some bars: raw_sha256, source_seq, raw."""
        wanted = bars.select("raw_sha256", "source_seq").unique()
        found = [pl.DataFrame(schema=wanted.schema | {"raw": pl.String})]
        for receipt in self.received():
            lines = wanted.filter(pl.col("raw_sha256") == receipt.sha256)
            if lines.is_empty():
                continue
            drop = self.kept(receipt.source, receipt.name, receipt.sha256)
            rows = self.source(receipt.source).read(drop).rows
            texts = rows.select(pl.col("line").alias("source_seq"), "raw")
            found.append(lines.join(texts, on="source_seq"))
        return pl.concat(found).unique(["raw_sha256", "source_seq"])

    def daily(self, calendar: Calendar) -> dict[str, DailyHistory]:
        """Return what the sources of the daily bars have said, the preferred one first."""
        found = {}
        for name in self.daily_order:
            kept = self.store.root / "histories" / name
            history = daily_history(
                self.source(name), self.receipts(name).rows(), self.store, calendar, kept,
                self.acceptances(name).rows(),
            )  # fmt: skip
            if history is not None:
                found[name] = history
        return found
