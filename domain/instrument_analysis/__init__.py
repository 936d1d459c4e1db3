"""Workflow 03: technical indicators and correlations on the forward-adjusted series."""
