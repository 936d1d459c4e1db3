"""The optimal trajectory of Almgren and Chriss, in closed form.

R. Almgren and N. Chriss, "Optimal execution of portfolio transactions", Journal of Risk 3 (2),
2000/2001. Equation numbers are those of the version of December 2000. Linear impact, no drift, no
serial correlation. Floats: a trajectory is computed once, before the first child.
"""

from __future__ import annotations

import math

import msgspec

from execution.algos.contract import require

INTERVALS_MAX = 10_000


class Impact(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The market's parameters; money in currency units, time in days.

    Parameters
    ----------
    sigma : float
        Volatility, currency per share and square root of a day.
    eta : float
        Temporary impact, currency per share for a rate of one share a day.
    gamma : float
        Permanent impact, currency per share for each share traded.
    epsilon : float
        Fixed cost, currency per share: half the spread, and fees.
    """

    sigma: float
    eta: float
    gamma: float = 0.0
    epsilon: float = 0.0

    def __post_init__(self) -> None:
        """Refuse what is no market."""
        numbers = (self.sigma, self.eta, self.gamma, self.epsilon)
        sane = all(math.isfinite(one) and one >= 0 for one in numbers) and self.eta > 0
        require(sane, f"{self} is no impact model", "use finite numbers >= 0, and eta > 0")


class Trajectory(msgspec.Struct, frozen=True, kw_only=True):
    """An optimal trajectory and what it is expected to cost.

    Parameters
    ----------
    kappa : float
        Urgency, per day, equation (19); 0 is the straight line.
    half_life : float
        ``1 / kappa`` in days, section 2.3: by then a long liquidation has shrunk by the factor e.
        Infinite for the straight line.
    holdings : tuple of float
        Shares still to trade at t_0 .. t_N, equation (17); the first is all, the last 0.
    trades : tuple of float
        Shares traded in each of the N intervals, equation (18).
    expected_cost : float
        Currency, equation (8).
    variance : float
        Currency squared, equation (5).
    """

    kappa: float
    half_life: float
    holdings: tuple[float, ...]
    trades: tuple[float, ...]
    expected_cost: float
    variance: float


def optimal(
    impact: Impact, *, shares: float, days: float, intervals: int, risk_aversion: float
) -> Trajectory:
    """Return the trajectory that minimises expected cost plus risk aversion times variance.

    Parameters
    ----------
    impact : Impact
        Volatility and impact of the instrument.
    shares, days, intervals : float, float, int
        How much is traded, in which time, in how many equal intervals.
    risk_aversion : float
        Lambda, per currency unit; 0 gives the straight line.

    Raises
    ------
    ConfigurationError
        When an argument is out of range, or an interval is so long that permanent impact exceeds
        temporary impact: then the problem has no minimum.
    """
    require(shares > 0 and math.isfinite(shares), f"shares={shares} is impossible", "use > 0")
    require(days > 0 and math.isfinite(days), f"days={days} is impossible", "use > 0")
    require(1 <= intervals <= INTERVALS_MAX, f"intervals={intervals}", f"use 1..{INTERVALS_MAX}")
    sane = risk_aversion >= 0 and math.isfinite(risk_aversion)
    require(sane, f"risk_aversion={risk_aversion} is impossible", "use a finite number >= 0")
    tau = days / intervals
    eta_tilde = impact.eta - impact.gamma * tau / 2
    require(
        eta_tilde > 0,
        f"eta={impact.eta} is not above gamma*tau/2={impact.gamma * tau / 2}",
        "use more intervals, or a smaller gamma",
    )
    kappa = _kappa(risk_aversion * impact.sigma**2 / eta_tilde, tau)
    left = [shares * _left(kappa, days, j * tau) for j in range(intervals)]
    holdings = (*left, 0.0)
    trades = tuple(holdings[j] - holdings[j + 1] for j in range(intervals))
    return Trajectory(
        kappa=kappa,
        half_life=1 / kappa if kappa else math.inf,
        holdings=holdings,
        trades=trades,
        expected_cost=impact.gamma * shares**2 / 2
        + impact.epsilon * shares
        + eta_tilde / tau * math.fsum(n * n for n in trades),
        variance=impact.sigma**2 * tau * math.fsum(x * x for x in holdings[1:]),
    )


def _kappa(kappa_tilde_squared: float, tau: float) -> float:
    """Solve (2 / tau^2) (cosh(kappa tau) - 1) = kappa_tilde^2, equation (19).

    ``cosh(y) - 1 = 2 sinh(y/2)^2`` keeps the digits that a small kappa has.
    """
    return 2 / tau * math.asinh(tau * math.sqrt(kappa_tilde_squared) / 2)


def _left(kappa: float, days: float, at: float) -> float:
    """Return sinh(kappa (T - t)) / sinh(kappa T), written so that it cannot overflow."""
    if kappa * days < 1e-9:
        return (days - at) / days
    decay = -math.expm1(-2 * kappa * (days - at)) / -math.expm1(-2 * kappa * days)
    return math.exp(-kappa * at) * decay
