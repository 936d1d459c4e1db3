"""What a book went live with: the state on which its first issued decisions were made."""

from __future__ import annotations

import sqlalchemy as sa

from ops_store.handoff import TOPIC, next_sequences
from ops_store.records import BookOpening
from ops_store.tables import BOOK_OPENINGS, ISSUED_DECISIONS


def freeze(connection: sa.Connection, *, book: str, opening: BookOpening, now_ns: int) -> bool:
    """Keep the opening of a book that has issued nothing yet; return whether it was kept.

    Called in the transaction that issues the book's first decisions: either both are there, or
    neither. A later hand-off leaves the opening as it is.
    """
    # Concurrent issuers take turns on the counter's row, here as in `handoff.issue`.
    next_sequences(connection, TOPIC, 0)
    issued = sa.select(ISSUED_DECISIONS.c.sequence).where(ISSUED_DECISIONS.c.book == book).limit(1)
    if connection.execute(issued).first() is not None or find(connection, book) is not None:
        return False
    connection.execute(
        sa.insert(BOOK_OPENINGS).values(
            book=book,
            session=opening.session,
            state_hash=opening.state_hash,
            state=opening.state,
            frozen_ns=now_ns,
        )
    )
    return True


def find(connection: sa.Connection, book: str) -> BookOpening | None:
    """Return what a book went live with, None for one that has not."""
    columns = (BOOK_OPENINGS.c.session, BOOK_OPENINGS.c.state_hash, BOOK_OPENINGS.c.state)
    row = connection.execute(sa.select(*columns).where(BOOK_OPENINGS.c.book == book)).one_or_none()
    return None if row is None else BookOpening(*row)
