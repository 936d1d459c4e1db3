"""The desk's market data, as one environment's settings name it."""

from __future__ import annotations

import os

from orchestration.base.settings import Settings
from sources.market_data.desk import Desk


def desk_of(settings: Settings) -> Desk:
    """Return the desk's sources."""
    return Desk(settings.sources_file, settings.vendor_dir, settings.drops_root, os.environ)
