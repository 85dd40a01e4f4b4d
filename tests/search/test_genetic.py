"""The genetic strategy: its first batch, its mutations, its rules, and that it makes progress."""

from __future__ import annotations

import functools
import random
import statistics
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from deap.gp import PrimitiveTree
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import actsearch as acs
from actsearch.activation_catalog import CATALOG
from actsearch.activations import describe
from actsearch.expression import Call, Expression, Number, Parameter, X, parse
from actsearch.operators import OPERATORS
from actsearch.records import ActivationRecord, CandidateRecord, TrialRecord, TrialState
from actsearch.screening import fingerprint, screen
from actsearch.strategies import Context, Space
from actsearch.strategies.genetic.trees import from_tree, primitive_set, to_tree
from actsearch.strategies.genetic.variation import MUTATIONS, crossover, random_formula
from actsearch.strategies.groups import SiteGroups
from actsearch.strategies.known import KNOWN
from actsearch.strategies.population import Member, best_and_latest, list_members, tournament

CONTEXT = Context(Space(), 0, "minimize")
PARENTS = (
    "x * tanh(x)",
    "max(x, 0.1 * x) + sin(2 * x)",
    "x * sigmoid(param(1.0) * x)",
    'piecewise(param(0.25, per="channel") * x, x)',
    "gate(x, x ** 2) - 0.5",
    "mix(relu(x), tanh(x), param(0.3))",
    "sum(x, sin(x), max(x, 0, x * x))",
    "relu(x)",
    "x",
)


@pytest.fixture(autouse=True)
def seeded() -> Iterator[None]:
    """The variation operators draw from the global ``random``."""
    state = random.getstate()
    random.seed(0)
    yield
    random.setstate(state)


def _item(candidate: CandidateRecord) -> ActivationRecord:
    return candidate.activations["*"]


def _distance(candidate: CandidateRecord) -> float:
    """Mean squared distance to x*tanh(x) on a grid."""
    x = torch.linspace(-3, 3, 61).unsqueeze(1)
    module = acs.Candidate(candidate).module(channels=1).eval()
    with torch.no_grad():
        return float((module(x) - x * torch.tanh(x)).square().mean())


def _evolve(strategy: acs.Genetic, batches: int, context: Context) -> list[TrialRecord]:
    history: list[TrialRecord] = []
    for _ in range(batches):
        for candidate in strategy.propose(history, strategy.batch_size(history, context), context):
            refused = screen(candidate).reason
            state = TrialState.REJECTED if refused else TrialState.COMPLETE
            value = None if refused else _distance(candidate)
            history.append(
                TrialRecord(
                    len(history),
                    state,
                    candidate,
                    value,
                    0.0,
                    fingerprint=fingerprint(_item(candidate)),
                )
            )
    return history


CATALOG_FIRST = acs.Genetic(start="catalog")
CHILDREN = acs.Genetic(bred=0, immigrants=0)
"""Later batches are children alone."""


class TestBatches:
    def test_the_first_is_half_catalog_rows_and_half_variants(self) -> None:
        assert acs.Genetic().batch_size([], CONTEXT) == 16
        first = acs.Genetic(start="catalog").propose([], 32, CONTEXT)
        kinds = Counter("catalog" if _item(one).name else "composed" for one in first)
        rows = [name for name in CONTEXT.space.activation_names if CATALOG[name].elementwise]
        assert kinds["catalog"] == min(16, len(rows))
        assert kinds["composed"] == 32 - kinds["catalog"]
        operations = {one.operation for one in first if not _item(one).name}
        assert operations <= {*MUTATIONS, "random formula"}
        assert len(operations) > 2

    def test_rows_are_a_random_half_when_there_are_more(self) -> None:
        drawn = [
            {
                _item(one).name
                for one in CATALOG_FIRST.propose([], 12, Context(Space(), seed, "minimize"))
            }
            for seed in range(3)
        ]
        assert all(len(names - {None}) == 6 for names in drawn)
        assert drawn[0] != drawn[1] or drawn[1] != drawn[2]

    def test_half_of_the_first_are_drawn_at_random(self) -> None:
        operations = Counter(one.operation for one in acs.Genetic().propose([], 16, CONTEXT))
        assert operations[KNOWN] == 8
        assert operations["random formula"] + operations["random catalog"] >= 6  # some are known

    def test_a_quarter_of_a_later_one_is_drawn_at_random_and_the_rest_chosen_in_turn(self) -> None:
        history = _evolve(acs.Genetic(), 2, CONTEXT)
        assert acs.Genetic().batch_size(history, CONTEXT) == 8
        operations = Counter(one.operation for one in acs.Genetic().propose(history, 24, CONTEXT))
        assert operations["random formula"] + operations["random catalog"] in (4, 5, 6)
        assert operations["catalog"] >= 4
        assert operations["small formula"] >= 4
        assert sum(operations[name] for name in (*MUTATIONS, "crossover")) >= 4

    def test_without_immigrants_nothing_is_drawn_at_random(self) -> None:
        strategy = acs.Genetic(immigrants=0)
        history = _evolve(strategy, 2, CONTEXT)
        assert {one.operation for one in strategy.propose([], 16, CONTEXT)} == {KNOWN}
        operations = {trial.candidate.operation for trial in history}
        assert not operations & {"random formula", "random catalog"}

    def test_what_is_proposed_does_not_depend_on_the_state_of_the_global_random(self) -> None:
        history = _evolve(acs.Genetic(), 2, CONTEXT)
        proposals = []
        for seed in (1, 2):
            random.seed(seed)
            proposals.append(acs.Genetic().propose(history, 8, CONTEXT))
        assert proposals[0] == proposals[1]

    def test_children_have_parents_of_the_history(self) -> None:
        history = _evolve(CHILDREN, 1, CONTEXT)
        children = CHILDREN.propose(history, 24, CONTEXT)
        assert len(children) == 24
        complete = {trial.number for trial in history if trial.state is TrialState.COMPLETE}
        for child in children:
            assert len(child.parents) == (2 if child.operation == "crossover" else 1)
            assert set(child.parents) <= complete
        operations = Counter(child.operation for child in children)
        assert operations["crossover"] >= 2
        assert len(operations) >= 4

    @pytest.mark.parametrize("share", [0.0, 1.0])
    def test_the_share_of_crossover_is_a_setting(self, share: float) -> None:
        history = _evolve(CHILDREN, 1, CONTEXT)
        children = replace(CHILDREN, crossover=share).propose(history, 12, CONTEXT)
        assert {child.operation == "crossover" for child in children} == {bool(share)}

    @pytest.mark.slow
    def test_every_candidate_is_new_by_identity(self) -> None:
        history = _evolve(acs.Genetic(batch=24), 5, CONTEXT)
        identities = [trial.fingerprint for trial in history]
        assert len(set(identities)) == len(identities) > 100

    def test_too_few_parents_start_again_with_the_catalog(self) -> None:
        failed = CandidateRecord.shared(describe("softmax", dim=1), "user")
        history = [TrialRecord(0, TrialState.REJECTED, failed, fingerprint="0" * 32)]
        proposals = CATALOG_FIRST.propose(history, 24, CONTEXT)
        assert any(one.operation == "catalog" for one in proposals)

    def test_only_the_latest_and_the_elites_are_parents(self) -> None:
        history = [
            TrialRecord(
                number,
                TrialState.COMPLETE,
                CandidateRecord.shared(describe(f"x * tanh({number + 1} * x)")),
                100.0 - number if number >= 5 else float(number),
                fingerprint=str(number),
            )
            for number in range(60)
        ]
        strategy = acs.Genetic(population=10, elites=3)
        parents = {
            parent for child in strategy.propose(history, 60, CONTEXT) for parent in child.parents
        }
        assert parents <= {0, 1, 2, *range(50, 60)}
        assert parents & {0, 1, 2}


@functools.cache
def _composed() -> tuple[Expression, ...]:
    """Every formula composed in six batches of a small space with all operators."""
    space = Space(operators="all", max_size=12, max_depth=4)
    history = _evolve(acs.Genetic(first_batch=32, batch=24), 6, Context(space, 1, "minimize"))
    items = [_item(trial.candidate) for trial in history]
    return tuple(parse(item.formula) for item in items if item.name is None)


class TestRules:
    def test_size_and_depth_stay_within_the_limits(self) -> None:
        trees = _composed()
        assert len(trees) > 100
        assert max(tree.size for tree in trees) <= 12
        assert max(tree.depth for tree in trees) <= 4
        assert max(tree.size for tree in trees) >= 8  # the limit is reached for

    def test_exponents_are_numbers(self) -> None:
        powers = [
            node
            for tree in _composed()
            for node in _nodes(tree)
            if isinstance(node, Call) and node.operator == "pow"
        ]
        assert all(isinstance(node.arguments[1], Number) for node in powers)

    def test_no_operator_stands_inside_another_of_its_family(self) -> None:
        for tree in _composed():
            for node in _nodes(tree):
                family = OPERATORS[node.operator].family if isinstance(node, Call) else None
                if family is None:
                    continue
                inner = [item for item in _nodes(node) if isinstance(item, Call)][1:]
                assert family not in [OPERATORS[item.operator].family for item in inner], str(tree)

    def test_every_operator_depends_on_x(self) -> None:
        for tree in _composed():
            assert all(node.uses_x for node in _nodes(tree) if isinstance(node, Call)), str(tree)

    @pytest.mark.parametrize(
        ("formula", "fits"),
        [
            ("x * tanh(x)", True),
            ("x ** 2", True),
            ("exp(sin(x))", True),
            ("x", False),
            ("1.0", False),
            ("x ** x", False),
            ("x ** param(2.0)", False),
            ("exp(exp(x))", False),
            ("exp(x + gauss(x))", False),
            ("sin(x * cos(x))", False),
            ("square(cube(x))", False),
            ("x + tanh(param(1.0))", False),
            ("log(x)", False),  # outside the default operators
        ],
    )
    def test_rules(self, formula: str, fits: bool) -> None:
        assert Space().allows(parse(formula)) is fits


def _nodes(tree: Expression) -> Iterator[Expression]:
    yield tree
    for argument in tree.arguments if isinstance(tree, Call) else ():
        yield from _nodes(argument)


class TestTournament:
    SMALL = Member(7, (describe("tanh(x)"),), 0.50)
    LARGE = Member(3, (describe("x * tanh(x) + sin(x)"),), 0.49)

    @pytest.mark.parametrize(
        ("spread", "winner"), [(0.02, "small"), (0.005, "large"), (0.0, "large")]
    )
    def test_within_one_spread_the_smaller_wins(self, spread: float, winner: str) -> None:
        # both take part in all but one of 2,000 draws
        chosen = tournament([self.SMALL, self.LARGE], 12, spread, CONTEXT)
        assert chosen is (self.SMALL if winner == "small" else self.LARGE)

    @pytest.mark.parametrize("direction", ["minimize", "maximize"])
    def test_beyond_it_the_better_wins(self, direction: str) -> None:
        context = Context(Space(), 0, "minimize" if direction == "minimize" else "maximize")
        rivals = [Member(number, (describe("x * x"),), float(number)) for number in range(5)]
        chosen = tournament(rivals, 60, 0.1, context)
        assert chosen.number == (0 if direction == "minimize" else 4)

    def test_of_equals_the_earlier_wins(self) -> None:
        rivals = [Member(number, (describe("x * x"),), 1.0) for number in (5, 2, 9)]
        assert tournament(rivals, 60, 0.0, CONTEXT).number == 2


class TestTrees:
    @pytest.mark.parametrize("formula", PARENTS)
    def test_a_formula_survives_the_way_to_deap_and_back(self, formula: str) -> None:
        tree = parse(formula)
        assert from_tree(to_tree(tree)) == tree

    @pytest.mark.parametrize("name", [name for name, row in CATALOG.items() if row.elementwise])
    def test_so_does_every_catalog_row(self, name: str) -> None:
        tree = parse(describe(name).formula)
        assert from_tree(to_tree(tree)) == tree

    @given(st.integers(0, 2**32))
    @settings(max_examples=60, deadline=None)
    def test_so_do_random_formulas(self, seed: int) -> None:
        random.seed(seed)
        tree = random_formula(primitive_set(Space(operators="all")))
        assert from_tree(to_tree(tree)) == tree
        assert len(to_tree(tree)) == tree.size

    def test_a_subtree_in_the_place_of_a_learned_number_gives_way_to_its_start(self) -> None:
        blend, other = to_tree(parse("mix(x, relu(x), param(0.3))")), to_tree(parse("tanh(x)"))
        weight = len(blend) - 1
        assert str(from_tree(PrimitiveTree([*blend[:weight], *other]))) == str(
            parse("mix(x, relu(x), param(0.5))")
        )

    def test_a_blend_is_drawn_with_its_weight_and_a_sum_with_three_terms(self) -> None:
        pset = primitive_set(Space(operators=["mix", "sum", "tanh"]))
        drawn = {random_formula(pset) for _ in range(60)}
        calls = [node for tree in drawn for node in tree.walk() if isinstance(node, Call)]
        assert {len(node.arguments) for node in calls if node.operator == "sum"} == {3}
        weights = {node.arguments[2] for node in calls if node.operator == "mix"}
        assert weights == {Parameter(0.5)}

    def test_heavier_operators_are_picked_more_often(self) -> None:
        pset = primitive_set(Space(operators=["add", "exp"]))
        names = Counter(item.name for item in pset.primitives[object])
        assert names["add"] > names["exp"] >= 1
        assert set(names) == {"add", "exp"}

    def test_deap_can_not_run_a_tree(self) -> None:
        pset = primitive_set(Space())
        assert all(callable(value) for value in pset.context.values() if value is not None)
        with pytest.raises(TypeError, match="not compiled"):
            pset.context["tanh"](1.0)


class TestMutations:
    PSET = primitive_set(Space())

    @pytest.mark.parametrize("name", list(MUTATIONS))
    @pytest.mark.parametrize("parent", PARENTS)
    def test_the_child_is_a_formula_that_reads_back(self, name: str, parent: str) -> None:
        tree = parse(parent)
        for _ in range(20):
            child = MUTATIONS[name][0](tree, self.PSET)
            assert parse(str(child)) == child
        assert tree == parse(parent)

    @given(
        seed=st.integers(0, 2**32),
        name=st.sampled_from(list(MUTATIONS)),
        parent=st.sampled_from(PARENTS),
    )
    @settings(
        max_examples=150,
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture],
    )
    def test_the_same_random_state_makes_the_same_child(
        self, seed: int, name: str, parent: str
    ) -> None:
        random.seed(seed)
        first = MUTATIONS[name][0](parse(parent), self.PSET)
        random.seed(seed)
        assert MUTATIONS[name][0](parse(parent), self.PSET) == first

    def _children(self, name: str, parent: str) -> set[str]:
        return {str(MUTATIONS[name][0](parse(parent), self.PSET)) for _ in range(60)}

    def test_node_keeps_the_shape(self) -> None:
        parent = parse("tanh(x) * sin(2.0 * x)")
        for _ in range(40):
            child = MUTATIONS["node"][0](parent, self.PSET)
            assert [item.arity for item in to_tree(child)] == [
                item.arity for item in to_tree(parent)
            ]
            changed = sum(
                str(a) != str(b)
                for a, b in zip(_nodes(parent), _nodes(child), strict=True)
                if not isinstance(a, Call) or not isinstance(b, Call)
            )
            assert changed <= 1
        assert len(self._children("node", str(parent))) > 10

    def test_node_copes_with_a_space_without_operators_of_the_arity(self) -> None:
        pset = primitive_set(Space(operators=["tanh"]))
        parent = parse("tanh(x * x)")
        children = {str(MUTATIONS["node"][0](parent, pset)) for _ in range(40)}
        assert str(parent) in children
        assert len(children) > 1

    def test_hoist_gives_a_proper_subtree(self) -> None:
        parent = parse("max(x, 0.1 * x) + sin(x)")
        subtrees = {str(node) for node in _nodes(parent)} - {str(parent)}
        assert self._children("hoist", str(parent)) == subtrees

    def test_jitter_moves_one_number_a_little(self) -> None:
        children = [parse(text) for text in self._children("jitter", "tanh(2.0 * x) + 1.0 * x")]
        assert len(children) > 20
        for child in children:
            numbers = [node.value for node in _nodes(child) if isinstance(node, Number)]
            moved = [abs(a - b) / b for a, b in zip(numbers, (2.0, 1.0), strict=True) if a != b]
            assert len(moved) <= 1
            assert all(step < 0.6 for step in moved)  # six standard deviations

    def test_jitter_moves_the_start_of_a_parameter_and_keeps_its_scope(self) -> None:
        for text in self._children("jitter", 'param(0.25, per="channel") * x'):
            (parameter,) = parse(text).parameters
            assert parameter.per == "channel"
            assert abs(parameter.init - 0.25) < 0.3

    def test_learn_swaps_numbers_and_parameters(self) -> None:
        assert self._children("learn", "2.0 * x") == {str(parse("param(2.0) * x"))}
        assert self._children("learn", "param(0.5) * x") == {str(parse("0.5 * x"))}
        assert self._children("learn", "relu(x)") == {"relu(x)"}

    def test_scope_swaps_shared_and_per_channel(self) -> None:
        shared, channel = "param(0.5) * x", 'param(0.5, per="channel") * x'
        assert self._children("scope", shared) == {str(parse(channel))}
        assert self._children("scope", channel) == {str(parse(shared))}
        assert self._children("scope", "2 * x") == {str(parse("2 * x"))}

    def test_scale_multiplies_one_x(self) -> None:
        expected = {f"tanh({factor} * x)" for factor in ("0.5", "2.0", "param(1.0)")}
        children = self._children("scale", "tanh(x)")
        assert {parse(text) for text in children} == {parse(text) for text in expected}

    def test_subtree_keeps_the_rest(self) -> None:
        parent = parse("tanh(sin(x))")
        children = [parse(text) for text in self._children("subtree", str(parent))]
        kept = [child for child in children if str(child).startswith("tanh(")]
        assert len(children) > 20
        assert kept
        assert max(child.depth for child in children) <= parent.depth + 2

    @pytest.mark.parametrize("name", list(MUTATIONS))
    def test_a_lone_x_is_no_problem(self, name: str) -> None:
        assert isinstance(MUTATIONS[name][0](X, self.PSET), Expression)

    def test_crossover_mixes_parts_of_both_parents(self) -> None:
        a, b = parse("tanh(x) + sin(x)"), parse("x * softplus(param(1.0) * x)")
        mine = {item.name for item in to_tree(a)} | {item.name for item in to_tree(b)}
        children = {crossover(a, b) for _ in range(60)}
        assert len(children) > 8
        for child in children:
            assert {item.name for item in to_tree(child)} <= mine
        assert any({"tanh", "softplus"} <= child.operators for child in children)
        assert a == parse("tanh(x) + sin(x)")

    def test_parameters_are_inherited(self) -> None:
        parent = parse("x * sigmoid(param(0.7) * x)")
        children = [crossover(parent, parse("tanh(x) * x")) for _ in range(40)]
        assert any(Parameter(0.7) in _nodes(child) for child in children)


@pytest.mark.slow
def test_it_improves_on_its_first_population() -> None:
    space = Space(activations=["relu", "sigmoid"])
    gains = []
    for seed in range(12):  # one seed's gain is 1.0 to 1e12: of five, the median says little
        history = _evolve(
            acs.Genetic(first_batch=32, batch=24), 8, Context(space, seed, "minimize")
        )
        first = min(trial.value for trial in history[:32] if trial.value is not None)
        best = min(trial.value for trial in history if trial.value is not None)
        gains.append(first / max(best, 1e-12))
    assert statistics.median(gains) > 3
    assert sum(gain > 1.5 for gain in gains) >= 8


@pytest.mark.parametrize(
    ("one", "other", "alike"),
    [
        ("sin(1.2 * x)", "sin(-0.3 * x)", True),
        ("param(0.25) * x", "param(-1e-05) * x", True),
        ("x - 0.5", "x + 0.5", False),
        ("i0e(x)", "i1e(x)", False),
        ('param(1.0, per="channel") * x', "param(1.0) * x", False),
    ],
)
def test_a_shape_is_a_formula_without_its_numbers(one: str, other: str, alike: bool) -> None:
    shapes = {Member(0, (describe(text),), 0.0).shape for text in (one, other)}
    assert len(shapes) == (1 if alike else 2)


def test_a_formula_that_is_tuned_again_and_again_takes_one_place() -> None:
    """Otherwise the population is soon full of one formula's relatives, and nothing else is crossed."""
    context = Context(Space(), 0, "minimize")
    tuned = [f"sin({1 + at / 100:.2f} * x)" for at in range(80)]
    history = [
        TrialRecord(
            number,
            TrialState.COMPLETE,
            CandidateRecord.shared(describe(formula)),
            float(80 - number),
        )
        for number, formula in enumerate(["x * tanh(x)", *tuned])
    ]
    members = list(list_members(history, context, SiteGroups.shared()))
    found = best_and_latest(members, context, latest=64, elites=1)
    assert [one.items[0].formula for one in found] == ["x * tanh(x)", "sin(1.79 * x)"]
