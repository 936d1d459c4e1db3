"""A reduced universe as a vendor's files, and ways to run the chain on it."""

import dagster as dg

from assets.marts import marts_store
from io_managers.canonical import canonical_hash
from io_managers.lake import Lake
from orchestration.base.settings import Settings
from orchestration.definitions import build_defs
from sources.file_drops import EMBEDDED_BARS, EMBEDDED_SYMBOLS, embedded_drop

# The names with a trap (actions, renames, ends, the flash crash), then every eighth.
TRAPS = {
    "CAH", "CFN", "ETFC", "ETFCD", "ESRX", "GIS", "DHR", "STR", "QEP", "WY", "FPL", "NEE", "PM",
    "C", "MFE", "WYE", "SGP", "XTO", "MIL",
}  # fmt: skip
MONTHS = (
    "2009-08-01", "2009-09-01", "2009-10-01", "2009-11-01", "2009-12-01", "2010-01-01",
    "2010-02-01", "2010-03-01", "2010-04-01", "2010-05-01", "2010-06-01", "2010-07-01",
    "2010-08-01",
)  # fmt: skip
# No rebuild writes the first; the second is a history of what was reported, not of the data.
HISTORIES = {"trade_execution/handoff", "compliance/reports"}


def write_vendor_files(directory, *, every=8, edit=None):
    """Write the embedded vendor's files with fewer names; ``edit`` may change the lines."""
    header, *lines = embedded_drop(EMBEDDED_BARS).data.decode().splitlines()
    symbols = sorted({line.split(",")[1] for line in lines})
    kept = TRAPS | set(symbols[::every])
    chosen = [line for line in lines if line.split(",")[1] in kept]
    directory.mkdir(parents=True, exist_ok=True)
    text = "\n".join([header, *(edit(chosen) if edit else chosen)]) + "\n"
    (directory / EMBEDDED_BARS).write_text(text)
    (directory / EMBEDDED_SYMBOLS).write_bytes(embedded_drop(EMBEDDED_SYMBOLS).data)
    return directory


def run(settings, ranges, *, instance=None, raise_on_error=True):
    """Ingest, then rebuild each range in a run of its own; return the last result."""
    if instance is None:
        with dg.DagsterInstance.ephemeral() as own:
            return run(settings, ranges, instance=own, raise_on_error=raise_on_error)
    defs = build_defs(settings)
    assert defs.resolve_job_def("ingest").execute_in_process(instance=instance).success
    job = defs.resolve_job_def("backfill")
    result = None
    for start, end in ranges:
        result = job.execute_in_process(
            instance=instance,
            raise_on_error=raise_on_error,
            tags={
                "dagster/asset_partition_range_start": start,
                "dagster/asset_partition_range_end": end,
            },
        )
    return result


def run_daily(settings, month=MONTHS[-1]):
    """Run the daily job for a month; return its result."""
    job = build_defs(settings).resolve_job_def("daily")
    with dg.DagsterInstance.ephemeral() as instance:
        return job.execute_in_process(instance=instance, partition_key=month)


def hashes(settings: Settings):
    """Canonical hash of every table that the definitions declare, and of every published mart."""
    lake = Lake(settings.lake_root)
    graph = build_defs(settings).resolve_asset_graph()
    nodes = {"/".join(key.path): graph.get(key) for key in graph.materializable_asset_keys}
    tables = {
        name: canonical_hash(lake.read(node.key.path), node.metadata["primary_key"])
        for name, node in nodes.items()
        if "deltalake" in node.kinds
        and name not in HISTORIES
        # Single sessions have a job of their own.
        and node.metadata["partition_column"] != "session"
    }
    marts = {f"reporting/{name}": found for name, found in marts_store(settings).hashes().items()}
    assert marts.keys() == {name for name, node in nodes.items() if "dbt" in node.kinds}
    return tables | marts
