"""Workflow 14, what is pure of it: the cash ledger, settlement, statements and payments."""
