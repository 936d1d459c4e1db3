"""The charts of a report: small, directly labelled, safe for the colour-blind, deterministic.

Every chart has one fixed width, so that all of them scale to the same type size on a phone. Dates
are drawn in UTC: the machine's time zone must not move a session by a day. No data are fetched.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import re
from collections.abc import Sequence
from typing import Any

import altair as alt
import polars as pl
import vl_convert as vlc

from domain.reporting.figures import day, percent

# Okabe and Ito (2008), "Color Universal Design"; grey for what is only there to compare with.
BLUE, ORANGE, GREEN, GREY, INK = "#0072B2", "#D55E00", "#009E73", "#767676", "#222222"
PLOT_WIDTH_PX, PLOT_HEIGHT_PX, CHART_WIDTH_PX = 370, 190, 430
END_LABEL_PX = 95  # room right of a line for its label
# A reader's font may be wider than the one the renderer measured.
MARGIN_PX = 12
LABEL_GAP = 0.09  # of the y range: labels closer than this would print over each other
FINE = 0.06  # a range under six percent needs a decimal on its axis
POINTS_MAX = 1_500
MONTHS_MAX = 24

AnyChart = alt.Chart | alt.LayerChart | alt.FacetChart | alt.VConcatChart


def equity_vs_benchmark(growth: pl.DataFrame) -> AnyChart:
    """Draw ``session``, ``portfolio``, ``benchmark``: growth of 100."""
    last = growth.tail(1).row(0, named=True)
    return _lines(
        growth,
        {
            "portfolio": (f"Book {last['portfolio']:.1f}", BLUE),
            "benchmark": (f"Bench. {last['benchmark']:.1f}", GREY),
        },
        title="Growth of 100, book net, benchmark gross",
        axis_format=".0f",
        zero=False,
    )


def drawdown(series: pl.DataFrame) -> AnyChart:
    """Draw ``session``, ``drawdown`` (fractions <= 0): the loss from the running peak."""
    rows = _rows(series, ["drawdown"])
    low = series.sort("drawdown", "session").row(0, named=True)
    form = ".1%" if low["drawdown"] > -FINE else ".0%"
    base = alt.Chart(_inline(rows)).encode(x=_time_axis(series))
    area = base.mark_area(color=ORANGE, opacity=0.25, line={"color": ORANGE}, clip=True).encode(
        y=alt.Y("drawdown:Q", title=None, axis=alt.Axis(format=form, tickCount=4))
    )
    text = f"{percent(low['drawdown'], 1)} on {day(low['session'])}"
    deepest = [{"session": low["session"].isoformat(), "drawdown": low["drawdown"], "text": text}]
    late = low["session"] > series["session"].sort()[series.height // 2]
    label = (
        alt.Chart(_inline(deepest))
        .mark_text(align="right" if late else "left", dx=-8 if late else 8, dy=-2, color=INK)
        .encode(x=_time_axis(series), y="drawdown:Q", text="text:N")
    )
    return _styled(alt.layer(area, label), "Drawdown (% of the running peak)")


def exposure(equity: pl.DataFrame) -> AnyChart:
    """Draw ``session``, ``percent_invested`` and ``gross_exposure`` (fractions of NAV)."""
    last = equity.tail(1).row(0, named=True)
    apart = (equity["percent_invested"] - equity["gross_exposure"]).abs().max()
    series = {"percent_invested": (f"{last['percent_invested']:.1%}", BLUE)}
    if isinstance(apart, float) and apart > 1e-3:
        series["gross_exposure"] = (f"Gross {last['gross_exposure']:.1%}", ORANGE)
        title = "Invested and gross exposure (% of NAV)"
    else:
        title = "Invested, equal to gross exposure (% of NAV)"
    return _lines(equity, series, title=title, axis_format=".0%", zero=True)


def sector_weights(weights: pl.DataFrame) -> AnyChart:
    """Draw ``sector``, ``portfolio_weight``, ``benchmark_weight`` (fractions; null: unknown)."""
    rows = weights.sort("portfolio_weight", "sector", descending=[True, False]).to_dicts()
    order = [row["sector"] for row in rows]
    y = alt.Y("sector:N", sort=order, title=None, axis=alt.Axis(labelLimit=210, domain=False))
    base = alt.Chart(_inline(rows))
    axis = alt.Axis(format=".0%", tickCount=4)
    bars = base.mark_bar(color=BLUE, height={"band": 0.6}).encode(
        y=y, x=alt.X("portfolio_weight:Q", title=None, axis=axis)
    )
    ticks = base.mark_tick(color=INK, thickness=3, size=16).encode(y=y, x="benchmark_weight:Q")
    height_px = 24 * max(len(rows), 1)
    title = "Sector weights; ticks: benchmark"
    return _styled(alt.layer(bars, ticks), title, PLOT_WIDTH_PX - 130, height_px)


def turnover_and_cost(monthly: pl.DataFrame) -> AnyChart:
    """Draw ``month``, ``turnover`` (fraction of NAV), ``cost_bps`` (of NAV); the last 24 months."""
    rows = [
        {**row, "label": dt.date.fromisoformat(row["month"]).strftime("%b %y")}
        for row in monthly.sort("month").tail(MONTHS_MAX).to_dicts()
    ]
    order = [row["label"] for row in rows]

    def panel(field: str, axis_format: str, color: str, title: str, *, labels: bool) -> alt.Chart:
        x_axis = alt.Axis(
            labels=labels, ticks=False, labelAngle=0, labelOverlap="greedy", labelPadding=7
        )
        chart: alt.Chart = (
            alt.Chart(_inline(rows), title=title)
            .mark_bar(color=color, width={"band": 0.7})
            .encode(
                x=alt.X("label:N", sort=order, title=None, axis=x_axis),
                y=alt.Y(f"{field}:Q", title=None, axis=alt.Axis(format=axis_format, tickCount=3)),
            )
            .properties(width=PLOT_WIDTH_PX, height=80)
        )
        return chart

    top = panel("turnover", ".0%", BLUE, "Turnover per month (% of NAV)", labels=False)
    low = panel("cost_bps", "~g", ORANGE, "Cost per month (bps of NAV)", labels=True)
    return _configured(alt.vconcat(top, low, spacing=14))


def rating_distribution(counts: pl.DataFrame) -> AnyChart:
    """Draw ``rating``, ``n`` in the order given: instruments per rating."""
    return _counted(counts, "rating", GREEN, "Instruments per rating (count)")


def quarantine_by_reason(counts: pl.DataFrame) -> AnyChart:
    """Draw ``reason``, ``n`` in the order given: rows held back per reason."""
    return _counted(counts, "reason", ORANGE, "Quarantined rows per reason (count)")


def bars_per_session(coverage: pl.DataFrame) -> AnyChart:
    """Draw ``session``, ``n_bars``: how many bars each session has, none where it is missing."""
    last = coverage.tail(1).row(0, named=True)
    series = {"n_bars": (f"{last['n_bars']:,}", BLUE)}
    return _lines(coverage, series, title="Bars per session (count)", axis_format=",.0f", zero=True)


def reliability(bins: pl.DataFrame, month: str) -> AnyChart:
    """Draw ``predicted``, ``observed``, ``n``: announced against observed frequency, per bin."""
    rows = bins.sort("predicted").to_dicts()
    most = max(_float(bins["predicted"].max()), _float(bins["observed"].max()), 0.01)
    scale = alt.Scale(domain=[0.0, 1.05 * most], nice=True)
    axis = alt.Axis(format=".0%", tickCount=5)
    x = alt.X("predicted:Q", title="announced probability", scale=scale, axis=axis)
    y = alt.Y("observed:Q", title="observed frequency", scale=scale, axis=axis)
    ends = [{"predicted": 0.0, "observed": 0.0}, {"predicted": most, "observed": most}]
    perfect = alt.Chart(_inline(ends)).mark_line(color=GREY, strokeDash=[4, 4])
    base = alt.Chart(_inline(rows)).encode(x=x, y=y)
    marks = base.mark_line(color=BLUE, point=alt.OverlayMarkDef(color=BLUE, size=50))
    title = f"Reliability, model of {month}; dashed: perfect"
    return _styled(alt.layer(perfect.encode(x=x, y=y), marks), title, PLOT_WIDTH_PX - 30)


def daily_ic(daily: pl.DataFrame, month: str) -> AnyChart:
    """Draw ``session``, ``ic``: rank correlation of score and outcome per calibration session."""
    mean = _float(daily["ic"].mean())
    rows = daily.sort("session").with_columns(pl.col("session").dt.to_string("%d %b")).to_dicts()
    x = alt.X(
        "session:N", sort=[row["session"] for row in rows], title=None,
        axis=alt.Axis(
            labelAngle=0, labelOverlap="greedy", labelPadding=8, ticks=False, domain=False
        ),
    )  # fmt: skip
    y = alt.Y("ic:Q", title=None, axis=alt.Axis(format="+.2f", tickCount=5))
    color = alt.condition("datum.ic < 0", alt.value(ORANGE), alt.value(BLUE))
    bars = alt.Chart(_inline(rows)).mark_bar(width={"band": 0.7}).encode(x=x, y=y, color=color)
    level = alt.Chart(_inline([{"ic": mean}])).mark_rule(color=INK, strokeWidth=2).encode(y="ic:Q")
    title = f"Daily rank IC, model of {month}; mean {mean:+.3f}"
    return _styled(alt.layer(bars, level), title)


def feature_importance(shares: pl.DataFrame, month: str) -> AnyChart:
    """Draw ``feature``, ``share`` in the order given: part of the total gain per feature."""
    rows = [{**row, "text": percent(row["share"], 1)} for row in shares.to_dicts()]
    y = alt.Y("feature:N", sort=[row["feature"] for row in rows], title=None)
    base = alt.Chart(_inline(rows)).encode(y=y, x=alt.X("share:Q", title=None, axis=None))
    text = base.mark_text(align="left", dx=4, color=INK).encode(text="text:N")
    bars = base.mark_bar(color=GREEN, height={"band": 0.6})
    title = f"Feature importance, model of {month} (% of gain)"
    return _styled(alt.layer(bars, text), title, PLOT_WIDTH_PX - 150, 26 * max(len(rows), 1))


def decile_returns(deciles: pl.DataFrame, horizon_sessions: int) -> AnyChart:
    """Draw ``decile`` 1 .. 10, ``return_bps``: what each tenth of the score earned, relatively."""
    rows = deciles.sort("decile").to_dicts()
    x = alt.X("decile:O", title="decile of the score", axis=alt.Axis(labelAngle=0, ticks=False))
    y = alt.Y("return_bps:Q", title=None, axis=alt.Axis(format="+~g", tickCount=5))
    color = alt.condition("datum.return_bps < 0", alt.value(ORANGE), alt.value(BLUE))
    bars = alt.Chart(_inline(rows)).mark_bar(width={"band": 0.7}).encode(x=x, y=y, color=color)
    held = "1 session" if horizon_sessions == 1 else f"{horizon_sessions} sessions"
    return _styled(bars, f"Return over {held} less the mean (bps)")


def cumulative_long_short(days: pl.DataFrame) -> AnyChart:
    """Draw ``session``, ``gross_return``, ``net_return`` (fractions of capital), added up.

    Added, not compounded: the book carries the same weights whatever it has earned.
    """
    summed = days.sort("session").select(
        "session",
        pl.col("gross_return").cum_sum().alias("gross"),
        pl.col("net_return").cum_sum().alias("net"),
    )
    last = summed.tail(1).row(0, named=True)
    series = {
        "net": (f"Net {percent(last['net'], 1, signed=True)}", BLUE),
        "gross": (f"Gross {percent(last['gross'], 1, signed=True)}", GREY),
    }
    title = "Long-short book, summed daily returns"
    return _lines(summed, series, title=title, axis_format=".0%", zero=False)


def to_svg(chart: AnyChart) -> str:
    """Render to an SVG that fills its container's width and carries its own unique ids.

    Equal charts give equal bytes: the renderer numbers its clip paths per process, so they are
    renamed after the content.
    """
    svg: str = vlc.vegalite_to_svg(chart.to_dict())
    found = re.search(r'<svg[^>]*? width="([\d.]+)" height="([\d.]+)"[^>]*>', svg)
    if found is None:  # a renderer that no longer writes a size is a new renderer: look at it
        return svg
    width = max(float(found[1]), float(CHART_WIDTH_PX))
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="100%" role="img" '
        f'viewBox="{-MARGIN_PX} 0 {width + 2 * MARGIN_PX:g} {float(found[2]):g}">'
    )
    body = svg[found.end() :]
    names = list(dict.fromkeys(re.findall(r'<clipPath id="([^"]+)"', body)))
    for index, name in enumerate(names):
        body = re.sub(rf'(id="|url\(#){re.escape(name)}(?=["\)])', rf"\1qv{index}", body)
    prefix = hashlib.sha256(body.encode()).hexdigest()[:8]
    body = re.sub(r'(id="|url\(#)qv(?=\d)', rf"\1c{prefix}-", body)
    return head + body


def to_png(chart: AnyChart, width_px: int = 2 * CHART_WIDTH_PX) -> bytes:
    """Render to a PNG about ``width_px`` wide, on white."""
    png: bytes = vlc.vegalite_to_png(chart.to_dict(), scale=width_px / CHART_WIDTH_PX)
    return png


def _rows(frame: pl.DataFrame, columns: Sequence[str]) -> list[dict[str, Any]]:
    """Return the rows to draw, dates as text; a long history keeps every k-th and the last."""
    step = -(-frame.height // POINTS_MAX) or 1
    thinned = frame.select("session", *columns)
    if step > 1:
        thinned = pl.concat([thinned[:-1].gather_every(step), thinned.tail(1)])
    return thinned.with_columns(pl.col("session").dt.to_string("%Y-%m-%d")).to_dicts()


def _time_axis(frame: pl.DataFrame) -> alt.X:
    first, last = frame["session"].min(), frame["session"].max()
    days = (last - first).days if isinstance(first, dt.date) and isinstance(last, dt.date) else 0
    form = "%d %b" if days < 100 else "%b %y"  # a quarter still reads by day
    axis = alt.Axis(format=form, tickCount=5, labelAngle=0, labelOverlap="greedy", grid=False)
    return alt.X("session:T", title=None, scale=alt.Scale(type="utc"), axis=axis)


def _lines(
    frame: pl.DataFrame,
    series: dict[str, tuple[str, str]],
    *,
    title: str,
    axis_format: str,
    zero: bool,
) -> AnyChart:
    """Draw one line per column, each labelled at its end in its own colour."""
    values = _inline(_rows(frame, list(series)))
    x = _time_axis(frame)
    columns = frame.select(*series)
    floor = 0.0 if zero else min(_float(columns[name].min()) for name in series)
    ceiling = max(_float(columns[name].max()) for name in series)
    spread = max(ceiling - floor, 1e-9)
    domain = [floor, ceiling + 0.02 * spread] if zero else [floor - 0.02 * spread, ceiling]
    scale = alt.Scale(domain=domain, zero=zero, nice=True)
    fine = FINE * (1 if axis_format.endswith("%") else 100)
    form = axis_format.replace(".0", ".1") if spread < fine else axis_format
    axis = alt.Axis(format=form, tickCount=5)
    ends = {name: _float(columns[name][-1]) for name in series}
    placed = _apart(ends, LABEL_GAP * spread)
    stamp = frame["session"][-1].isoformat()
    layers: list[alt.Chart] = []
    for name in reversed(list(series)):
        text, color = series[name]
        layers.append(
            alt.Chart(values)
            .mark_line(color=color, strokeWidth=2, point=frame.height == 1, clip=True)
            .encode(x=x, y=alt.Y(f"{name}:Q", title=None, scale=scale, axis=axis))
        )
        end = _inline([{"session": stamp, "y": placed[name], "text": text}])
        layers.append(
            alt.Chart(end)
            .mark_text(align="left", dx=6, color=color, fontWeight="bold")
            .encode(x=x, y=alt.Y("y:Q", scale=scale), text="text:N")
        )
    return _styled(alt.layer(*layers), title, PLOT_WIDTH_PX - END_LABEL_PX)


def _apart(ends: dict[str, float], gap: float) -> dict[str, float]:
    """Move two labels apart where their lines end too close together."""
    if len(ends) != 2 or abs(max(ends.values()) - min(ends.values())) >= gap:
        return ends
    upper, lower = sorted(ends, key=lambda name: -ends[name])
    middle = (ends[upper] + ends[lower]) / 2
    return {upper: middle + gap / 2, lower: middle - gap / 2}


def _float(value: Any) -> float:  # polars types an aggregate as any literal
    return float(value)


def _counted(counts: pl.DataFrame, field: str, color: str, title: str) -> AnyChart:
    rows = counts.select(field, "n").to_dicts()
    y = alt.Y(f"{field}:N", sort=[row[field] for row in rows], title=None)
    base = alt.Chart(_inline(rows)).encode(y=y, x=alt.X("n:Q", title=None, axis=None))
    text = base.mark_text(align="left", dx=4, color=INK).encode(text=alt.Text("n:Q", format=","))
    bars = base.mark_bar(color=color, height={"band": 0.6})
    height_px = 26 * max(len(rows), 1)
    return _styled(alt.layer(bars, text), title, PLOT_WIDTH_PX - 150, height_px)


def _inline(rows: Sequence[dict[str, Any]]) -> alt.InlineData:
    # As text: Altair copies and validates rows one by one, and again for every layer above them.
    return alt.InlineData(values=json.dumps(rows), format={"type": "json"})


def _styled(
    chart: AnyChart, title: str, width_px: int = PLOT_WIDTH_PX, height_px: int = PLOT_HEIGHT_PX
) -> AnyChart:
    sized = alt.layer(chart) if isinstance(chart, alt.Chart) else chart
    return _configured(sized.properties(width=width_px, height=height_px, title=title))


def _configured(chart: Any) -> AnyChart:  # the union's members share no typed `configure`
    font = "Arial, Helvetica, sans-serif"
    styled: AnyChart = (
        chart.configure(background="white", font=font, padding=6)
        .configure_view(stroke=None)
        .configure_title(anchor="start", frame="group", fontSize=15, color=INK, offset=10)
        .configure_axis(
            labelFontSize=14,
            labelColor="#444444",
            gridColor="#e6e6e6",
            domainColor="#999999",
            tickColor="#999999",
            titleFontSize=14,
            titleFontWeight="normal",
            titleColor="#444444",
        )
        .configure_axisY(domain=False, ticks=False)
        .configure_text(fontSize=14)
    )
    return styled
