"""Books keep their order whatever comes, and changes give what a dictionary would."""

from hypothesis import given
from hypothesis import strategies as st

from domain.market_data.intraday.depth import (
    Book,
    Change,
    Order,
    Outcome,
    Replay,
    SequencedBook,
    Top,
    replay,
)

LEVELS = 3
PAIR = st.tuples(st.integers(1, 9).map(float), st.integers(0, 4).map(float))
PAIRS = st.lists(PAIR, max_size=6)


@given(first=PAIRS, changes=st.lists(st.tuples(PAIRS, PAIRS), max_size=8))
def test_a_book_is_what_dictionaries_would_be_in_order(first, changes):
    book, plain = Book(first, first), ({}, {})
    for change in [(first, first), *changes]:
        book.set(*change)
        for side, pairs in zip(plain, change, strict=True):
            for price, size in pairs:
                side[price] = size
    bids, asks = ([(p, n) for p, n in sorted(side.items()) if n > 0] for side in plain)
    assert book.top(LEVELS) == (tuple(bids[::-1][:LEVELS]), tuple(asks[:LEVELS]))
    assert book.top(99) == (tuple(bids[::-1]), tuple(asks))


@st.composite
def feeds(draw):
    """Changes in sequence, some of which may be lost, and where the snapshot is taken."""
    changes, last, book = [], 100, Book([], [])
    snapshot_after = draw(st.integers(0, 5))
    snapshot = (last, {}, {})
    for number in range(8):
        bids, asks = draw(PAIRS), draw(PAIRS)
        step = draw(st.integers(1, 3))
        changes.append(Change(last + 1, last + step, last, bids, asks))
        last += step
        book.set(bids, asks)
        if number == snapshot_after:
            top = book.top(99)
            snapshot = (last, top.bids, top.asks)
    lost = draw(st.one_of(st.none(), st.integers(snapshot_after + 1, 7)))
    arrives = draw(st.integers(0, snapshot_after + 1))
    return changes, snapshot, lost, arrives, book.top(99)


@given(feed=feeds())
def test_a_snapshot_and_all_changes_give_the_book_and_a_lost_one_shows_as_a_gap(feed):
    changes, snapshot, lost, arrives, expected = feed
    book, outcomes = SequencedBook(), []
    for number, change in enumerate(changes):
        if number == arrives:
            book.snapshot(*snapshot)
        if number != lost:
            outcomes.append(book.change(change))
    complete = lost is None or lost == len(changes) - 1
    if lost is None:
        assert book.book.top(99) == expected
    if complete:
        assert Outcome.GAP not in outcomes
    else:
        assert book.book is None
        assert Outcome.GAP in outcomes
    # Another snapshot of everything mends it.
    assert book.snapshot(changes[-1].last, expected.bids, expected.asks)
    assert lost is not None or book.book.top(99) == expected


@given(
    orders=st.lists(
        st.tuples(st.sampled_from([1, 2, 3, 4, 5, 7]), st.integers(1, 9), st.sampled_from([1, -1])),
        max_size=20,
    )
)
def test_a_vendor_that_shows_the_best_levels_of_its_orders_is_explained_wholly(orders):
    def resting(side, price):
        return price if side == 1 else price + 20

    whole = Book([(p, 5) for p in range(1, 10)], [(p, 5) for p in range(21, 30)])
    messages, shown = [Order(7, 0, 0, 1)], [whole.top(LEVELS)]
    for kind, price, side in orders:
        book, at = (whole.bids if side == 1 else whole.asks), resting(side, price)
        held = book.size(at)
        size = 2.0 if kind == 1 else min(held, held if kind == 3 else 1.0)
        # The vendor tells nothing of what is out of view before and after.
        before = whole.top(LEVELS)
        book.set(at, held + {1: size, 2: -size, 3: -size, 4: -size}.get(kind, 0))
        if whole.top(LEVELS) != before or kind in (5, 7):
            messages.append(Order(kind, size, at, side))
            shown.append(whole.top(LEVELS))
    found = replay(messages, shown, LEVELS)
    assert sum(found) == len(messages)
    assert found.unexplained == 0


def test_a_wrong_level_of_the_vendor_is_unexplained():
    first = Top(((9.0, 1.0), (8.0, 1.0)), ((10.0, 1.0), (11.0, 1.0)))
    wrong = Top(((9.0, 7.0), (8.0, 1.0)), first.asks)
    assert replay([Order(7, 0, 0, 1), Order(1, 1, 9, 1)], [first, wrong], 2) == Replay(1, 0, 1)


def test_a_snapshot_that_the_changes_do_not_reach_gives_no_book():
    book = SequencedBook()
    book.change(Change(10, 11, 9, [], []))
    assert not book.snapshot(5, [(1, 1)], [(2, 1)])
    assert book.snapshot(10, [(1, 1)], [(2, 1)])
    # A snapshot behind the book changes nothing.
    assert book.snapshot(8, [], [])
    assert book.book.top(1).bids == ((1, 1),)
