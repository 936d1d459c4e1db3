"""Workflow 01: raw vendor rows become normalised bars, a quarantine, and an instrument master."""
