"""Measurements, each runnable as a module; results are printed."""
