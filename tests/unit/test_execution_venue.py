from decimal import Decimal
from pathlib import Path

import pytest

from execution.errors import VenueError
from execution.fix.parse import Fields
from execution.venue.book import Book
from execution.venue.config import VenueConfig
from execution.venue.exchange import Exchange
from execution.venue.ledger import Ledger, entries
from execution.venue.market import (
    Bar,
    Liquidity,
    SessionHeader,
    path_of,
    read_session,
    ticks,
    write_session,
)

HEADER = SessionHeader(
    session="2010-08-20", settlement_date="2010-08-25", open_ns=10**18, close_ns=2 * 10**18
)
BAR = Bar(
    instrument="US.AAPL",
    symbol="AAPL",
    open=Decimal("100.125"),
    high=Decimal(103),
    low=Decimal(98),
    close=Decimal(101),
    volume=100_000,
)


def exchange(tmp_path: Path, **changes: object) -> Exchange:
    config = VenueConfig(state_dir=str(tmp_path), fix_port=1, **changes)  # type: ignore[arg-type]
    made = Exchange(config, Ledger(tmp_path / "ledger.jsonl"), entries(tmp_path / "ledger.jsonl"))
    made.load(HEADER, {"AAPL": BAR})
    return made


def new(cl_ord_id: str, lots: int, limit: str = "200", side: str = "1") -> Fields:
    return {
        35: "D",
        11: cl_ord_id,
        55: "AAPL",
        54: side,
        38: str(lots),
        40: "2" if limit else "1",
        44: limit,
    }


def test_better_prices_go_first_then_earlier_ones() -> None:
    book = Book()
    for name, price in [("late", 101), ("dear", 102), ("cheap", 100), ("later", 101)]:
        assert book.submit(name, "sell", 10, price) == []
    matches = book.submit("buyer", "buy", 35, 102)
    assert [(one.maker_id, one.ticks, one.lots) for one in matches] == [
        ("cheap", 100, 10),
        ("late", 101, 10),
        ("later", 101, 10),
        ("dear", 102, 5),
    ]
    assert book.best("sell") == (102, 5)
    assert book.cancel("dear") == 5
    assert book.cancel("dear") == 0


def test_a_limit_is_never_crossed_and_a_rest_waits() -> None:
    book = Book()
    book.submit("ask", "sell", 10, 101)
    assert book.submit("bid", "buy", 10, 100) == []
    assert (book.best("buy"), book.best("sell")) == ((100, 10), (101, 10))
    assert [one.ticks for one in book.submit("hit", "sell", 4, 99)] == [100]
    assert len(list(book)) == 2


def test_an_auction_meets_at_one_price_market_orders_first() -> None:
    book = Book()
    book.rest("limit", "buy", 10, 105)
    book.rest("market", "buy", 10, None)
    book.rest("too low", "buy", 10, 99)
    book.rest("maker", "sell", 15, 100)
    matches = book.uncross(100)
    assert [(one.maker_id, one.lots) for one in matches] == [("market", 10), ("limit", 5)]
    assert {one.ticks for one in matches} == {100}


def test_the_day_visits_both_extremes_and_ends_at_the_close() -> None:
    path = path_of(BAR, 12, seed=1)
    assert path == path_of(BAR, 12, seed=1)
    assert (min(path), max(path), path[-1]) == (980_000, 1_030_000, 1_010_000)
    assert len({tuple(path_of(BAR, 12, seed=seed)) for seed in range(20)}) == 2


def test_orders_before_the_open_trade_at_the_open(tmp_path: Path) -> None:
    venue = exchange(tmp_path)
    assert [report[150] for report in venue.handle(new("a", 100))] == ["0"]
    (fill,) = venue.open()
    assert (fill[150], fill[31], fill[32], fill[151]) == ("F", "100.1250", "100", "0")
    assert ticks(BAR.open) == 1_001_250
    assert fill[12] == "0.3500"


def test_a_large_order_is_filled_in_parts_and_expires_with_the_rest(tmp_path: Path) -> None:
    venue = exchange(tmp_path)
    venue.handle(new("a", 90_000))
    reports = venue.open() + venue.advance(100) + venue.close()
    assert len([report for report in reports if report[150] == "F"]) > 10
    assert (reports[-1][150], reports[-1][39]) == ("C", "C")
    assert sum(int(one[32]) for one in reports[:-1]) == int(reports[-1][14]) < 90_000


def test_the_same_requests_give_the_same_reports(tmp_path: Path) -> None:
    runs = []
    for name in "ab":
        (tmp_path / name).mkdir()
        venue = exchange(tmp_path / name, reject_rate=0.3)
        reports = []
        for number in range(30):
            reports += venue.handle(new(f"o{number}", 300, side="12"[number % 2], limit="100"))
        runs.append(reports + venue.open() + venue.advance(12) + venue.close())
    assert runs[0] == runs[1]
    assert {report[150] for report in runs[0]} >= {"0", "8", "F"}


@pytest.mark.parametrize(
    ("changes", "reason"), [({55: "NOPE"}, "1"), ({38: "0"}, "99"), ({11: "a"}, "6")]
)
def test_bad_orders_are_rejected_with_fix_s_reason(
    tmp_path: Path, changes: Fields, reason: str
) -> None:
    venue = exchange(tmp_path)
    venue.handle(new("a", 1))
    (report,) = venue.handle(new("b", 1) | changes)
    assert (report[150], report[103]) == ("8", reason)
    venue.close()
    assert venue.handle(new("c", 1))[0][103] == "2"


@pytest.mark.parametrize(
    "changes",
    [{38: "1e3"}, {38: "10.5"}, {38: "-5"}, {38: "\u00b2"}, {40: "2", 44: "x"}, {40: "2", 44: ""}],
)
@pytest.mark.parametrize("kind", ["D", "G"])
def test_a_request_that_cannot_be_read_is_refused_and_the_venue_goes_on(
    tmp_path: Path, kind: str, changes: Fields
) -> None:
    venue = exchange(tmp_path)
    venue.handle(new("C1", 10, "50"))
    bad = new("C2", 10) | {35: kind, 34: "7", 41: "C1"} | changes
    (refusal,) = venue.handle(bad)
    assert (refusal[35], refusal[45], refusal[372], refusal[380]) == ("j", "7", kind, "0")
    assert [(one.cl_ord_id, one.status) for one in venue.orders.values()] == [("C1", "0")]


def test_a_quantity_may_be_written_with_decimals(tmp_path: Path) -> None:
    (accepted,) = exchange(tmp_path).handle(new("C1", 0) | {38: "002000.00"})
    assert (accepted[150], accepted[38]) == ("0", "2000")


def test_status_questions_are_answered(tmp_path: Path) -> None:
    venue = exchange(tmp_path)
    nothing = venue.handle({35: "AF", 584: "m"})
    assert (nothing[0][911], nothing[0][912]) == ("0", "Y")
    venue.handle(new("a", 1))
    venue.handle(new("b", 1))
    both = venue.handle({35: "AF", 584: "m"})
    assert [(one[11], one[912]) for one in both] == [("a", "N"), ("b", "Y")]
    assert venue.handle({35: "H", 11: "x", 54: "1", 55: "AAPL"})[0][103] == "5"
    assert venue.handle({35: "H", 11: "a"})[0][39] == "0"
    assert venue.handle({35: "B"})[0][35] == "j"


def test_cancel_and_replace(tmp_path: Path) -> None:
    venue = exchange(tmp_path)
    venue.handle(new("a", 10))
    replaced = venue.handle({35: "G", 11: "b", 41: "a", 38: "4", 40: "2", 44: "150"})
    assert (replaced[0][150], replaced[0][11], replaced[0][41]) == ("5", "b", "a")
    assert venue.handle({35: "F", 11: "c", 41: "a"})[0][35] == "9"
    cancelled = venue.handle({35: "F", 11: "c", 41: "b"})
    assert (cancelled[0][150], cancelled[0][151]) == ("4", "0")
    assert venue.handle({35: "G", 11: "d", 41: "nobody", 38: "1"})[0][102] == "1"
    assert venue.open() == []


def test_a_restart_goes_on_from_the_ledger(tmp_path: Path) -> None:
    venue = exchange(tmp_path, liquidity=Liquidity(auction_share=0.001))
    venue.handle(new("a", 1_000))
    venue.handle(new("b", 10, limit="50"))
    venue.handle({35: "G", 11: "c", 41: "b", 38: "20", 40: "2", 44: "51"})
    venue.open()
    again = exchange(tmp_path, liquidity=Liquidity(auction_share=0.001))
    assert again.positions() == venue.positions()
    assert again.orders == venue.orders
    assert [one.exec_id for one in again.fills] == ["E1"]
    (more,) = again.open()
    assert (more[17], more[14]) == ("E2", "200")


def test_bars_files_are_checked(tmp_path: Path) -> None:
    path = tmp_path / "bars.jsonl"
    write_session(path, HEADER, [BAR])
    assert read_session(path) == (HEADER, {"AAPL": BAR})
    for bad in (b"", b"{}\n", path.read_bytes() + path.read_bytes().splitlines()[1]):
        path.write_bytes(bad)
        with pytest.raises(VenueError, match="bars file"):
            read_session(path)
