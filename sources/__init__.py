"""Vendor adapters: the only place that opens a vendor's file or socket."""
