"""What is seen inside of a training: against cases computed by hand, and without a trace in what is trained."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from stack_tasks import KINDS, LABELS, ROWS, task_of
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import Dataset

import actsearch as acs
from actsearch.evaluation import Candidate, Request
from actsearch.evaluation.subject.of_task import TaskSubject
from actsearch.records import HISTOGRAM_EDGES, Diagnostics, Outcome, SiteDiagnostics
from actsearch.report import Reader, diagnostics_remarks, first_diagnostics
from actsearch.training import fit

X = torch.tensor([[1.0, -2.0, 0.5], [3.0, -4.0, -0.5]])
NAMES = ["relu", "tanh", "prelu", "x*tanh(x)", "swish"]


class Inner(nn.Module):
    """Hands its inputs to the site, doubled, so that everything there is known."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.act = nn.Linear(3, 3, bias=False), nn.ReLU()
        self.last = nn.Linear(3, 1, bias=False)
        nn.init.eye_(self.first.weight).data.mul_(2)
        nn.init.ones_(self.last.weight)

    def forward(self, x: Tensor) -> Any:
        return self.last(self.act(self.first(x))).squeeze(-1)


def _seen(
    act: str, model: Callable[[], nn.Module] = Inner, x: Tensor = X, **more: Any
) -> Diagnostics:
    target = torch.zeros(len(x))
    settings: dict[str, Any] = {
        "model": model, "train": (x, target), "valid": (x, target), "loss": lambda out, y: (out - y).sum(),
        "epochs": 1, "batch_size": 64, "device": "cpu", "optimizer": torch.optim.SGD, "lr": 1e-3,
    }  # fmt: skip
    task = acs.Task(**({"tune_lr": False} | settings | more))
    outcome = TaskSubject(task).train([Request(Candidate.of(act).record, (1,))])[0]
    found = outcome.evaluations[0].diagnostics
    assert found is not None, outcome.reason
    return found


class TestByHand:
    """x = 2 X at the site: 2 -4 1 / 6 -8 -1, mean -2/3, E[x^2] = 122 / 6."""

    def site(self, act: str) -> SiteDiagnostics:
        (site,) = _seen(act).start
        return site

    def test_pre_activations(self) -> None:
        site = self.site("relu")
        assert site.site == "act"
        assert site.shape == (2, 3)
        assert site.mean == pytest.approx(-2 / 3)
        assert site.sd == pytest.approx(math.sqrt(122 / 6 - 4 / 9))
        assert [at for at, share in enumerate(site.histogram) if share] == [0, 3, 9, 13, 15, 21]
        assert sum(site.histogram) == pytest.approx(1)
        assert len(site.histogram) == len(HISTOGRAM_EDGES) + 1

    def test_dead_units_zeros_and_saturation_of_relu(self) -> None:
        """The second unit is 0 for both samples, the third for one; f' is 0 left of 0."""
        site = self.site("relu")
        assert site.dead == pytest.approx(1 / 3)
        assert site.zeros == pytest.approx(3 / 6)
        assert site.saturation == pytest.approx(3 / 6)

    def test_saturation_of_tanh(self) -> None:
        """1 - tanh(x)^2 is below 0.001 where |x| > 4.15: at 6 and -8."""
        site = self.site("tanh")
        assert (site.dead, site.zeros) == (0, 0)
        assert site.saturation == pytest.approx(2 / 6)

    def test_effective_gain(self) -> None:
        assert self.site("relu").gain == pytest.approx(math.sqrt((4 + 1 + 36) / 122))
        assert self.site("x*2").gain == pytest.approx(2)

    def test_gradient_norm(self) -> None:
        """The loss is the sum of f(x), so its gradient at x is f'(x): three ones with relu."""
        assert self.site("relu").gradient_norm == pytest.approx(math.sqrt(3))
        slopes = [1 - math.tanh(x) ** 2 for x in (2, -4, 1, 6, -8, -1)]
        assert self.site("tanh").gradient_norm == pytest.approx(
            math.sqrt(sum(s * s for s in slopes)), rel=1e-5
        )

    def test_a_constant_saturates(self) -> None:
        site = self.site("0*x + 1")
        assert (site.saturation, site.gradient_norm) == (1, 0)

    def test_learned_numbers_before_and_after(self) -> None:
        """SGD moves the slope by -lr times the sum over negative x of x, which is -13."""
        seen = _seen("prelu")
        assert seen.start[0].learned == {"theta_0": (0.25,)}
        assert list(seen.end[0].learned["theta_0"]) == pytest.approx([0.25 + 13e-3])
        assert seen.parameters_added == 1

    def test_a_wider_layer_counts_as_parameters_added(self) -> None:
        assert _seen("maxout").parameters_added == 9  # another 3 x 3, of two pieces
        assert _seen("maxout").start[0].saturation is None
        assert _seen("relu").parameters_added == 0

    def test_gap_between_validation_and_training(self) -> None:
        seen = _seen("relu", valid=(2 * X, torch.zeros(2)), optimizer=torch.optim.SGD, lr=1e-30)
        assert seen.loss_gap == pytest.approx(18 - 9)

    def test_gradient_ratio_of_a_chain(self) -> None:
        """Ten layers that each halve: what arrives at the first is 2^-9 of that at the last."""

        def chain() -> nn.Module:
            layers: list[nn.Module] = []
            for _ in range(10):
                layers += [nn.Linear(1, 1, bias=False), nn.ReLU()]
                nn.init.constant_(layers[-2].weight, 0.5)  # type: ignore[arg-type]
            last = nn.Linear(1, 1, bias=False)
            nn.init.ones_(last.weight)
            return nn.Sequential(*layers, last, nn.Flatten(0))

        seen = _seen("relu", chain, torch.ones(4, 1), lr=1e-30)
        assert seen.gradient_ratio == pytest.approx(2.0**-9)
        assert seen.sparsity == 0
        assert len(seen.start) == len(seen.end) == 10

    def test_numbers_that_are_not_finite_are_kept(self) -> None:
        with_nan = torch.tensor([[math.nan, 1.0, 1.0]])
        site = _seen("relu", x=with_nan).start[0]
        assert site.mean is not None
        assert math.isnan(site.mean)

    def test_of_many_learned_numbers_quantiles_are_kept(self) -> None:
        class Wide(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.first, self.act, self.last = nn.Linear(3, 700), nn.ReLU(), nn.Linear(700, 1)

            def forward(self, x: Tensor) -> Any:
                return self.last(self.act(self.first(x))).squeeze(-1)

        (values,) = _seen('max(x, param(0.25, per="channel") * x)', Wide).end[0].learned.values()
        assert len(values) == 256
        assert list(values) == sorted(values)

    def test_a_site_that_is_used_twice_counts_both_calls(self) -> None:
        class Twice(Inner):
            def forward(self, x: Tensor) -> Any:
                return self.last(self.act(self.first(x)) + self.act(self.first(-x))).squeeze(-1)

        (site,) = _seen("relu", Twice).start
        assert site.mean == pytest.approx(0)
        assert site.gradient_norm == pytest.approx(math.sqrt(6))
        assert site.dead == pytest.approx(1 / 3)  # the first of one call, the second of the other


def _outcomes(task: acs.Task, stacked: bool) -> list[Outcome]:
    subject = TaskSubject(task)
    asked = [Request(Candidate.of(n).record, (1, 2), i) for i, n in enumerate(NAMES)]
    if not stacked:
        return [subject.train([request])[0] for request in asked]
    found = subject.train(asked)
    assert subject.stack_refusal == ""
    return found


def _numbers(outcomes: list[Outcome]) -> list[Any]:
    return [
        (
            outcome.value, outcome.spread,
            [
                (item.value, item.metrics, [(e.train_loss, e.valid_loss, e.train_metric) for e in item.epochs])
                for item in outcome.evaluations
            ],
        )
        for outcome in outcomes
    ]  # fmt: skip


class _Noisy(nn.Module):
    """A model with everything that one look could disturb."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(6, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.3), nn.Linear(16, 3)
        )
        self.generator = torch.Generator().manual_seed(3)
        self.passes = 0

    def forward(self, x: Tensor) -> Any:
        self.passes += 1
        x = x + 0.1 * torch.randn(x.shape, generator=self.generator)
        return self.net(x + 0.1 * torch.randn_like(x)) / (1 + 0.01 * self.passes)


class TestWithoutATrace:
    @pytest.mark.parametrize("stacked", [False, True], ids=["alone", "stacked"])
    @pytest.mark.parametrize(
        "kind",
        [
            "mlp",
            "cnn",
            *(pytest.param(k, marks=pytest.mark.slow) for k in KINDS if k not in ("mlp", "cnn")),
        ],
    )
    def test_results_are_bit_equal_with_and_without(self, kind: str, stacked: bool) -> None:
        on = _outcomes(task_of(kind), stacked)
        off = _outcomes(task_of(kind).replace(diagnostics=False), stacked)
        assert all(item.diagnostics for outcome in on for item in outcome.evaluations)
        assert not any(item.diagnostics for outcome in off for item in outcome.evaluations)
        assert _numbers(on) == _numbers(off)

    @pytest.mark.parametrize("act", ["relu", "rrelu"])
    def test_random_streams_and_a_models_own_state_go_on(self, act: str) -> None:
        ends = []
        for diagnostics in (True, False):
            task = task_of("mlp").replace(diagnostics=diagnostics, epochs=2, device="cpu")
            torch.manual_seed(1)
            model = acs.place(_Noisy(), act, sample=task.train[0][:2]).model
            paths = [site.path for site in acs.sites(model) if site.role == "hidden"]
            result = fit(task, model, 5, watched=paths)
            assert (result.diagnostics is not None) is diagnostics
            ends.append((result.epochs[-1].valid_loss, model.state_dict(), torch.randn(3)))
        (loss, state, drawn), (other_loss, other_state, other_drawn) = ends
        assert loss == other_loss
        assert torch.equal(drawn, other_drawn)
        assert all(torch.equal(state[name], other_state[name]) for name in state)

    def test_a_data_set_that_draws_numbers_shifts_nothing(self) -> None:
        class Augmented(Dataset[tuple[Tensor, Tensor]]):
            read = 0

            def __len__(self) -> int:
                return 64

            def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
                Augmented.read += 1
                noise = random.random() + np.random.rand() + torch.rand(6)  # noqa: NPY002
                return ROWS[index] + noise, LABELS[index]

        found, reads = [], []
        for diagnostics in (True, False):
            made = task_of("mlp").replace(diagnostics=diagnostics, train=Augmented())
            random.seed(1)
            np.random.seed(1)  # noqa: NPY002
            torch.manual_seed(1)
            before = Augmented.read
            found.append(_numbers(_outcomes(made, stacked=False)))
            reads.append(Augmented.read - before)
            found[-1].append((random.random(), np.random.rand(), torch.rand(1).item()))  # noqa: NPY002
        assert found[0] == found[1]
        assert reads[0] - reads[1] == made.batch_size  # one batch, for all trainings together

    @pytest.mark.parametrize("how", [{"split": "test"}, {"diagnose": False}], ids=str)
    def test_the_verdict_looks_at_nothing(self, how: dict[str, Any]) -> None:
        asked = [Request(Candidate.of(name).record, (1,), **how) for name in NAMES]
        for requests in (asked, asked[:1]):
            for outcome in TaskSubject(task_of("mlp")).train(requests):
                assert outcome.evaluations[0].diagnostics is None

    def test_a_confirmation_diagnoses_no_training(self, monkeypatch: pytest.MonkeyPatch) -> None:
        asked: list[Request] = []
        train = TaskSubject.train

        def noted(self: TaskSubject, requests: Any, *rest: Any, **more: Any) -> Any:
            asked.extend(requests)
            return train(self, requests, *rest, **more)

        study = acs.create_study(study_name="s", space=acs.Space(activations=["relu", "tanh"]))
        task = task_of("mlp", epochs=1)
        study.optimize(task, n_trials=3, show_progress_bar=False)
        monkeypatch.setattr(TaskSubject, "train", noted)
        study.confirm(task, top_k=1, seeds=2, show_progress_bar=False)
        assert asked
        assert not any(request.diagnose for request in asked)


@pytest.mark.parametrize(
    "kind",
    [
        "mlp",
        "cnn",
        *(pytest.param(k, marks=pytest.mark.slow) for k in KINDS if k not in ("mlp", "cnn")),
    ],
)
def test_a_stack_sees_what_single_training_sees(kind: str) -> None:
    alone, stacked = (_outcomes(task_of(kind), which) for which in (False, True))
    for one, other in zip(alone, stacked, strict=True):
        for a, b in zip(one.evaluations, other.evaluations, strict=True):
            assert a.diagnostics is not None
            assert b.diagnostics is not None
            assert a.diagnostics.parameters_added == b.diagnostics.parameters_added
            for stage in ("start", "end"):
                for p, q in zip(
                    getattr(a.diagnostics, stage), getattr(b.diagnostics, stage), strict=True
                ):
                    assert (p.site, p.shape, p.learned.keys()) == (
                        q.site,
                        q.shape,
                        q.learned.keys(),
                    )
                    for name in (
                        "mean",
                        "sd",
                        "dead",
                        "zeros",
                        "saturation",
                        "gain",
                        "gradient_norm",
                    ):
                        assert getattr(p, name) == pytest.approx(
                            getattr(q, name), rel=1e-3, abs=1e-6
                        )
                    assert p.histogram == pytest.approx(q.histogram, abs=0.01)


class TestWhereItCannotBeHad:
    def test_a_model_that_refuses_evaluation_mode_is_trained_all_the_same(self) -> None:
        class Refuses(Inner):
            def forward(self, x: Tensor) -> Any:
                if not self.training and torch.is_grad_enabled():
                    raise RuntimeError("no gradients in evaluation")
                return super().forward(x)

        target = torch.zeros(2)
        task = acs.Task(
            model=Refuses, train=(X, target), valid=(X, target), loss=F.mse_loss, epochs=1, device="cpu"
        )  # fmt: skip
        outcome = TaskSubject(task).train([Request(Candidate.of("tanh").record, (1,))])[0]
        assert outcome.state is acs.TrialState.COMPLETE
        assert outcome.evaluations[0].diagnostics is None

    def test_a_training_that_diverged_has_its_start(self) -> None:
        seen = _seen("x*x", epochs=9, lr=1e3, loss=F.mse_loss)
        assert seen.start
        assert seen.end == ()
        assert seen.newest == seen.start

    def test_sites_behind_frozen_layers_have_no_gradient(self) -> None:
        class Frozen(Inner):
            def __init__(self) -> None:
                super().__init__()
                self.first.requires_grad_(False)

        site = _seen("relu", Frozen).end[0]
        assert site.gradient_norm is None
        assert site.saturation == pytest.approx(0.5)

    @pytest.mark.parametrize("value", [None, 1, "yes"])
    def test_the_switch_is_true_or_false(self, value: Any) -> None:
        with pytest.raises(acs.TaskError, match="diagnostics"):
            task_of("mlp").replace(diagnostics=value)


class TestInAStudy:
    @pytest.fixture(scope="class")
    @staticmethod
    def url(tmp_path_factory: pytest.TempPathFactory) -> str:
        url = f"sqlite:///{tmp_path_factory.mktemp('study') / 'study.db'}"
        space = acs.Space(activations=["relu", "tanh", "prelu"])
        strategy = acs.Bayesian(start="catalog")
        study = acs.create_study(study_name="s", storage=url, space=space, strategy=strategy)
        study.enqueue_trial("tanh(x) + 0*x")
        study.optimize(task_of("mlp", seeds=2), n_trials=3, show_progress_bar=False)
        return url

    def test_a_trial_says_what_was_seen(self, url: str) -> None:
        study = acs.load_study(study_name="s", storage=url)
        by_label = {
            trial.candidate.label: trial for trial in study.trials if trial.value is not None
        }
        for trial in by_label.values():
            assert trial.diagnostics is not None
            assert len(trial.diagnostics.start) == len(trial.diagnostics.end) == 2
            assert trial.diagnostics.loss_gap is not None
        duplicate = next((t for t in study.trials if t.duplicate_of is not None), None)
        assert (
            duplicate is None
            or duplicate.diagnostics == study.trials[duplicate.duplicate_of or 0].diagnostics
        )

    def test_one_row_for_each_seed_stage_and_site(self, url: str) -> None:
        study = acs.load_study(study_name="s", storage=url)
        frame = study.diagnostics_dataframe()
        trained = sum(trial.state.is_trained for trial in study.trials)
        assert len(frame) == trained * 2 * 2 * 2
        assert set(frame["stage"]) == {"start", "end"}
        assert frame["gain"].between(0, 2).all()

    def test_a_reader_without_torch_finds_it(self, url: str) -> None:
        reader = Reader(url)
        study = reader.study("s")
        first = next(t for t in reader.trials(study, diagnostics=True) if t.value is not None)
        seen = first_diagnostics(first)
        assert seen is not None
        assert sum(seen.end[0].histogram) == pytest.approx(1)
        assert all(not t.evaluations for t in reader.trials(study))

    def test_switched_on_and_off_is_the_same_task(self, url: str) -> None:
        study = acs.load_study(study_name="s", storage=url)
        number = study.enqueue_trial("atan(x)")
        off = task_of("mlp", seeds=2).replace(diagnostics=False)
        study.optimize(off, n_trials=2, show_progress_bar=False)
        assert study.trials[number].value is not None
        assert study.trials[number].diagnostics is None


def _site(name: str, **numbers: float | None) -> SiteDiagnostics:
    usual: dict[str, Any] = {
        "mean": 0.0, "sd": 1.0, "dead": 0.0, "zeros": 0.0, "saturation": 0.0, "gain": 1.0, "gradient_norm": 1.0,
    }  # fmt: skip
    return SiteDiagnostics(name, (4, 2), histogram=(0.0,) * 22, **(usual | numbers))


@pytest.mark.parametrize(
    ("first", "words"),
    [
        ({}, []),
        ({"gradient_norm": 1e-6}, ["Gradients vanish", "first", "last"]),
        ({"gradient_norm": 1e6}, ["Gradients explode"]),
        ({"dead": 0.75}, ["At site first, 75% of units are 0"]),
        ({"saturation": 0.9}, ["At site first, 90% of inputs"]),
        ({"saturation": None, "gradient_norm": None}, []),
        ({"dead": math.nan}, []),
    ],
)
def test_remarks_say_what_is_wrong(first: dict[str, Any], words: list[str]) -> None:
    found = diagnostics_remarks(Diagnostics((_site("first", **first), _site("last"))))
    assert all(word in "".join(found) for word in words)
    assert bool(found) is bool(words)


def test_a_ratio_over_zero_is_infinite_or_unknown() -> None:
    last = _site("last", gradient_norm=0.0)
    assert Diagnostics((_site("first"), last)).gradient_ratio == math.inf
    ratio = Diagnostics((last, last)).gradient_ratio
    assert ratio is not None
    assert math.isnan(ratio)
    assert Diagnostics((last,)).gradient_ratio is None
