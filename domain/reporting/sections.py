"""The first half of a report in words: what the book did. See ``workings`` for how it did it."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np
import polars as pl
from markupsafe import Markup

from domain.portfolio_management.performance import (
    SESSIONS_PER_YEAR,
    Performance,
    aligned_returns,
    drawdown_series,
    summarise,
    total_return,
)
from domain.reporting import charts
from domain.reporting.evidence import (
    contributions,
    evidence_statement,
    last_session,
    monthly_activity,
    sector_exposure,
)
from domain.reporting.figures import basis_points, count, day, minor, money, number, percent, phrase
from domain.reporting.inputs import ReportInputs

TOP = 10
FEW = 5
RETURNS_MIN = 2  # one return is a number, not a line


class Column(msgspec.Struct, frozen=True):
    """A table's column; ``kind`` is a style: "num", "text", "hash" or none."""

    label: str
    kind: str = ""


class Table(msgspec.Struct, frozen=True):
    """A table of finished texts; a pair is a text and a line below it.

    ``totals`` are the indices of its total rows.
    """

    caption: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[str | tuple[str, str]]]
    totals: Sequence[int] = ()


class Section(msgspec.Struct, frozen=True, kw_only=True):
    """One section of the page, ready for the template."""

    key: str
    title: str
    claim: str = ""
    lines: Sequence[str] = ()
    notes: Sequence[str] = ()
    tiles: Sequence[tuple[str, str]] = ()
    charts: Sequence[Markup] = ()
    tables: Sequence[Table] = ()
    paired: bool = False
    footnotes: Sequence[str] = ()


def numeric(*labels: str) -> list[Column]:
    """Return right-aligned columns."""
    return [Column(label, "num") for label in labels]


def counts_table(caption: str, label: str, rows: Sequence[tuple[str, int]]) -> Table:
    """Return a table of how often each of a machine's codes occurs."""
    columns = [Column(label, "text"), *numeric("Count")]
    return Table(caption, columns, [[phrase(name), f"{n:,}"] for name, n in rows])


def drawn(chart: charts.AnyChart) -> Markup:
    """Return a chart for the page. Vega escapes the texts in it; nothing else may skip escaping."""
    return Markup(charts.to_svg(chart))  # noqa: S704


def nothing(key: str, title: str, what: str) -> Section:
    """Return a section that says that there is nothing yet."""
    return Section(key=key, title=title, lines=[f"Nothing yet: {what}."])


def display_names(inputs: ReportInputs) -> dict[str, str]:
    """Return instrument id -> ``SYMBOL · Name``; an unknown instrument shows its id."""
    names = {}
    for key, symbol, name in inputs.table("instruments").iter_rows():
        parts = [part for part in (symbol, name) if part and part not in {key, "unknown"}]
        names[key] = " · ".join(dict.fromkeys(parts)) or key
    return names


def book_sections(inputs: ReportInputs) -> list[Section]:
    """Return headline, performance, exposures, turnover and cost, positions."""
    equity = inputs.table("equity")
    benchmark = inputs.table("benchmark")
    both = aligned_returns(equity, benchmark)
    figures = summarise(equity, benchmark)
    return [
        _headline(inputs, equity, both, figures),
        _performance(equity, both, figures),
        _exposures(inputs, equity),
        _turnover_and_cost(inputs, equity, figures),
        _positions(inputs, equity),
    ]


def _headline(
    inputs: ReportInputs, equity: pl.DataFrame, both: pl.DataFrame, figures: Performance
) -> Section:
    claim = evidence_statement(inputs.quality)
    lines = [*_model_lines(inputs)]
    if not equity.height:
        lines.insert(0, "Nothing yet: the book has not valued a session up to this one.")
        return Section(
            key="headline", title="Headline", claim=claim, lines=lines, notes=inputs.notes
        )
    month = both.filter(pl.col("session").dt.strftime("%Y-%m-01") == inputs.month)
    book = total_return(month["portfolio"].to_numpy()) if month.height else None
    index = total_return(month["benchmark"].to_numpy()) if month.height else None
    whole = both.height > 0
    valued = last_session(equity)
    if valued != inputs.as_of:
        lines.insert(0, f"The last valued session is {day(valued)}.")
    return Section(
        key="headline",
        title="Headline",
        claim=claim,
        lines=lines,
        notes=inputs.notes,
        tiles=[
            (f"Net asset value, {inputs.currency}", minor(equity["nav_minor"][-1])),
            (f"Return in {inputs.as_of:%B}", percent(book, signed=True)),
            ("Benchmark, same month", percent(index, signed=True)),
            (
                f"Since {day(equity['session'][0])}",
                percent(figures.total_return if whole else None, signed=True),
            ),
            (
                "Benchmark, same time",
                percent(figures.benchmark_return if whole else None, signed=True),
            ),
            (f"Cash, {inputs.currency}", minor(equity["cash_minor"][-1])),
        ],
        footnotes=[
            "Returns of the book are net of commissions and spread; the benchmark holds every "
            "quoted name in equal weights, rebalanced daily and free of costs."
        ],
    )


def _model_lines(inputs: ReportInputs) -> list[str]:
    quality = inputs.quality
    lines = []
    if quality and quality.log_loss is not None and quality.log_loss_uniform is not None:
        verdict = (
            "better" if quality.log_loss < quality.log_loss_uniform - 5e-4
            else "worse" if quality.log_loss > quality.log_loss_uniform + 5e-4
            else "no better"
        )  # fmt: skip
        lines.append(
            f"Log-loss {number(quality.log_loss, 3)} nats against "
            f"{number(quality.log_loss_uniform, 3)} for a uniform guess: {verdict}."
        )
    # The claim above already says what a verdict of the same words would repeat.
    claim = evidence_statement(quality).casefold()
    if quality and quality.evidence.partition(":")[0].strip().casefold() not in claim:
        lines.append(quality.evidence)
    return lines


def _performance(equity: pl.DataFrame, both: pl.DataFrame, figures: Performance) -> Section:
    title = "Performance and drawdown"
    if both.height < RETURNS_MIN:
        return nothing("performance", title, "fewer than two daily returns")
    enough = (
        figures.n_sessions >= SESSIONS_PER_YEAR,  # GIPS 2020: no annualising under a year
        figures.n_sessions >= SESSIONS_PER_YEAR // 4,
    )
    first = equity["session"][0]
    book, index = both["portfolio"].to_numpy(), both["benchmark"].to_numpy()
    sessions = [first, *both["session"]]
    growth = pl.DataFrame(
        {
            "session": sessions,
            "portfolio": np.concatenate([[100.0], 100 * np.cumprod(1 + book)]),
            "benchmark": np.concatenate([[100.0], 100 * np.cumprod(1 + index)]),
        }
    )
    falls = pl.DataFrame(
        {"session": sessions, "drawdown": np.concatenate([[0.0], drawdown_series(book)])}
    )
    return Section(
        key="performance",
        title=title,
        tiles=[
            (
                "Return a year",
                percent(figures.annualised_return if enough[0] else None, 1, signed=True),
            ),
            ("Volatility a year", percent(figures.annualised_volatility, 1)),
            ("Sharpe ratio", number(figures.sharpe if enough[1] else None)),
            ("Deepest drawdown", percent(figures.max_drawdown, 1)),
            ("Tracking error", percent(figures.tracking_error)),
            ("Information ratio", number(figures.information_ratio if enough[1] else None)),
            ("Beta", number(figures.beta)),
        ],
        charts=[drawn(charts.equity_vs_benchmark(growth)), drawn(charts.drawdown(falls))],
        footnotes=[
            f"Over {figures.n_sessions:,} daily returns, 252 sessions a year, risk-free rate zero. "
            "Returns under a year are not annualised; ratios are shown from a quarter on."
        ],
    )


def _exposures(inputs: ReportInputs, equity: pl.DataFrame) -> Section:
    title = "Exposures"
    positions = inputs.table("positions")
    current = positions.filter(pl.col("session") == (last_session(equity) or inputs.as_of))
    if not current.height or not equity.height:
        return nothing("exposures", title, "the book holds no position")
    sectors = sector_exposure(current, inputs.table("benchmark_sectors"))
    rows = [
        [
            name,
            number(held * 100, 1),
            number(None if index is None else index * 100, 1),
            number(None if index is None else (held - index) * 100, 1, signed=True),
        ]
        for name, held, index in sectors.iter_rows()
    ]
    last = equity.tail(1).row(0, named=True)
    return Section(
        key="exposures",
        title=title,
        lines=[
            f"{percent(last['percent_invested'], 1)} of net asset value invested in "
            f"{count(last['n_positions'], 'position')}, gross exposure "
            f"{percent(last['gross_exposure'], 1)}."
        ],
        charts=[drawn(charts.exposure(equity)), drawn(charts.sector_weights(sectors))],
        tables=[
            Table(
                "Sectors, % of net asset value",
                [Column("Sector", "text"), *numeric("Book", "Bench.", "Active")],
                rows,
            )
        ],
        footnotes=[
            "Benchmark weights are those it carried into the session. Sectors are the vendor's; "
            "“unknown” is what it does not classify."
        ],
    )


def _turnover_and_cost(inputs: ReportInputs, equity: pl.DataFrame, figures: Performance) -> Section:
    title = "Turnover and cost"
    monthly = monthly_activity(equity)
    if not monthly.height or not int(monthly["traded_minor"].sum()):
        return nothing("turnover_and_cost", title, "nothing has been traded")
    now = monthly.filter(pl.col("month") == inputs.month)
    # The first purchase of everything says nothing about a year.
    quarter = figures.n_sessions >= SESSIONS_PER_YEAR // 4
    yearly = figures.annualised_turnover if quarter else None
    row = now.row(0, named=True) if now.height else {}
    return Section(
        key="turnover_and_cost",
        title=title,
        tiles=[
            (f"Turnover in {inputs.as_of:%B}", percent(row.get("turnover"), 1)),
            (f"Traded in {inputs.as_of:%B}", money(row.get("traded_minor"), inputs.currency)),
            (f"Cost in {inputs.as_of:%B}", money(row.get("cost_minor"), inputs.currency)),
            ("The same, of NAV", basis_points(row.get("cost_bps"), 2)),
            ("Turnover a year", percent(yearly, 0)),
            ("Cost of value traded", basis_points(figures.cost_bps_of_traded)),
        ],
        charts=[drawn(charts.turnover_and_cost(monthly))],
        footnotes=["Turnover counts buys and sells. Cost is commission and half the spread."],
    )


def _positions(inputs: ReportInputs, equity: pl.DataFrame) -> Section:
    title = "Positions and contributions"
    positions = inputs.table("positions")
    names = display_names(inputs)
    current = positions.filter(pl.col("session") == (last_session(equity) or inputs.as_of))
    gains = contributions(positions, inputs.table("cash_entries"), equity, inputs.month)
    if not current.height and not gains.height:
        return nothing("positions", title, "the book holds no position")
    largest = current.sort("weight", "instrument_id", descending=[True, False]).head(TOP)
    tables = [
        Table(
            f"Largest of {count(current.height, 'position')}, {inputs.currency}, gain unrealised",
            [Column("Name", "text"), *numeric("Weight", "Value", "Gain")],
            [
                [
                    names.get(row["instrument_id"], row["instrument_id"]),
                    percent(row["weight"]),
                    minor(row["market_value_minor"]),
                    minor(row["unrealised_minor"], signed=True),
                ]
                for row in largest.iter_rows(named=True)
            ],
        )
    ]
    lowest = gains.tail(max(0, gains.height - FEW)).tail(FEW).reverse()
    for caption, part in (("Most gained", gains.head(FEW)), ("Most lost", lowest)):
        wanted = part.filter(
            pl.col("gain_minor") > 0 if "gained" in caption else pl.col("gain_minor") < 0
        )
        if wanted.height:
            tables.append(
                _contribution_table(inputs, f"{caption} in {inputs.as_of:%B}", wanted, names)
            )
    return Section(
        key="positions",
        title=title,
        tables=tables,
        paired=True,
        footnotes=[
            "A name's gain is its change in value less what was paid for it, plus what it brought; "
            "with special dividends, before commissions. NAV is the month's opening value."
        ],
    )


def _contribution_table(
    inputs: ReportInputs, caption: str, part: pl.DataFrame, names: dict[str, str]
) -> Table:
    return Table(
        caption,
        [Column("Name", "text"), *numeric(f"Gain, {inputs.currency}", "Of NAV, bps")],
        [
            [
                names.get(name, name),
                minor(gain, signed=True),
                number(share * 1e4, 1, signed=True),
            ]
            for name, gain, share in part.iter_rows()
        ],
    )


def agreement_lines(inputs: ReportInputs) -> list[str]:
    """Return a sentence per session that a broker executed: whether all accounts agree."""
    found = inputs.table("reconciliation").filter(pl.col("month") == inputs.month)
    lines = []
    for row in found.sort("session").iter_rows(named=True):
        traded = (
            f"{day(row['session'])}, executed by a broker: {count(row['n_orders'], 'order')}, "
            f"{count(row['n_fills'], 'fill')}, {count(row['shares'], 'share')}."
        )
        agreed = row["fills_agree"] and row["positions_agree"]
        verdict = (
            "Service, broker and lake agree to the share and the cent."
            if agreed
            else f"They do not agree: {row['differences']}."
        )
        lines.append(f"{traded} {verdict}")
    return lines
