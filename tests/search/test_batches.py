"""What a user's loaders give arrives at the model as it was made, and what does not fit is said in a sentence."""

from __future__ import annotations

import dataclasses
from collections import OrderedDict, UserDict, defaultdict
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import PackedSequence, pack_sequence
from torch.utils.data import DataLoader, TensorDataset

import actsearch as acs
from actsearch.evaluation import Request, make_subject
from actsearch.placement import forward
from actsearch.task import Batches, to_device
from actsearch.task.nested import concatenate, describe_parts
from actsearch.training import fit
from actsearch.training.measures import count_samples
from actsearch.training.stack.batches import unstack

CPU = torch.device("cpu")
generator = torch.Generator().manual_seed(3)
X = torch.randn(40, 3, generator=generator)
Y = (X[:, 0] > 0).long()


class Pair(NamedTuple):
    x: Tensor
    mask: Tensor


@dataclasses.dataclass(frozen=True)
class Frozen:
    x: Tensor
    name: str


class Words(UserDict[str, Any]):
    """As the batches of transformers' tokenizers: a mapping with methods."""

    def first(self) -> Tensor:
        words: Tensor = self["x"]
        return words[0]


class Graph:
    """As the batches of graph libraries: an object that moves itself and its parts."""

    def __init__(self, x: Tensor) -> None:
        self.x = x

    def to(self, device: torch.device) -> Graph:
        self.x = self.x.to(device)
        return self


# train and valid are one here
pytestmark = pytest.mark.filterwarnings("ignore::actsearch.ActsearchWarning")

META = torch.device("meta")  # a device that every machine has, and that is not the CPU


@pytest.mark.parametrize(
    "batch",
    [
        Pair(X, Y),
        Frozen(X, "a"),
        Words(x=X),
        OrderedDict(b=X, a=Y),
        defaultdict(lambda: X, x=X),
        [X, Y],
        (X, [Y]),
        Graph(X),
        {"x": [X], "n": 3},
    ],
    ids=lambda batch: type(batch).__name__,
)
def test_a_batch_keeps_its_type_on_its_way(batch: Any) -> None:
    moved = to_device(batch, META)
    assert type(moved) is type(batch)
    assert "meta" in repr(vars(moved)) if isinstance(batch, Graph) else "meta" in repr(moved)
    assert X.device == CPU
    assert "meta" not in repr(vars(batch) if isinstance(batch, Graph) else batch)
    if isinstance(batch, defaultdict):
        assert moved.default_factory is batch.default_factory
    if isinstance(batch, Words):
        assert moved.first().shape == (3,)


def test_a_packed_sequence_is_moved_and_counted_by_its_sequences() -> None:
    packed = pack_sequence([X[:3], X[3:8], X[8:9]], enforce_sorted=False)
    moved = to_device((packed, Y[:3]), CPU)
    assert isinstance(moved[0], PackedSequence)
    assert torch.equal(moved[0].data, packed.data)
    assert count_samples(moved) == 3
    assert count_samples([X[:7], Y[:7]]) == count_samples((Graph(X), Y[:7])) == 7


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gru, self.act, self.head = nn.GRU(3, 4), nn.ReLU(), nn.Linear(4, 2)

    def forward(self, packed: PackedSequence) -> Tensor:
        return self.head(self.act(self.gru(packed)[1][-1]))  # type: ignore[no-any-return]


def collate_packed(items: list[tuple[Tensor, Tensor]]) -> Any:
    sequences = [x.expand(1 + int(y), 3) for x, y in items]
    return pack_sequence(sequences, enforce_sorted=False), torch.stack([y for _, y in items])


class Both(nn.Module):
    """Two inputs, added."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.act, self.head = nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)

    def forward(self, x: Tensor, other: Tensor) -> Tensor:
        return self.head(self.act(self.first(x + other)))  # type: ignore[no-any-return]


class Optional(Both):
    def forward(self, x: Tensor, other: Tensor | None = None) -> Tensor:
        return super().forward(x, torch.zeros_like(x) if other is None else other)


class OfMapping(Both):
    def forward(self, batch: dict[str, Tensor]) -> Tensor:  # type: ignore[override]
        return super().forward(batch["x"], batch["other"])


class OfList(Both):
    def forward(self, images: list[Tensor]) -> Tensor:  # type: ignore[override]
        stacked = torch.stack(images)
        return super().forward(stacked, stacked)


class OfGraph(Both):
    def forward(self, graph: Graph) -> Tensor:  # type: ignore[override]
        return super().forward(graph.x, graph.x)


def loader(collate: Callable[[Any], Any]) -> DataLoader[Any]:
    return DataLoader(TensorDataset(X, Y), 8, collate_fn=collate)


def columns(items: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    return torch.stack([x for x, _ in items]), torch.stack([y for _, y in items])


def of_graphs(items: list[tuple[Tensor, Tensor]]) -> Any:
    x, y = columns(items)
    return Graph(x), y


def of_images(items: list[tuple[Tensor, Tensor]]) -> Any:
    return [x for x, _ in items], columns(items)[1]


@pytest.mark.parametrize(
    ("model", "data"),
    [
        (Recurrent, loader(collate_packed)),
        (Both, ((X, X), Y)),
        (Both, (X, X, Y)),
        (Both, [[X.numpy(), X.numpy()], Y.numpy()]),
        (Both, ({"other": X, "x": X}, Y)),
        (Optional, ((X, X[:, :1]), Y)),
        (Optional, ((X, X.mean(1, keepdim=True)), Y)),
        (OfMapping, ({"x": X, "other": X}, Y)),
        (OfList, loader(of_images)),
        (OfGraph, loader(of_graphs)),
        (Optional, list(zip(X, Y, strict=True))),
    ],
)
def test_a_model_is_given_what_its_forward_takes(model: Any, data: Any) -> None:
    task = acs.Task(model=model, train=data, valid=data, loss=F.cross_entropy, epochs=1)
    make_subject(task).check()
    assert fit(task, model(), 0).stopped == ""


def test_two_inputs_are_trained_on_as_a_plain_loop_does() -> None:
    torch.manual_seed(0)
    model = Both()
    plain = Both()
    plain.load_state_dict(model.state_dict())
    task = acs.Task(
        model=Both, train=((X, 2 * X), Y), valid=((X, 2 * X), Y), loss=F.cross_entropy, epochs=1,
        batch_size=40, optimizer=torch.optim.SGD, lr=0.1,
    )  # fmt: skip
    fit(task, model, 0)
    torch.autograd.backward(F.cross_entropy(plain(X, 2 * X), Y))
    for mine, other in zip(model.parameters(), plain.parameters(), strict=True):
        assert other.grad is not None
        torch.testing.assert_close(mine, other - 0.1 * other.grad)


def test_a_named_tuple_is_one_input_where_one_is_enough() -> None:
    class Takes(nn.Module):
        def forward(self, pair: Pair) -> Tensor:
            return pair.x

    class TakesTwo(nn.Module):
        def forward(self, x: Tensor, mask: Tensor) -> Tensor:
            return mask

    pair = Pair(X, Y)
    assert forward(Takes(), pair) is X
    assert forward(TakesTwo(), pair) is Y
    assert forward(TakesTwo(), [X, Y]) is Y


@pytest.mark.parametrize(
    ("model", "changes", "says"),
    [
        (Optional, {"train": (X.double(), Y)}, r"float64 and the model's weights float32: give inputs.float"),
        (Optional, {"train": (X.long(), Y)}, r"int64 and the model's weights float32: give inputs.float"),
        (Optional, {"train": (X[:, :2], Y)}, r"its layer first, Linear\(in_features=3.*given \(2, 2\)"),
        (Optional, {"valid": (X[:, :2], Y)}, r"valid inputs \(40, 2\).*its layer first"),
        (lambda: nn.Sequential(nn.Embedding(9, 4), nn.ReLU(), nn.Linear(4, 2)),
         {"train": (X, Y)}, r"whole numbers: give inputs.long"),
        (lambda: nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)),
         {"train": (X, Y, Y * 0.5)}, r"of the 2 before it .* takes \(input\): for weights of samples.*step="),
        (Optional, {"train": (X, Y, Y * 0.5)}, r"part 1 is shaped like the targets"),
        (Optional, {"train": ((X, X[:30]), Y)}, r"differ in length: 40 and 30 and 40"),
        (Optional, {"train": ((X[:2], X[2:4]), Y[:2])}, r"as that many samples.*as that many inputs"),
        (Optional, {"test": (X[:9, :2] + 1, Y[:9])}, r"test inputs \(2, 2\)"),
        (Optional, {"test": (X[:9].double() + 1, Y[:9])}, r"test inputs .* float64"),
        (Optional, {"test": (X[:9] + 1, F.one_hot(Y[:9], 3).float())}, r"test inputs .* targets \(2, 3\)"),
        (Optional, {"test": TensorDataset(X[:9, :2] + 1, Y[:9])}, r"test inputs \(2, 2\)"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_said_before_the_search(
    model: Any, changes: dict[str, Any], says: str
) -> None:
    data = {"train": (X, Y), "valid": (X, Y), **changes}
    with pytest.raises(acs.TaskError, match=says):
        make_subject(acs.Task(model=model, loss=F.cross_entropy, epochs=1, **data)).check()


def test_images_of_another_size_in_test_are_taken_where_the_model_takes_them() -> None:
    class Pooled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.act, self.head = nn.Conv1d(1, 4, 3), nn.ReLU(), nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.act(self.conv(x)).mean(-1))  # type: ignore[no-any-return]

    short, long = torch.randn(20, 1, 8), torch.randn(20, 1, 12)
    task = acs.Task(
        model=Pooled, train=(short, Y[:20]), valid=(short + 1, Y[:20]), test=(long, Y[:20]),
        loss=F.cross_entropy, epochs=1,
    )  # fmt: skip
    make_subject(task).check()


def test_what_a_model_returns_is_joined_and_named() -> None:
    outputs = [{"loss": torch.tensor(1.0), "scores": (X[:8], None)} for _ in range(2)]
    joined = concatenate(outputs)
    assert joined["loss"].tolist() == [1, 1]
    assert torch.equal(joined["scores"][0], torch.cat([X[:8], X[:8]]))
    assert describe_parts(Pair(X, Y)) == ".x (40, 3) float32, .mask (40,) int64"
    members = unstack(Pair(X[:2], Y[:2]), 2)
    assert [type(item) for item in members] == [Pair, Pair]
    assert torch.equal(members[1].x, X[1])


def test_nested_targets_reach_the_loss() -> None:
    def loss(output: Tensor, targets: dict[str, Tensor]) -> Tensor:
        return F.cross_entropy(output, targets["a"]) + output.sum() * targets["b"].mean()

    data = (X, {"a": Y, "b": np.zeros((40, 2))})
    task = acs.Task(model=Optional, train=data, valid=data, loss=loss, epochs=1)
    model = Optional()
    assert fit(task, model, 0).metrics["loss"] == pytest.approx(
        F.cross_entropy(model(X), Y).item()
    )
    batch = next(iter(Batches(task.train, 5, CPU, None)))
    assert sorted(batch[1]) == ["a", "b"]


class Plain:
    def __init__(self, x: Tensor) -> None:
        self.x = x


@pytest.mark.parametrize(
    "batches",
    [
        [Plain(torch.ones(4, 3))] * 3,
        [{"x": torch.ones(4, 3), "y": torch.ones(4)}] * 2,
        [(torch.ones(4, 3), torch.ones(4, 1)), (torch.ones(2, 3), torch.ones(2, 1))],
        [(torch.ones(4, 3), torch.ones(4))],
    ],
    ids=["objects", "mappings", "two pairs", "one pair"],
)
def test_a_list_of_batches_is_answered_with_a_loader(batches: Any) -> None:
    def step(model: Any, batch: Any) -> Tensor:
        return model(batch.x).mean()  # type: ignore[no-any-return]

    with pytest.raises(
        acs.TaskError, match=r"as batches, give DataLoader\(train, batch_size=None\)"
    ):
        acs.Task(
            model=lambda: nn.Linear(3, 1), step=step, evaluate=lambda model, data: {"loss": 0.0},
            metric="loss", train=batches, valid=batches,
        )  # fmt: skip


class Overwriting(nn.Module):
    """Normalises what it is given where it lies, as code that saves memory does."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))

    def forward(self, x: Tensor) -> Tensor:
        x.mul_(2).sub_(1)
        y: Tensor = self.net(x)
        return y


def overwriting_step(model: nn.Module, batch: Any) -> Tensor:
    return F.cross_entropy(model(batch[0]), batch[1])


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"gain": "auto"},
        {"step": overwriting_step},
        {"sample": X[:4].clone()},
        {
            "evaluate": lambda model, batches: sum(float(model(x).mean()) for x, _ in batches),
            "metric": "loss",
        },
    ],
    ids=["plain", "gain", "step", "sample", "evaluate"],
)
def test_a_model_that_writes_over_its_inputs_leaves_the_user_s_data_alone(
    changes: dict[str, Any],
) -> None:
    data = [
        (X[start:end].clone(), Y[start:end].clone())
        for start, end in ((0, 20), (20, 32), (32, 40))
    ]
    settings: dict[str, Any] = {"loss": F.cross_entropy, "metric": "loss", "epochs": 1, **changes}
    task = acs.Task(model=Overwriting, train=data[0], valid=data[1], test=data[2], **settings)
    subject = make_subject(task)
    subject.check()
    subject.sites()
    subject.pre_activations()
    relu, sin = (acs.Candidate.of(name).record for name in ("relu", "sin"))
    subject.train([Request(relu, (1,))])
    subject.train([Request(relu, (1,), split="test")])
    outcomes = subject.train([Request(relu, (1,)), Request(sin, (1,))])
    assert {outcome.reason for outcome in outcomes} == {""}
    for (x, y), start in zip(data, (0, 20, 32), strict=True):
        assert torch.equal(x, X[start : start + len(x)])
        assert torch.equal(y, Y[start : start + len(y)])
    if "sample" in changes:
        assert torch.equal(changes["sample"], X[:4])
