"""Errors of models and their registry.

::

    QuantiVistaError
    ├── ContractError
    │   └── ModelRefusedError         a model's bytes are not those that its hash names
    └── RegistryError                 the registry cannot be used as it is
        ├── RegistryMissingError      no registry, or no champion for a session
        └── ChampionConflictError     the registry and the table of models name different models
"""

from __future__ import annotations

from contracts.errors import ContractError, QuantiVistaError


class ModelRefusedError(ContractError):
    """A model's bytes are absent, or not those that its hash names."""


class RegistryError(QuantiVistaError):
    """The registry cannot be used as it is."""


class RegistryMissingError(RegistryError):
    """There is no registry, or it names no champion for a session."""


class ChampionConflictError(RegistryError):
    """The registry and the table of models name different models for a session."""
