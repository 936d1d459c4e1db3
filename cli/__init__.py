"""The ``quantivista`` command: the same verbs as the Makefile."""
