"""Alembic scripts of the operations store, in order of their file names."""
