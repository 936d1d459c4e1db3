"""Inputs that several workflows read, by what they are: the tables of workflow 01."""

import dagster as dg

from orchestration.base.metadata import HISTORY

BARS_SO_FAR = dg.AssetIn(["market_data", "bars"], metadata=HISTORY)
ADJUSTED_BARS_SO_FAR = dg.AssetIn(["market_data", "adjusted_bars"], metadata=HISTORY)
ACTIONS = dg.AssetIn(["market_data", "corporate_actions"])
SPELLS = dg.AssetIn(["market_data", "symbol_spells"])
MEMBERSHIP = dg.AssetIn(["market_data", "index_membership"])
INSTRUMENTS = dg.AssetIn(["market_data", "instruments"])
