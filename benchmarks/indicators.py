"""How long 25 indicators over 500 instruments and ten years take, beside other ways to them.

``.venv/bin/python -m benchmarks.indicators [--install] [--rounds N]``. The bars are those of a
seeded random walk: 500 instruments, 2,520 sessions, 1,260,000 rows. Each contestant is a process
of its own that has read the bars before its clock starts; a round lets each compute all 25 once,
one after the other, so that a busy machine is busy for all. The first round is not counted (pages,
compilation); medians of the others. The clock runs from a frame of bars to a frame, or frames, with
all values.

- ``TA-Lib alone``: the 12,500 calls on contiguous arrays, their results thrown away; the floor.
- ours: ``compute_indicators`` with 1 and 2 threads, checks of its input and nulls included;
  ``long`` is the same rows taken as 12 series of 105,000 bars, a year of minutes each.
- ``pandas, one pass``: one ``groupby().apply`` whose function calls TA-Lib 25 times on arrays.
- ``pandas, one by one``: one ``groupby().apply`` for each indicator, as most people write it.
- ``polars-talib``: one ``select`` of 25 expressions ``over("symbol")``, on polars' threads.
- ``vectorbt``: ``IndicatorFactory.from_talib`` on wide frames, made before the clock starts.

With ``--install``, the last two get environments of their own by ``uv`` in a temporary directory;
where one cannot be made, the result says so. After the last round the newest values of all
instruments are compared with ours.
"""

from __future__ import annotations

import argparse
import datetime as dt
import inspect
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import polars as pl
import talib

from benchmarks.indicators_rivals import serve
from domain.instrument_analysis.indicator_catalogue import INDICATORS, outputs_of
from domain.instrument_analysis.indicators import compute_indicators

RESULTS = Path(__file__).with_name("results") / "indicators.json"
RIVALS = Path(__file__).with_name("indicators_rivals.py")
INSTRUMENTS, SESSIONS, ROUNDS = 500, 2_520, 9
LONG_SERIES, OURS = 12, "ours"
NAMES = (
    "rsi_14", "macd", "cci_20", "cmo_14", "mom_10", "roc_10", "stoch", "trix_15",
    "ultimate_oscillator", "williams_r_14", "adx_14", "plus_di_14", "minus_di_14", "aroon_25",
    "sma_20", "ema_20", "wma_20", "dema_20", "kama_10", "bollinger", "atr_14", "natr_14", "obv",
    "adosc_3_10", "mfi_14",
)  # fmt: skip
CHOSEN = tuple(one for one in INDICATORS if one.name in NAMES)
PACKAGES = {"polars-talib": ["polars-talib"], "vectorbt": ["vectorbt", "ta-lib"]}


def market() -> pl.DataFrame:
    """Return bars of a seeded random walk, by symbol and session."""
    random = np.random.default_rng(7)
    shape = (INSTRUMENTS, SESSIONS)
    close = 50 * np.exp(np.cumsum(random.normal(0, 0.015, shape), axis=1))
    opened = close * np.exp(random.normal(0, 0.005, shape))
    spread = np.exp(np.abs(random.normal(0, 0.005, (2, *shape))))
    days = [dt.date(2010, 1, 4) + dt.timedelta(days=i) for i in range(SESSIONS)]
    return pl.DataFrame(
        {
            "symbol": np.repeat([f"N{i:03d}" for i in range(INSTRUMENTS)], SESSIONS),
            "session": days * INSTRUMENTS,
            "open": opened.ravel(),
            "high": (np.maximum(opened, close) * spread[0]).ravel(),
            "low": (np.minimum(opened, close) / spread[1]).ravel(),
            "close": close.ravel(),
            "volume": random.integers(10_000, 10_000_000, INSTRUMENTS * SESSIONS).astype(float),
        }
    )


def ours(path: Path, threads: int, series: int) -> None:
    """Serve rounds of our own computation over so many series; the child of ``main``."""
    read = pl.read_parquet(path)
    row = pl.int_range(pl.len())
    bars = read.select(
        (row * series // pl.len()).cast(pl.String).str.zfill(4).alias("instrument_id"),
        row.alias("session"),
        pl.lit("2010-01-01").alias("month"),
        *(pl.col(name).alias(f"adj_{name}") for name in ("open", "high", "low", "close")),
        pl.col("volume").alias("volume_shares"),
        pl.lit(1.0).alias("factor"),
    )

    def last(result: pl.DataFrame) -> Mapping[str, list[float]]:
        rows = result.unique("instrument_id", keep="last", maintain_order=True)
        return {name: rows[name].to_list() for name in outputs_of(CHOSEN)}

    serve(
        f"TA-Lib {talib.__version__}, polars {pl.__version__}",
        lambda: compute_indicators(bars, indicators=CHOSEN, threads=threads),
        last,
    )


def floor(path: Path) -> None:
    """Serve rounds of TA-Lib's calls alone."""
    read = pl.read_parquet(path)
    names = ("open", "high", "low", "close", "volume")
    arrays = {name: np.ascontiguousarray(read[name].to_numpy()) for name in names}
    bounds = [(at, at + SESSIONS) for at in range(0, read.height, SESSIONS)]

    def run() -> None:
        for one in CHOSEN:
            function = inspect.unwrap(getattr(talib, one.function))
            inputs = [arrays[name] for name in one.inputs]
            for start, stop in bounds:
                function(*[values[start:stop] for values in inputs], **one.parameters)

    serve(f"TA-Lib {talib.__version__}", run, lambda _: {})


class Contestant:
    """A process that computes all indicators once whenever it is told to."""

    def __init__(self, name: str, command: Sequence[str]) -> None:
        self.name = name
        self.rounds: list[dict[str, float]] = []
        self.process = subprocess.Popen(  # noqa: S603 - our own programs
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.version = self._read()["version"]

    def ask(self, what: str) -> dict[str, Any]:
        """Send one line and return the answer."""
        if self.process.stdin is None:
            raise RuntimeError(f"{self.name} takes no input.")
        self.process.stdin.write(what + "\n")
        self.process.stdin.flush()
        return self._read()

    def _read(self) -> dict[str, Any]:
        if self.process.stdout is None:
            raise RuntimeError(f"{self.name} gives no output.")
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.name} ended with {self.process.wait()}.")
        found: dict[str, Any] = json.loads(line)
        return found

    def close(self) -> None:
        """End the process."""
        self.process.communicate()

    def figures(self) -> dict[str, Any]:
        """Return the medians of the rounds that count."""
        counted = self.rounds[1:]
        walls = [one["wall_s"] for one in counted]
        return {
            "version": self.version,
            "wall_s": round(statistics.median(walls), 3),
            "best_s": round(min(walls), 3),
            "worst_s": round(max(walls), 3),
            "cpu_s": round(statistics.median(one["cpu_s"] for one in counted), 3),
        }


def environments(root: Path, *, install: bool) -> dict[str, Path | str]:
    """Return the interpreter of each rival's environment, or why there is none."""
    if not install:
        return dict.fromkeys(PACKAGES, "not asked for: run with --install")
    uv = shutil.which("uv") or str(Path(__file__).parents[1] / ".uv" / "bin" / "uv")
    found: dict[str, Path | str] = {}
    for name, packages in PACKAGES.items():
        venv = root / name
        python = venv / "bin" / "python"
        commands = (
            [uv, "venv", "--quiet", "--python", sys.executable, str(venv)],
            [uv, "pip", "install", "--quiet", "--python", str(python), *packages, "pyarrow"],
        )
        found[name] = python
        for command in commands:
            try:
                subprocess.run(  # noqa: S603 - a program that this repository sets up
                    command, check=True, capture_output=True, text=True, timeout=600
                )
            except (OSError, subprocess.SubprocessError) as error:
                text = getattr(error, "stderr", None) or str(error)
                found[name] = f"could not be installed: {text.strip().splitlines()[-1][:200]}"
                break
    return found


def difference(ours: Mapping[str, list[float]], theirs: Mapping[str, list[float]]) -> float:
    """Return the largest relative difference of the newest values; infinite where one lacks one."""
    worst = 0.0
    for name, values in ours.items():
        mine, other = (np.array(found, dtype=float) for found in (values, theirs[name]))
        if (np.isnan(mine) != np.isnan(other)).any():
            return float("inf")
        known = ~np.isnan(mine)
        gap = np.abs(mine[known] - other[known]) / np.maximum(np.abs(mine[known]), 1e-6)
        worst = max(worst, float(gap.max(initial=0.0)))
    return worst


def commands_of(root: Path, rivals: Mapping[str, Path]) -> dict[str, list[str]]:
    """Return each contestant's command; the prices are written first, and what to compute."""
    prices, specification = root / "prices.parquet", root / "indicators.json"
    market().write_parquet(prices)
    specification.write_bytes(msgspec.json.encode(CHOSEN))
    child = [sys.executable, "-m", "benchmarks.indicators", "--child", str(prices)]
    commands = {"TA-Lib alone": [*child, "0", "0"]}
    for name, series in ((OURS, INSTRUMENTS), (f"{OURS}, long", LONG_SERIES)):
        commands[f"{name}, 1 thread"] = [*child, "1", str(series)]
        commands[f"{name}, 2 threads"] = [*child, "2", str(series)]
    with_pandas = dict.fromkeys(("pandas, one pass", "pandas, one by one"), Path(sys.executable))
    for name, python in {**with_pandas, **rivals}.items():
        commands[name] = [str(python), str(RIVALS), name, str(prices), str(specification)]
    return commands


def compete(root: Path, rounds: int, *, install: bool) -> tuple[dict[str, Any], dict[str, str]]:
    """Let all contestants run their rounds, and return their figures and who could not."""
    found = environments(root, install=install)
    skipped = {name: python for name, python in found.items() if isinstance(python, str)}
    rivals = {name: python for name, python in found.items() if isinstance(python, Path)}
    contestants = []
    for name, command in commands_of(root, rivals).items():
        try:
            contestants.append(Contestant(name, command))
        except RuntimeError as error:
            skipped[name] = str(error)
    for name, reason in skipped.items():
        sys.stderr.write(f"{name} is skipped: {reason}\n")
    for _ in range(rounds + 1):
        for one in contestants:
            one.rounds.append({key: float(value) for key, value in one.ask("go").items()})
    values = {one.name: one.ask("values") for one in contestants}
    for one in contestants:
        one.close()
    first = values[f"{OURS}, 1 thread"]
    figures = {one.name: one.figures() for one in contestants}
    for name, last in values.items():
        if last and "long" not in name:
            figures[name]["largest_difference"] = difference(first, last)
    return figures, skipped


def main() -> None:
    """Measure, print and keep the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--install", action="store_true", help="make the rivals' environments")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        prices, threads, series = arguments.child
        if int(threads):
            ours(Path(prices), int(threads), int(series))
        else:
            floor(Path(prices))
        return
    load_before = os.getloadavg()
    with tempfile.TemporaryDirectory() as directory:
        figures, skipped = compete(Path(directory), arguments.rounds, install=arguments.install)
    mine = figures[f"{OURS}, 1 thread"]
    result = {
        "instruments": INSTRUMENTS,
        "sessions": SESSIONS,
        "indicators": len(CHOSEN),
        "outputs": len(outputs_of(CHOSEN)),
        "rounds": arguments.rounds,
        "contestants": figures,
        "skipped": skipped,
        "multiples_of_ours_on_1_thread": {
            unit: {name: round(one[unit] / mine[unit], 1) for name, one in figures.items()}
            for unit in ("wall_s", "cpu_s")
        },
        "load_average": [round(load_before[0], 1), round(os.getloadavg()[0], 1)],
        "python": platform.python_version(),
        "cores": os.cpu_count(),
    }
    text = json.dumps(result, indent=1)
    RESULTS.write_text(text + "\n", encoding="utf-8")
    sys.stdout.write(text + "\n")


if __name__ == "__main__":
    main()
