"""Which features of a function predict what it comes to: run ``python tests/benchmarks/function_features.py``.

On each task of the shipped benchmark a Gaussian process is fitted to four fifths of the functions at the task's own
learning rate and predicts the others; printed is Spearman's correlation of predictions and scores, averaged over five
folds and all tasks, with each of the kernel's features left out ("map" are the local conditions of deep kernel
shaping) and with others added:

- how long its training took;
- label-free measures on the task's own network before training, with the function in place: the effective rank (Roy &
  Vetterli 2007) of the last hidden activations before and after the function, whose sum over layers is NEAR (Husistein
  et al. 2024, arXiv:2408.08776), and the logarithm of the ratio of the gradients' norms at the first and at the last
  layer.

A feature is worth its place where it adds to the correlation by more than twice the standard error over tasks of the
difference.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from scipy import linalg, stats

import actsearch as acs
from actsearch.benchmark import Benchmark
from actsearch.errors import ActsearchError
from actsearch.strategies.surrogate import kernel
from actsearch.strategies.surrogate.kernel import Features, covariance, describe_curves

sys.path.insert(0, str(Path(__file__).parents[2] / "studies"))
from setups.small_tasks import SMALL_TASKS  # noqa: E402

Numbers = npt.NDArray[np.float64]

_LENGTH, _NOISE = 0.6, 0.1
_WEIGHT = 0.15  # of an added feature, standardised
_WEIGHTS = ("_SHAPE", "_SLOPE", "_GAIN", "_LEARNED", "_MAP")
_SAMPLES = 128


def predict(features: Features, scores: Numbers) -> float:
    """Spearman's correlation of predictions for functions that were kept back, with their scores."""
    own = covariance(features, features, _LENGTH)
    fold = np.random.default_rng(0).permutation(len(scores)) % 5
    predicted = np.zeros(len(scores))
    for kept in range(5):
        known, asked = np.flatnonzero(fold != kept), np.flatnonzero(fold == kept)
        noisy = (1 - _NOISE) * own[np.ix_(known, known)] + _NOISE * np.eye(len(known))
        weights = linalg.solve(noisy, scores[known], assume_a="pos")
        predicted[asked] = (1 - _NOISE) * own[np.ix_(asked, known)] @ weights
    return float(stats.spearmanr(predicted, scores).statistic)


def with_more(features: Features, more: Numbers) -> Features:
    """With further features that no mirror image changes; (functions, features)."""
    deviations = np.maximum(more.std(0), 1e-9)
    added = _WEIGHT * (more - more.mean(0)) / deviations
    return replace(features, even=np.concatenate([features.even, added], 1))


def effective_rank(activations: torch.Tensor) -> float:
    """The exponential of the entropy of the singular values' shares (Roy & Vetterli 2007)."""
    shares = torch.linalg.svdvals(activations.flatten(1).double())
    shares = shares / shares.sum().clamp_min(1e-30)
    return float(torch.exp(-(shares * shares.clamp_min(1e-30).log()).sum()))


def look(name: str, formula: str) -> list[float]:
    """Effective ranks before and after the last site, and how much of the gradient arrives; zeros for what fails."""
    task = SMALL_TASKS[name]
    inputs, targets = (part[:_SAMPLES] for part in task.data()[0])
    torch.manual_seed(0)
    try:
        placed = acs.place(task.model(), formula, sample=inputs)
        model = placed.model
        seen: list[tuple[torch.Tensor, torch.Tensor]] = []
        last = model.get_submodule(placed.replaced[-1].path)
        last.register_forward_hook(lambda _, given, out: seen.append((given[0], out)))
        task.loss(model(inputs), targets).backward()  # type: ignore[no-untyped-call]
        norms = [
            float(p.grad.norm()) for p in model.parameters() if p.grad is not None and p.dim() > 1
        ]
        before, after = (effective_rank(part.detach()) for part in seen[-1])
        found = [before, after, np.log(max(norms[0], 1e-12) / max(norms[-1], 1e-12))]
    except (ActsearchError, RuntimeError, IndexError):
        return [0.0, 0.0, 0.0]
    return [value if np.isfinite(value) else 0.0 for value in found]


def report(label: str, found: Sequence[float], base: Sequence[float]) -> None:
    """One line."""
    difference = np.subtract(found, base)
    error = difference.std(ddof=1) / len(difference) ** 0.5
    print(f"{label:<28}{np.mean(found):6.3f}   {difference.mean():+.4f} ± {error:.4f}", flush=True)


def compare(table: Benchmark) -> None:
    """Print the table."""
    curves = table.curves.astype(np.float64)
    learned = [function.learned for function in table.functions]
    scores = table.ranks[:, table.rates.index(1.0)]

    def predict_all(features: Features) -> list[float]:
        return [predict(features, own) for own in scores]

    base = predict_all(describe_curves(curves, learned))
    print("features                    Spearman  difference ± standard error over tasks")
    report("the kernel's", base, base)
    for name in _WEIGHTS:
        weight = getattr(kernel, name)
        setattr(kernel, name, 0.0)
        report(
            f"without {name.strip('_').lower()}",
            predict_all(describe_curves(curves, learned)),
            base,
        )
        setattr(kernel, name, weight)
    plain = describe_curves(curves, learned)
    cost = np.log(np.maximum(np.nanmedian(table.seconds, 0), 1e-9))[:, None]
    report("with the training's time", predict_all(with_more(plain, cost)), base)
    measures = [
        np.array([look(task.name, function.formula) for function in table.functions])
        for task in table.tasks
    ]
    for place, label in enumerate(
        ("rank before the activation", "rank after it", "gradient that arrives")
    ):
        found = [
            predict(with_more(plain, own[:, [place]]), task_scores)
            for own, task_scores in zip(measures, scores, strict=True)
        ]
        report(f"with {label}", found, base)
        alone = [
            float(abs(stats.spearmanr(own[:, place], task_scores).statistic))
            for own, task_scores in zip(measures, scores, strict=True)
            if own[:, place].any()  # where the model cannot be looked at, all are 0
        ]
        print(f"  alone: |Spearman| {np.nanmean(alone):.3f}")


if __name__ == "__main__":
    torch.set_num_threads(1)
    compare(acs.benchmark.load())
