"""Workflow 07: what the book has earned, against what and why (benchmark, attribution)."""
