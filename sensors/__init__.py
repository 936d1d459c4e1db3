"""Sensors: what starts a run because something happened outside the graph."""
