"""Every claim can be tried: its model takes both activations."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import published_claims
import pytest
import torch
from published_claims import CLAIMS, Claim, holding
from setups.packages import PackageMissing
from torch import nn

import actsearch as acs

LONG = ("gelu speech",)
"""To read its data takes a second."""


def task_of(claim: Claim) -> acs.Task:
    try:
        return claim.task(True)
    except PackageMissing as missing:
        pytest.skip(str(missing))


def kinds(model: nn.Module) -> Counter[type[nn.Module]]:
    return Counter(type(module) for module in model.modules())


def test_the_keys_differ_and_the_quick_look_has_some_of_them() -> None:
    keys = [claim.key for claim in CLAIMS]
    assert len(set(keys)) == len(keys)
    assert set(published_claims.SMALL) <= set(keys)


@pytest.mark.parametrize(
    "claim",
    [
        pytest.param(claim, id=claim.key, marks=[pytest.mark.slow] * (claim.key in LONG))
        for claim in CLAIMS
    ],
)
def test_both_activations_of_a_claim_stand_in_its_model(claim: Claim) -> None:
    task = task_of(claim)
    given = kinds(task.model())
    old = holding(claim, task.model)()
    assert kinds(old)[claim.old] == sum(given[kind] for kind in {*claim.replaces, claim.old}) > 0
    new = acs.place(old, claim.placing)
    assert len(new.replaced) == kinds(old)[claim.old]
    assert kinds(new.model)[claim.old] == 0
    if claim.placed is not None:
        placed = acs.place(old, claim.placed)
        assert [item.path for item in placed.replaced] == [item.path for item in new.replaced]
        x = torch.linspace(-3, 3, 7)
        assert torch.equal(acs.activation(claim.placed)(x), claim.old()(x))
    if claim.groups is not None:
        assert len(claim.groups(task)) == len(task.test[0])


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.key)
def test_what_was_tried_is_known_again_and_an_older_form_of_it_is_not(
    claim: Claim, tmp_path: Path
) -> None:
    space = acs.Space(sites=claim.sites) if claim.sites else None
    study = acs.create_study(
        study_name="a",
        storage=f"sqlite:///{tmp_path}/a.db",
        space=space,
        strategy="random",
        direction="maximize",
    )
    placing, older = claim.placing, "sin(30 * x)"

    def objective(candidate: acs.Candidate, run: acs.Run) -> float:
        return 0.5

    former = older if isinstance(placing, str) else dict.fromkeys(placing, older)
    for form, is_known in ((former, False), (placing, True)):
        study.enqueue_trial(form)
        study.optimize(objective, n_trials=1, show_progress_bar=False)
        assert published_claims.is_in(study, claim) is is_known
