"""Daily bars in CSV or Parquet files of any layout, its columns mapped in ``sources.toml``."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated

import msgspec
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from contracts.errors import SourceError
from sources.file_drops import RawDrop
from sources.market_data.directory import Directory, files_below, take
from sources.market_data.frames import (
    layout_rules,
    number,
    require_columns,
    sift_daily,
    split_lines,
    with_fields,
)
from sources.market_data.protocol import PriceBasis, Reading, Refusal, Undated, Window

_NUMBERS = ("open", "high", "low", "close", "volume")
# A Parquet file of nothing but one repeated value says little of what it unpacks to.
ROWS_MAX = 100_000_000


class Columns(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the vendor calls each column."""

    symbol: str = "symbol"
    date: str = "date"
    open: str = "open"
    high: str = "high"
    low: str = "low"
    close: str = "close"
    volume: str = "volume"


class TableFiles(Directory, frozen=True, kw_only=True):
    """Where the files lie, and what is in them."""

    columns: Columns = Columns()
    date_format: str = "%Y-%m-%d"
    volume_unit_shares: Annotated[int, msgspec.Meta(ge=1)] = 1
    price_basis: PriceBasis = "raw"

    @property
    def mapping(self) -> dict[str, str]:
        """Our name of each column, and the vendor's."""
        return msgspec.structs.asdict(self.columns)


class CsvFiles(TableFiles, frozen=True, tag_field="type", tag="csv", kw_only=True):
    """CSV with one header line; a quoted field is not unquoted."""

    pattern: str = "*.csv"
    separator: Annotated[str, msgspec.Meta(min_length=1, max_length=1)] = ","

    def open(self, name: str, environ: Mapping[str, str]) -> CsvSource:
        """Return the source."""
        del environ
        return CsvSource(name, self)


class ParquetFiles(TableFiles, frozen=True, tag_field="type", tag="parquet", kw_only=True):
    """Parquet; a date may be a date, a timestamp or text."""

    pattern: str = "*.parquet"

    def open(self, name: str, environ: Mapping[str, str]) -> ParquetSource:
        """Return the source."""
        del environ
        return ParquetSource(name, self)


class _TableSource(Undated):
    def __init__(self, name: str, config: CsvFiles | ParquetFiles) -> None:
        self.name, self.config = name, config

    @property
    def price_basis(self) -> PriceBasis:
        return self.config.price_basis

    @property
    def volume_unit_shares(self) -> int:
        return self.config.volume_unit_shares

    def fetch(self, window: Window, instruments: Sequence[str]) -> Iterator[RawDrop | Refusal]:
        """Yield every file: only its rows say which days and instruments it holds."""
        del window, instruments
        root = self.config.path
        for path in files_below(root, self.config.pattern):
            yield take(self.name, root, path, self.config.bytes_max)

    def is_daily(self, name: str) -> bool:
        """Tell whether it holds daily bars: they all do."""
        del name
        return True


class CsvSource(_TableSource):
    """Daily bars in CSV files."""

    config: CsvFiles

    def read(self, drop: RawDrop) -> Reading:
        """Parse one file; ``line`` counts from 1, the header's.

        Raises
        ------
        SourceError
            When there is no header, or it lacks a mapped column.
        """
        lines, separator = split_lines(drop.data), self.config.separator
        if lines.is_empty() or lines["line"][0] != 1:
            raise SourceError(
                f"The first line of {drop.name} is empty, a header is expected.",
                remedy="ask the vendor to send it again",
                rule="changed_header",
            )
        header = [name.strip() for name in lines["raw"][0].split(separator)]
        require_columns(header, self.config.mapping, drop.name)
        ours = {theirs: name for name, theirs in self.config.mapping.items()}
        # A column that nobody mapped needs a name that cannot be one of ours.
        names = [ours.get(theirs, f"column {i}") for i, theirs in enumerate(header)]
        typed = with_fields(lines[1:], names, separator).with_columns(
            pl.col("date").str.to_date(self.config.date_format, strict=False).alias("session"),
            *(number(name) for name in _NUMBERS),
        )
        return sift_daily(drop, typed, layout_rules(len(header)))


class ParquetSource(_TableSource):
    """Daily bars in Parquet files."""

    config: ParquetFiles

    def read(self, drop: RawDrop) -> Reading:
        """Parse one file; ``line`` is the row's number, from 1, and ``raw`` its mapped cells.

        Raises
        ------
        SourceError
            When it is no Parquet, lacks a mapped column, or has one of a type that is none of
            text, number, date or time.
        """
        mapping = self.config.mapping
        _require_modest(drop, self.config.bytes_max, mapping)
        try:
            table = pl.read_parquet(
                io.BytesIO(drop.data), columns=list(dict.fromkeys(mapping.values()))
            )
            found = table.select(pl.col(theirs).alias(name) for name, theirs in mapping.items())
            text = pl.concat_str(
                *(pl.col(name).cast(pl.String).fill_null("") for name in found.columns),
                separator=",",
            )
            typed = found.with_row_index("line", offset=1).with_columns(
                pl.col("line").cast(pl.Int64),
                text.alias("raw"),
                pl.col("symbol").cast(pl.String),
                self._session(found.schema["date"]),
                *(_decimal(name, found.schema[name]) for name in _NUMBERS),
            )
        except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
            raise _no_parquet(drop, error) from error
        return sift_daily(drop, typed, (("no_symbol", pl.col("symbol").is_null()),))

    def _session(self, dtype: pl.DataType) -> pl.Expr:
        date = pl.col("date")
        if dtype == pl.String:
            return date.str.to_date(self.config.date_format, strict=False).alias("session")
        if dtype != pl.Date and not isinstance(dtype, pl.Datetime):
            raise SourceError(
                f"The column {self.config.columns.date!r} has the type {dtype}.",
                remedy="map `columns.date` to a date, a timestamp or text",
                rule="changed_header",
            )
        return date.cast(pl.Date).alias("session")


def _decimal(name: str, dtype: pl.DataType) -> pl.Expr:
    """Return a column as numbers; a single-precision 42.39 is that, not 42.38999938964844."""
    if dtype == pl.Float32:
        return number(name, of=pl.col(name).cast(pl.String))
    return number(name)


def _require_modest(drop: RawDrop, bytes_max: int, mapping: dict[str, str]) -> None:
    """Refuse what unpacks to more than memory is for, before anything is unpacked."""
    try:
        about = pq.ParquetFile(io.BytesIO(drop.data)).metadata
        groups = [about.row_group(i).total_byte_size for i in range(about.num_row_groups)]
        columns = about.schema.to_arrow_schema().names
    except (pa.ArrowException, OSError, ValueError) as error:
        raise _no_parquet(drop, error) from error
    if about.num_rows > ROWS_MAX or sum(groups) > bytes_max:
        raise SourceError(
            f"{drop.name} unpacks to {about.num_rows} rows and {sum(groups)} bytes, the limits "
            f"are {ROWS_MAX} and {bytes_max}.",
            remedy="split it by date",
            rule="oversized_file",
        )
    require_columns(columns, mapping, drop.name)


def _no_parquet(drop: RawDrop, error: BaseException) -> SourceError:
    return SourceError(
        f"{drop.name} cannot be read as Parquet: {str(error)[:200]}.",
        remedy="ask the vendor to send it again",
        rule="broken_archive",
    )
