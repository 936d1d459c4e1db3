"""The second half of a report in words: how the book did it, and what that rests on."""

from __future__ import annotations

import json

import polars as pl

from domain.cash_management.chart import CASH, OVERDRAFT
from domain.reporting.evidence import (
    clips_by_rule,
    counted,
    last_session,
    trial_balance,
)
from domain.reporting.execution import execution_section
from domain.reporting.figures import basis_points, count, day, minor, money, number, percent, phrase
from domain.reporting.inputs import ReportInputs
from domain.reporting.ratings import forecast_tables, rating_counts
from domain.reporting.sections import (
    FEW,
    TOP,
    Column,
    Section,
    Table,
    counts_table,
    display_names,
    numeric,
)
from domain.reporting.sections import nothing as nothing_yet

CASH_ACCOUNTS = (CASH, OVERDRAFT)


def working_sections(inputs: ReportInputs) -> list[Section]:
    """Return signals, decisions, execution, cash, data quality, attribution, provenance."""
    return [
        _signals(inputs),
        _decisions(inputs),
        execution_section(inputs),
        _cash(inputs),
        _data_quality(inputs),
        _attribution(inputs),
        _provenance(inputs),
    ]


def _signals(inputs: ReportInputs) -> Section:
    title = "Signals of the last session"
    signals = inputs.table("signals")
    if not signals.height:
        return nothing_yet("signals", title, "no signal up to this session")
    when = last_session(signals)
    now = signals.filter(pl.col("session") == when)
    names = display_names(inputs)
    active = now.filter(~pl.col("abstain").fill_null(value=False))
    tables = []
    for side in ("long", "short"):
        part = active.filter(pl.col("side") == side)
        strongest = part.sort("strength", "instrument_id", descending=[True, False]).head(FEW)
        if part.height:
            tables.append(
                Table(
                    f"Strongest {side} of {part.height:,}",
                    [
                        Column("Name", "text"),
                        *numeric("Strength", "Expected"),
                    ],
                    [
                        [
                            (
                                names.get(row["instrument_id"], row["instrument_id"]),
                                _reasons(row["reasons"]),
                            ),
                            number(row["strength"]),
                            basis_points(_scaled(row["expected_return"]), signed=True),
                        ]
                        for row in strongest.iter_rows(named=True)
                    ],
                )
            )
    abstaining = now.filter(pl.col("abstain").fill_null(value=False))
    if abstaining.height:
        why = counted(abstaining["abstain_reason"].to_list())
        tables.append(counts_table("Abstaining, by reason", "Reason", why))
    ratings = rating_counts(inputs)
    if ratings:
        tables.append(counts_table("Ratings", "Rating", ratings))
    tables += forecast_tables(inputs)
    sides = dict(counted(active["side"].to_list()))
    return Section(
        key="signals",
        title=title,
        lines=[
            f"{day(when)}: {sides.get('long', 0):,} long, {sides.get('short', 0):,} short, "
            f"{sides.get('neutral', 0):,} neutral, {abstaining.height:,} abstaining."
        ],
        tables=tables,
        paired=True,
    )


def _decisions(inputs: ReportInputs) -> Section:
    title = "Decisions of the last rebalance"
    decisions = inputs.table("decisions")
    if not decisions.height:
        return nothing_yet("decisions", title, "no rebalance up to this session")
    when = last_session(decisions)
    now = decisions.filter(pl.col("session") == when)
    actions = dict(counted(now["action"].to_list()))
    untilted = now.filter(pl.col("tilt_weight").fill_null(0.0) == 0).height
    capped = now.filter(pl.col("binding_rule").str.ends_with("cap").fill_null(value=False)).height
    lines = [
        f"{day(when)}: {count(now.height, 'name')} decided, {actions.get('buy', 0):,} to buy, "
        f"{actions.get('sell', 0):,} to sell, {actions.get('hold', 0):,} to hold. "
        f"{untilted:,} neutral (no tilt from a signal), {capped:,} at a cap."
    ]
    requests = inputs.table("rebalance_requests").filter(pl.col("session") == when)
    lines += [
        f"Trigger {phrase(row['trigger'])}, drift {percent(row['drift'], 1)}, turnover "
        f"{percent(row['turnover'], 1)}, {count(row['n_orders'], 'order')}, expected cost "
        f"{money(row['cost_minor'], inputs.currency)}: {phrase(row['status'])}."
        for row in requests.iter_rows(named=True)
    ]
    rules = clips_by_rule(now)
    tables = []
    if rules:
        tables.append(
            Table(
                "What limited the decisions, by rule",
                [Column("Rule", "text"), *numeric("Clipped", "Last word")],
                [[phrase(rule), f"{clipped:,}", f"{last:,}"] for rule, clipped, last in rules],
            )
        )
    else:
        lines.append("No rule clipped a decision.")
    tilted = (
        now.filter(pl.col("tilt_weight").fill_null(0.0) != 0)
        .with_columns(pl.col("tilt_weight").abs().alias("size"))
        .sort("size", "instrument_id", descending=[True, False])
        .head(FEW)
    )
    if tilted.height:
        names = display_names(inputs)
        tables.append(
            Table(
                "Largest tilts, % of net asset value",
                [Column("Name", "text"), *numeric("Core", "Tilt", "Target")],
                [
                    [
                        names.get(row["instrument_id"], row["instrument_id"]),
                        percent(row["core_weight"]),
                        percent(row["tilt_weight"], signed=True),
                        percent(row["target_weight"]),
                    ]
                    for row in tilted.iter_rows(named=True)
                ],
            )
        )
    return Section(key="decisions", title=title, lines=lines, tables=tables, paired=True)


def _cash(inputs: ReportInputs) -> Section:
    title = "Cash entries"
    entries = inputs.table("cash_entries")
    if not entries.height:
        return nothing_yet("cash", title, "no entry has been posted")
    balance = trial_balance(entries)
    currency = inputs.currency
    lines = [
        "The trial balance sums to zero."
        if balance.difference_minor == 0
        else f"The trial balance is off by {money(balance.difference_minor, currency, 2)}."
    ]
    equity = inputs.table("equity")
    ledger = sum(row[3] for row in balance.rows if row[0].startswith(CASH_ACCOUNTS))
    if equity.height:
        gap = ledger - int(equity["cash_minor"][-1])
        lines.append(
            f"The cash account agrees with the book: {money(ledger, currency, 2)}."
            if gap == 0
            else f"The cash account differs from the book by {money(gap, currency, 2)}."
        )
    rows = [
        [name, *(minor(value, 2) for value in (debit, credit, left))]
        for name, debit, credit, left in balance.rows
    ]
    debits = sum(debit for _, debit, _, _ in balance.rows)
    credits_ = sum(credit for _, _, credit, _ in balance.rows)
    sums = (debits, credits_, balance.difference_minor)
    rows.append(["Sum", *(minor(value, 2) for value in sums)])
    recent = entries.filter(pl.col("month") == inputs.month)
    causes = [
        [phrase(cause), f"{number_of:,}", minor(_caused(recent, cause), 2)]
        for cause, number_of in counted(recent["cause"].to_list())
    ]
    tables = [
        Table(
            f"Trial balance since the start, {currency}",
            [Column("Account", "text"), *numeric("Debit", "Credit", "Balance")],
            rows,
            totals=[len(rows) - 1],
        )
    ]
    if causes:
        caption = f"Entries in {inputs.as_of:%B} by cause, {currency}"
        columns = [Column("Cause", "text"), *numeric("Entries", "Amount moved")]
        tables.append(Table(caption, columns, causes))
    return Section(key="cash", title=title, lines=lines, tables=tables)


def _caused(entries: pl.DataFrame, cause: str) -> int:
    return int(entries.filter(pl.col("cause") == cause)["amount_minor"].sum() or 0)


def _data_quality(inputs: ReportInputs) -> Section:
    title = "Data quality"
    coverage = inputs.table("coverage").filter(pl.col("month") == inputs.month)
    quarantine = inputs.table("quarantine")
    if not coverage.height and not quarantine.height:
        return nothing_yet("data_quality", title, "no data up to this session")
    absent = coverage.filter(pl.col("missing").fill_null(value=False))["session"].to_list()
    recent = quarantine.filter(pl.col("month") == inputs.month)
    equity, positions = inputs.table("equity"), inputs.table("positions")
    stale = positions.filter(
        (pl.col("session") == (last_session(equity) or inputs.as_of))
        & pl.col("stale").fill_null(value=False)
    ).sort("stale_sessions", "instrument_id", descending=[True, False])
    tables = []
    since = dict(counted(quarantine["reason"].to_list()))
    if since:
        now = dict(counted(recent["reason"].to_list()))
        columns = [Column("Reason", "text"), *numeric(f"{inputs.as_of:%B}", "Since the start")]
        rows = [[phrase(why), f"{now.get(why, 0):,}", f"{n:,}"] for why, n in since.items()]
        tables.append(Table("Quarantined rows, by reason", columns, rows))
    if stale.height:
        names = display_names(inputs)
        tables.append(
            Table(
                f"Stale positions, oldest of {stale.height:,}",
                [Column("Name", "text"), *numeric("Last price", "Sessions ago", "Weight")],
                [
                    [
                        names.get(row["instrument_id"], row["instrument_id"]),
                        day(row["price_session"]),
                        f"{row['stale_sessions']:,}",
                        percent(row["weight"]),
                    ]
                    for row in stale.head(TOP).iter_rows(named=True)
                ],
            )
        )
    return Section(
        key="data_quality",
        title=title,
        lines=["Sessions without any data: " + ", ".join(day(d) for d in absent) + "."]
        if absent
        else [],
        tiles=[
            ("Sessions this month", count(coverage.height)),
            ("Missing", count(len(absent))),
            ("Bars", count(int(coverage["n_bars"].sum() or 0))),
            ("Quarantined", count(recent.height)),
            ("Stale positions", count(stale.height)),
        ],
        tables=tables,
        paired=True,
    )


def _attribution(inputs: ReportInputs) -> Section:
    title = "Attribution"
    rows = inputs.table("attribution").filter(pl.col("month") == inputs.month)
    total = rows.filter(pl.col("level") == "total")
    if not total.height:
        return nothing_yet("attribution", title, "no return to explain this month")
    sectors = rows.filter(pl.col("level") == "sector").sort("name")
    head = total.row(0, named=True)
    active = head["portfolio_return"] - head["benchmark_return"]
    effects = ("allocation", "selection", "interaction", "cost", "residual")
    labels = [*map(str.capitalize, effects), "Weight", "Bench. weight", "Return", "Bench. return"]
    body = [
        [
            row["name"],
            *(number(_scaled(row[effect]), 1, signed=True) for effect in effects),
            percent(row["portfolio_weight"], 1),
            percent(row["benchmark_weight"], 1),
            percent(row["portfolio_return"], signed=True),
            percent(row["benchmark_return"], signed=True),
        ]
        for row in [*sectors.iter_rows(named=True), head]
    ]
    return Section(
        key="attribution",
        title=title,
        lines=[
            f"{basis_points(_scaled(active), signed=True)} against the benchmark: "
            + ", ".join(f"{basis_points(_scaled(head[e]), signed=True)} {e}" for e in effects)
            + "."
        ],
        tables=[
            Table(
                "By sector, effects in basis points",
                [Column("Sector", "text"), *numeric(*labels)],
                body,
                totals=[len(body) - 1],
            )
        ],
        footnotes=[
            "Brinson and Fachler (1985) on each session's opening holdings, linked with Carino "
            "(1999). Residual is what trading earned between fill and close: large in a month that "
            "starts from cash."
        ],
    )


def _provenance(inputs: ReportInputs) -> Section:
    cutoff = inputs.knowledge_cutoff
    known = "not stated" if cutoff is None else f"{cutoff:%Y-%m-%d %H:%M:%S %Z}".strip()
    lines = [f"As of the close of {day(inputs.as_of)}; knowledge cut-off {known}."]
    if not inputs.provenance:
        lines.append("Nothing yet: no input hashes were given.")
        return Section(key="provenance", title="Provenance", lines=lines)
    table = Table(
        "Inputs, SHA-256 of their canonical rows",
        [Column("Table", "text"), Column("Hash", "hash")],
        [[name, inputs.provenance[name]] for name in sorted(inputs.provenance)],
    )
    return Section(key="provenance", title="Provenance", lines=lines, tables=[table])


def _scaled(fraction: float | None) -> float | None:
    return None if fraction is None else fraction * 1e4


def _reasons(text: str | None) -> str:
    """Return the reasons as prose, whether they came as text or as a JSON list of texts."""
    if text and text.startswith("["):
        try:
            return "; ".join(str(reason) for reason in json.loads(text))
        except json.JSONDecodeError:
            return text
    return text or "–"
