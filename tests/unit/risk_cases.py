"""A synthetic market whose exposures, factor returns and specific risks are known."""

import datetime as dt
import itertools

import numpy as np
import polars as pl

DAYS = pl.Series("session", [dt.date(2020, 1, 1) + dt.timedelta(days=i) for i in range(520)])
SECTORS = ("Energy", "Health", "Tech", "unknown")


def world(n_sessions=300, n_names=90, seed=1, gaps=0.0, beta_spread=0.4):
    """Return bars, instruments, and the truth: market and sector returns, betas, specific risk."""
    random = np.random.default_rng(seed)
    betas = 1 + beta_spread * random.standard_normal(n_names)
    sector = np.arange(n_names) % len(SECTORS)
    market = random.normal(0.0004, 0.011, n_sessions)
    sectors = random.normal(0, 0.006, (n_sessions, len(SECTORS)))
    risk = 0.006 + 0.012 * random.random(n_names)
    own = random.normal(0, 1, (n_sessions, n_names)) * risk
    returns = np.outer(market, betas) + sectors[:, sector] + own
    volume = np.exp(random.normal(13, 1, n_names) + random.normal(0, 0.3, (n_sessions, n_names)))
    closes = 40 * np.cumprod(1 + returns, axis=0)
    keep = random.random(returns.shape) >= gaps
    bars = pl.concat(
        pl.DataFrame(
            {
                "instrument_id": f"US.{i:03}",
                "session": DAYS[:n_sessions],
                "adj_close": closes[:, i],
                "close": closes[:, i],
                "volume_shares": volume[:, i].astype(np.int64),
            }
        ).filter(pl.Series(keep[:, i]))
        for i in range(n_names)
    )
    instruments = pl.DataFrame(
        {
            "instrument_id": [f"US.{i:03}" for i in range(n_names)],
            "sector": [SECTORS[k] for k in sector],
        }
    )
    truth = {
        "market": market, "sectors": sectors, "betas": betas, "sector": sector, "risk": risk,
        "returns": returns,
    }  # fmt: skip
    return bars, instruments, truth


def months_of(sessions):
    return sorted(set(sessions.dt.strftime("%Y-%m-01").to_list()))


FOLLOWING = dict(itertools.pairwise(DAYS))
