"""What pruning saved, and what it costs: how well an early value tells the final one."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

from actsearch.halving import EXEMPT, SuccessiveHalving
from actsearch.records import TrialRecord, TrialState

__all__ = ["Pruning", "summarize_pruning"]

_FEWEST = 3  # pairs, below which a rank correlation says nothing


@dataclass(frozen=True)
class Pruning:
    """A study's account of its pruner.

    Attributes:
        pruned: trials that were given up.
        exempt: control trials, which would have been, and ran to their end to see what is lost.
        saved: epochs that were not trained, as a share of those of all trials that are pruned or complete.
        first_step: epoch of the first rung.
        rank_correlation: Spearman's, between the value at the first rung and the final one; None where too few trials
            ran to their end, or all have the same value.
        compared: how many trials that is over: all that ran to their end. Those chosen for being good at a rung are
            among them, so it tells less than it would over trials of every kind.
    """

    pruned: int
    exempt: int
    saved: float
    first_step: int
    rank_correlation: float | None
    compared: int

    @property
    def spared(self) -> int:
        """Deprecated: ``exempt``."""
        warnings.warn(
            "Pruning.spared is called exempt now; spared will be removed in a later release",
            DeprecationWarning,
            stacklevel=2,
        )
        return self.exempt

    def __str__(self) -> str:
        rank = (
            f"too few trials ran to their end to tell how far it can be trusted ({self.compared})"
            if self.rank_correlation is None
            else f"values at epoch {self.first_step} and at the end have a rank correlation of "
            f"{self.rank_correlation:.2f} over {self.compared} trials"
        )
        return (
            f"{self.pruned} trials pruned, {self.exempt} exempt, "
            f"{self.saved:.0%} of the epochs saved; {rank}."
        )


def summarize_pruning(trials: Sequence[TrialRecord], pruner: SuccessiveHalving) -> Pruning:
    """What a pruner saved and what it costs.

    Args:
        trials: with their epochs.
        pruner: the study's.
    """
    complete = [t for t in trials if t.state is TrialState.COMPLETE and t.evaluations]
    pruned = [t for t in trials if t.state is TrialState.PRUNED]
    full = max((_count_epochs(trial) for trial in complete), default=0)
    skipped = sum(max(0, full - _count_epochs(trial)) for trial in pruned)
    first = pruner.step(0)
    pairs = [
        (at_rung, trial.value)
        for trial in complete
        if trial.value is not None and (at_rung := _find_value(trial, first)) is not None
    ]
    return Pruning(
        len(pruned),
        sum(EXEMPT in trial.user_attrs for trial in trials),
        skipped / (full * (len(complete) + len(pruned))) if full else 0.0,
        first,
        _rank_correlation(pairs),
        len(pairs),
    )


def _count_epochs(trial: TrialRecord) -> int:
    """Epochs over all seeds."""
    return sum(len(evaluation.epochs) for evaluation in trial.evaluations)


def _find_value(trial: TrialRecord, step: int) -> float | None:
    """The metric under the first seed at a step, or at the first one after it that has one."""
    values = (epoch.valid_metric for epoch in trial.evaluations[0].epochs if epoch.epoch >= step)
    return next((value for value in values if value is not None), None)


def _rank_correlation(pairs: Sequence[tuple[float, float]]) -> float | None:
    early, late = ([pair[side] for pair in pairs] for side in (0, 1))
    if len(pairs) < _FEWEST or len(set(early)) < 2 or len(set(late)) < 2:
        return None
    from scipy.stats import spearmanr  # loads slowly: not for the command line

    correlation = float(spearmanr(early, late).statistic)
    return correlation if math.isfinite(correlation) else None
