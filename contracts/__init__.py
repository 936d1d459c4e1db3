"""The language all sides speak: envelope, events, money, clock, codec, errors.

Belongs here: immutable message types and the pure functions that give them identity.
Does not belong here: business rules (``domain``), storage (``io_managers``, ``ops_store``),
Dagster.
"""
