"""Workflow 14: what cash there is, who moved it, and whether banks and brokers agree."""
