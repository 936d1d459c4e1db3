"""The Great Expectations suite over the bars: declared in ``bars_suite.json``, run by month.

It complements the pure rules of ``domain.checks``: it explains itself in sentences, counts and
shows what it did not expect, and renders its Data Docs. Great Expectations takes seconds to import,
so it is imported only where a suite runs; its usage statistics are off.
"""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import polars as pl

from contracts.errors import ConfigurationError
from domain.checks import RAW_ONLY
from domain.market_data.quality import FLAGS, SESSION_COMPLETENESS_MIN
from domain.market_data.series_rules import unit_steps

SUITE_FILE = Path(__file__).with_name("bars_suite.json")
SAMPLE_ROWS = 5
# Rows are named in samples by what a person looks them up with.
ROW_KEY = ["instrument_id", "session"]
SITE = "bars"
# Flags on which the suite expects something of their share.
FLAG_COLUMNS = {"jumped": "jump", "repeated": "stale_repeat", "unordered": "out_of_order"}
# One flag, or several with a comma between two; or none. Groups that capture make pandas warn.
FLAGS_PATTERN = f"^(?:(?:{'|'.join(FLAGS)})(?:,(?:{'|'.join(FLAGS)}))*)?$"


class Declared(msgspec.Struct, frozen=True):
    """One expectation as the file declares it."""

    type: str
    kwargs: dict[str, Any]
    severity: str
    description: str
    meta: dict[str, str]

    @property
    def check(self) -> str:
        """The group, which is one Dagster check."""
        return self.meta["check"]


class Suite(msgspec.Struct, frozen=True):
    """The file."""

    name: str
    expectations: tuple[Declared, ...]


class Outcome(msgspec.Struct, frozen=True):
    """What one expectation found in one month."""

    check: str
    description: str
    expectation: str
    severity: str
    passed: bool
    n_unexpected: int
    # Up to ``SAMPLE_ROWS`` offending rows, or what was observed of the whole month.
    sample: tuple[str, ...]


def declared_suite() -> Suite:
    """Return the suite, refusing one whose failures would not block.

    Raises
    ------
    ConfigurationError
        When an expectation is not critical: consumers would run on what it did not expect.
    """
    suite = msgspec.json.decode(SUITE_FILE.read_bytes(), type=Suite)
    for entry in suite.expectations:
        if entry.severity != "critical":
            raise ConfigurationError(
                f"{entry.type} in {SUITE_FILE.name} has severity {entry.severity!r}.",
                remedy="make it critical: every check blocks",
            )
    return suite


def check_names() -> dict[str, str]:
    """Return the groups of expectations in their order, with what each says in sentences."""
    found: dict[str, list[str]] = {}
    for entry in declared_suite().expectations:
        found.setdefault(entry.check, []).append(entry.description)
    return {name: " ".join(sentences) for name, sentences in found.items()}


def parameters(
    coverage: pl.DataFrame, month: str, bases: Collection[str] = RAW_ONLY
) -> dict[str, Any]:
    """Return what the suite's ``$PARAMETER``s are for a month.

    Parameters
    ----------
    coverage : pl.DataFrame
        The month's rows of ``market_data/coverage``: the sessions that have closed.
    """
    usual = coverage.filter(~pl.col("missing"))["n_bars"].median()
    return {
        "sessions": [str(session) for session in coverage["session"]],
        "months": [month],
        "flags": FLAGS_PATTERN,
        "bases": list(bases),
        "rows_min": min(coverage.height, 1),
        "bars_in_session_min": SESSION_COMPLETENESS_MIN * float(str(usual or 0)),
    }


class BarsSuite:
    """Runs the suite, and keeps results and Data Docs below one directory.

    Parameters
    ----------
    root : Path
        Directory with ``results/`` and the rendered ``site/``.
    bases : collection of str
        The price bases that bars may have.
    """

    def __init__(self, root: Path, *, bases: Collection[str] = RAW_ONLY) -> None:
        self.root, self._bases = root, bases

    @property
    def index(self) -> Path:
        """The first page of the Data Docs."""
        return self.root / "site" / "index.html"

    def page_of(self, month: str) -> Path:
        """Return the page of a month's newest result."""
        stamp = f"{_instant(month):%Y%m%dT%H%M%S.%fZ}"
        name = declared_suite().name
        return self.index.parent / "validations" / name / month / stamp / "lake-bars.html"

    def run(
        self, months: Mapping[str, tuple[pl.DataFrame, pl.DataFrame]]
    ) -> dict[str, list[Outcome]]:
        """Judge months of bars and render their pages; return each month's outcomes.

        Parameters
        ----------
        months : mapping of str to (bars, coverage)
            The rows of each month. A month without a closed session has no bars to judge: nothing
            was expected of it, and it has no outcome.
        """
        judged = {
            month: frames for month, frames in months.items() if sum(f.height for f in frames)
        }
        if not judged:
            return {month: [] for month in months}
        logging.getLogger("great_expectations").setLevel(logging.WARNING)
        context = _context(self.root)
        validation = _validation(context)
        found: dict[str, list[Outcome]] = {month: [] for month in months}
        for month, (bars, coverage) in judged.items():
            result = validation.run(
                batch_parameters={"dataframe": _prepared(bars).to_pandas()},
                expectation_parameters=parameters(coverage, month, self._bases),
                result_format={
                    "result_format": "SUMMARY",
                    "partial_unexpected_count": SAMPLE_ROWS,
                    "unexpected_index_column_names": ROW_KEY,
                },
                run_id=_run_id(month),
            )
            found[month] = [_outcome(entry) for entry in result.results]
            _require_all(found[month], month)
        _render(context, list(judged))
        return found


def _require_all(outcomes: Sequence[Outcome], month: str) -> None:
    """Refuse a result that is silent about an expectation: absent means failed."""
    n_declared = len(declared_suite().expectations)
    if len(outcomes) != n_declared:
        raise ConfigurationError(
            f"{len(outcomes)} of {n_declared} expectations were judged for {month}.",
            remedy=f"look for two in {SUITE_FILE.name} that Great Expectations takes for one",
        )


def _instant(month: str) -> dt.datetime:
    # Results are filed under their month, so that a month's page keeps its address.
    return dt.datetime.fromisoformat(month).replace(tzinfo=dt.UTC)


def _run_id(month: str) -> Any:
    from great_expectations.core import RunIdentifier

    return RunIdentifier(run_name=month, run_time=_instant(month))


def _prepared(bars: pl.DataFrame) -> pl.DataFrame:
    """Add what expectations on single columns need, and write dates as text, as JSON does."""
    bars = bars.sort("instrument_id", "session")
    flags, steps = pl.col("quality_flags").str.split(","), unit_steps(bars)
    return bars.with_columns(
        pl.len().over("session").alias("bars_in_session"),
        (pl.col("high") / pl.col("low")).alias("range_ratio"),
        *(
            flags.list.contains(flag).cast(pl.Int8).alias(column)
            for column, flag in FLAG_COLUMNS.items()
        ),
        (pl.col("close") * pl.col("volume_shares")).alias("turnover_usd"),
        (pl.col("knowledge_time").dt.date() - pl.col("session"))
        .dt.total_days()
        .alias("known_after_days"),
        pl.col("session", "basis_as_of").cast(pl.String),
    ).with_columns(steps.cast(pl.Int8).alias("unit_step"))


def _context(root: Path) -> Any:
    import great_expectations as gx
    from great_expectations.data_context.types.base import (
        DataContextConfig,
        InMemoryStoreBackendDefaults,
        ProgressBarsConfig,
    )

    defaults = InMemoryStoreBackendDefaults(init_temp_docs_sites=False)
    stores = dict(defaults.stores)
    stores["validation_results_store"] = {
        "class_name": "ValidationResultsStore",
        "store_backend": _files(root / "results") | {"filepath_suffix": ".json"},
    }
    sites = {
        SITE: {
            "class_name": "SiteBuilder",
            "site_index_builder": {"class_name": "DefaultSiteIndexBuilder"},
            "show_how_to_buttons": False,
            "store_backend": _files(root / "site"),
        }
    }
    config = DataContextConfig(
        stores=stores, store_backend_defaults=defaults, data_docs_sites=sites,
        analytics_enabled=False, progress_bars=ProgressBarsConfig(globally=False),
    )  # fmt: skip
    return gx.get_context(mode="ephemeral", project_config=config)


def _files(directory: Path) -> dict[str, Any]:
    directory.mkdir(parents=True, exist_ok=True)
    return {"class_name": "TupleFilesystemStoreBackend", "base_directory": str(directory)}


def _validation(context: Any) -> Any:
    import great_expectations as gx
    from great_expectations.expectations.expectation_configuration import ExpectationConfiguration
    from great_expectations.expectations.metadata_types import FailureSeverity

    suite = declared_suite()
    # Given as a list: adding one by one replaces an expectation on the same column.
    expectations = [
        ExpectationConfiguration(
            type=entry.type, kwargs=entry.kwargs, severity=FailureSeverity(entry.severity),
            description=entry.description, meta=dict(entry.meta),
        ).to_domain_obj()
        for entry in suite.expectations
    ]  # fmt: skip
    made = context.suites.add(gx.ExpectationSuite(suite.name, expectations=expectations))
    asset = context.data_sources.add_pandas("lake").add_dataframe_asset("bars")
    batch = asset.add_batch_definition_whole_dataframe("month")
    definition = gx.ValidationDefinition(name=suite.name, data=batch, suite=made)
    return context.validation_definitions.add(definition)


def _render(context: Any, months: Sequence[str]) -> None:
    from great_expectations.data_context.types.resource_identifiers import (
        ExpectationSuiteIdentifier,
        ValidationResultIdentifier,
    )

    suite = ExpectationSuiteIdentifier(name=declared_suite().name)
    pages = [
        ValidationResultIdentifier(
            expectation_suite_identifier=suite, run_id=_run_id(month), batch_identifier="lake-bars"
        )
        for month in months
    ]
    context.build_data_docs(site_names=[SITE], resource_identifiers=[suite, *pages])


def _outcome(result: Any) -> Outcome:
    config, found = result.expectation_config, result.result or {}
    rows = found.get("partial_unexpected_index_list") or found.get("partial_unexpected_list") or []
    sample = [_shown(row) for row in rows[:SAMPLE_ROWS]]
    if not result.success and not sample:
        sample = [_reason(result)]
    return Outcome(
        check=config.meta["check"],
        description=str(config.description),
        expectation=_call(config),
        severity=getattr(config.severity, "value", str(config.severity)),
        passed=bool(result.success),
        n_unexpected=int(found.get("unexpected_count") or 0),
        sample=() if result.success else tuple(sample),
    )


def _shown(row: Any) -> str:
    if not isinstance(row, dict):
        return str(row)
    return ", ".join(f"{name}={value}" for name, value in row.items())


def _reason(result: Any) -> str:
    """Return what was observed, or the error that kept it from being observed."""
    found = result.exception_info or {}
    # One error, or one for each metric that the expectation needed.
    errors = [found, *(value for value in found.values() if isinstance(value, dict))]
    messages = [str(e["exception_message"]) for e in errors if e.get("exception_message")]
    return messages[0] if messages else f"observed {(result.result or {}).get('observed_value')}"


def _call(config: Any) -> str:
    subject = {
        name: value
        for name, value in config.kwargs.items()
        if name in {"column", "column_A", "column_B", "column_list"}
    }
    return f"{config.type}({', '.join(str(value) for value in subject.values())})"
