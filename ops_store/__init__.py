"""The transactional store: what must neither be lost nor doubled between graph and execution.

Issued decisions, attestations, the outbox, consumers' cursors, execution reports, incidents and
controls live here. Derived rows do not (they are the lake's), and orders do not (they are the
execution journal's; this store holds a copy).
"""
