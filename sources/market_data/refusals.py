"""Which files of a desk are refused now, and what a person's acceptance of one would say."""

from __future__ import annotations

from collections.abc import Iterator

import polars as pl

from contracts.errors import SourceError
from domain.market_data.deliveries import require_version
from domain.market_data.normalise import read_rows
from sources.file_drops import RawDrop, make_drop, vendor_drops
from sources.market_data.acceptances import (
    ACCEPTABLE,
    Acceptance,
    Allowance,
    RefusedFile,
    as_allowed,
    header_for,
)
from sources.market_data.daily import WHOLE_FILE, Calendar
from sources.market_data.desk import Desk
from sources.market_data.receipts import Receipt


def require_vendor_bars(bars: RawDrop, allowed: Allowance, before: pl.DataFrame | None) -> None:
    """Refuse bars of the vendor's directory that break a rule on files which nobody accepted.

    Parameters
    ----------
    bars : RawDrop
        As they came.
    before : pl.DataFrame or None
        Rows of the bars before them.

    Raises
    ------
    SourceError
        Naming the first such rule.
    """
    data = as_allowed(bars, allowed).data
    require_version(data, read_rows(data), before, accepted=allowed.rules)


def refused_files(desk: Desk, calendar: Calendar) -> Iterator[RefusedFile]:
    """Yield the files that a person could accept: what came, and what waits in a directory.

    What has a newer version is none of them: it would take back what that one says.
    """
    for name, history in desk.daily(calendar).items():
        newest = {row.name: row.sha256 for row in desk.receipts(name).rows()}
        whole = history.quarantine.filter(
            pl.col("source_seq") == WHOLE_FILE, pl.col("reason").is_in(sorted(ACCEPTABLE))
        )
        for row in whole.iter_rows(named=True):
            if newest[row["drop_name"]] != row["raw_sha256"]:
                continue
            yield RefusedFile(name, row["drop_name"], row["raw_sha256"], row["reason"], row["raw"])
    if desk.reads_vendor_files and desk.vendor.directory is not None:
        yield from _waiting(desk, calendar)


def acceptance_of(
    desk: Desk, file: RefusedFile, calendar: Calendar, *, person: str, because: str, now_ns: int
) -> Acceptance:
    """Return the acceptance of a refused file.

    Raises
    ------
    SourceError
        When its header cannot be read as that of the file before it.
    """
    header = None
    if file.rule == "changed_header":
        header = _header(desk, file, calendar)
    came = desk.receipts(file.source).rows()
    return Acceptance(
        file.source, file.sha256, file.rule, person, because, now_ns, len(came), header
    )  # fmt: skip


def _waiting(desk: Desk, calendar: Calendar) -> Iterator[RefusedFile]:
    """Yield the bars in the vendor's directory that its sensor refused, and so never kept."""
    bars, _ = vendor_drops(desk.vendor.directory)
    source = desk.vendor.name
    if any(row.sha256 == bars.sha256 for row in desk.receipts(source).rows()):
        return
    before = _last_usable(desk, source, bars.name, calendar)
    rows = None
    if before is not None:
        rows = desk.vendor.read(desk.kept(source, before.name, before.sha256)).rows
    try:
        require_vendor_bars(bars, desk.acceptances(source).allowed(bars.sha256), rows)
    except SourceError as error:
        if error.rule in ACCEPTABLE:
            yield RefusedFile(source, bars.name, bars.sha256, error.rule, error.message)


def _header(desk: Desk, file: RefusedFile, calendar: Calendar) -> str:
    before = _last_usable(desk, file.source, file.name, calendar)
    if before is None:
        raise SourceError(
            f"No file has come before {file.name} whose header could stand for its own.",
            remedy="map its `columns` in sources.toml",
        )
    config = getattr(desk.source(file.source), "config", None)
    kept = desk.kept(file.source, before.name, before.sha256)
    return header_for(_bytes_of(desk, file), kept, getattr(config, "separator", ","))


def _last_usable(desk: Desk, source: str, name: str, calendar: Calendar) -> Receipt | None:
    """Return the newest drop of a source that is not refused, of this name if there is one."""
    history = desk.daily(calendar).get(source)
    refused = set() if history is None else set(
        history.quarantine.filter(source_seq=WHOLE_FILE)["raw_sha256"]
    )  # fmt: skip
    opened = desk.source(source)
    usable = [
        row for row in desk.receipts(source).rows()
        if row.sha256 not in refused and opened.is_daily(row.name)
    ]  # fmt: skip
    newest = [row for row in usable if row.name == name] or usable
    return newest[-1] if newest else None


def _bytes_of(desk: Desk, file: RefusedFile) -> RawDrop:
    if desk.store.path_of(file.sha256).exists():
        return make_drop(file.source, file.name, desk.store.get(file.sha256))
    return next(one for one in vendor_drops(desk.vendor.directory) if one.sha256 == file.sha256)
