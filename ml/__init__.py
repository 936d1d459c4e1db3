"""Workflow 04: features, labels, walk-forward models and the evaluations they make.

Pure functions of frames, except ``model_store``, ``tracking`` and ``registry``. No Dagster and no
clock.
"""
