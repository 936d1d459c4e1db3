"""How close each algo comes to its benchmark, against a simple market.

The market is a random walk with a U-shaped volume and a quote every ten seconds; see ``Market``.
"""

import math
import random

import msgspec
import pytest

from execution.algos.almgren_chriss import optimal
from execution.algos.contract import ChildFilled, Clock, Tactic, Traded
from execution.algos.params import PPB, Close, Pov, Shortfall, Twap, Vwap
from tests.unit.algo_cases import MIN, OPEN_NS, Desk, Market, S, impact, parent

STEP_S = 10
STEPS = 390 * 60 // STEP_S


def u_shape() -> list[int]:
    """Shares of 13 half hours of the volume, in parts of 1e9."""
    raw = [200 - 120 * math.sin(math.pi * (i + 0.5) / 13) for i in range(13)]
    shares = [int(one * PPB / sum(raw)) for one in raw]
    shares[-1] += PPB - sum(shares)
    return shares


def simulated(algo, tactic: Tactic, seed: int, drift_ticks: float = 0.0, **changes):
    """A session: mid prices, volumes, and what the algo made of them."""
    rng = random.Random(seed)  # noqa: S311 - repeatable
    fields = {"qty_lots": 20_000, "participation_max_bps": 3_000, "clip_lots_min": 10, **changes}
    order = parent(end_ns=OPEN_NS + 390 * MIN, **fields)
    desk = Desk(order, algo, tactic)
    market = Market(desk)
    curve, mid, steps = u_shape(), 1_000_000.0, []
    for step in range(STEPS):
        mid += rng.gauss(drift_ticks, 300)
        lots = int(2_000_000 * curve[step * 13 // STEPS] / PPB * 13 / STEPS)
        ticks = round(mid / 100) * 100
        steps.append((ticks, lots))
        market.step(OPEN_NS + step * STEP_S * S, ticks, lots)
        if step == STEPS - 1:
            market.auction(ticks)
    desk.tell(Clock(), order.end_ns)
    assert desk.state.phase == "done"
    assert desk.state.excess_lots == 0
    assert desk.replayed() == desk.as_bytes()
    return desk, steps, market


def vwap_algo(share_ppb: list[int]) -> Vwap:
    return Vwap(open_ns=OPEN_NS, bucket_ns=30 * MIN, share_ppb=tuple(share_ppb), slices=390)


TACTIC = Tactic(child_gap_ms=0, quote_age_max_ms=30_000, sweep_ms=60_000)


def slippage_bps(desk: Desk, benchmark: float) -> float:
    assert desk.state.filled_lots == desk.state.parent.qty_lots
    average = desk.state.notional_ticks / desk.state.filled_lots
    return (average / benchmark - 1) * 10_000


@pytest.mark.parametrize("drift_ticks", [-30.0, 0.0, 30.0])
def test_vwap_meets_the_vwap_when_its_curve_is_the_days(drift_ticks: float) -> None:
    desk, steps, _ = simulated(vwap_algo(u_shape()), TACTIC, 1, drift_ticks)
    vwap = sum(ticks * lots for ticks, lots in steps) / sum(lots for _, lots in steps)
    assert abs(slippage_bps(desk, vwap)) < 2.0  # half a spread is 1 bp; the day moved 700
    # With the wrong curve, all of it in the first half hour, the drift is what it pays or earns.
    wrong = vwap_algo([PPB, *[0] * 12])
    early, _, _ = simulated(wrong, TACTIC, 1, drift_ticks)
    if drift_ticks:
        assert abs(slippage_bps(early, vwap)) > 100


@pytest.mark.parametrize("drift_ticks", [-30.0, 0.0, 30.0])
def test_twap_meets_the_twap(drift_ticks: float) -> None:
    algo = Twap(slices=130, jitter_bps=5_000, seed=5)
    desk, steps, _ = simulated(algo, TACTIC, 2, drift_ticks)
    twap = sum(ticks for ticks, _ in steps) / len(steps)
    # Slices of three minutes: the price is sampled, with about 300 sqrt(18) ticks between.
    assert abs(slippage_bps(desk, twap)) < 4.0


def test_pov_is_its_share_of_the_volume_all_along() -> None:
    algo = Pov(rate_bps=500, catch_up_lots=2_000)
    tactic = msgspec.structs.replace(TACTIC, sweep_ms=0)
    desk, _, _ = simulated(algo, tactic, 3, qty_lots=1_000_000)
    filled = seen = 0
    shares = []
    for event, _ in desk.log:
        if isinstance(event, ChildFilled):
            filled += event.lots
        elif isinstance(event, Traded):
            seen += event.lots
            shares.append(filled / seen)
    # A child waits for ten seconds, so that the share lags by that at most.
    assert all(0.049 < share <= 0.05 for share in shares[len(shares) // 20 :])
    assert desk.state.filled_lots / desk.state.market_lots == pytest.approx(0.05, abs=1e-3)


def test_shortfall_follows_its_trajectory() -> None:
    # A liquid, volatile name: by the half-life about 1/e is left.
    algo = Shortfall(
        impact=msgspec.structs.replace(impact(), gamma=0.0), risk_aversion=4e-5, intervals=78
    )
    desk, _, _ = simulated(algo, TACTIC, 4)
    path = optimal(algo.impact, shares=20_000, days=1, intervals=78, risk_aversion=4e-5)
    assert 0.2 < path.half_life < 0.3
    assert desk.state.schedule is not None
    filled, worst = 0, 0
    for event, now_ns in desk.log:
        if isinstance(event, ChildFilled):
            filled += event.lots
        if isinstance(event, Clock) and now_ns < desk.state.parent.end_ns:
            worst = max(worst, abs(desk.state.schedule.at(now_ns) - filled))
    biggest = max(path.trades)
    assert worst <= 2 * biggest
    assert desk.state.filled_lots == 20_000


@pytest.mark.parametrize("algo", [
    Twap(slices=130, jitter_bps=5_000, seed=5), vwap_algo(u_shape()),
    Pov(rate_bps=2_000, catch_up_lots=2_000), Shortfall(impact=impact(), risk_aversion=4e-5),
], ids=["twap", "vwap", "pov", "shortfall"])  # fmt: skip
@pytest.mark.parametrize("side", ["buy", "sell"])
def test_round_lots_and_a_minimum_leave_nothing_behind(algo, side) -> None:
    tactic = msgspec.structs.replace(TACTIC, sweep_ms=0)
    desk, _, _ = simulated(
        algo, tactic, 6, qty_lots=20_037, round_lots=100, clip_lots_min=250, side=side
    )
    assert desk.state.filled_lots == 20_037
    assert all(one.lots >= 250 for one in desk.sent[:-3])


def test_close_pays_the_closing_price_for_what_the_auction_takes() -> None:
    algo = Close(
        submit_ns=OPEN_NS + 375 * MIN, cutoff_ns=OPEN_NS + 380 * MIN, auction_lots_expected=60_000,
        moc_bps=10_000, slices=60,
    )  # fmt: skip
    desk, steps, _ = simulated(algo, TACTIC, 5)
    close = steps[-1][0]
    in_auction = [one for one in desk.sent if one.style == "auction"]
    assert sum(one.lots for one in in_auction) == 18_000  # 30 % of what the auction is to trade
    assert desk.state.auction_filled_lots == 18_000
    assert {e.ticks for e, _ in desk.log if isinstance(e, ChildFilled)
            and e.child_id in desk.state.auction_ids} == {close}  # fmt: skip
    assert desk.state.filled_lots == 20_000
