"""How many recipes were tried before one was chosen: what a Sharpe ratio is deflated by.

Every recipe that was ever trained counts, over every horizon, whatever became of it: the desk saw
its results. Retraining by the same recipe on later data is no new trial.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from contracts.errors import ContractError
from domain.reporting.figures import count


class TrialCount(msgspec.Struct, frozen=True):
    """The number of trials and where it comes from.

    Attributes
    ----------
    n
        Trials to deflate by: ``n_recorded`` plus ``n_elsewhere``, at least 1.
    n_recorded
        Distinct recipes, summed over the horizons.
    by_horizon
        (horizon in sessions, distinct recipes), ascending.
    n_unknown
        Of ``n_recorded``, versions without a recipe, each counted as one of its own.
    n_elsewhere
        What the desk declares to have tried outside of the registry.
    """

    n: int
    n_recorded: int
    by_horizon: tuple[tuple[int, int], ...]
    n_unknown: int
    n_elsewhere: int

    def sentence(self) -> str:
        """Say in one sentence what was counted."""
        parts = ", ".join(f"{n} over {count(h, 'session')}" for h, n in self.by_horizon)
        unknown = f" ({self.n_unknown} of unknown recipe)" if self.n_unknown else ""
        return (
            f"{count(self.n, 'trial')}: {count(self.n_recorded, 'distinct recipe')} trained"
            f"{' (' + parts + ')' if parts else ''}{unknown}, and {self.n_elsewhere} declared by "
            "the desk to have been tried elsewhere."
        )


def count_trials(recipes: Mapping[int, Iterable[str]], *, n_elsewhere: int) -> TrialCount:
    """Count the distinct recipes ever trained.

    Parameters
    ----------
    recipes : mapping of int to iterable of str
        By horizon in sessions, the recipe digest (``ml.training.diagnostics.recipe_digest``) of
        every version registered or training remembered, superseded ones too; repeated as often as
        it was trained. An empty digest, of a version that someone made by hand, is a trial of its
        own.
    n_elsewhere : int
        Trials that left no trace here, as the desk declares: notebooks, other platforms, features
        looked at and dropped. Zero claims that there were none.

    Notes
    -----
    The count errs upwards: recipes that differ little are no independent trials, and a recipe
    differs already by its library's version. That deflates too much rather than too little.
    """
    if n_elsewhere < 0:
        raise ContractError(
            f"{n_elsewhere} trials elsewhere are declared.", remedy="declare zero or more"
        )
    by_horizon, unknown = [], 0
    for horizon in sorted(recipes):
        if horizon < 1:
            raise ContractError(
                f"A horizon of {horizon} sessions has trials.",
                remedy="pass recipes by their horizon in sessions",
            )
        digests = list(recipes[horizon])
        nameless = sum(not digest for digest in digests)
        distinct = len({digest for digest in digests if digest}) + nameless
        unknown += nameless
        if distinct:
            by_horizon.append((horizon, distinct))
    recorded = sum(distinct for _, distinct in by_horizon)
    return TrialCount(
        n=max(recorded + n_elsewhere, 1),
        n_recorded=recorded,
        by_horizon=tuple(by_horizon),
        n_unknown=unknown,
        n_elsewhere=n_elsewhere,
    )
