"""What a search and a verdict are expected to take and to show, in words."""

from __future__ import annotations

import logging
import math
import statistics
from collections.abc import Callable, Sequence

from actsearch.evaluation import Subject
from actsearch.records import StudyRecord
from actsearch.report import LOOKS, PairedTest
from actsearch.report.verdict.table import format_value
from actsearch.study.contender import Contender
from actsearch.study.finalists import POOL
from actsearch.study.race import forecast_race
from actsearch.study.times import format_seconds

__all__ = [
    "WITHOUT_ROWS",
    "busy_workers",
    "describe_gain",
    "describe_power",
    "log_forecast",
    "log_workers",
]

_log = logging.getLogger("actsearch")

_TOP_K = 5  # finalists of ``confirm`` by default
_ENOUGH = 4  # scores from which a deviation is told

# As simulated in tests/benchmarks/virtual_cluster.py: so many trials that may be in training for each worker keep
# workers busy for three quarters of their time at least, of a logical batch that ends before the next without pruning
# and with it.
_IN_FLIGHT = 2
_IN_BATCH, _IN_PRUNED_BATCH = 4, 8

WITHOUT_ROWS = (
    "the intervals hold for this test set alone, as its scores are not known by rows: that needs test data in a fixed "
    "order (a DataLoader without shuffle), at least 40 rows, and a metric of outputs and targets"
)
"""What is said of a verdict that was to cover new rows as well, and cannot."""


def log_forecast(
    study: StudyRecord,
    subject: Subject,
    seeds: int,
    count: int | None,
    forecast: Callable[[], float | None],
    workers: int = 1,
) -> None:
    """Say how long trials take, and a verdict with the default settings, one at a time.

    Args:
        study: whose.
        subject: what it optimises.
        seeds: of a trial.
        count: trials to come; None for any number.
        forecast: seconds of one training, of which an epoch is trained where somebody reads the log.
        workers: of the executor, which share the trials.
    """
    if not count or not _log.isEnabledFor(logging.INFO):
        return
    if (each := forecast()) is None:
        return
    has_rates = subject.learning_rate is not None
    verdict = (
        POOL * _TOP_K + 1 + forecast_race(_TOP_K + 1, LOOKS[-1], is_race=True, has_rates=has_rates)
    )
    seconds, shared = each * seeds, min(workers, count)
    _log.info(
        "study %s: one at a time about %.2g s a trial; %s%.0f an hour, %d trials in about %.0f s; "
        "a verdict over %d finalists in about %.0f s, one at a time",
        study.name, seconds, f"with {workers} workers " * (workers > 1), 3600 / seconds * shared,
        count, seconds * count / shared, _TOP_K, each * verdict,
    )  # fmt: skip


def busy_workers(parallel: int | None, batch: int, *, is_pruned: bool) -> int:
    """How many workers a search keeps busy.

    Args:
        parallel: the strategy's.
        batch: its logical batch.
        is_pruned: whether trials are given up early.
    """
    if parallel is not None:
        return max(1, parallel // _IN_FLIGHT)
    return max(1, batch // (_IN_PRUNED_BATCH if is_pruned else _IN_BATCH))


def log_workers(
    study: StudyRecord, parallel: int | None, batch: Callable[[], int], workers: int
) -> None:
    """Say how many workers the search keeps busy, where several train; warn of those that never have anything to do.

    Args:
        study: whose.
        parallel: its strategy's.
        batch: gives its logical batch.
        workers: of the executor.
    """
    if parallel is None and workers < 2:
        return
    most = batch() if parallel is None else parallel
    rule = f"logical batches of {most}" if parallel is None else f"parallel={parallel}"
    sensible = busy_workers(parallel, most, is_pruned=study.pruner is not None)
    text = f"{rule} keep about {sensible} worker{'s' * (sensible > 1)} busy"
    if workers <= most:
        _log.info("study %s: %s", study.name, text)
        return
    _log.log(
        logging.INFO if parallel is None else logging.WARNING,
        "study %s: %s, and never more than %d of the %d that the executor has; a new study whose strategy has "
        "parallel=%d keeps all of them busy, but knows less of each trial before it and needs more of them: see "
        "search/README.md, Many workers",
        study.name, text, most, workers, _IN_FLIGHT * workers,
    )  # fmt: skip


def describe_gain(
    study: StudyRecord, subject: Subject, each: float | None, count: int | None, workers: int = 1
) -> str:
    """How long trials take that train together, as was measured; before, the forecast was of one at a time.

    Args:
        study: whose.
        subject: what it optimises, with ``stack_gain``.
        each: seconds of a trial among others in one pass, where that is known.
        count: trials to come; None for any number.
        workers: of the executor, which share them.
    """
    gain = subject.stack_gain
    text = f"study {study.name}: trials train together, each {gain:.1f} times as fast as alone"
    if each is None or count is None:
        return text
    return f"{text}: {count} trials in about {format_seconds(each * count / workers)}"


def describe_power(pool: Sequence[Contender], test: PairedTest, subject: Subject) -> str:
    """Which difference would show, as far as it is known before a race; "" where it is not.

    A fresh score less that of the search, beside those of others under the same seeds, differs as a paired difference
    does. The pool was chosen by the latter, and so differs a little less. What rows make is not known yet.

    Args:
        pool: of candidates, with fresh scores.
        test: of the race.
        subject: what is trained.
    """
    found = [
        item.fresh[0].test - item.searched
        for item in pool
        if item.fresh and item.fresh[0].test is not None
    ]
    if len(found) < _ENOUGH or len(set(found)) == 1:
        return ""
    mean_of = subject.seeds if isinstance(subject.seeds, int) else len(subject.seeds)
    deviation = statistics.stdev(found) * math.sqrt(2 / (1 + 1 / mean_of))
    least = test.visible(deviation, test.looks[-1])
    return (
        f"under another seed a difference in {subject.metric} is another one, by about {format_value(deviation)}: "
        f"less than about {format_value(least)} will hardly show, however many test rows there are"
    )
