"""The standalone execution world: engine, risk gate, journal, FIX session, paper venue.

One process per broker group. FIX callbacks copy and enqueue; one writer owns state, risk and
journal; ``engine.Engine.handle(event, now_ns) -> effects`` does no I/O. Nothing here imports
dagster, pandas, polars, mlflow or duckdb.
"""
