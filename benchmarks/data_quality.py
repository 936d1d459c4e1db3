"""How many good rows are set aside, and how much of planted errors is found.

``.venv/bin/python -m benchmarks.data_quality [DATA]``, with the evaluation data in ``DATA``
(``../shared/data`` without it); never committed. All of it goes through the adapters that a desk
configures.

False positives: the daily file of 2010-2016 (split-adjusted) is read, normalised and judged by the
rules on series. A row that is set aside in 2015 or 2016 is a *false positive* when it has a close
whose return from the instrument's last accepted bar agrees with the second vendor's return between
the same sessions within 50 bp. The denominator is all rows of the first vendor in these two years.

Recall: the accepted rows of these two years are written as a CSV file; each error is planted,
by itself, into ``N`` places drawn with a fixed seed (never the first or last two rows of a name),
and the file is judged again. *Caught* is a place whose row is set aside, whatever the reason, where
the rule is an error; and one that carries the rule's own flag where it is a warning. Two plants
that no single vendor can tell from a market are judged against the second vendor, at the names and
sessions that it has.

Reconciliation: closes adjusted for splits and dividends on both sides, by mapping the first
vendor's ``adj_close`` to the prices of a second source.
"""

from __future__ import annotations

import datetime as dt
import json
import os
import platform
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from benchmarks.data_quality_plants import (
    AGAINST_SECOND,
    CELLS,
    PLANTS,
    Plant,
    one_per_name,
    sampled,
    splits,
)
from domain.market_data.deliveries import delivery_findings
from domain.market_data.normalise import Normalised, normalise, texts_in
from domain.market_data.quality import CATALOGUE, FLAGS, PRICES
from domain.market_data.series_rules import series_findings, with_series_rules
from domain.market_data.vendor_reconciliation import reconcile_vendors
from orchestration.base.settings import Settings
from sources.file_drops import RawDrop, make_drop
from sources.market_data.protocol import Reading
from sources.market_data.table_files import Columns, CsvFiles, ParquetFiles

RESULTS = Path(__file__).with_name("results") / "data_quality.json"
FIRST_FILE = "us_sp500_ohlcv_2010_2016.parquet"
SECOND_FILE = "vendor2_stooq_overlap_2015_2016.parquet"
OVERLAP = (dt.date(2015, 1, 2), dt.date(2016, 12, 30))
AGREES_BP = 50.0
N, SEED = 500, 20_260_101


class Judged(NamedTuple):
    """One file after all rules: what was read, what came of it, and the findings on series."""

    reading: Reading
    known: Normalised
    findings: pl.DataFrame


def read_file(data: Path, name: str, **config: Any) -> tuple[RawDrop, Any]:
    """Return a file of the evaluation data as a drop, and its source."""
    source = ParquetFiles(path=data / "daily", pattern=name, **config).open("vendor", {})
    [drop] = source.fetch(None, [])
    return drop, source


def judge(drop: RawDrop, source: Any, received: dt.date | None = None) -> Judged:
    """Read a drop by its source and apply the rules on rows and on series."""
    reading = source.read(drop)
    days = reading.rows["session"]
    sessions = Settings().sessions_between(days.min(), max(days.max(), OVERLAP[1]))
    known = normalise(
        reading.rows, source=drop.source, sha256=drop.sha256, sessions=sessions,
        volume_unit_shares=1, price_basis=source.price_basis, received=received,
    )  # fmt: skip
    findings = series_findings(known.bars, sessions, ())
    return Judged(reading, with_series_rules(known, texts_in(reading.rows), sessions, ()), findings)


def set_aside(found: Judged) -> pl.DataFrame:
    """Return all quarantined rows: the reader's, the normaliser's and the series'."""
    return pl.concat([found.reading.quarantine, found.known.quarantine])


def false_positives(found: Judged, second: pl.DataFrame) -> dict[str, Any]:
    """Count what was set aside in the overlap, and of that what the second vendor confirms."""
    inside = pl.col("session").is_between(*OVERLAP)
    aside = set_aside(found).filter(inside).with_columns(
        pl.col("raw").str.split(",").list.get(5).cast(pl.Float64, strict=False).alias("close"),
        _instrument(),
    )  # fmt: skip
    before = found.known.bars.select("instrument_id", "session", pl.col("close").alias("last"))
    # A row that is set aside has no bar of its own: the last one at or before it is an earlier one.
    returns = aside.drop_nulls("close").sort("session").join_asof(
        before.with_columns(pl.col("session").alias("last_session")).sort("session"),
        on="session", by="instrument_id", check_sortedness=False,
    )  # fmt: skip
    theirs = second.select("instrument_id", "session", pl.col("close").alias("theirs"))
    compared = returns.join(theirs, on=["instrument_id", "session"]).join(
        theirs.rename({"session": "last_session", "theirs": "their_last"}),
        on=["instrument_id", "last_session"],
    )
    ours = pl.col("close") / pl.col("last")
    apart_bp = (ours - pl.col("theirs") / pl.col("their_last")).abs() * 1e4
    n_rows = found.known.bars.filter(inside).height + aside.height
    n_false = compared.filter(apart_bp <= AGREES_BP).height
    return {
        "rows": n_rows,
        "set_aside": aside.height,
        "set_aside_comparable": compared.height,
        "false_positives": n_false,
        "share_of_rows": n_false / n_rows,
    }


def _instrument() -> pl.Expr:
    return (pl.lit("US.") + pl.col("symbol").str.replace("-", ".", literal=True)).alias(
        "instrument_id"
    )


def as_drop(rows: pl.DataFrame) -> RawDrop:
    """Write rows as the CSV file that a vendor would send."""
    text = rows.select(CELLS).write_csv(quote_style="never").encode()
    return make_drop("vendor", "planted.csv", text.replace(b"~", b"\xff"))


def caught(plant: Plant, rows: pl.DataFrame, places: np.ndarray, source: Any) -> int:
    """Return at how many of the places a planted error is found."""
    if plant.put is splits:
        places = one_per_name(rows, places)
    planted = plant.put(rows, places)
    found = judge(as_drop(planted), source, received=OVERLAP[1])
    where = _keys(rows, places)
    if plant.rule in {"spike_reverted", "out_of_order"}:
        # Said of the next session: until then it could be true.
        where = _keys(rows, places + 1)
    if plant.rule == "missing_session":
        said = found.findings.filter(rule=plant.rule)
        return where.join(said, on=["instrument_id", "session"], how="semi").height
    if CATALOGUE[plant.rule].severity == "warning":
        flags = found.known.bars.with_columns(pl.col("quality_flags").str.split(","))
        said = flags.filter(pl.col("quality_flags").list.contains(plant.rule))
        return where.join(said, on=["instrument_id", "session"], how="semi").height
    # Line 1 is the header; what was added stands at the end.
    added = planted.height - rows.height
    lines = np.arange(rows.height, planted.height) if added else places
    aside = set(set_aside(found)["source_seq"].to_list())
    return sum(int(place) + 2 in aside for place in lines)


def _keys(rows: pl.DataFrame, places: np.ndarray) -> pl.DataFrame:
    return rows[places].select(_instrument(), pl.col("date").str.to_date().alias("session"))


def caught_by_second(
    plant: Plant, rows: pl.DataFrame, places: np.ndarray, source: Any, second: pl.DataFrame
) -> tuple[int, int]:
    """Return how many planted errors the rules set aside, and how many the second vendor shows."""
    found = judge(as_drop(plant.put(rows, places)), source)
    where = _keys(rows, places)
    alone = where.join(found.known.bars, on=["instrument_id", "session"], how="anti").height
    errors = reconcile_vendors(found.known.bars, second).discrepancies.filter(
        field="return", severity="error"
    )
    return alone, where.join(errors, on=["instrument_id", "session"], how="semi").height


def recall(found: Judged, second: pl.DataFrame, n: int = N) -> dict[str, dict[str, Any]]:
    """Plant every error by itself into the overlap years and count what is caught."""
    source = CsvFiles(path=Path(), price_basis="split_adjusted").open("vendor", {})
    rows = found.known.bars.filter(pl.col("session").is_between(*OVERLAP)).select(
        "symbol", pl.col("session").alias("date"), *PRICES, pl.col("volume_shares").alias("volume")
    )
    text = rows.select(pl.all().cast(pl.String))
    result: dict[str, dict[str, Any]] = {}
    anywhere = pl.lit(value=True)
    for number, plant in enumerate(PLANTS):
        places = sampled(text, n, SEED + number, anywhere)
        n_planted = len(one_per_name(text, places)) if plant.put is splits else len(places)
        result[plant.name] = {
            "rule": plant.rule,
            "severity": CATALOGUE[plant.rule].severity,
            "planted": n_planted,
            "caught": caught(plant, text, places, source),
        }
    confirmed = _confirmed(found, second)
    key = pl.concat_str(_instrument(), pl.col("date"), separator=" ")
    for number, plant in enumerate(AGAINST_SECOND):
        places = sampled(text, n, SEED - number, key.is_in(confirmed.implode()))
        alone, shown = caught_by_second(plant, text, places, source, second)
        result[plant.name] = {
            "rule": "two vendors", "severity": "discrepancy", "planted": len(places),
            "caught_by_rules_alone": alone, "caught": shown,
        }  # fmt: skip
    return result


def _confirmed(found: Judged, second: pl.DataFrame) -> pl.Series:
    """Return the names and sessions on which both vendors agree before anything is done."""
    both = found.known.bars.join(second, on=["instrument_id", "session"], how="semi")
    apart = reconcile_vendors(found.known.bars, second).discrepancies.filter(field="return")
    clean = both.join(apart, on=["instrument_id", "session"], how="anti")
    return clean.select(
        pl.concat_str(pl.col("instrument_id"), pl.col("session").cast(pl.String), separator=" ")
    ).to_series()


def files(found: Judged) -> dict[str, list[str]]:
    """Return what the rules on files say of whole files that are wrong, next to the true one."""
    rows = found.known.bars.select(
        "symbol", pl.col("session").alias("date"), *PRICES, pl.col("volume_shares").alias("volume")
    ).filter(pl.col("date") >= OVERLAP[0])
    source = CsvFiles(path=Path()).open("vendor", {})
    whole = as_drop(rows)
    before = source.read(whole).rows
    cents = as_drop(rows.with_columns(pl.col(*PRICES) * 100))
    lots = as_drop(rows.with_columns(pl.col("volume") / 100))
    cut = make_drop("vendor", "cut.csv", whole.data[: len(whole.data) // 3])
    half = as_drop(rows.head(rows.height // 3))
    named = {"as it is": whole, "prices in cents": cents, "volume in lots": lots,
             "cut off": cut, "a third of it": half}  # fmt: skip
    return {
        name: [f.rule for f in delivery_findings(drop.data, source.read(drop).rows, before)]
        for name, drop in named.items()
    }


def flag_shares(found: Judged) -> dict[str, float]:
    """Return the share of accepted bars that carry each flag, in per cent."""
    flags = found.known.bars["quality_flags"].str.split(",")
    return {
        name: round(100 * float(flags.list.contains(name).mean() or 0), 4)
        for name in FLAGS
        if flags.list.contains(name).any()
    }


def two_vendors(data: Path, second: pl.DataFrame) -> dict[str, Any]:
    """Compare the vendors' returns with dividends reinvested on both sides."""
    adjusted = Columns(**dict.fromkeys(PRICES, "adj_close"))
    drop, source = read_file(data, FIRST_FILE, columns=adjusted, price_basis="total_return")
    bars = judge(drop, source).known.bars.filter(pl.col("session").is_between(*OVERLAP))
    found = reconcile_vendors(bars, second)
    n = {c: int(found.counts[c].sum()) for c in found.counts.columns if c != "session"}
    # All four prices are the adjusted close there: ranges mean nothing.
    del n["n_range"]
    return n | {
        "share_of_returns_beyond_5_bp": n["n_return"] / n["n_compared"],
        "share_of_returns_beyond_50_bp": n["n_return_error"] / n["n_compared"],
    }


def main() -> None:
    """Measure, print and keep the figures."""
    data = Path(sys.argv[1]) if len(sys.argv) > 1 else Path("..") / "shared" / "data"
    started = time.perf_counter()
    first_drop, first_source = read_file(data, FIRST_FILE, price_basis="split_adjusted")
    second_drop, second_source = read_file(data, SECOND_FILE, price_basis="total_return")
    first, second = judge(first_drop, first_source), judge(second_drop, second_source)
    aside = set_aside(first)
    result = {
        "rows": first.known.bars.height + aside.height,
        "set_aside": dict(sorted(aside["reason"].value_counts().iter_rows())),
        "set_aside_of_the_second_vendor": set_aside(second).height,
        "flagged_per_cent": flag_shares(first),
        "false_positives_2015_2016": false_positives(first, second.known.bars),
        "recall_2015_2016": recall(first, second.known.bars),
        "files": files(first),
        "two_vendors_2015_2016": two_vendors(data, second.known.bars),
        "seconds": round(time.perf_counter() - started, 1),
        "load_average_at_the_end": [round(load, 1) for load in os.getloadavg()],
        "python": platform.python_version(),
        "polars": pl.__version__,
    }
    text = json.dumps(result, indent=1)
    RESULTS.write_text(text + "\n", encoding="utf-8")
    sys.stdout.write(text + "\n")


if __name__ == "__main__":
    main()
