"""relu and its mirror image min(x, 0) score the same in truth: no verdict may tell them apart."""

from __future__ import annotations

import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F

import actsearch as acs


def make() -> nn.Module:
    return nn.Sequential(
        nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 10)
    )


def digits() -> acs.Task:
    x, y = load_digits(return_X_y=True)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    inputs, targets = torch.tensor(x / 16, dtype=torch.float32)[order], torch.tensor(y)[order]

    def part(start: int, stop: int | None) -> tuple[torch.Tensor, torch.Tensor]:
        return inputs[start:stop], targets[start:stop]

    return acs.Task(
        model=make, train=part(0, 900), valid=part(900, 1200), test=part(1200, None),
        loss=F.cross_entropy, metric="accuracy", epochs=15, batch_size=64, lr=1e-2, device="cpu",
    )  # fmt: skip


def confirmed(candidate: str, baseline: str | None, seed: int) -> acs.Verdict:
    study = acs.create_study(study_name="null", seed=seed, strategy="random")
    study.enqueue_trial(candidate)
    study.optimize(digits(), n_trials=1, show_progress_bar=False)
    return study.confirm(digits(), top_k=1, seeds=10, baseline=baseline, show_progress_bar=False)


@pytest.mark.parametrize("seed", [0])
@pytest.mark.slow
def test_mirror_images_are_not_distinguishable_either_way(seed: int) -> None:
    forwards = confirmed("min(x, 0)", None, seed)
    backwards = confirmed("relu", "min(x, 0)", seed)
    for verdict in (forwards, backwards):
        (row,) = verdict.rows
        assert row.verdict == "not distinguishable"
        assert row.low < 0 < row.high
        assert verdict.winner is verdict.baseline
        assert row.mean > 0.9  # both learned: equal because equally good
    one, other = forwards.rows[0], backwards.rows[0]
    assert (one.difference, one.p_value) == pytest.approx((-other.difference, other.p_value))
    assert (one.low, one.high) == pytest.approx((-other.high, -other.low))
    assert one.values == backwards.baseline.values  # the same trainings, seen from the other side
