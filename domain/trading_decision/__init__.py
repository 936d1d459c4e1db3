"""Workflow 05: signals, one view per instrument and session, blind to every portfolio."""
