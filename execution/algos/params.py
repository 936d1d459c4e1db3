"""The algos and their parameters: one struct each, checked where it is made."""

from __future__ import annotations

import msgspec

from execution.algos.almgren_chriss import INTERVALS_MAX, Impact
from execution.algos.contract import BPS, Parent, require
from execution.prices import LOTS_MAX, PRICE_TICKS_MAX

PPB = 1_000_000_000
SESSION_NS = 23_400_000_000_000


class Twap(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="twap"):
    """Even slices over the window.

    Each slice is released at its beginning plus a delay, drawn evenly from 0 to ``jitter_bps`` of
    a slice's length by a generator of ``seed`` and the parent's id.
    """

    slices: int
    jitter_bps: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse what is no schedule."""
        require(1 <= self.slices <= INTERVALS_MAX, f"slices={self.slices}", "use 1 to 10,000")
        require(0 <= self.jitter_bps < BPS, f"jitter_bps={self.jitter_bps}", "use 0 to 9,999")


class Vwap(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="vwap"):
    """By the session's expected volume.

    ``share_ppb`` is each bucket's share of the session's volume in parts per 1e9, adding up to
    1e9; the first bucket begins at ``open_ns``, each lasts ``bucket_ns``. The window's part of the
    curve is followed in ``slices`` even steps of time. See
    ``domain.trade_execution.volume_curve`` for its estimate.
    """

    open_ns: int
    bucket_ns: int
    share_ppb: tuple[int, ...]
    slices: int = 390

    def __post_init__(self) -> None:
        """Refuse what is no curve."""
        require(self.bucket_ns > 0, f"bucket_ns={self.bucket_ns}", "use > 0")
        require(1 <= self.slices <= INTERVALS_MAX, f"slices={self.slices}", "use 1 to 10,000")
        sane = sum(self.share_ppb) == PPB and all(one >= 0 for one in self.share_ppb)
        require(sane, "share_ppb is no curve", f"use shares >= 0 that add up to {PPB}")


class Pov(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="pov"):
    """A share of the volume seen.

    What is missed, because the price was outside the limit or data was stale, is caught up by at
    most ``catch_up_lots``; the rest of it is forgone.
    """

    rate_bps: int
    catch_up_lots: int

    def __post_init__(self) -> None:
        """Refuse what is no rate."""
        require(1 <= self.rate_bps <= BPS, f"rate_bps={self.rate_bps}", "use 1 to 10,000")
        sane = 1 <= self.catch_up_lots <= LOTS_MAX
        require(sane, f"catch_up_lots={self.catch_up_lots}", f"use 1 to {LOTS_MAX}")


class Shortfall(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="shortfall"
):
    """Almgren and Chriss: expected cost against risk, from the arrival price.

    ``risk_aversion`` is per currency unit. The window counts as its part of a trading day of
    ``day_ns``.
    """

    impact: Impact
    risk_aversion: float
    intervals: int = 78
    day_ns: int = SESSION_NS

    def __post_init__(self) -> None:
        """Refuse what is no problem."""
        require(self.day_ns > 0, f"day_ns={self.day_ns}", "use > 0")


class Close(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="close"):
    """As much in the closing auction as participation allows; the excess evenly before.

    Parameters
    ----------
    submit_ns : int
        When the auction orders are sent; the even slices before it end here.
    cutoff_ns : int
        The market's cut-off: at or after it no auction order is sent or cancelled.
    auction_lots_expected : int
        The auction's expected volume. Auction orders are at most the parent's participation of it.
    moc_bps : int
        Share sent market-on-close; the rest is limit-on-close. Only without a parent's limit.
    loc_limit_ticks : int or None
        Price of the limit-on-close part; the parent's limit where None.
    slices : int
        Of the part before the auction.
    """

    submit_ns: int
    cutoff_ns: int
    auction_lots_expected: int
    moc_bps: int = 0
    loc_limit_ticks: int | None = None
    slices: int = 20

    def __post_init__(self) -> None:
        """Refuse what contradicts itself."""
        require(self.submit_ns < self.cutoff_ns, "submit_ns is not before cutoff_ns", "move it")
        sane = 0 <= self.auction_lots_expected <= LOTS_MAX
        require(sane, f"auction_lots_expected={self.auction_lots_expected}", "use >= 0")
        require(0 <= self.moc_bps <= BPS, f"moc_bps={self.moc_bps}", "use 0 to 10,000")
        require(1 <= self.slices <= INTERVALS_MAX, f"slices={self.slices}", "use 1 to 10,000")
        loc = self.loc_limit_ticks
        require(loc is None or 0 < loc <= PRICE_TICKS_MAX, f"loc_limit_ticks={loc}", "use > 0")


Algo = Twap | Vwap | Pov | Shortfall | Close


def require_fit(parent: Parent, algo: Algo) -> None:
    """Raise a ``ConfigurationError`` where an algo's parameters contradict its parent."""
    if isinstance(algo, Pov):
        require(
            algo.rate_bps <= parent.participation_max_bps,
            f"rate_bps={algo.rate_bps} is above participation_max_bps="
            f"{parent.participation_max_bps}",
            "lower the rate or raise the bound",
        )
    elif isinstance(algo, Vwap):
        end_ns = algo.open_ns + algo.bucket_ns * len(algo.share_ppb)
        require(
            algo.open_ns <= parent.start_ns and parent.end_ns <= end_ns,
            "the window is not within the volume curve",
            "start at the curve's open or later, and end before its last bucket ends",
        )
    elif isinstance(algo, Close):
        require(
            parent.start_ns <= algo.submit_ns and algo.cutoff_ns < parent.end_ns,
            "the auction's times are not within the parent's window",
            "let the window end after the auction",
        )
        if parent.limit_ticks is not None:
            require(algo.moc_bps == 0, "moc_bps with a limit", "a market order keeps no limit")
            loc = algo.loc_limit_ticks
            inside = loc is None or parent.keeps_limit(loc)
            require(inside, f"loc_limit_ticks={loc} is outside the limit", "move it inside")
        else:
            all_market = algo.moc_bps == BPS
            priced = all_market or algo.loc_limit_ticks is not None
            require(priced, "no price for limit-on-close", "set loc_limit_ticks, or moc_bps=10000")
