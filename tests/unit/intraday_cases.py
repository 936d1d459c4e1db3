"""Trades and quotes of a session, made by hand, and the slow plain way to what is built of them."""

import datetime as dt

import polars as pl

from domain.market_data.sessions import SessionTimes
from sources.market_data.frames import QUOTE, TRADE

DAY = dt.date(2013, 10, 7)
SECOND_NS = 10**9
# 13:30 UTC, the opening in New York.
OPEN_NS = 1_381_152_600 * SECOND_NS
HOURS_NS = 6.5 * 3_600 * SECOND_NS


def hours_of(day):
    """Regular trading in New York in summer."""
    open_ns = OPEN_NS + (day - DAY).days * 86_400 * SECOND_NS
    return SessionTimes(day, open_ns, open_ns + int(HOURS_NS))


def trades(*rows, symbol="SPY", day=DAY):
    """Rows of (seconds after the open, price, size, conditions[, exchange[, suspicious]])."""
    whole = [(*row, *("D", False)[len(row) - 4 :]) for row in rows]
    return pl.DataFrame(
        [
            (line, symbol, day, OPEN_NS + int(at * SECOND_NS), float(price), float(size), exchange,
             conditions, suspicious)
            for line, (at, price, size, conditions, exchange, suspicious) in enumerate(whole, 1)
        ],
        schema=TRADE, orient="row",
    )  # fmt: skip


def quotes(*rows, symbol="SPY", day=DAY):
    """Rows of (seconds, exchange, bid, bid size, ask, ask size[, suspicious])."""
    whole = [(*row, *(False,)[len(row) - 6 :]) for row in rows]
    return pl.DataFrame(
        [
            (line, symbol, day, OPEN_NS + int(at * SECOND_NS), *sides, exchange, "1", suspicious)
            for line, (at, exchange, *sides, suspicious) in enumerate(whole, 1)
        ],
        schema=QUOTE, orient="row",
    )  # fmt: skip


def plain_best(rows, *, national):
    """The best bid and offer after each row that changes it, by a loop over dictionaries."""
    found, books, last = [], {"bid": {}, "ask": {}}, (None, 0.0, None) * 2
    for row in rows:
        if row["suspicious"]:
            continue
        now = []
        for side, better in (("bid", max), ("ask", min)):
            price, size = row[f"{side}_price"], row[f"{side}_size"]
            if size is not None:
                if national:
                    books[side].clear()
                books[side].pop(row["exchange"], None)
                if size > 0 and price is not None:
                    books[side][row["exchange"]] = (price, size)
            if not books[side]:
                now += [None, 0.0, None]
                continue
            best = better(price for price, _ in books[side].values())
            at_best = {name: n for name, (p, n) in sorted(books[side].items()) if p == best}
            now += [best, sum(at_best.values()), max(at_best, key=at_best.get)]
        if tuple(now) != last:
            found.append((row["time_ns"], row["line"], *now))
        last = tuple(now)
    return found
