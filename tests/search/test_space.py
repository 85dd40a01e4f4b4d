"""What a search may propose: fixed forms alone, and a space that differs from the stored one."""

from __future__ import annotations

from typing import Any

import pytest

import actsearch as acs
from actsearch.activation_catalog import CATALOG
from actsearch.operators import OPERATORS
from actsearch.strategies import Space


@pytest.mark.parametrize("names", [None, "all"])
def test_fixed_forms_are_all_but_those_with_learned_numbers(names: str | None) -> None:
    every, fixed = (
        Space(activations=names, operators=names),
        Space(activations=names, operators=names, learned=False),
    )
    gone = set(every.activation_names) - set(fixed.activation_names)
    assert {"prelu", "swish", "max_affine"} <= gone
    assert {"relu", "leaky_relu", "sin"} <= set(fixed.activation_names)
    assert all(CATALOG[name].learned for name in gone)
    assert set(every.operator_names) - set(fixed.operator_names) == {"mix"}
    assert OPERATORS["mix"].learned


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"activations": ["relu", "prelu"]}, "prelu"),
        ({"operators": ["add", "mix"]}, "mix"),
    ],
)
def test_a_learned_form_that_is_named_is_no_fixed_one(
    settings: dict[str, Any], named: str
) -> None:
    with pytest.raises(acs.SpaceError, match=f"learned=False leaves out .* and {named} has some"):
        Space(learned=False, **settings)


def test_learned_is_true_or_false() -> None:
    with pytest.raises(acs.SpaceError, match="must be True or False, not 'no'"):
        Space(learned="no")  # type: ignore[arg-type]


def test_a_stored_space_is_read_back() -> None:
    space = Space(activations=["relu"], learned=False)
    assert Space.from_json(space.to_json()).learned is False


@pytest.mark.parametrize(("stored", "now"), [(True, False), (False, True)])
def test_a_study_of_the_other_kind_is_refused(sqlite_url: str, stored: bool, now: bool) -> None:
    def make(learned: bool) -> acs.Study:
        return acs.create_study(
            study_name="one", storage=sqlite_url, space=Space(learned=learned), load_if_exists=True
        )

    make(stored)
    make(stored)
    with pytest.raises(acs.StudyError, match=f"space learned: {now}, stored {stored}"):
        make(now)


def test_a_study_from_before_there_were_fixed_spaces_had_learned_forms() -> None:
    stored = Space().to_json()
    del stored["learned"]
    assert Space.from_json(stored).learned
    assert Space().differences(stored) == []
    assert Space(learned=False).differences(stored)[-1] == "space learned: False, stored True"
