"""The same indicators by other means, each as a program that runs a round when it is told to.

``python indicators_rivals.py NAME PRICES SPECIFICATION``, in an environment that has the library:
it imports nothing of ours. It reads the prices before any clock starts, says that it is ready, and
for each line ``go`` on its input computes all indicators once and prints what that took. ``values``
prints the last row of each instrument, so that the results can be compared.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

Specification = Sequence[Mapping[str, Any]]
Values = Mapping[str, list[float]]


def _pandas(path: str, specification: Specification, *, one_pass: bool) -> tuple[str, Any, Any]:
    import pandas as pd
    import talib

    frame = pd.read_parquet(path)

    def of(part: Any, chosen: Specification) -> Any:
        made = {}
        for one in chosen:
            inputs = [part[name].to_numpy() for name in one["inputs"]]
            found = getattr(talib, one["function"])(*inputs, **one["parameters"])
            outputs = found if isinstance(found, tuple) else (found,)
            made.update(zip(one["outputs"], outputs, strict=True))
        return pd.DataFrame(made, index=part.index)

    def run() -> Any:
        grouped = frame.groupby("symbol", sort=False, group_keys=False)
        if one_pass:
            return grouped[_INPUTS].apply(lambda part: of(part, specification))
        made = [grouped[one["inputs"]].apply(lambda part, one=one: of(part, [one]))
                for one in specification]  # fmt: skip
        return pd.concat(made, axis=1)

    def last(result: Any) -> Values:
        rows = result[~frame["symbol"].duplicated(keep="last")]
        return {name: rows[name].to_list() for name in rows.columns}

    return f"pandas {pd.__version__}, TA-Lib {talib.__version__}", run, last


def _polars_talib(path: str, specification: Specification) -> tuple[str, Any, Any]:
    import polars as pl
    import polars_talib as plta

    frame = pl.read_parquet(path)

    def run() -> Any:
        made = [
            getattr(plta, one["function"].lower())(
                *(pl.col(name) for name in one["inputs"]), **one["parameters"]
            )
            .over("symbol")
            .alias(one["outputs"][0] if len(one["outputs"]) == 1 else f"struct_{one['name']}")
            for one in specification
        ]
        result = frame.select("symbol", *made)
        for one in specification:
            if len(one["outputs"]) > 1:
                name = f"struct_{one['name']}"
                result = result.with_columns(pl.col(name).struct.rename_fields(one["outputs"]))
                result = result.unnest(name)
        return result

    def last(result: Any) -> Values:
        rows = result.unique("symbol", keep="last", maintain_order=True)
        names = [name for one in specification for name in one["outputs"]]
        return {name: rows[name].to_list() for name in names}

    return f"polars-talib {_version('polars-talib')}, polars {pl.__version__}", run, last


def _vectorbt(path: str, specification: Specification) -> tuple[str, Any, Any]:
    import pandas as pd
    import vectorbt

    frame = pd.read_parquet(path)
    # Its own form is one wide frame for each input: made before the clock starts.
    wide = {name: frame.pivot_table(index="session", columns="symbol", values=name)
            for name in _INPUTS}  # fmt: skip

    def run() -> Any:
        made = {}
        for one in specification:
            factory = vectorbt.IndicatorFactory.from_talib(one["function"])
            found = factory.run(*(wide[name] for name in one["inputs"]), **one["parameters"])
            for name, theirs in zip(one["outputs"], factory.output_names, strict=True):
                made[name] = getattr(found, theirs)
        return made

    def last(result: Any) -> Values:
        return {name: values.iloc[-1].to_list() for name, values in result.items()}

    return f"vectorbt {vectorbt.__version__}, pandas {pd.__version__}", run, last


def _version(package: str) -> str:
    from importlib.metadata import version

    return version(package)


_INPUTS = ["high", "low", "close", "volume"]
RIVALS: Mapping[str, Callable[[str, Specification], tuple[str, Any, Any]]] = {
    "pandas, one pass": lambda path, them: _pandas(path, them, one_pass=True),
    "pandas, one by one": lambda path, them: _pandas(path, them, one_pass=False),
    "polars-talib": _polars_talib,
    "vectorbt": _vectorbt,
}


def serve(version: str, run: Callable[[], Any], last: Callable[[Any], Values]) -> None:
    """Run a round for each ``go`` that comes in, until nothing does."""
    _say({"version": version})
    result = None
    for line in sys.stdin:
        if line.strip() == "values":
            _say(last(result))
            continue
        result = None
        started, cpu = time.perf_counter(), time.process_time()
        result = run()
        _say({"wall_s": time.perf_counter() - started, "cpu_s": time.process_time() - cpu})


def _say(what: Mapping[str, Any]) -> None:
    # Null is what a frame without NaN has for a missing value.
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    _, name, prices, specification = sys.argv
    serve(*RIVALS[name](prices, json.loads(Path(specification).read_text(encoding="utf-8"))))
