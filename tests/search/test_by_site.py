"""Search by site as a user sees it: groups of a model, trials, verdicts, ways out, and what is refused."""

from __future__ import annotations

import functools
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from stack_tasks import task_of
from torch import Tensor, nn
from torch.nn import functional as F
from trained import evaluate

import actsearch as acs
from actsearch.evaluation.stacked import Stacker, Training
from actsearch.evaluation.subject import stack_choice
from actsearch.evaluation.task_analysis import TaskAnalysis
from actsearch.records import CandidateRecord
from actsearch.screening import identify, screen
from actsearch.strategies import STRATEGIES, Space
from actsearch.study.clones import near_clone

BANDS = ("depth:1/3", "depth:2/3", "depth:3/3")


class Net(nn.Module):
    """Encoder, body and head, with activations as modules and as functions."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU())
        self.body = nn.Linear(8, 8)
        self.head = nn.Sequential(nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 2))

    def forward(self, x: Tensor) -> Any:
        return self.head(F.silu(self.body(self.encoder(x))))


SITES = ["encoder.1", "encoder.3", "silu", "head.1"]
ALL_ROWS = torch.randn(180, 4, generator=torch.Generator().manual_seed(0))
ALL_LABELS = (ALL_ROWS[:, 0] * ALL_ROWS[:, 1] > 0).long()
ROWS, LABELS = ALL_ROWS[:60], ALL_LABELS[:60]


def _task(model: Any = Net, **settings: Any) -> acs.Task:
    thirds = zip(torch.split(ALL_ROWS, 60), torch.split(ALL_LABELS, 60), strict=True)
    parts = dict(zip(("train", "valid", "test"), thirds, strict=True))
    given: dict[str, Any] = {"epochs": 1, "loss": F.cross_entropy, "metric": "accuracy", **parts}
    return acs.Task(model=model, **{"tune_lr": False} | given | settings)


def _study(sites: Any = "per_depth", **settings: Any) -> acs.Study:
    space = {
        key: settings.pop(key)
        for key in ("depth_bands", "activations", "operators")
        if key in settings
    }
    given: dict[str, Any] = {
        "study_name": "s",
        "strategy": "random",
        "space": acs.Space(sites=sites, **space),
    }
    return acs.create_study(**given | settings)


def _run(study: acs.Study, objective: Any, n_trials: int, **settings: Any) -> None:
    study.optimize(objective, n_trials, show_progress_bar=False, **settings)


def _trials(study: acs.Study) -> list[tuple[Any, ...]]:
    return [
        (
            t.number,
            t.state,
            dict(t.candidate.record.activations),
            t.value,
            t.duplicate_of,
            t.reason,
        )
        for t in study.trials
    ]


WANTED = ("sin", "relu", "tanh")


@functools.cache
def _error(formula: str, wanted: str) -> float:
    x = torch.linspace(-3, 3, 61).unsqueeze(1)
    with torch.no_grad():
        found = acs.activation(formula, channels=1)(x) - acs.activation(wanted)(x)
    return float(found.abs().mean())


def distance_by_group(candidate: acs.Candidate, run: acs.Run) -> float:
    """No training: how far the activations are from sin, relu and tanh, group by group."""
    items = list(candidate.record.activations.values())
    items = items * 3 if len(items) == 1 else items
    return sum(
        math.inf if item.name == "maxout" else _error(item.formula, wanted)
        for item, wanted in zip(items, WANTED, strict=False)
    )


# trials


@pytest.mark.parametrize(
    ("strategy", "sites"),
    [
        ("genetic", "per_depth"),
        *(
            pytest.param(strategy, sites, marks=pytest.mark.slow)
            for strategy, kind in STRATEGIES.items()
            for sites in ("per_depth", {"1": None, "[35]": None})
            # what learns shapes takes no function of the user's own, and proposes all groups at once
            if (strategy, sites) != ("genetic", "per_depth") and not kind().learns_shapes
        ),
    ],
    ids=str,
)
def test_half_and_half_of_the_trials_are_the_whole(
    strategy: str, sites: Any, sqlite_url: str
) -> None:
    def searched(name: str, *counts: int) -> acs.Study:
        for count in counts:
            study = _study(
                sites, study_name=name, storage=sqlite_url, strategy=strategy, load_if_exists=True,
                direction="minimize", operators=["add", "mul", "tanh", "max"],
            )  # fmt: skip
            _run(study, distance_by_group, count)
        return study

    whole, parts = searched("whole", 60), searched("parts", 35, 25)
    assert _trials(parts) == _trials(whole)
    operations = [trial.candidate.record.operation for trial in whole.trials]
    assert {"one group", "mixed groups"} <= set(operations)


@pytest.mark.parametrize(
    ("sites", "strategy"),
    [
        pytest.param("per_site", "bayesian", marks=pytest.mark.slow),
        pytest.param("per_site", "genetic", marks=pytest.mark.slow),
        pytest.param("per_depth", "random", marks=pytest.mark.slow),
        pytest.param({"1": None, "4": None}, "genetic", marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_a_stack_gives_what_single_training_gives(
    sites: Any, strategy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stack_choice, "_WORTH", 0)
    monkeypatch.setattr(stack_choice, "_GAIN", 0.0)
    task = task_of("mlp", epochs=1)
    bands = {"depth_bands": 2} if sites == "per_depth" else {}
    alone, together = (
        _study(sites, strategy=strategy, activations=["relu", "prelu", "sin"], **bands)
        for _ in range(2)
    )
    _run(alone, task, 44, executor=acs.Local(batch=1))
    _run(together, task, 44, executor=acs.Local(batch=64))
    assert _trials(together) == _trials(alone)
    several = [t for t in together.trials if len(t.candidate.record.activations) > 1]
    assert sum(trial.state.name == "COMPLETE" for trial in several) > 3


def test_candidates_by_site_train_in_one_stack_as_alone() -> None:
    task = task_of("mlp", epochs=1)
    records = [
        acs.Candidate.of({"1": first, "4": second}).record
        for first, second in (("sin", "relu"), ("relu", "x*tanh(x)"), ("prelu", "sin"))
    ]
    stacker = Stacker(TaskAnalysis(task))
    together = stacker.train([Training(one, 5, 1e-2) for one in records])
    for record, result in zip(records, together, strict=True):
        assert result is not None
        alone = evaluate(record, task, [5], lr=1e-2)
        assert alone.evaluations[0].epochs[-1].valid_loss == result.epochs[-1].valid_loss


def test_a_trial_trains_each_group_with_its_own_activation() -> None:
    seen: list[list[str]] = []

    def objective(candidate: acs.Candidate, run: acs.Run) -> float:
        seen.append([item.new for item in candidate.place(Net(), sample=ROWS).replaced])
        return 0.0

    study = _study(direction="minimize")
    study.enqueue_trial({"depth:1/3": "sin", "depth:2/3": "gelu", "depth:3/3": "x*tanh(x)"})
    study.enqueue_trial({"*": "sin", "depth:2/3": "gelu"})
    _run(study, objective, 2)
    assert seen == [
        ["sin", "sin", "gelu", "x * tanh(x)"],
        ["sin", "sin", "gelu", "sin"],
    ]
    assert [str(trial.candidate) for trial in study.trials[:2]] == [
        "depth:1/3: sin; depth:2/3: gelu; depth:3/3: x * tanh(x)",
        "depth:1/3, depth:3/3: sin; depth:2/3: gelu",
    ]


def test_sites_that_no_pattern_matches_stay_as_they_are() -> None:
    study = _study({"encoder.*": None, "head.*": None}, direction="maximize")
    study.enqueue_trial("sin")
    _run(study, _task(), 1)
    candidate = study.trials[0].candidate
    assert [i.path for i in candidate.place(Net(), sample=ROWS).replaced] == [
        "encoder.1",
        "encoder.3",
        "head.1",
    ]
    assert candidate.label == "encoder.*, head.*: sin"


# identity and screening


def test_candidates_are_the_same_when_each_group_has_the_same_function() -> None:
    study = _study("per_depth", direction="minimize")
    study.enqueue_trial({"*": "silu", "depth:3/3": "sin"})
    study.enqueue_trial({"depth:1/3": "x*sigmoid(x)", "depth:2/3": "silu", "depth:3/3": "sin(x)"})
    study.enqueue_trial("silu")
    study.enqueue_trial(dict.fromkeys(BANDS, "silu"))
    study.enqueue_trial({"*": "silu", "depth:3/3": "x*sigmoid(x)"})
    study.enqueue_trial({"*": "silu", "depth:1/3": "sin"})
    _run(study, distance_by_group, 3)
    assert [trial.duplicate_of for trial in study.trials[:6]] == [None, 0, None, 2, 2, None]


def test_mirror_images_are_told_by_group() -> None:
    def mirror(*items: str) -> str:
        return identify(acs.Candidate.of(dict(zip(BANDS, items, strict=True))).record).mirror

    assert mirror("relu", "sin", "gelu") == mirror("min(x, 0)", "-sin(x)", "-gelu(-x)")
    assert mirror("relu", "sin", "gelu") != mirror("gelu", "sin", "relu")


def test_each_activation_is_screened_on_what_arrives_at_its_own_group() -> None:
    samples = {"a": [torch.randn(100, 1)], "b": [1000 + torch.randn(100, 1)]}

    def reason(**groups: str) -> str:
        return screen(acs.Candidate.of(groups).record, samples).reason

    assert reason(a="exp(x)", b="x*tanh(x)") == ""
    assert reason(a="x*tanh(x)", b="exp(x)").startswith("at b: values are not finite")


def test_a_search_screens_a_group_on_the_pre_activations_of_its_sites() -> None:
    class Large(Net):
        def forward(self, x: Tensor) -> Any:
            return self.head(F.silu(1e6 * self.body(self.encoder(x))) / 1e6)

    study = _study({"encoder.*": None, "silu": None}, direction="maximize")
    study.enqueue_trial({"encoder.*": "sinh(x)", "silu": "relu"})
    study.enqueue_trial({"encoder.*": "relu", "silu": "sinh(x)"})
    _run(study, _task(Large), 2)
    first, second = study.trials[:2]
    assert first.state is acs.TrialState.COMPLETE
    assert second.state is acs.TrialState.REJECTED
    assert second.reason.startswith("at silu: ")


# groups of a model


def test_groups_and_their_sites_are_kept_with_the_study() -> None:
    for sites, groups in {
        "per_site": [[path] for path in SITES],
        "per_depth": [[band] for band in BANDS],
    }.items():
        study = _study(sites)
        _run(study, _task(), 1)
        kept = study.user_attrs["site_groups"]
        assert kept["groups"] == groups
        assert sum(kept["sites"].values(), []) == SITES
    study = _study({"encoder.1": "ends", "head.*": "ends", "silu": None})
    _run(study, _task(), 1)
    assert study.user_attrs["site_groups"]["groups"] == [["encoder.1", "head.*"], ["silu"]]


def test_a_model_with_other_sites_is_refused_also_when_a_changed_task_is_accepted() -> None:
    study = _study("per_site")
    _run(study, _task(), 1)
    other = _task(lambda: nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)))
    with pytest.raises(acs.StudyError, match=r"other sites.*stored encoder\.1"):
        _run(study, other, 1, task_changed="accept")


@pytest.mark.parametrize(
    ("sites", "more", "words"),
    [
        ({"nowhere.*": None}, {}, "'nowhere.*' names no group.*encoder.1"),
        ({"encoder.*": None, "*.1": None}, {}, r"'encoder\.\*' and '\*\.1' overlap.*'encoder\.1'"),
        ({"encoder.*": "a", "encoder.1": "a"}, {}, "overlap"),
        ("per_depth", {"depth_bands": 5}, "4 hidden sites.*per_site"),
    ],
)
def test_groups_that_do_not_fit_the_model_are_refused_before_any_trial(
    sites: Any, more: dict[str, Any], words: str
) -> None:
    study = _study(sites, **more)
    with pytest.raises(acs.SpaceError, match=words):
        _run(study, _task(), 1)
    assert study.trials == []


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"sites": "per_layer"}, "'shared', 'per_depth', 'per_site' or a mapping"),
        ({"sites": ["encoder.*"]}, "a mapping"),
        ({"sites": {}}, "names no group"),
        ({"sites": {"": None}}, "not a pattern"),
        ({"sites": {1: None}}, "not a pattern"),
        ({"sites": {"encoder.*": 3}}, "name of a group, or None"),
        ({"sites": {"encoder.*": ""}}, "name of a group, or None"),
        ({"sites": {"*": None, "head.*": None}}, "overlaps"),
        *(
            ({"sites": "per_depth", "depth_bands": bands}, "positive integer")
            for bands in (0, -1, 1.5, True, "3", math.nan)
        ),
        ({"depth_bands": 3}, "for sites='per_depth'"),
        ({"sites": "per_site", "depth_bands": 3}, "for sites='per_depth'"),
    ],
    ids=str,
)
def test_a_space_says_what_is_wrong_with_its_sites(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(acs.SpaceError, match=words):
        Space(**settings)


def test_as_many_bands_as_sites_are_fine() -> None:
    study = _study("per_depth", depth_bands=4)
    _run(study, _task(), 1)
    assert list(study.user_attrs["site_groups"]["sites"].values()) == [[path] for path in SITES]


def test_per_site_needs_sites_that_can_be_named() -> None:
    with pytest.raises(acs.SpaceError, match="keeps its model to itself"):
        _run(_study("per_site", direction="maximize"), lambda candidate, run: 0.0, 1)

    def another() -> nn.Module:
        name = f"act_{torch.randint(10**6, ()).item()}"
        model = nn.Sequential(nn.Linear(4, 2))
        model.add_module(name, nn.ReLU())
        model.add_module("last", nn.Linear(2, 2))
        return model

    with pytest.raises(acs.SpaceError, match="other sites each time it is built"):
        _run(_study("per_site"), _task(another), 1)


def test_enqueued_groups_must_be_those_of_the_space() -> None:
    with pytest.raises(acs.SpaceError, match="names encoder"):
        _study("per_depth").enqueue_trial({"encoder.*": "sin", "*": "relu"})
    with pytest.raises(acs.SpaceError, match="one activation"):
        _study("shared").enqueue_trial({"depth:1/3": "sin", "*": "relu"})
    with pytest.raises(acs.SpaceError, match="each"):
        _study("per_depth").enqueue_trial({"depth:1/3": "sin"})
    with pytest.raises(acs.ActivationError):
        _study("per_depth").enqueue_trial({})
    study = _study("per_site")  # whose groups nobody knows yet
    study.enqueue_trial({"nowhere": "sin", "*": "relu"})
    study.enqueue_trial({"head.1": "sin", "*": "relu"})
    _run(study, _task(), 1)
    assert [trial.state.name for trial in study.trials[:2]] == ["REJECTED", "COMPLETE"]
    assert "names nowhere" in study.trials[0].reason


def test_another_division_is_another_study(sqlite_url: str) -> None:
    first = _study("per_depth", storage=sqlite_url)
    again = _study("per_depth", depth_bands=3, storage=sqlite_url, load_if_exists=True)
    assert again.study_name == first.study_name
    for space in (acs.Space(), acs.Space(sites="per_depth", depth_bands=2)):
        with pytest.raises(acs.StudyError, match="space sites|space depth_bands"):
            acs.create_study(study_name="s", storage=sqlite_url, space=space, load_if_exists=True)


# warm start


def test_a_search_by_site_starts_from_the_best_of_another_study(sqlite_url: str) -> None:
    old = acs.create_study(
        study_name="old", storage=sqlite_url, strategy="random", direction="minimize"
    )
    for name in ("relu", "sin", "tanh"):
        old.enqueue_trial(name)
    _run(old, distance_by_group, 3)
    new = _study(
        study_name="new", storage=sqlite_url, direction="minimize", warm_start_from="old",
        strategy="bayesian",
    )  # fmt: skip
    _run(new, distance_by_group, 20)
    assert [str(trial.candidate) for trial in new.trials[:3]] == [
        str(trial.candidate) for trial in sorted(old.trials, key=lambda one: one.value or 0)
    ]
    later = [trial.candidate.record for trial in new.trials[3:]]
    assert {record.operation for record in later} == {"one group"}
    assert later[0].parents == (0,)
    assert new.best_value < old.best_value

    again = _study(
        study_name="again", storage=sqlite_url, direction="minimize", warm_start_from="new"
    )
    assert again.trials[0].candidate.label == new.best_trial.candidate.label
    for space in (acs.Space(), acs.Space(sites="per_depth", depth_bands=2)):
        with pytest.raises(acs.StudyError, match="one activation for all|other groups"):
            acs.create_study(
                study_name="no", storage=sqlite_url, space=space, direction="minimize",
                warm_start_from="new", warm_start_top_k=1,
            )  # fmt: skip


# verdicts and ways out


def _confirmed() -> tuple[acs.Study, acs.Task]:
    study, task = _study("per_depth", seed=1), _task()
    study.enqueue_trial({"depth:1/3": "sin", "depth:2/3": "prelu", "depth:3/3": "x*tanh(x)"})
    study.enqueue_trial("gelu")
    _run(study, task, 2)
    return study, task


@pytest.mark.slow
def test_a_verdict_compares_several_activations_with_the_best_shared_row() -> None:
    study, task = _confirmed()
    verdict = study.confirm(task, top_k=2, seeds=2, show_progress_bar=False)
    labels = {row.label for row in verdict.rows}
    assert labels == {"gelu", "depth:1/3: sin; depth:2/3: prelu; depth:3/3: x * tanh(x)"}
    (row,) = (row for row in verdict.rows if row.label != "gelu")
    assert not row.is_catalog
    assert "class FoundActivation" in acs.to_python(row)
    assert "class Prelu" in acs.to_python(row)
    mixed = {"depth:1/3": "relu", "*": "tanh"}
    other = study.confirm(task, top_k=2, seeds=2, baseline=mixed, show_progress_bar=False)
    assert other.baseline.label == "depth:1/3: relu; *: tanh"


def test_near_clones_are_such_in_every_group() -> None:
    def record(*items: str) -> CandidateRecord:
        return acs.Candidate.of(dict(zip(BANDS, items, strict=True))).record

    mixed = record("sin(2.5*x)", "relu", "gelu")
    assert near_clone(mixed, record("sin(2.57*x)", "leaky_relu", "gelu_tanh"))
    assert not near_clone(mixed, record("sin(2.57*x)", "leaky_relu", "silu"))
    assert near_clone(acs.Candidate.of("relu").record, record("relu", "leaky_relu", "relu"))
    assert not near_clone(mixed, acs.Candidate.of({"other": "relu"}).record)


def test_several_activations_are_written_as_one_file(tmp_path: Path) -> None:
    study, _ = _confirmed()
    text = acs.to_python(study.trials[0])
    assert "Study s, trial 0" in text
    namespace: dict[str, Any] = {}
    exec(compile(text, "found.py", "exec"), namespace)
    classes = namespace["ACTIVATIONS"]
    assert list(classes) == list(BANDS)
    x = torch.randn(7, 1)
    for group, item in study.trials[0].candidate.record.activations.items():
        torch.testing.assert_close(classes[group]()(x), acs.activation(item)(x))
    two = acs.Candidate.of({"a": "x*tanh(x)", "b": "x*tanh(x)", "c": "x*sin(x)"})
    exec(compile(acs.to_python(two), "found.py", "exec"), namespace)
    a, b, c = namespace["ACTIVATIONS"].values()
    assert a is b is not c
    torch.testing.assert_close(c()(x), x * torch.sin(x))


@pytest.mark.parametrize(
    "use", [acs.plot, acs.timm_act_layer, lambda one: one.module()], ids=range(3)
)
def test_what_takes_one_activation_says_that_these_are_several(use: Any) -> None:
    trial = acs.Candidate.of({"a.*": "sin", "b.*": "relu"})
    with pytest.raises(acs.ActivationError, match=r"several activations.*a\.\*"):
        use(trial)


def test_tables_have_a_column_for_each_group() -> None:
    study, _ = _confirmed()
    frame = study.trials_dataframe()
    row, shared = frame.iloc[0], frame.iloc[1]
    assert [row[f"activation {band}"] for band in BANDS] == ["sin", "prelu", "x * tanh(x)"]
    assert shared["activation"] == "gelu"
    assert shared[[f"activation {band}" for band in BANDS]].isna().all()
    plain = _study("shared", study_name="t", direction="minimize")
    plain.enqueue_trial("relu")
    assert not [c for c in plain.trials_dataframe().columns if str(c).startswith("activation ")]
    parameters = study.optuna_study.trials[0].params
    assert parameters == {
        "depth:1/3 activation": "sin",
        "depth:2/3 activation": "prelu",
        "depth:3/3 activation": "composed",
    }
