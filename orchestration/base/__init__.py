"""Partitions, resources, settings, metadata and naming that every asset shares."""
