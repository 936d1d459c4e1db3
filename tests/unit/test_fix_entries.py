"""Levels that a FIX venue moves by the ids of its entries."""

from tests.unit.test_fix_market_data import levels, message, read, snapshot


def moved(sequence, *entries):
    """A message of changes by entry id: (action, side, id, price, size); None is left out."""
    pairs = [
        (tag, value)
        for entry in entries
        for tag, value in zip((279, 269, 278, 270, 271), entry, strict=True)
        if value is not None
    ]
    return message(sequence, "X", (262, "R"), (268, len(entries)), *pairs)


def by_id(sequence, *entries):
    """A snapshot of (side, id, price, size)."""
    pairs = [
        pair for entry in entries for pair in zip((269, 278, 270, 271), entry, strict=True)
    ]  # fmt: skip
    head = (262, "R"), (55, "AAPL"), (268, len(entries))
    return message(sequence, "W", *head, *pairs)


def test_a_change_that_moves_an_entry_leaves_nothing_where_it_stood():
    first = by_id(1, ("0", "a", 10, 5), ("0", "b", 9, 7), ("1", "c", 12, 3))
    depth, _ = read(first, moved(2, ("1", "0", "a", 11, 6)))
    assert depth.quarantine.is_empty()
    assert levels(depth)[2:] == [(2, 1, 11, 6, 12, 3), (2, 2, 9, 7, None, None)]
    # Away from the best, and back; then by its id alone.
    depth, _ = read(
        first, moved(2, ("1", "0", "a", 8, 5)), moved(3, ("1", "0", "a", 10, 4)),
        moved(4, ("1", None, "a", None, 2)), moved(5, ("2", None, "a", None, None)),
    )  # fmt: skip
    assert depth.quarantine.is_empty()
    bests = [row[2:4] for row in levels(depth) if row[1] == 1]
    assert bests == [(10, 5), (9, 7), (10, 4), (10, 2), (9, 7)]


def test_an_entry_that_moves_takes_no_level_from_another_that_stands_there():
    # Ids that are places in the book: both move down by one.
    first = by_id(1, ("0", "1", 10, 5), ("0", "2", 9, 7))
    depth, _ = read(first, moved(2, ("1", "0", "1", 9, 7), ("1", "0", "2", 8, 3)))
    assert levels(depth)[2:] == [(2, 1, 9, 7, None, None), (2, 2, 8, 3, None, None)]
    # A second entry at the price that the first one leaves.
    shared = by_id(1, ("0", "a", 10, 5), ("0", "b", 10, 5))
    depth, _ = read(shared, moved(2, ("1", "0", "a", 9, 1)))
    assert levels(depth)[1:] == [(2, 1, 10, 5, None, None), (2, 2, 9, 1, None, None)]


def test_a_check_sum_of_thousands_of_digits_is_no_message():
    endless = snapshot(2, ("0", "10", "5"))[:-4] + b"7" * 5_000 + b"\x01"
    depth, _ = read(snapshot(1, ("0", "10", "5")), endless)
    assert depth.quarantine.select("source_seq", "reason").rows() == [(2, "not_a_message")]
