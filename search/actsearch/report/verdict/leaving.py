"""Which candidates need no further seeds."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping

from scipy import special

from actsearch.report.verdict.looks import MIN_SEEDS, Numbers
from actsearch.report.verdict.paired import Paired, PairedTest

__all__ = ["list_leaving"]

# chances at which it is given up that a candidate will be better than the baseline, and that it is the best
_UNLIKELY, _TRAILS = 0.1, 0.02
# degrees of freedom that the variance of all candidates counts as, beside a candidate's own
_SHARED = 4
_MOST = {4: 3, 8: 2}
"""After so many seeds so many candidates go on at most: of those that are nearly as good as each other, one will do."""


def list_leaving(differences: Mapping[int, Paired], test: PairedTest) -> set[int]:
    """Those that are found worse or equivalent, cannot become better by the last look, or trail the leader.

    Leaving costs no error, only power: the word of who leaves is read at the level of this look, from the seeds that
    it has, beside the baseline as it is tuned in the end. The leader stays until there are enough seeds for a word,
    and, where differences below some size do not matter, until it is known whether its own is.

    Args:
        differences: of candidates that are still there to the baseline, as many seeds for all.
        test: with the looks, one of which this is.
    """
    sign = 1 if test.direction == "maximize" else -1
    gains = {key: sign * own.values for key, own in differences.items()}
    count = len(next(iter(gains.values())))
    means = {key: float(own.mean()) for key, own in gains.items()}
    leader = max(means, key=lambda key: means[key])
    shared = statistics.median(float(own.var(ddof=1)) for own in gains.values())
    last = test.looks[-1]

    def bound(values: Numbers, chance: float) -> tuple[float, float]:
        """What a mean exceeds with so small a chance, and the standard deviation of a seed."""
        own = float(values.var(ddof=1)) * (count - 1)
        deviation = math.sqrt((own + _SHARED * shared) / (count - 1 + _SHARED))
        z = -float(special.ndtri(chance))
        return float(values.mean()) + z * deviation / math.sqrt(count), deviation

    leaving = set()
    for key, gain in gains.items():
        low, high, _ = test.interval(differences[key])
        if test.word(low, high, count) in ("worse", "equivalent"):
            leaving.add(key)
        if key == leader:
            if count < MIN_SEEDS or test.min_effect is not None:
                continue
        elif bound(gain - gains[leader], _TRAILS)[0] < 0:
            leaving.add(key)
        most, deviation = bound(gain, _UNLIKELY)
        # what further seeds do not change: by how much other rows would differ
        error = math.sqrt(deviation**2 / last + differences[key].of_rows_alone)
        if most < test.critical(last) * error:
            leaving.add(key)
    most = min((most for seeds, most in _MOST.items() if count >= seeds), default=len(gains))
    ranked = sorted(gains.keys() - leaving, key=lambda key: (-means[key], key))
    return leaving | set(ranked[most:])
