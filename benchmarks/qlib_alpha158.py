"""Qlib's own Alpha158 by Qlib's own expression engine, in an environment of its own.

pyqlib's pins are not ours, so nothing here imports it: `make_environment` installs it beside, and
`run` starts a process there that reads a store of Qlib's format (float32 files) and answers with a
Parquet file. Used by the benchmark and by the parity test.
"""

from __future__ import annotations

import datetime as dt
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

REQUIREMENT = "pyqlib==0.9.7"
# The same Python as ours: newer ones have no wheel of it.
PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
FIELDS = ("open", "high", "low", "close", "volume")
# Run in the other environment: rounds of the whole set, from the store into a frame.
PROGRAM = """
import json, logging, resource, sys, time, warnings
warnings.simplefilter("ignore")
asked = json.loads(sys.argv[1])
def cpu_s():
    # Of this process and of the workers that it has waited for.
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)
if __name__ == "__main__":
    import qlib
    from qlib.config import C
    from qlib.contrib.data.loader import Alpha158DL
    from qlib.data import D
    qlib.init(provider_uri=asked["store"], region="us", kernels=asked["processes"],
              expression_cache=None, dataset_cache=None, logging_level=logging.ERROR)
    fields, names = Alpha158DL.get_feature_config()
    wanted = [at for at, name in enumerate(names) if name != "VWAP0"]
    fields, names = [fields[at] for at in wanted], [names[at] for at in wanted]
    found, seconds, cpu = None, [], []
    for _ in range(asked["rounds"]):
        from qlib.data.cache import H
        H.clear()
        started, used = time.perf_counter(), cpu_s()
        found = D.features(asked["instruments"], fields, asked["first"], asked["last"], freq="day")
        seconds.append(time.perf_counter() - started)
        cpu.append(cpu_s() - used)
    found.columns = names
    if asked["answer"]:
        found.reset_index().to_parquet(asked["answer"])
    print(json.dumps({"seconds": seconds, "cpu": cpu, "version": qlib.__version__}))
"""


def make_environment(root: Path) -> Path | str:
    """Make an environment with pyqlib under ``root``; a text says why there is none."""
    beside = Path(__file__).parents[1] / ".uv" / "bin" / "uv"
    found = shutil.which("uv") or (str(beside) if beside.exists() else None)
    if found is None:
        return "no uv: neither on the PATH nor where the Makefile puts it"
    venv = root / "qlib"
    python = venv / "bin" / "python"
    for command in (
        [found, "venv", "--quiet", "--python", PYTHON, str(venv)],
        [found, "pip", "install", "--quiet", "--python", str(python), REQUIREMENT],
    ):
        try:
            done = subprocess.run(  # noqa: S603 - uv, with our own arguments
                command, capture_output=True, text=True, check=False, timeout=600, env=_plain()
            )
        except subprocess.TimeoutExpired:
            return f"{REQUIREMENT} was not installed within ten minutes"
        if done.returncode:
            said = done.stderr.strip().splitlines() or ["without a word"]
            return f"{REQUIREMENT} does not install here: {said[0][:200]}"
    return python


def _plain() -> dict[str, str]:
    """Return the environment without what ties a child to our own Python."""
    ours = ("VIRTUAL_ENV", "PYTHONPATH", "PYTHONHOME", "UV_PROJECT_ENVIRONMENT")
    return {name: value for name, value in os.environ.items() if name not in ours}


def write_store(bars: pl.DataFrame, sessions: pl.Series, root: Path) -> list[str]:
    """Write bars as Qlib stores them; return its names of the instruments.

    Parameters
    ----------
    bars : pl.DataFrame
        ``instrument_id``, ``session`` and ``FIELDS``; written as float32, NaN in gaps.
    sessions : pl.Series
        Exchange sessions, ascending.
    root : Path
        A directory that does not exist yet.
    """
    (root / "calendars").mkdir(parents=True)
    (root / "instruments").mkdir()
    days = [day.isoformat() for day in sessions.to_list()]
    (root / "calendars" / "day.txt").write_text("\n".join(days) + "\n", encoding="utf-8")
    lines = []
    for (name,), frame in bars.sort("instrument_id", "session").group_by(
        ["instrument_id"], maintain_order=True
    ):
        at = sessions.search_sorted(frame["session"]).to_numpy()
        first, last = int(at[0]), int(at[-1])
        folder = root / "features" / str(name).lower()
        folder.mkdir(parents=True)
        for field in FIELDS:
            values = np.full(last - first + 1, np.nan, dtype="<f4")
            values[at - first] = frame[field].cast(pl.Float32).to_numpy()
            stored = np.concatenate([np.array([first], dtype="<f4"), values])
            (folder / f"{field}.day.bin").write_bytes(stored.tobytes())
        lines.append(f"{name}\t{days[first]}\t{days[last]}")
    (root / "instruments" / "all.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return [line.split("\t")[0] for line in lines]


def run(
    python: Path,
    store: Path,
    instruments: list[str],
    span: tuple[dt.date, dt.date],
    *,
    answer: Path | None = None,
    rounds: int = 1,
    processes: int = 1,
) -> dict[str, Any]:
    """Compute the set in Qlib's environment.

    Returns its ``seconds`` and ``cpu`` seconds by round, and its ``version``.
    ``answer`` is where to write ``instrument``, ``datetime`` and a column per feature.
    """
    asked = {
        "store": str(store), "instruments": instruments, "rounds": rounds, "processes": processes,
        "first": str(span[0]), "last": str(span[1]), "answer": answer and str(answer),
    }  # fmt: skip
    program = store.parent / "alpha158_by_qlib.py"
    program.write_text(PROGRAM, encoding="utf-8")
    done = subprocess.run(  # noqa: S603 - our own program, above
        [str(python), str(program), json.dumps(asked)],
        capture_output=True, text=True, check=False, cwd=store.parent, env=_plain(), timeout=3_000,
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"Qlib failed: {done.stderr.strip()[-2_000:]}")
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result
