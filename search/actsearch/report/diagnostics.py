"""Diagnostics of trainings, as tables and as plain sentences."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from actsearch.records import HISTOGRAM_EDGES, Diagnostics, SiteDiagnostics, TrialRecord

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "diagnostics_frame",
    "diagnostics_remarks",
    "first_diagnostics",
    "has_histogram",
    "pooled_histogram",
    "remarks",
]

_VANISHING = 1e-3  # of the gradient norm at the last site
_MANY = 0.5  # of units or of numbers
_BINS = len(HISTOGRAM_EDGES) + 1  # the first and the last have no end

_COLUMNS = (
    "number", "activation", "value", "seed", "stage", "site", "shape", "mean", "sd", "dead", "zeros", "saturation",
    "gain", "gradient_norm", "gradient_ratio", "learned", "histogram", "parameters_added", "loss_gap",
)  # fmt: skip


def first_diagnostics(trial: TrialRecord) -> Diagnostics | None:
    """Diagnostics under the first seed that has some; None where none has."""
    return next((item.diagnostics for item in trial.evaluations if item.diagnostics), None)


def diagnostics_frame(trials: Sequence[TrialRecord]) -> pd.DataFrame:
    """One row for each trial, seed, stage ("start", "end") and site.

    Args:
        trials: with their diagnostics.
    """
    import pandas as pd  # loads slowly: not for the command line

    return pd.DataFrame(_rows(trials), columns=list(_COLUMNS))


def _rows(trials: Iterable[TrialRecord]) -> Iterator[tuple[object, ...]]:
    for trial in trials:
        for evaluation in trial.evaluations:
            if (diagnostics := evaluation.diagnostics) is None:
                continue
            head = (trial.number, trial.candidate.label, trial.value, evaluation.seed)
            tail = (diagnostics.parameters_added, diagnostics.loss_gap)
            for stage, sites in (("start", diagnostics.start), ("end", diagnostics.end)):
                ratio = Diagnostics(sites).gradient_ratio
                for site in sites:
                    yield (*head, stage, *_numbers(site, ratio), *tail)


def _numbers(site: SiteDiagnostics, ratio: float | None) -> tuple[object, ...]:
    return (
        site.site, "x".join(map(str, site.shape)), site.mean, site.sd, site.dead, site.zeros, site.saturation,
        site.gain, site.gradient_norm, ratio, dict(site.learned), site.histogram,
    )  # fmt: skip


def remarks(diagnostics: Diagnostics) -> list[str]:
    """Deprecated: :func:`diagnostics_remarks`."""
    warnings.warn(
        "actsearch.report.remarks is called diagnostics_remarks now; remarks will be removed in a later release",
        DeprecationWarning,
        stacklevel=2,
    )
    return diagnostics_remarks(diagnostics)


def diagnostics_remarks(diagnostics: Diagnostics) -> list[str]:
    """What is remarkable in the newest pass, a plain sentence each; empty where nothing is."""
    texts, sites = [], diagnostics.newest
    ratio = diagnostics.gradient_ratio
    if ratio is not None and ratio < _VANISHING:
        texts.append(
            f"Gradients vanish: their norm at site {sites[0].site} is {ratio:.1e} of that at site {sites[-1].site}."
        )
    elif ratio is not None and ratio > 1 / _VANISHING:
        texts.append(
            f"Gradients explode: their norm at site {sites[0].site} is {ratio:.1e} times that at site {sites[-1].site}."
        )
    for name, text in (
        ("dead", "units are 0 for every sample"),
        ("saturation", "inputs meet a derivative of almost 0"),
    ):
        worst = max(sites, key=lambda site: _share(site, name), default=None)
        if worst is not None and _share(worst, name) > _MANY:
            texts.append(f"At site {worst.site}, {_share(worst, name):.0%} of {text}.")
    return texts


def pooled_histogram(sites: Iterable[SiteDiagnostics]) -> tuple[float, ...]:
    """Share of all numbers that arrive at some sites, by bin; empty where none was counted.

    Each site counts by how many numbers arrived there. One whose histogram is damaged is left out.
    """
    known = [(math.prod(site.shape) or 1, site.histogram) for site in sites if has_histogram(site)]
    total = sum(weight for weight, _ in known)
    if not known:
        return ()
    return tuple(
        sum(weight * histogram[bin] for weight, histogram in known) / total for bin in range(_BINS)
    )


def has_histogram(site: SiteDiagnostics) -> bool:
    """Whether a site has the histogram that it was written with, and not a damaged one."""
    return len(site.histogram) == _BINS and all(0 <= share <= 1 for share in site.histogram)


def _share(site: SiteDiagnostics, name: str) -> float:
    value = getattr(site, name)
    return 0.0 if value is None or math.isnan(value) else float(value)
