"""The strategy that learns shapes: what follows from which history, also from one that another program wrote into."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from torch import nn

import actsearch as acs
from actsearch.activations import describe
from actsearch.expression import parse
from actsearch.records import (
    CURVES,
    LEARNED_NUMBERS,
    SHAPE,
    UNEXPLAINED,
    CandidateRecord,
    TrialRecord,
    TrialState,
)
from actsearch.strategies import Context, Gradient, SiteGroups, Space
from actsearch.study.contender import Contender

FEW = Space(["relu", "tanh"], ["add", "mul", "tanh"], max_size=7)
GROUPS = SiteGroups.named({"a.*": None, "b.*": None})
X = np.linspace(-3, 3, 41)
DENSITY = np.exp(-X * X / 2) / np.exp(-X * X / 2).sum()


def context(space: Space = FEW, groups: SiteGroups | None = None) -> Context:
    keys = ("*",) if groups is None else groups.all_keys
    own = dict.fromkeys(keys, describe("silu"))
    sites = {key: [f"{key[:1]}.act"] for key in keys}
    return Context(space, 3, "minimize", groups, own=own, sites=sites)


def curve(function: Callable[[Any], Any] = np.tanh) -> dict[str, list[float]]:
    return {"x": X.tolist(), "y": function(X).tolist(), "density": DENSITY.tolist()}


def ended(
    number: int,
    candidate: CandidateRecord,
    value: float | None = 1.0,
    state: TrialState = TrialState.COMPLETE,
    **attrs: Any,
) -> TrialRecord:
    attrs = {**candidate.attrs, **attrs}
    return TrialRecord(number, state, candidate, value, user_attrs=attrs, fingerprint=str(number))


def passed(
    number: int,
    candidate: CandidateRecord,
    function: Callable[[Any], Any] = np.tanh,
    value: float = 1.0,
) -> TrialRecord:
    """A pass that learned one function for every group."""
    curves = {key: curve(function) for key in candidate.activations}
    return ended(number, candidate, value, TrialState.PRUNED, **{CURVES: curves})


def step(history: Sequence[TrialRecord], where: Context, **settings: Any) -> list[CandidateRecord]:
    strategy = Gradient(**settings)
    return strategy.propose(history, strategy.batch_size(history, where), where)


def learned(*functions: Callable[[Any], Any], where: Context | None = None) -> list[TrialRecord]:
    """The passes of a round and its curve."""
    where = where or context()
    history: list[TrialRecord] = []
    for function in functions:
        (candidate,) = step(history, where, passes=len(functions))
        history.append(passed(len(history), candidate, function))
    (candidate,) = step(history, where, passes=len(functions))
    return [*history, ended(len(history), candidate)]


def test_the_first_pass_begins_with_what_the_model_has() -> None:
    (first,) = step([], context())
    assert first.operation == f"{SHAPE} 1 of 2"
    assert {key: item.name for key, item in first.activations.items()} == {"*": "silu"}
    (other,) = step([], context(), start="tanh")
    assert other.activations["*"].name == "tanh"


def test_each_group_begins_with_its_own_also_where_all_are_alike() -> None:
    (first,) = step([], context(groups=GROUPS))
    assert list(first.activations) == ["a.*", "b.*"]


def test_a_group_named_by_several_patterns_is_refused() -> None:
    groups = SiteGroups.named({"a.*": "ends", "c.*": "ends", "b.*": None})
    with pytest.raises(acs.SpaceError, match=r"a.\* and c.\* are one group"):
        Gradient().first_pass(context(groups=groups))


def test_the_second_pass_begins_where_the_first_ended() -> None:
    (first,) = step([], context())
    history = [passed(0, first, np.sin)]
    (second,) = step(history, context())
    assert second.operation == f"{SHAPE} 2 of 2"
    assert second.parents == (0,)
    module = acs.activation(second.activations["*"])
    values = module(acs_tensor(X)).numpy()
    np.testing.assert_allclose(values, np.sin(X), atol=2e-3)  # 40 points of 41


def acs_tensor(values: Any) -> Any:
    import torch

    return torch.tensor(values, dtype=torch.float64)


def test_the_best_of_the_passes_is_frozen_by_its_value_on_validation_data() -> None:
    (first,) = step([], context())
    history = [passed(0, first, np.sin, value=0.1)]
    (second,) = step(history, context())
    history.append(passed(1, second, np.tanh, value=0.3))
    (frozen,) = step(history, context())
    assert frozen.operation == "learned curve"
    assert frozen.parents == (0,)
    assert frozen.activations["*"].name == "linear_spline"


def test_names_lie_in_the_space_and_say_how_near_they_are() -> None:
    history = learned(np.tanh, lambda x: np.tanh(x) + 0.01 * np.sin(3 * x))
    names = step(history, context())
    assert names
    assert {name.operation for name in names} == {"name"}
    for name in names:
        assert name.parents == (len(history) - 1,)
        assert name.attrs[UNEXPLAINED]["*"] >= 0
        tree = parse(name.activations["*"].formula)
        assert tree.operators <= set(FEW.operator_names)
    assert "tanh" in names[0].label  # the shortest within the noise first


@pytest.mark.parametrize(
    ("function", "far"), [(np.tanh, False), (lambda x: np.sin(4 * x), True)], ids=["near", "far"]
)
def test_a_curve_that_no_name_comes_near_to_is_said_to_be_one(
    function: Callable[[Any], Any], far: bool, caplog: pytest.LogCaptureFixture
) -> None:
    history = learned(function, lambda x: function(x) + 0.02 * np.cos(x))
    step(history, context())
    assert ("no formula of the space is the learned curve" in caplog.text) is far


def test_a_space_of_fixed_forms_gets_names_without_learned_numbers() -> None:
    fixed = Space(["tanh"], ["add", "mul", "tanh"], max_size=7, learned=False)
    where = context(fixed)
    names = step(learned(lambda x: 1.7 * np.tanh(0.6 * x) + 0.2, where=where), where)
    assert names
    assert not any(parse(name.activations["*"].formula).parameters for name in names)


def test_what_a_name_has_learned_is_fixed_to_few_digits_and_whole_where_it_nearly_is() -> None:
    history = learned(np.tanh, np.tanh)
    name = CandidateRecord.shared(describe("param(1.1) * tanh(param(0.5) * x)"), "name")
    stored = {LEARNED_NUMBERS: {"*.act": [1.98765, -0.34567]}}
    history.append(dataclasses.replace(ended(len(history), name, 0.2), user_attrs=stored))
    (frozen,) = step(history, context())
    assert frozen.formula == "2 * tanh(-0.346 * x)"
    assert frozen.operation == "frozen name"


def frozen_of(
    formula: str, sites: Mapping[str, list[float]], function: Callable[[Any], Any] = np.tanh
) -> CandidateRecord:
    """What becomes of a name for a curve, by what each site has learned."""
    where = context()
    where = dataclasses.replace(where, sites={"*": list(sites)})
    history = learned(function, function)
    name = CandidateRecord.shared(describe(formula), "name")
    trial = ended(len(history), name, 0.2)
    trial = dataclasses.replace(trial, user_attrs={LEARNED_NUMBERS: dict(sites)})
    (frozen,) = step([*history, trial], where)
    return frozen


@pytest.mark.parametrize(
    ("formula", "numbers", "fixed"),
    [
        ("sin(param(10.0) * x)", [10.4], "sin(10.4 * x)"),  # 10.5 is another function
        ("tanh(x) - param(0.5) * relu(x)", [0.546], "tanh(x) - 0.546 * relu(x)"),
        ("tanh(x) - param(0.5)", [0.493], "tanh(x) - 0.5"),  # an offset, which the next layer has
        ("param(2.0) * tanh(x) - param(0.04)", [2.01, 0.0472], "2 * tanh(x)"),
        ("tanh(x) - param(0.7)", [-0.72], "tanh(x) + 0.72"),
        ("param(0.1) - param(0.7) * sin(4 * x)", [0.01, 0.678], "-0.678 * sin(4 * x)"),
        ("param(0.1) - param(0.7) * sin(4 * x)", [0.01, -0.678], "0.678 * sin(4 * x)"),
        ("param(0.1) - sin(4 * x)", [0.01], "-sin(4 * x)"),
    ],
)
def test_one_formula_is_proposed_for_what_a_name_learned_in_its_simplest_writing(
    formula: str, numbers: list[float], fixed: str
) -> None:
    assert frozen_of(formula, {"a.act": numbers}).formula == fixed


@pytest.mark.parametrize(
    ("learned_there", "number"),
    [
        ({"a": [0.70], "b": [0.72], "c": [0.74]}, 0.72),  # they agree: the mean
        ({"a": [-0.174], "b": [0.565]}, 0.565),  # the mean is 0.196, which neither is
        ({"a": [-0.9], "b": [0.565], "c": [0.625]}, 0.565),  # two against one
        ({"a": [0.6], "b": [-0.6]}, 0.6),  # of a mean of 0 nothing would be left
    ],
    ids=str,
)
def test_sites_that_disagree_get_the_numbers_of_one_of_them(
    learned_there: dict[str, list[float]], number: float
) -> None:
    """Of two, those nearer to the learned curve; of more, those nearest to the others."""
    formula = "relu(x) + param(0.4) * sin(3 * x)"
    frozen = frozen_of(formula, learned_there, lambda x: np.maximum(x, 0) + 0.4 * np.sin(3 * x))
    assert frozen.formula == f"relu(x) + {number} * sin(3 * x)"


def test_two_names_that_become_one_function_are_tried_once() -> None:
    history = learned(np.tanh, np.tanh)
    for value, formula, numbers in (
        (0.3, "tanh(x) - param(0.5)", [0.6]),
        (0.2, "param(1.1) * tanh(x) - param(0.5)", [1.5, 0.7]),
        (0.1, "sin(param(1.1) * x)", [0.8]),
    ):
        trial = ended(len(history), CandidateRecord.shared(describe(formula), "name"), value)
        history.append(
            dataclasses.replace(trial, user_attrs={LEARNED_NUMBERS: {"*.act": numbers}})
        )
    frozen = step(history, context())
    assert [item.formula for item in frozen] == ["sin(0.8 * x)", "1.5 * tanh(x) - 0.7"]
    assert [item.parents for item in frozen] == [(5,), (4,)]


def test_a_group_whose_curve_has_no_name_keeps_its_points_beside_frozen_names() -> None:
    where = context(groups=GROUPS)
    history = learned(np.tanh, np.tanh, where=where)
    points = history[-1].candidate.activations["b.*"]
    assert points.name == "linear_spline"
    name = CandidateRecord(
        {"a.*": describe("param(1.1) * tanh(param(0.9) * x)"), "b.*": points}, "name"
    )
    stored = {LEARNED_NUMBERS: {"a.act": [2.0, 1.0]}}
    history.append(dataclasses.replace(ended(len(history), name, 0.2), user_attrs=stored))
    (frozen,) = step(history, where)
    assert frozen.activations["a.*"].formula == "2 * tanh(x)"
    assert frozen.activations["b.*"] == points
    assert list(frozen.attrs[UNEXPLAINED]) == ["a.*"]


def test_a_name_with_fixed_numbers_says_what_it_leaves_over_itself() -> None:
    near = frozen_of("param(1.1) * tanh(param(0.9) * x)", {"a": [2.0, 1.0]})
    far = frozen_of("param(1.1) * tanh(param(0.9) * x)", {"a": [2.0, 0.01]})
    assert near.attrs[UNEXPLAINED] == {"*": pytest.approx(0, abs=1e-6)}
    line = np.polyval(np.polyfit(X, np.tanh(X), 1, w=np.sqrt(DENSITY)), X)
    variance = DENSITY @ np.tanh(X) ** 2
    assert far.attrs[UNEXPLAINED]["*"] == pytest.approx(
        DENSITY @ (np.tanh(X) - line) ** 2 / variance, rel=0.02
    )
    study = acs.create_study(study_name="frozen", strategy="gradient", direction="minimize")
    trial = acs.Trial(ended(5, far), study.study_name)
    assert "of its curve unexplained" in str(trial)


@pytest.mark.parametrize(
    "stored",
    [None, "text", {}, {"*.act": "text"}, {"*.act": [1.0]}, {"*.act": [1.0, "x"]}, {"*.act": [1.0, 1e300]}],
)  # fmt: skip
def test_numbers_that_another_program_wrote_are_left_alone(stored: Any) -> None:
    history = learned(np.tanh, np.tanh)
    name = CandidateRecord.shared(describe("param(1.1) * tanh(param(0.5) * x)"), "name")
    attrs = {LEARNED_NUMBERS: stored}
    history.append(dataclasses.replace(ended(len(history), name, 0.2), user_attrs=attrs))
    (following,) = step(history, context())  # another round
    assert following.learns_shape


@pytest.mark.parametrize(
    ("what", "settings", "known"),
    [
        ("relu", {}, True),
        ("linear_spline", {"points": "-1:0 0:1 1:0"}, False),
        ("x * tanh(x)", {}, False),
    ],
)
def test_a_learned_curve_is_no_row_that_a_composed_winner_is_compared_with(
    what: str, settings: dict[str, str], known: bool
) -> None:
    record = CandidateRecord.shared(describe(what, **settings))
    assert Contender(record, 0).is_catalog is known


def test_another_round_begins_with_the_best_activation() -> None:
    history = learned(np.tanh, np.tanh)
    best = CandidateRecord.shared(describe("x * tanh(x)"), "frozen name")
    history += [
        ended(len(history), CandidateRecord.shared(describe("tanh"), "name"), 0.5),
        ended(len(history) + 1, best, 0.01),
    ]
    (following,) = step(history, context())
    assert following.operation == f"{SHAPE} 1 of 2"
    assert following.activations["*"].formula == "x * tanh(x)"
    assert following.parents == (history[-1].number,)


def test_passes_that_fail_are_tried_again_and_then_no_more() -> None:
    history: list[TrialRecord] = []
    for number in range(3):
        (candidate,) = step(history, context())
        assert candidate.learns_shape
        history.append(ended(number, candidate, None, TrialState.FAILED))
    assert step(history, context()) == []


@pytest.mark.parametrize(
    "written",
    [
        None, 3, {}, {"*": None}, {"*": {"x": [0, 1], "y": [0, 1]}}, {"*": curve() | {"y": [0.0]}},
        {"*": curve() | {"x": X[::-1].tolist()}}, {"*": curve() | {"y": [float("nan")] * len(X)}},
        {"*": curve() | {"density": [0.0] * len(X)}}, {"*": curve() | {"y": ["__import__('os')"] * len(X)}},
        {"*": curve() | {"x": [[1.0]] * len(X)}}, {"*": curve() | {"y": [1e12] * len(X)}},
        {"*": curve() | {"x": [1 + 1e-12 * i for i in range(len(X))]}}, {"*": curve() | {"y": [10**400] * len(X)}},
    ],
)  # fmt: skip
def test_curves_that_another_program_wrote_count_as_a_pass_that_came_to_nothing(
    written: Any,
) -> None:
    (first,) = step([], context())
    history = [ended(0, first, 0.1, TrialState.PRUNED, **{CURVES: written})]
    (again,) = step(history, context())
    assert again.learns_shape
    assert again.activations == first.activations


@pytest.mark.parametrize(
    "operation", [SHAPE, f"{SHAPE} 3 of 2", f"{SHAPE} 0 of 0", f"{SHAPE} 99999 of 3"]
)
def test_a_turn_that_cannot_be_is_the_first_of_one(operation: str) -> None:
    assert CandidateRecord({"*": describe("relu")}, operation).turn == (1, 1)


def test_another_trial_between_changes_nothing() -> None:
    """What a user enqueues, and the model unchanged, are no part of a round."""
    history = learned(np.tanh, np.tanh)
    other = ended(99, CandidateRecord.shared(describe("gelu"), "user"), 0.01)
    with_other = [*history[:1], dataclasses.replace(other, number=50), *history[1:]]
    assert [name.activations for name in step(with_other, context())]


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"passes": 0}, "passes"), ({"names": 2.5}, "names"), ({"start": "nothing"}, "start: no activation"),
        ({"start": "maxout"}, "not a fixed function"), ({"start": "rrelu"}, "not a fixed function"),
        ({"start": "step"}, "not a fixed function"),
    ],
)  # fmt: skip
def test_settings_that_make_no_sense_are_refused(settings: Mapping[str, Any], says: str) -> None:
    with pytest.raises(acs.SpaceError, match=says):
        Gradient(**settings)


def study_with_passes() -> acs.Study:
    """Passes 0 and 1, and the curve of the first as trial 2."""
    study = acs.create_study(study_name="passes", strategy="gradient", direction="minimize")
    history = learned(np.tanh, np.sin)
    frozen = dataclasses.replace(history[2].candidate, parents=(0,))
    records = [*history[:2], dataclasses.replace(history[2], candidate=frozen)]
    study.__dict__["_trials"] = lambda epochs=False: records
    return study


WAYS_OUT: dict[str, Callable[[Any], Any]] = {
    "python": acs.to_python,
    "activation": acs.activation,
    "place": lambda what: acs.place(nn.Sequential(nn.Linear(2, 2), nn.ReLU()), what),
    "timm": acs.timm_act_layer,
    "transformers": lambda what: acs.register_hf("a pass", what),
    "plot": acs.plot,
    "cost": lambda what: acs.cost(what, (2, 2)),
    "enqueued": lambda what: acs.create_study(study_name="other").enqueue_trial(what),
}


@pytest.mark.parametrize("way", WAYS_OUT)
def test_a_pass_is_no_activation_whichever_way_it_is_taken(way: str) -> None:
    first, second, curve_trial = study_with_passes().trials
    for what in (first, first.candidate):
        with pytest.raises(
            acs.ActivationError,
            match=r"^trial 0 is a pass of shape learning, which has no activation of its own: its curve was trained "
            r"as trial 2$",
        ):
            WAYS_OUT[way](what)
    for other in (second, second.record, second.record.candidate):
        with pytest.raises(acs.ActivationError, match="has the curve that it learned"):
            WAYS_OUT[way](other)
    if way == "transformers":
        pytest.importorskip("transformers", reason="the curve itself goes into transformers")
    WAYS_OUT[way](curve_trial)


def test_the_candidate_of_a_pass_has_no_module_and_is_not_placed() -> None:
    first, *_ = study_with_passes().trials
    model = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
    for way in (
        first.candidate.module, lambda: first.candidate.place(model), lambda: first.candidate.expression,
    ):  # fmt: skip
        with pytest.raises(acs.ActivationError, match="its curve was trained as trial 2"):
            way()
    assert str(first.candidate) == "a shape that begins as silu"


@pytest.mark.parametrize(
    "settings",
    [{"pruner": acs.SuccessiveHalving()}, {"directions": ["minimize", "minimize"]}],
    ids=["pruner", "objectives"],
)
def test_what_the_strategy_does_not_do_is_refused_when_a_study_is_made(
    settings: Mapping[str, Any],
) -> None:
    with pytest.raises(acs.ActsearchError, match="gradient"):
        acs.create_study(study_name="s", strategy="gradient", **settings)
