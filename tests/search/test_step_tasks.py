"""Tasks with a step of their own are looked at as those with a loss are, whatever their batches hold."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

import actsearch as acs
from actsearch.evaluation import make_subject
from actsearch.evaluation.subject.of_task import TaskSubject
from actsearch.training import fit

X = torch.randn(60, 4, generator=torch.Generator().manual_seed(0))
Y = (X[:, 0] > 0).long()


class Net(nn.Module):
    """One module, one function, and a gate, which has to stay."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.gate = nn.Linear(4, 8), nn.Sequential(nn.Linear(8, 8), nn.Sigmoid())
        self.act, self.last = nn.ReLU(), nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        h = F.relu(self.act(self.first(x)) + 1)
        if float(h.detach().sum()) > 1e9:  # torch.fx does not get past it
            raise ArithmeticError
        scores: Tensor = self.last(h * self.gate(h))
        return scores


class WithLoss(Net):
    def forward(self, x: Tensor, y: Tensor | None = None) -> Any:
        scores = super().forward(x)
        return scores if y is None else (scores, F.cross_entropy(scores, y))


class Discriminator(nn.Module):
    """Parts that the step calls one by one."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = Net(), nn.Linear(2, 1)


@dataclasses.dataclass
class Graph:
    """A batch of a class of its own."""

    x: Tensor
    y: Tensor

    def to(self, device: Any) -> Graph:
        return Graph(self.x.to(device), self.y.to(device))


class Listed(Dataset[Graph]):
    def __init__(self, items: list[Graph]) -> None:
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Graph:
        return self.items[index]


def own_backward(model: Any, batch: tuple[Tensor, Tensor]) -> Tensor:
    """As the step of a GAN: one part is trained here, by an optimizer of its own."""
    head = torch.optim.SGD(model.head.parameters(), lr=0.1)
    head.zero_grad()
    torch.autograd.backward(F.softplus(model.head(model.body(batch[0]).detach())).mean())
    head.step()
    return F.softplus(-model.head(model.body(batch[0]))).mean()


def from_objects(batches: Iterable[Any]) -> DataLoader[Any]:
    return DataLoader(list(batches), batch_size=None, collate_fn=lambda item: item)  # type: ignore[arg-type]


TUPLES = (X, Y)
STEPS: dict[str, tuple[Any, Any, Any]] = {
    "tuples": (Net, TUPLES, lambda m, b: F.cross_entropy(m(b[0]), b[1])),
    "several calls": (Net, TUPLES, lambda m, b: F.cross_entropy(m(b[0]) + m(-b[0]), b[1])),
    "loss in forward": (WithLoss, TUPLES, lambda m, b: m(*b)[1]),
    "other names": (
        Net,
        from_objects([{"atoms": X[:8], "label": Y[:8], "name": "first"}]),
        lambda m, b: F.cross_entropy(m(b["atoms"]), b["label"]),
    ),
    "objects": (
        Net,
        from_objects([Graph(X[:8], Y[:8])]),
        lambda m, b: F.cross_entropy(m(b.x), b.y),
    ),
    "derivatives": (
        Net,
        TUPLES,
        lambda m, b: torch.autograd.grad(
            m(x := b[0].requires_grad_()).sum(), x, create_graph=True
        )[0].square().mean(),
    ),
}  # fmt: skip


def step_task(model: Any, train: Any, step: Any, **settings: Any) -> acs.Task:
    return acs.Task(
        model=model, train=train, valid=train, step=step, metric="score", epochs=1, **settings,
        evaluate=lambda m, batches: {"score": sum(float(step(m, b).detach()) for b in batches)},
    )  # fmt: skip


@pytest.mark.parametrize("name", STEPS)
def test_a_step_shows_the_sites_that_a_sample_shows(name: str) -> None:
    model, train, step = STEPS[name]
    seen = TaskSubject(step_task(model, train, step)).sites()
    wanted = acs.sites(model(), X[:8])
    assert [(site.path, site.role) for site in seen] == [(site.path, site.role) for site in wanted]
    assert [site.role for site in seen] == ["hidden", "hidden", "gate"]


def test_parts_that_a_step_calls_are_seen_and_what_it_trains_is_not_kept() -> None:
    subject = TaskSubject(step_task(Discriminator, TUPLES, own_backward))
    shell = subject.analyze_model().shell
    before = {name: value.clone() for name, value in shell.state_dict().items()}
    assert [site.role for site in subject.sites()] == ["hidden", "hidden", "gate"]
    assert set(subject.pre_activations()) == {site.path for site in subject.sites()[:2]}
    after = shell.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    assert all(item.grad is None for item in shell.parameters())


def test_a_step_writes_over_no_data_of_the_users() -> None:
    def step(model: nn.Module, batch: Any) -> Tensor:
        batch.x.zero_()
        return F.cross_entropy(model(batch.x), batch.y)

    graph = Graph(X[:8].clone(), Y[:8])
    TaskSubject(step_task(Net, from_objects([graph]), step)).sites()
    assert torch.equal(graph.x, X[:8])


def test_a_sample_is_taken_in_the_place_of_the_step() -> None:
    def step(model: nn.Module, batch: Any) -> Tensor:
        raise AssertionError("not to be run")

    sites = TaskSubject(step_task(Net, TUPLES, step, sample=X[:2])).sites()
    assert [site.role for site in sites] == ["hidden", "hidden", "gate"]


def test_what_is_cut_out_of_a_tensor_may_be_viewed_by_step_and_evaluate() -> None:
    class Language(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Sequential(
                nn.Embedding(20, 8), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 20)
            )

        def forward(self, tokens: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
            scores = self.body(tokens)
            return scores, F.cross_entropy(scores.view(-1, 20), targets.view(-1))

    tokens = torch.randint(0, 20, (40, 9), generator=torch.Generator().manual_seed(0))
    train, valid = ((part[:, :-1], part[:, 1:]) for part in (tokens[:30], tokens[30:]))
    task = acs.Task(
        model=Language, train=train, valid=valid, steps=4, batch_size=10, metric="loss",
        step=lambda m, b: m(*b)[1],
        evaluate=lambda m, batches: {"loss": sum(m(*b)[1].item() for b in batches)},
    )  # fmt: skip
    subject = make_subject(task)
    subject.check()
    assert [site.role for site in subject.sites() or ()] == ["hidden"]
    assert fit(task, task.build(), 0).metrics["loss"] > 0


class Hamiltonian(nn.Module):
    """Derivatives by ``torch.func``, under which activations see wrapped tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.energy = nn.Sequential(nn.Linear(4, 8), nn.Softplus(), nn.Linear(8, 1))

    def forward(self, x: Tensor) -> Tensor:
        slopes: Tensor = torch.func.vmap(torch.func.grad(lambda row: self.energy(row).sum()))(x)
        return slopes


def test_what_arrives_inside_of_vmap_and_grad_is_seen_as_numbers() -> None:
    task = acs.Task(
        model=Hamiltonian, train=(X[:40], X[:40]), valid=(X[40:], X[40:]), loss=F.mse_loss
    )
    (arrived,) = make_subject(task).pre_activations().values()
    assert arrived.shape == (40, 8)
    assert arrived.tolist()[0] == pytest.approx(_first_arriving(task).tolist(), rel=1e-5)


def _first_arriving(task: acs.Task) -> Tensor:
    """What the first Linear of the task's model under seed 0 gives for the first row."""
    model: Any = TaskSubject(task).build()
    arriving: Tensor = model.energy[0](X[0]).detach()
    return arriving


def test_a_step_without_evaluate_measures_its_loss_alone() -> None:
    usual: dict[str, Any] = dict(model=Net, train=TUPLES, valid=TUPLES, loss=F.cross_entropy)
    with pytest.raises(acs.TaskError, match="give evaluate=, or metric='loss'"):
        acs.Task(**usual, step=STEPS["tuples"][2], metric="accuracy")
    task = acs.Task(**usual, step=STEPS["tuples"][2], epochs=1)
    model = Net()
    result = fit(task, model, 0)
    assert result.metrics["loss"] == pytest.approx(F.cross_entropy(model(X), Y).item(), rel=1e-5)


def test_a_step_that_fails_is_named_with_the_way_out() -> None:
    def step(model: nn.Module, batch: Any) -> Tensor:
        return F.cross_entropy(model(batch["x"]), batch["y"])

    subject = TaskSubject(step_task(Net, TUPLES, step))
    with pytest.raises(acs.PlacementError, match=r"step= does not run .*Task\(sample=...\)"):
        subject.sites()


def accuracy(model: nn.Module, batches: Any) -> dict[str, float]:
    hits = sum(int((model(x).argmax(1) == y).sum()) for x, y in batches)
    return {"accuracy": hits / 20}


@pytest.mark.parametrize("gain", [None, "auto"])
def test_a_search_by_a_step_equals_one_by_a_loss(gain: str | None, sqlite_url: str) -> None:
    usual: dict[str, Any] = dict(
        model=Net,
        train=(X[:40], Y[:40]),
        valid=(X[40:], Y[40:]),
        metric="accuracy",
        epochs=2,
        lr=1e-2,
        gain=gain,
    )
    by_loss = acs.Task(**usual, loss=F.cross_entropy)
    by_step = acs.Task(**usual, step=STEPS["tuples"][2], evaluate=accuracy)

    def trials(name: str, task: acs.Task) -> list[Any]:
        study = acs.create_study(
            study_name=name, storage=sqlite_url, strategy="random", direction="maximize", seed=3
        )
        study.enqueue_trial("max(x, param(0.1, per='channel') * x)")
        study.optimize(task, n_trials=3, show_progress_bar=False)
        return [(t.number, t.state, t.value, str(t.candidate), t.reason) for t in study.trials]

    assert trials("loss", by_loss) == trials("step", by_step)


@pytest.mark.parametrize("wrap", [Listed, lambda rows: DataLoader(Listed(rows), batch_size=2)])
def test_samples_of_a_class_of_their_own_need_to_be_put_together(wrap: Any) -> None:
    graphs = [Graph(X[:20], Y[:20]), Graph(X[20:40], Y[20:40])]
    task = acs.Task(
        model=Net, train=wrap(graphs), valid=wrap(graphs), metric="accuracy", epochs=1, lr=1e-2,
        step=lambda m, b: F.cross_entropy(m(b.x), b.y), evaluate=accuracy,
    )  # fmt: skip
    study = acs.create_study(study_name="graphs", strategy="random", direction="maximize")
    with pytest.raises(
        acs.TaskError, match=r"collate_fn=\.\.\.\), or DataLoader\(train, batch_size"
    ):
        study.optimize(task, n_trials=1, show_progress_bar=False)
