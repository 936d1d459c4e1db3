"""Vendors of market data behind one protocol; see docs/adding-a-source.md."""
