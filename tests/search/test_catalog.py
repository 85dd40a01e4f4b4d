"""The catalog: the rows that were promised, with sources and ranges, and refusals that help."""

from __future__ import annotations

import re
from typing import Any

import pytest

import actsearch as acs
from actsearch.activation_catalog import Catalog, Hyperparameter, Row
from actsearch.activations import describe
from actsearch.expression import Expression

PROMISED = {
    "identity": (),
    "step": (),
    "relu": ("grad_at_zero",),
    "leaky_relu": ("negative_slope",),
    "prelu": ("init", "per"),
    "rrelu": ("lower", "upper"),
    "elu": ("alpha",),
    "selu": (),
    "celu": ("alpha",),
    "gelu": (),
    "silu": (),
    "swish": ("beta", "per"),
    "mish": (),
    "softplus": ("beta",),
    "softsign": (),
    "sigmoid": (),
    "tanh": (),
    "hardtanh": ("min_val", "max_val"),
    "hardsigmoid": (),
    "hardswish": (),
    "sin": ("omega",),
    "max_affine": ("pieces", "per"),
    "maxout": ("pieces",),
    "softmax": ("dim",),
}

FITTED = {"rational", "piecewise_linear", "mixture"}
TEXTS = {
    ("rational", "start"),
    ("piecewise_linear", "start"),
    ("mixture", "members"),
    ("linear_spline", "points"),
}


@pytest.mark.parametrize("name", list(PROMISED))
def test_every_promised_activation_is_there_with_its_hyperparameters(name: str) -> None:
    row = acs.catalog[name]
    assert row.name == name
    assert tuple(setting.name for setting in row.hyperparameters) == PROMISED[name]
    assert name in acs.catalog.names()


def test_the_catalog_is_a_mapping_in_one_order() -> None:
    assert list(acs.catalog) == acs.catalog.names() == [row.name for row in acs.catalog.values()]
    assert len(acs.catalog) == len(set(acs.catalog))
    assert "relu" in acs.catalog
    assert "nope" not in acs.catalog
    assert acs.catalog.get("nope") is None


@pytest.mark.parametrize("name", acs.catalog.names())
def test_every_row_says_where_it_comes_from_and_where_it_belongs(name: str) -> None:
    row = acs.catalog[name]
    assert len(row.source) > 8
    assert 1943 <= row.year <= 2100
    assert row.tier in ("recommended", "standard", "control")
    assert row.role in ("hidden", "output", "gate")


@pytest.mark.parametrize("name", acs.catalog.names())
def test_the_year_of_a_row_is_one_that_its_source_names(name: str) -> None:
    row = acs.catalog[name]
    named = re.findall(r"\b(?:19|20)\d\d\b", re.sub(r"arXiv:\S+", "", row.source))
    assert not named or str(row.year) in named
    for submitted in re.findall(r"arXiv:(\d\d)(?:\d\d)\.\d{4,5}\b", row.source):
        assert 1994 <= 2000 + int(submitted) <= 2026
    assert row.source.count("arXiv:") == len(re.findall(r"arXiv:\d{4}\.\d{4,5}\b", row.source))


ALIASES = [(alias, row.name) for row in acs.catalog.values() for alias in row.aliases]


@pytest.mark.parametrize(("alias", "name"), ALIASES)
def test_an_alias_is_the_row_it_stands_for(alias: str, name: str) -> None:
    assert acs.catalog[alias] is acs.catalog[name]
    assert alias in acs.catalog
    assert alias not in acs.catalog.names()
    record = acs.activation(alias).record
    assert (record.name, record.label) == (name, name)
    assert record == acs.activation(name).record


def test_names_of_other_libraries_are_rows_or_aliases() -> None:
    assert acs.activation("quick_gelu").record.name == "quick_gelu"
    assert acs.activation("gelu_new").record.name == "gelu_tanh"
    assert acs.activation("hard_tanh", max_val=6).record.label == "hardtanh(max_val=6)"


def test_fitted_rows_are_three_and_have_a_formula_for_reading_only() -> None:
    assert {name for name, row in acs.catalog.items() if row.fitted} == FITTED
    for name in FITTED:
        assert "..." in str(acs.catalog[name].formula)
        formula = acs.activation(name).formula
        assert "..." not in formula
        assert acs.parse(formula).parameters


@pytest.mark.parametrize("name", acs.catalog.names())
def test_every_default_lies_inside_its_range(name: str) -> None:
    for setting in acs.catalog[name].hyperparameters:
        if setting.choices:
            assert setting.default in setting.choices
        elif isinstance(setting.default, str):
            assert (name, setting.name) in TEXTS
            assert not setting.searched
        else:
            assert setting.low <= setting.default <= setting.high
            assert -100 <= setting.low < setting.high <= 100
            assert setting.low > 0 or not setting.log


@pytest.mark.parametrize("name", acs.catalog.names())
def test_every_formula_reads_with_every_bound_of_every_setting(name: str) -> None:
    row = acs.catalog[name]
    if not row.elementwise:
        with pytest.raises(acs.ActivationError, match="not elementwise"):
            row.expression(row.bind({}))
        return
    assert isinstance(acs.activation(name).expression, Expression)
    for setting in row.hyperparameters:
        if isinstance(setting.default, str) and not setting.choices:
            continue
        for value in setting.choices or (setting.low, setting.high):
            if not row.fitted:
                values = row.bind({setting.name: value})
                assert acs.parse(row.text(values)) == row.expression(values)
            elif value in (setting.choices[0], setting.choices[-1]):  # a fit takes a moment
                _check_fitted(name, {setting.name: value})


@pytest.mark.slow
def test_every_fitted_formula_reads_with_every_choice() -> None:
    fitted = [name for name in acs.catalog.names() if acs.catalog[name].fitted]
    assert fitted
    for name in fitted:
        for setting in acs.catalog[name].hyperparameters:
            for value in setting.choices:
                _check_fitted(name, {setting.name: value})


def _check_fitted(name: str, given: dict[str, Any]) -> None:
    formula = describe(name, **acs.catalog[name].bind(given)).formula
    assert str(acs.parse(formula)) == formula


def test_outputs_and_gates_are_never_among_the_hidden() -> None:
    outputs, gates = {"softmax", "softmin", "log_softmax", "softmax2d"}, {"glu", "crelu"}
    assert set(acs.catalog.names(role="output")) == outputs
    assert set(acs.catalog.names(role="gate")) == gates
    assert not (outputs | gates) & set(acs.catalog.names(role="hidden"))
    assert not (outputs | gates) & set(acs.catalog.names(tier="recommended"))


def test_a_hidden_row_is_elementwise_unless_a_wider_layer_makes_up_for_it() -> None:
    for name, row in acs.catalog.items():
        assert row.elementwise is (row.role == "hidden" and row.widens is None), name
    assert {name for name, row in acs.catalog.items() if row.widens is not None} == {"maxout"}
    assert acs.catalog["maxout"].widens in {s.name for s in acs.catalog["maxout"].hyperparameters}


@pytest.mark.parametrize("pieces", [2, 3, 4])
def test_a_row_says_how_many_times_as_wide_the_layer_before_it_must_be(pieces: int) -> None:
    row = acs.catalog["maxout"]
    assert row.width(row.bind({"pieces": pieces})) == pieces
    assert acs.catalog["max_affine"].width(acs.catalog["max_affine"].bind({})) == 1


def test_controls_are_not_recommended_and_tiers_share_out_the_hidden_rows() -> None:
    assert set(acs.catalog.names(tier="control")) == {"identity", "step"}
    recommended = acs.catalog.names(tier="recommended")
    assert {"relu", "gelu", "silu", "tanh"} <= set(recommended)
    assert not {"identity", "step", "softmax"} & set(recommended)
    tiers = [acs.catalog.names(tier=t) for t in ("recommended", "standard", "control")]
    assert sorted(sum(tiers, [])) == sorted(acs.catalog.names())


@pytest.mark.parametrize("choice", [0, 0.5, 1])
def test_relu_offers_three_gradients_at_zero(choice: float) -> None:
    assert acs.catalog["relu"].bind({"grad_at_zero": choice}) == {"grad_at_zero": choice}


@pytest.mark.parametrize(
    ("name", "given", "complaint"),
    [
        (
            "leaky_relu",
            {"negative_slope": 1.5},
            "leaky_relu: negative_slope must be a number from 0 to 1, not 1.5",
        ),
        ("leaky_relu", {"negative_slope": -0.1}, "number from 0 to 1, not"),
        ("leaky_relu", {"negative_slope": float("nan")}, "number from 0 to 1, not"),
        ("leaky_relu", {"negative_slope": "0.1"}, "must be a number from 0 to 1, not"),
        ("leaky_relu", {"negative_slope": True}, "must be a number from 0 to 1, not"),
        ("leaky_relu", {"negative_slope": None}, "must be a number from 0 to 1, not"),
        ("leaky_relu", {"negativ_slope": 0.1}, "did you mean 'negative_slope'"),
        ("elu", {"alpha": 0.0}, "from 0.1 to 3"),
        ("softplus", {"beta": float("inf")}, "from 0.1 to 10"),
        ("rrelu", {"lower": 0.5}, "lower must be a number from 0 to 0.25, not 0.5"),
        ("relu", {"grad_at_zero": 0.3}, "0.0, 0.5 or 1.0"),
        ("relu", {"negative_slope": 0.3}, "grad_at_zero"),
        ("prelu", {"per": "pixel"}, "'tensor' or 'channel'"),
        ("max_affine", {"pieces": 5}, "2, 3 or 4"),
        ("max_affine", {"pieces": "2"}, "2, 3 or 4"),
        ("maxout", {"pieces": 1}, "2, 3 or 4"),
        ("maxout", {"per": "channel"}, "maxout has no hyperparameter 'per'; known: pieces"),
        ("softmax", {"dim": 0.5}, "an integer from -8 to 8"),
        ("softmax", {"dim": 9}, "an integer from -8 to 8, not 9"),
        ("gelu", {"alpha": 1.0}, "gelu has no hyperparameter 'alpha'; it has none"),
    ],
)
def test_a_wrong_setting_is_refused_with_what_would_be_right(
    name: str, given: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(acs.ActivationError, match=complaint):
        acs.activation(name, **given)
    with pytest.raises(acs.ActivationError, match=complaint):
        acs.catalog[name].bind(given)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("rleu", "relu"),
        ("leakyrelu", "leaky_relu"),
        ("Gelu", "gelu"),
        ("gelu_pytroch_tanh", "gelu_pytorch_tanh"),  # an alias
    ],
)
def test_an_unknown_name_is_answered_with_the_nearest(name: str, meant: str) -> None:
    with pytest.raises(acs.ActivationError, match=f"{name}.*did you mean .*'{meant}'"):
        acs.activation(name)
    with pytest.raises(acs.ActivationError, match=f"did you mean .*'{meant}'"):
        acs.catalog[name]


def test_a_name_like_no_other_is_answered_with_the_known_names() -> None:
    with pytest.raises(acs.ActivationError, match="known: abs, acon_c"):
        acs.activation("zzz")


def test_a_formula_takes_no_hyperparameters() -> None:
    with pytest.raises(acs.ActivationError, match="alpha: only catalog names"):
        acs.activation("x*tanh(x)", alpha=1.0)


def test_a_label_shows_only_what_differs_from_the_default() -> None:
    row = acs.catalog["hardtanh"]
    assert row.label(row.bind({})) == "hardtanh"
    assert row.label(row.bind({"max_val": 6})) == "hardtanh(max_val=6)"


def test_two_rows_of_one_name_are_refused() -> None:
    row = Row("same", "x", "nobody, never", 2000, (Hyperparameter("a", 1.0, 0.0, 2.0),))
    with pytest.raises(acs.ActivationError, match="one name"):
        Catalog((row, row))
