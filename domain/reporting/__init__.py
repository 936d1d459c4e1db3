"""Workflow 09: charts and reports, rendered to strings and bytes; writing them is the caller's."""
