"""Who a symbol means on a day, who is in an index on it, and how a report says what is missing."""

import datetime as dt

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.errors import ContractError, SourceError
from domain.market_data.instruments import instrument_master, read_symbols
from domain.market_data.membership import (
    MEMBERSHIP_SCHEMA,
    members_by_session,
    members_on,
    universe_coverage,
    with_instruments,
)
from domain.market_data.normalise import HEADER, read_rows
from domain.market_data.reference import (
    ACTIONS,
    NO_END,
    SPELLS_SCHEMA,
    SymbolSpell,
    actions_frame,
    actions_of,
    spells_frame,
    with_permanent_ids,
)
from domain.portfolio_management.benchmark import (
    benchmark_sector_returns,
    equal_weight_benchmark,
)
from domain.reporting.universe import universe_notes

D = dt.date
SPELLS = (
    SymbolSpell("FB", "US.FB", D(1999, 9, 29), D(2003, 3, 28), "t", "delisted"),
    SymbolSpell("FB", "US.FB.20120518", D(2012, 5, 18), NO_END, "t"),
    SymbolSpell("META", "US.FB.20120518", D(2012, 1, 1), D(2012, 1, 2), "t"),
)
LISTED = read_symbols(
    b'<symbols><symbol ticker="FB" name="Facebook" sector="" industry=""/></symbols>'
)


def quoted(*pairs):
    return pl.DataFrame(
        [(f"US.{symbol}", symbol, day) for symbol, day in pairs],
        schema={"instrument_id": pl.String, "symbol": pl.String, "session": pl.Date}, orient="row",
    )  # fmt: skip


def test_a_symbol_means_the_instrument_of_its_day():
    rows = quoted(
        ("FB", D(1999, 9, 29)), ("FB", D(2003, 3, 28)), ("FB", D(2012, 5, 18)),
        ("FB", D(2005, 1, 3)), ("META", D(2012, 1, 2)), ("META", D(2015, 1, 2)),
        ("AAPL", D(2015, 1, 2)),
    )  # fmt: skip
    found = with_permanent_ids(rows, SPELLS)
    assert found.columns == rows.columns
    assert set(found.select("symbol", "session", "instrument_id").rows()) == {
        ("FB", D(1999, 9, 29), "US.FB"),
        ("FB", D(2003, 3, 28), "US.FB"),
        ("FB", D(2012, 5, 18), "US.FB.20120518"),
        # Between two instruments the symbol is neither's: it must not be spliced to one of them.
        ("FB", D(2005, 1, 3), "US.FB.OTHER"),
        ("META", D(2012, 1, 2), "US.FB.20120518"),
        ("META", D(2015, 1, 2), "US.META"),
        ("AAPL", D(2015, 1, 2), "US.AAPL"),
    }


def test_spells_that_overlap_or_run_backwards_are_refused():
    twice = (*SPELLS, SymbolSpell("FB", "US.X", D(2003, 3, 28), D(2004, 1, 1), "t"))
    with pytest.raises(
        SourceError, match=r"Two spells of FB overlap: it means US\.FB until 2003-03"
    ):
        with_permanent_ids(quoted(("A", D(2010, 1, 4))), twice)
    backwards = (SymbolSpell("FB", "US.X", D(2004, 3, 28), D(2004, 1, 1), "t"),)
    with pytest.raises(SourceError, match="before it begins"):
        with_permanent_ids(quoted(("A", D(2010, 1, 4))), backwards)


@given(
    st.lists(st.tuples(st.sampled_from("ABC"), st.integers(0, 40), st.integers(1, 9)), max_size=8),
    st.lists(st.tuples(st.sampled_from("ABCD"), st.integers(0, 45)), max_size=30, unique=True),
)
def test_every_row_gets_one_id_as_by_looking_through_the_spells(drawn, rows):
    start, taken, spells = D(2010, 1, 1), {}, []
    for symbol, first, length in sorted(drawn, key=lambda one: one[1]):
        if first > taken.get(symbol, -1):
            taken[symbol] = first + length
            name = f"US.{'AB'[len(spells) % 2]}{len(spells) // 2 or ''}"
            days = start + dt.timedelta(days=first), start + dt.timedelta(days=first + length)
            spells.append(SymbolSpell(symbol, name, *days, "t"))
    bars = quoted(*((symbol, start + dt.timedelta(days=day)) for symbol, day in rows))
    found = with_permanent_ids(bars, spells)
    assert (
        found.select("symbol", "session")
        .sort(pl.all())
        .equals(bars.select("symbol", "session").sort(pl.all()))
    )
    for name, symbol, day in found.iter_rows():
        meant = [s.instrument_id for s in spells if s.symbol == symbol and s.first <= day <= s.last]
        plain = f"US.{symbol}"
        is_known = any(s.symbol == symbol and s.instrument_id == plain for s in spells)
        assert name == (meant[0] if meant else f"{plain}.OTHER" if is_known else plain)


def test_actions_survive_their_table():
    assert actions_of(actions_frame(ACTIONS)) == ACTIONS


def membership(*rows, index="x"):
    return pl.DataFrame(
        [
            {"index": index, "symbol": symbol, "first": first, "last": last, "source": "t"}
            for symbol, first, last in rows
        ],
        schema=MEMBERSHIP_SCHEMA,
    )


def test_a_membership_follows_its_instrument():
    # Lists write today's symbol: FB's days before 2012 within this spell are the later company's.
    listed = membership(("FB", D(2004, 1, 2), NO_END), ("A", D(2000, 1, 3), D(2001, 1, 2)))
    found = with_instruments(listed, spells_frame(SPELLS))
    assert found.select("instrument_id", "first", "last").rows() == [
        ("US.A", D(2000, 1, 3), D(2001, 1, 2)),
        ("US.FB.20120518", D(2004, 1, 2), NO_END),
    ]
    over = with_instruments(membership(("FB", D(2002, 1, 2), NO_END)), spells_frame(SPELLS))
    assert over.select("instrument_id", "first", "last").rows() == [
        ("US.FB", D(2002, 1, 2), D(2003, 3, 28)),
        ("US.FB.20120518", D(2003, 3, 29), NO_END),
    ]
    after = with_instruments(
        membership(("META", D(2011, 1, 3), D(2014, 1, 2))), spells_frame(SPELLS)
    )
    assert after.select("instrument_id", "last").rows() == [
        ("US.FB.20120518", D(2012, 1, 2)), ("US.META", D(2014, 1, 2)),
    ]  # fmt: skip


def test_an_instrument_is_in_an_index_once():
    twice = membership(("A", D(2010, 1, 4), NO_END), ("A", D(2011, 1, 3), D(2012, 1, 3)))
    with pytest.raises(SourceError, match=r"US.A \(A\) is twice in x on 2011-01-03"):
        with_instruments(twice, spells_frame(()))


def members(*rows):
    found = with_instruments(membership(*rows), spells_frame(()))
    return found.with_columns(is_universe=pl.lit(value=True))


LEFT = members(("A", D(2010, 1, 4), NO_END), ("B", D(2010, 1, 4), D(2010, 1, 5)),
               ("C", D(2010, 1, 6), NO_END))  # fmt: skip
SESSIONS = pl.Series("session", [D(2010, 1, 4), D(2010, 1, 5), D(2010, 1, 6), D(2010, 1, 7)])


def test_members_are_those_of_the_day():
    on = {day: members_on(LEFT, day, "x")["symbol"].to_list() for day in SESSIONS}
    assert list(on.values()) == [["A", "B"], ["A", "B"], ["A", "C"], ["A", "C"]]
    assert members_on(LEFT, D(2010, 1, 3)).is_empty()
    assert members_on(LEFT, D(2010, 1, 4), "y").is_empty()
    lookup = members_by_session(LEFT)
    assert lookup(D(2010, 1, 6)) == {"US.A", "US.C"}
    assert members_by_session(LEFT.with_columns(is_universe=pl.lit(value=False))) is None


def prices(**closes):
    return pl.concat(
        pl.DataFrame({"session": SESSIONS, "adj_close": pl.Series(values, dtype=pl.Float64)})
        .with_columns(instrument_id=pl.lit(f"US.{name}"), price_basis=pl.lit("raw"))
        .drop_nulls()
        for name, values in closes.items()
    )


def test_members_without_data_are_counted_and_named():
    bars = prices(A=[1, 1, 1, 1], C=[1, 1, None, 1], Z=[1, 1, 1, 1])
    found = universe_coverage(bars, SESSIONS, LEFT, "x")
    assert found.select("n_members", "n_with_data", "n_without_data", "without_data").rows() == [
        (2, 1, 1, "B"), (2, 1, 1, "B"), (2, 1, 1, "C"), (2, 2, 0, ""),
    ]  # fmt: skip
    (note,) = universe_notes(found)
    assert note == (
        "Survivorship-biased: of 2 members of x at the close of 7 Jan 2010, 0 without data; "
        "37.50% of all members' sessions since 4 Jan 2010 have none."
    )
    assert "(C)" in universe_notes(found[:3])[0]


def test_a_universe_that_is_whole_is_not_called_biased():
    bars = prices(A=[1, 1, 1, 1], B=[1, 1, None, None], C=[None, None, 1, 1])
    (note,) = universe_notes(universe_coverage(bars, SESSIONS, LEFT, "x"))
    assert note.startswith("The universe is the 2 members of x at the close of 7 Jan 2010")


def test_a_list_that_begins_after_the_bars_says_so():
    late = members(("A", D(2010, 1, 6), NO_END))
    bars = prices(A=[1, 1, 1, 1])
    found = universe_coverage(bars, SESSIONS, late, "x")
    # Nobody says who was a member before, so nobody knows who is missing.
    assert found["n_members"].to_list() == [0, 0, 1, 1]
    (note,) = universe_notes(found)
    assert note.startswith("Survivorship-biased: of 1 member of x")
    assert note.endswith("The list of members says nothing of 2 sessions.")


def test_without_an_index_the_vendors_universe_is_called_what_it_is():
    bars = prices(A=[1, 1, 1, 1], B=[1, 1, None, None])
    found = universe_coverage(bars, SESSIONS, LEFT, None)
    assert found["n_members"].null_count() == 4
    assert universe_notes(found) == (
        "Survivorship-biased: no index membership is configured. The universe is what the vendor "
        "sent: 2 instruments since 4 Jan 2010, 1 of them without a bar at the close of 7 Jan 2010 "
        "and kept to their last one.",
    )
    adjusted = bars.with_columns(price_basis=pl.lit("split_adjusted"))
    notes = universe_notes(universe_coverage(adjusted, SESSIONS, LEFT, None))
    assert notes[1].startswith("Synthetic prices: 6 bars of this history are adjusted")
    assert universe_notes(found.clear()) == ()


def test_the_benchmark_is_of_the_members_of_each_close():
    bars = prices(A=[1, 2, 2, 4], B=[1, 1, 3, 3], C=[1, 1, 1, 2])
    whole = equal_weight_benchmark(bars, SESSIONS)
    chosen = equal_weight_benchmark(bars, SESSIONS, LEFT)
    assert whole["n_members"].to_list() == [3, 3, 3, 3]
    assert chosen["n_members"].to_list() == [2, 2, 2, 2]
    # A and B; then A and B, B leaving with its gain; then A and C.
    assert chosen["daily_return"].to_list() == [None, 0.5, 1.0, 1.0]
    sectors = pl.DataFrame({"instrument_id": ["US.A", "US.B", "US.C"], "sector": ["a", "b", "c"]})
    parts = benchmark_sector_returns(bars, SESSIONS, sectors, LEFT)
    summed = parts.group_by("session", maintain_order=True).agg(
        (pl.col("weight") * pl.col("sector_return")).sum()
    )
    assert summed["weight"].to_list() == [0.5, 1.0, 1.0]
    with pytest.raises(ContractError, match="No member of the index has a bar on 2010-01-04"):
        equal_weight_benchmark(bars, SESSIONS, members(("Q", D(2010, 1, 4), NO_END)))


def rows_of(*lines):
    return read_rows("\n".join([",".join(HEADER), *lines]).encode())


def test_the_master_keeps_what_ended_with_its_last_price():
    days = [f"201001{day:02}" for day in (4, 5, 6, 7, 8, 11, 12, 13)]
    lines = [f"{day},A,1,1,1,{i}.5,1" for i, day in enumerate(days, start=1)]
    lines += ["20100104,B,9,9,9,9,1", "20100105,B,0.5,0.5,0.5,0.5,1", "20100106,B,1,1,1,n/a,1"]
    desk = spells_frame(
        (SymbolSpell("B", "US.B", D(2000, 1, 3), D(2010, 1, 6), "t", "acquired"),
         SymbolSpell("OLD", "US.OLD", D(2000, 1, 3), D(2001, 1, 2), "t", "liquidated"))
    ).with_columns(raw_sha256=pl.lit("0"), mic=pl.lit("XNYS"))  # fmt: skip
    found = instrument_master(rows_of(*lines), LISTED, spells=desk, last_session=D(2010, 1, 13))
    columns = ("instrument_id", "first_session", "last_session", "status", "end_reason",
               "final_price", "tick_size", "lot_shares", "mic")  # fmt: skip
    assert found.select(columns).rows() == [
        ("US.A", D(2010, 1, 4), D(2010, 1, 13), "active", None, None, 0.01, 100, "XXXX"),
        ("US.B", D(2010, 1, 4), D(2010, 1, 6), "ended", "acquired", 0.5, 0.0001, 100, "XNYS"),
        ("US.OLD", None, None, "no_data", "liquidated", None, 0.01, 100, "XNYS"),
    ]
    # A replay of the fifth does not know that B was bought on the sixth.
    early = instrument_master(rows_of(*lines), LISTED, spells=desk, last_session=D(2010, 1, 5))
    assert early.filter(instrument_id="US.B").select("status", "end_reason").row(0) == (
        "active", None,
    )  # fmt: skip


def test_the_master_takes_each_cell_of_the_first_source_that_has_it():
    columns = ("instrument_id", "rank", "as_of", "mic", "isin", "gics_sector")
    told = pl.DataFrame(
        [("US.A", 1, D(2020, 1, 2), "XNYS", "US0378331005", "Energy"),
         ("US.A", 0, D(2019, 1, 2), "XNAS", None, None)],
        schema=columns, orient="row",
    )  # fmt: skip
    rest = ("name", "currency", "gics_sub_industry", "figi", "cusip", "cik")
    filled = told.with_columns(
        *(pl.lit(None, pl.String).alias(name) for name in rest),
        tick_size=pl.lit(0.05), lot_shares=pl.lit(1, pl.Int64),
    )  # fmt: skip
    row = instrument_master(rows_of("20100104,A,1,1,1,1,1"), LISTED, identifiers=filled).row(
        0, named=True
    )
    assert (row["mic"], row["isin"], row["sector"]) == ("XNAS", "US0378331005", "Energy")
    assert (row["sector_as_of"], row["tick_size"], row["lot_shares"]) == (D(2020, 1, 2), 0.05, 1)
    assert set(SPELLS_SCHEMA) >= {"source", "raw_sha256", "source_seq"}
