"""The registry of models of an environment; what it is and does is ``ml.registry``'s."""

from __future__ import annotations

from ml.registry.model_store import ModelStore
from ml.registry.registry import Registry
from orchestration.base.settings import Settings


def registry_of(settings: Settings, horizon: int) -> Registry:
    """Return the registry of a horizon's models, in sessions."""
    store = ModelStore(settings.models_root)
    return Registry(horizon, settings.mlflow_url, settings.home / "mlflow", store)
