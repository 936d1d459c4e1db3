"""The Delta lake and the Dagster IO manager over it."""
