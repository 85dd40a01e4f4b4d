"""Pretrained models with another activation: weights that are kept, frozen ones, and what the verdict says of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from trained import evaluate

import actsearch as acs
from actsearch.evaluation import make_subject

Data = tuple[Tensor, Tensor]


def network(first: nn.Linear | None = None) -> nn.Sequential:
    return nn.Sequential(first or nn.Linear(2, 8), nn.ReLU(), nn.LayerNorm(8), nn.Linear(8, 2))


@pytest.fixture
def task() -> Callable[..., acs.Task]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(120, 2, generator=generator)
    y = (x[:, 0] * x[:, 1] > 0).long()

    def make(model: nn.Module | Callable[[], nn.Module]) -> acs.Task:
        return acs.Task(
            tune_lr=False,
            model=model, train=(x[:60], y[:60]), valid=(x[60:90], y[60:90]), test=(x[90:], y[90:]),
            loss=F.cross_entropy, metric="accuracy", epochs=1, batch_size=30, lr=1e-2,
        )  # fmt: skip

    return make


def share(objective: Any) -> tuple[float, float] | None:
    return make_subject(objective).pretrained_share()


class TestWhatAModelBrings:
    def test_a_model_that_is_built_anew_brings_nothing(
        self, task: Callable[..., acs.Task]
    ) -> None:
        assert share(task(network)) is None

    def test_a_module_brings_all_its_weights(self, task: Callable[..., acs.Task]) -> None:
        assert share(task(network())) == (1.0, 0.0)

    def test_frozen_ones_are_counted(self, task: Callable[..., acs.Task]) -> None:
        model = network()
        model[0].requires_grad_(False)  # 24 of 24 + 16 + 18 numbers
        assert share(task(model)) == (1.0, 24 / 58)

    def test_a_function_that_loads_a_part_brings_that_part(
        self, task: Callable[..., acs.Task]
    ) -> None:
        """The layer norm is the same under every seed as well, being ones and zeros: that is nobody's training."""
        loaded = nn.Linear(2, 8).state_dict()

        def build() -> nn.Module:
            first = nn.Linear(2, 8)
            first.load_state_dict(loaded)
            return network(first)

        assert share(task(build)) == (24 / 58, 0.0)

    def test_looking_draws_from_nobodys_stream(self, task: Callable[..., acs.Task]) -> None:
        torch.manual_seed(7)
        expected = torch.rand(3)
        torch.manual_seed(7)
        share(task(network))
        assert torch.equal(torch.rand(3), expected)

    def test_of_a_callable_nothing_is_known(self) -> None:
        assert share(lambda candidate, run: 0.5) is None


class TestVerdict:
    def confirmed(self, task: acs.Task, url: str) -> acs.Verdict:
        study = acs.create_study(
            study_name="tuned", storage=url, strategy="bayesian",
            space=acs.Space(activations=["tanh", "gelu"]),
        )  # fmt: skip
        study.optimize(task, n_trials=2, show_progress_bar=False)
        return study.confirm(task, top_k=1, seeds=8, show_progress_bar=False)

    def test_it_says_that_kept_weights_favour_the_old_activation(
        self, task: Callable[..., acs.Task], tmp_path: Path
    ) -> None:
        model = network()
        model[0].requires_grad_(False)
        url = f"sqlite:///{tmp_path}/tuned.db"
        verdict = self.confirmed(task(model), url)
        said = "The model keeps the weights that it was given (41% are frozen): if they were trained before"
        assert said in verdict.sentence
        assert said in str(verdict)
        stored = acs.load_study(study_name="tuned", storage=url).confirm(
            task(model), top_k=1, seeds=8, show_progress_bar=False
        )
        assert stored.sentence == verdict.sentence

    def test_it_says_nothing_of_it_where_weights_are_drawn_anew(
        self, task: Callable[..., acs.Task], tmp_path: Path
    ) -> None:
        verdict = self.confirmed(task(network), f"sqlite:///{tmp_path}/drawn.db")
        assert verdict.kept_weights is None
        assert "weights" not in str(verdict)


def test_frozen_weights_stay_and_the_users_own_model_is_not_trained(
    task: Callable[..., acs.Task],
) -> None:
    """Fine-tuning trains copies: every candidate starts from the same weights."""
    model = network()
    model[0].requires_grad_(False)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    seen: list[dict[str, Tensor]] = []

    def watched(model: nn.Module, batch: Data) -> Tensor:
        seen.append({name: value.detach().clone() for name, value in model.named_parameters()})
        return F.cross_entropy(model(batch[0]), batch[1])

    own = task(model).replace(step=watched, epochs=2, metric="loss")
    for name in ("tanh", "gelu"):
        seen.clear()
        evaluate(acs.Candidate.of(name).record, own, [1])
        first, last = seen[0], seen[-1]
        assert all(torch.equal(first[key], before[key]) for key in first)
        assert torch.equal(last["0.weight"], before["0.weight"])
        assert not torch.equal(last["3.weight"], before["3.weight"])
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
