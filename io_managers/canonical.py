"""The canonical form of a table's rows, whose SHA-256 is the data version of a partition.

"Byte-identical" in this platform means: equal canonical hashes. The form fixes what carries no
meaning (row order, the
sign of zero, the payload of NaN, lineage columns) and keeps everything else, types included.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence

import polars as pl

# Who wrote a row, and when, is lineage and not content.
LINEAGE_COLUMNS = ("run_id",)


def canonical_frame(frame: pl.DataFrame, primary_key: Sequence[str]) -> pl.DataFrame:
    """Return the rows in canonical form.

    Parameters
    ----------
    frame : pl.DataFrame
        Rows of one or more partitions.
    primary_key : sequence of str
        Columns that identify a row; rows are sorted by them, then by the remaining columns.

    Returns
    -------
    pl.DataFrame
        Columns in alphabetical order without lineage columns; every NaN equal and every -0.0 made
        +0.0. Null stays null.
    """
    columns = sorted(name for name in frame.columns if name not in LINEAGE_COLUMNS)
    floats = [name for name in columns if frame.schema[name].is_float()]
    normalised = frame.select(columns).with_columns(
        # Not `x + 0.0`: the optimiser drops it and the sign of zero survives.
        pl.when(pl.col(name).is_nan())
        .then(math.nan)
        .when(pl.col(name) == 0.0)
        .then(0.0)
        .otherwise(pl.col(name))
        .alias(name)
        for name in floats
    )
    rest = [name for name in columns if name not in primary_key and frame.schema[name] != pl.Object]
    sortable = [name for name in rest if not frame.schema[name].is_nested()]
    return normalised.sort([*primary_key, *sortable], nulls_last=True, maintain_order=True)


def canonical_hash(frame: pl.DataFrame, primary_key: Sequence[str]) -> str:
    """Return the SHA-256 (hexadecimal) of the canonical rows.

    The bytes hashed are the schema and, per column, a validity string and the values' bytes. They
    do not depend on
    the Arrow chunking, on the number of threads or on the library's version of a file format.
    """
    canonical = canonical_frame(frame, primary_key)
    hasher = hashlib.sha256()
    for name in canonical.columns:
        series = canonical.get_column(name)
        hasher.update(f"{name}:{series.dtype}:{series.len()};".encode())
        hasher.update(series.is_null().cast(pl.UInt8).to_numpy().tobytes())
        hasher.update(_values_bytes(series))
    return hasher.hexdigest()


def _values_bytes(series: pl.Series) -> bytes:
    dtype = series.dtype
    if dtype.is_float() or dtype.is_integer():
        return series.fill_null(0).to_numpy().tobytes()
    if dtype == pl.Boolean:
        return series.fill_null(value=False).cast(pl.UInt8).to_numpy().tobytes()
    if dtype.is_temporal():
        return series.to_physical().cast(pl.Int64).fill_null(0).to_numpy().tobytes()
    if dtype == pl.String:
        text = series.fill_null("")
        lengths = text.str.len_bytes().cast(pl.UInt32).to_numpy().tobytes()
        return lengths + "".join(text.to_list()).encode()
    # Nested and decimal values are rare and small: their JSON text is unambiguous given the
    # dtype above.
    frame = series.to_frame("v")
    return frame.write_ndjson().encode()
