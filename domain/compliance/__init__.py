"""Workflow 15: who may do what, which orders the desk allows, and evidence that stays as it was."""
