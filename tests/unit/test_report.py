"""The report: complete, self-contained, escaped, deterministic, and at ease with nothing."""

import datetime as dt
import json
import re
from html.parser import HTMLParser

import polars as pl
import pytest

from contracts.errors import ContractError
from domain.reporting import charts, figures
from domain.reporting.evidence import (
    ModelQuality,
    clips_by_rule,
    contributions,
    evidence_statement,
    execution_summary,
    trial_balance,
)
from domain.reporting.inputs import SCHEMAS
from domain.reporting.report import ReportInputs, render_report

SECTIONS = (
    "headline",
    "performance",
    "exposures",
    "turnover_and_cost",
    "positions",
    "signals",
    "decisions",
    "execution",
    "cash",
    "data_quality",
    "attribution",
    "provenance",
)
HOSTILE = "<script>alert('x')</script>\"&{{7*7}}<img src=http://evil.example/x onerror=alert(1)>"
DAYS = [dt.date(2010, 7, 29), dt.date(2010, 7, 30), dt.date(2010, 8, 2), dt.date(2010, 8, 3)]
LAST = DAYS[-1]


def frame(name, *rows):
    """Return a table with the given cells and a plausible value everywhere else."""
    filler = {pl.String: "x", pl.Int64: 1, pl.Float64: 0.01, pl.Date: LAST, pl.Boolean: False}
    schema = SCHEMAS[name]
    full = [{c: row.get(c, filler[t]) for c, t in schema.items()} for row in rows]
    for row, given in zip(full, rows, strict=True):
        if "month" in schema and "month" not in given:
            row["month"] = row["session"].strftime("%Y-%m-01")
    return pl.DataFrame(full, schema=schema)


def inputs(text="Energy", **changes):
    clips = json.dumps([{"rule": text, "before": 0.1, "after": 0.05}])
    tables = {
        "equity": frame(
            "equity",
            *(
                {
                    "session": day,
                    "nav_minor": 1_000_000_000 + i * 1_000_000,
                    "cash_minor": 400,
                    "daily_return": None if i == 0 else 0.001 * (-1) ** i,
                    "percent_invested": 0.98,
                    "gross_exposure": 0.98 + i / 100,
                    "traded_minor": 1000,
                }
                for i, day in enumerate(DAYS)
            ),
        ),
        "benchmark": frame("benchmark", *({"session": d, "daily_return": 0.002} for d in DAYS)),
        "benchmark_sectors": frame("benchmark_sectors", {"sector": text, "weight": 1.0}),
        "positions": frame(
            "positions",
            *({"session": d, "instrument_id": "US.A", "sector": text, "stale": True} for d in DAYS),
        ),
        "decisions": frame(
            "decisions", {"clips": clips, "binding_rule": text, "instrument_id": "US.A"}
        ),
        "orders": frame("orders", {"status": "expired", "reason": text}),
        "trades": frame("trades", {"side": "buy", "instrument_id": "US.A"}),
        "broker_scorecard": frame(
            "broker_scorecard",
            {"month": "2010-08-01", "broker": text},
            {"month": "2010-08-01", "broker": "paper"},
        ),
        "rebalance_requests": frame("rebalance_requests", {"trigger": text}),
        "cash_entries": frame(
            "cash_entries", {"debit": "asset:cash:USD", "credit": text, "amount_minor": 400}
        ),
        "signals": frame(
            "signals",
            {"side": "long", "reasons": text, "instrument_id": "US.A"},
            {"side": "short", "reasons": json.dumps([text, "second"]), "instrument_id": text},
            {"side": "neutral", "abstain": True, "abstain_reason": text},
        ),
        "evaluations": frame(
            "evaluations",
            {"rating": text, "instrument_id": text, "reason_bps": "[4.2]"},
            {"rating": "buy", "instrument_id": "US.A", "top_reasons": text, "reason_bps": "[-1]"},
        ),
        "quarantine": frame("quarantine", {"reason": text}),
        "coverage": frame("coverage", {"missing": True}),
        "attribution": frame("attribution", {"level": "total"}, {"level": "sector", "name": text}),
        "instruments": frame("instruments", {"instrument_id": "US.A", "symbol": "A", "name": text}),
    }
    given = {
        "as_of": LAST,
        "quality": ModelQuality(ic_mean=0.004, ic_t_hac=0.3, n_sessions=120, evidence=text),
        "notes": (f"Synthetic prices: {text}",),
        "provenance": {"equity": "ab" * 32, text: text},
        "knowledge_cutoff": dt.datetime(2010, 8, 3, 20, tzinfo=dt.UTC),
        **tables,
    }
    return ReportInputs(**(given | changes))


class Page(HTMLParser):
    """Collects what a browser would load or run."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.loads, self.handlers = set(), [], []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.handlers += [name for name, _ in attrs if name.startswith("on")]
        self.loads += [
            value
            for name, value in attrs
            if name in {"src", "href", "xlink:href", "data", "action", "srcset", "poster"}
        ]


def test_every_section_is_there_in_order():
    report = render_report(inputs())
    assert report.sections == SECTIONS
    assert re.findall(r'<section id="(\w+)"', report.html) == list(SECTIONS)
    assert "Nothing yet" not in report.html
    assert report.html.count("<svg") == 5


def test_the_evidence_stands_first_and_plainly():
    html = render_report(inputs()).html
    assert "No evidence of skill: IC 0.004, t 0.3 over 120 sessions." in html
    assert html.index("No evidence of skill") < html.index("Net asset value")


def test_equal_inputs_give_equal_bytes_and_later_rows_change_none():
    report = render_report(inputs())
    assert render_report(inputs()).sha256 == report.sha256
    base = inputs()
    later = dt.date(2010, 9, 1)
    grown = {
        name: pl.concat([base.table(name), frame(name, {"session": later, "side": "buy"})])
        for name, schema in SCHEMAS.items()
        if "session" in schema
    }
    assert render_report(inputs(**grown)).html == report.html


def test_the_page_needs_nothing_from_outside():
    page = Page(render_report(inputs(text=HOSTILE)).html)
    assert {"script", "link", "iframe", "img", "object", "embed"}.isdisjoint(page.tags)
    assert page.handlers == []
    assert all(target.startswith("#") for target in page.loads)
    plain = render_report(inputs()).html
    outside = set(re.findall(r"https?://[^\"'<> )]+", plain))
    assert outside <= {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}
    assert "@import" not in plain
    assert "prefers-color-scheme" in plain
    assert 'name="viewport"' in plain


def test_hostile_text_is_shown_and_never_run():
    html = render_report(inputs(text=HOSTILE, book=HOSTILE)).html
    assert "<script" not in html
    assert "onerror=alert(1)>" not in html
    assert "&lt;script&gt;" in html
    assert "{{7*7}}" in html


@pytest.mark.parametrize("empty", ["none", "rows"])
def test_an_empty_book_says_nothing_yet(empty):
    tables = {n: pl.DataFrame(schema=s) for n, s in SCHEMAS.items()} if empty == "rows" else {}
    report = render_report(ReportInputs(as_of=dt.date(2009, 8, 31), **tables))
    assert report.sections == SECTIONS
    assert report.html.count("Nothing yet") == len(SECTIONS)
    assert "<svg" not in report.html
    assert not re.search(r"\b(nan|inf|None|null)\b", report.html)


@pytest.mark.parametrize("name", [name for name in SCHEMAS if name != "instruments"])
def test_any_single_table_may_be_missing_or_come_first(name):
    assert render_report(inputs(**{name: None})).sections == SECTIONS
    alone = ReportInputs(as_of=LAST, **{name: inputs().table(name)})
    assert render_report(alone).sections == SECTIONS


def test_the_first_session_of_a_book_has_no_return_yet():
    first = inputs().table("equity").head(1)
    html = render_report(inputs(equity=first, as_of=DAYS[0])).html
    assert "fewer than two daily returns" in html


def test_a_table_without_its_columns_is_refused():
    with pytest.raises(ContractError, match=r"'equity' lacks \['nav_minor'\]"):
        render_report(inputs(equity=inputs().table("equity").drop("nav_minor")))


@pytest.mark.parametrize(
    ("quality", "words"),
    [
        (None, "No evidence yet"),
        (ModelQuality(), "No evidence yet"),
        (ModelQuality(ic_mean=float("nan"), ic_t_hac=3.0), "No evidence yet"),
        (ModelQuality(ic_mean=0.01, ic_t_hac=1.99), "No evidence of skill"),
        (ModelQuality(ic_mean=0.03, ic_t_hac=2.5), "Evidence of skill"),
        (ModelQuality(ic_mean=-0.03, ic_t_hac=-2.5), "Evidence against the model"),
    ],
)
def test_evidence_is_claimed_from_two_standard_errors(quality, words):
    assert evidence_statement(quality).startswith(words)


def test_contributions_are_value_change_less_what_was_paid():
    positions = frame(
        "positions",
        {"session": DAYS[1], "instrument_id": "US.A", "market_value_minor": 500},
        {"session": DAYS[1], "instrument_id": "US.B", "market_value_minor": 300},
        {"session": LAST, "instrument_id": "US.A", "market_value_minor": 900},
    )
    entries = frame(
        "cash_entries",
        {"debit": "trading:US.A", "credit": "asset:cash:USD", "amount_minor": 350},
        # Closed because its data ended: no trade, but the cash counts.
        {"debit": "asset:cash:USD", "credit": "trading:US.B", "amount_minor": 280},
        {
            "debit": "asset:cash:USD",
            "credit": "income:special_dividend:USD",
            "amount_minor": 7,
            "reference": "US.A:2010-08-02",
        },
        {"debit": "expense:fee:USD", "credit": "asset:cash:USD", "amount_minor": 5},
        {
            "debit": "trading:US.A",
            "credit": "asset:cash:USD",
            "amount_minor": 9,
            "session": DAYS[1],
        },
    )
    equity = frame("equity", *({"session": d, "nav_minor": 1000} for d in DAYS))
    rows = contributions(positions, entries, equity, "2010-08-01").rows()
    assert rows == [("US.A", 57, 0.057), ("US.B", -20, -0.02)]


def test_the_trial_balance_folds_instruments_and_sums_to_zero():
    entries = frame(
        "cash_entries",
        {"debit": "asset:cash:USD", "credit": "equity:capital:USD", "amount_minor": 1000},
        {"debit": "trading:US.A", "credit": "asset:cash:USD", "amount_minor": 300},
        {"debit": "trading:US.B", "credit": "asset:cash:USD", "amount_minor": 200},
    )
    balance = trial_balance(entries)
    assert balance.difference_minor == 0
    assert ("asset:cash:USD", 1000, 500, 500) in balance.rows
    assert ("trading (all instruments)", 500, 0, 500) in balance.rows


def test_the_cash_account_is_compared_with_the_book():
    assert "The cash account agrees with the book: USD 4.00." in render_report(inputs()).html
    off = inputs().table("equity").with_columns(cash_minor=pl.lit(300, dtype=pl.Int64))
    assert (
        "The cash account differs from the book by USD 1.00."
        in render_report(inputs(equity=off)).html
    )


def test_slippage_is_weighted_by_value():
    trades = frame(
        "trades",
        {"slippage_bps": 10.0, "notional_minor": 300},
        {"slippage_bps": -2.0, "notional_minor": 100},
        {"slippage_bps": None, "notional_minor": 100},
    )
    done = execution_summary(frame("orders", {"status": "filled", "reason": None}), trades)
    assert done.slippage_bps == pytest.approx(7.0)
    assert done.slippage_worst_bps == 10.0
    assert done.by_reason == ()


def test_clips_are_counted_once_per_decision():
    twice = json.dumps([{"rule": "cash", "before": 3, "after": 2}] * 2)
    rows = frame(
        "decisions",
        {"clips": twice, "binding_rule": "cash"},
        {"clips": "[]", "binding_rule": None},
        {"clips": '[{"rule":"lot"},{"rule":"cash"}]', "binding_rule": "cash"},
    )
    assert clips_by_rule(rows) == [("cash", 2, 2), ("lot", 1, 0)]


def test_numbers_are_for_people():
    assert figures.money(-123_456_789, "USD") == "USD −1,234,568"
    assert figures.percent(-0.00001, signed=True) == "0.00%"
    assert figures.percent(0.0123, signed=True) == "+1.23%"
    assert figures.basis_points(float("nan")) == "–"
    assert figures.count(1, "order") == "1 order"


def counts(label, *rows):
    return pl.DataFrame(rows, schema=[label, "n"], orient="row")


def test_charts_are_equal_bytes_with_ids_of_their_own():
    growth = pl.DataFrame(
        {
            "session": DAYS,
            "portfolio": [100.0, 101.0, 99.0, 102.0],
            "benchmark": [100.0, 101.0, 100.0, 102.1],
        }
    )
    first = charts.to_svg(charts.equity_vs_benchmark(growth))
    falls = growth.select("session", drawdown=pl.Series([0.0, 0.0, -0.02, 0.0]))
    other = charts.to_svg(charts.drawdown(falls))
    assert charts.to_svg(charts.equity_vs_benchmark(growth)) == first
    assert 'width="100%"' in first
    assert "viewBox" in first
    ids = [set(re.findall(r'id="([^"]+)"', svg)) for svg in (first, other)]
    assert ids[0]
    assert ids[0].isdisjoint(ids[1])
    assert set(re.findall(r"url\(#([^)]+)\)", first)) <= ids[0]


def test_a_png_is_as_wide_as_asked():
    coverage = pl.DataFrame(
        {"session": [dt.date(2010, 1, 4), dt.date(2010, 1, 5)], "n_bars": [7, 0]}
    )
    assert "Bars per session" in charts.to_svg(charts.bars_per_session(coverage))
    chart = charts.quarantine_by_reason(counts("reason", ("outside_range", 77), (HOSTILE, 1)))
    png = charts.to_png(chart, width_px=860)
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    assert int.from_bytes(png[16:20], "big") == pytest.approx(860, rel=0.35)
    assert "<script" not in charts.to_svg(chart)
    assert "strong buy" in charts.to_svg(
        charts.rating_distribution(counts("rating", ("strong buy", 3)))
    )


def cards(*rows):
    """Return a scorecard in which nobody did anything but what is given."""
    nothing = dict.fromkeys(SCHEMAS["broker_scorecard"], 0) | {"month": "2010-08-01"}
    return frame("broker_scorecard", *(nothing | row for row in rows))


def test_the_shortfall_is_shown_by_part_and_by_broker():
    html = render_report(
        inputs(
            broker_scorecard=cards(
                {"broker": "A", "n_measured": 2, "paper_minor": 900_000, "delay_minor": 4_500,
                 "execution_minor": 90, "fees_minor": 30, "shortfall_minor": 4_620,
                 "predicted_cost_minor": 100, "realised_cost_minor": 120, "delay_bps": 50.0,
                 "send_to_ack_p50_us": 11_180},
                {"broker": "B", "n_measured": 1, "paper_minor": 100_000, "delay_minor": -500,
                 "shortfall_minor": -500, "n_orders": 3, "n_rejected": 1, "fill_ratio": 0.5,
                 "send_to_ack_p50_us": None},
                {"broker": "of July", "month": "2010-07-01", "delay_minor": 7},
            )
        )
    ).html  # fmt: skip
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", html))
    assert "What 3 orders cost against the decision" in text
    # 40 of 10,000 dollars; the shortfall is the sum of the parts above it.
    assert "Delay, decision to release +40 +40.0" in text
    assert "Execution, release to fill +1 +0.9" in text
    assert "Implementation shortfall +41 +41.2" in text
    assert "A 0 0 0.0% +50.0" in text
    assert "B 3 1 50.0%" in text
    assert "11.2" in text
    assert "Execution and fees cost USD 1; the cost model expects USD 1" in text
    assert "of July" not in text


def test_a_month_without_a_scorecard_shows_none():
    html = render_report(inputs(broker_scorecard=None)).html
    assert "Implementation shortfall" not in html
    assert "Slippage, average" in html
