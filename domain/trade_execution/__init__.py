"""Workflow 08, what is pure of it: what was executed, compared with what others say was."""
