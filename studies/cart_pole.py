"""Which activation for a policy that learns to balance a pole by trial and error?

Generated: the cart and pole of Barto, Sutton and Anderson (1983), written in torch so that many play at once. A push of
10 N to the left or the right, every 0.02 s, has to keep the pole within 12 degrees and the cart on its 4.8 m; a
step that succeeds pays 1, and 200 are the most. The policy is a small network, and learns by REINFORCE (Williams 1992)
from 30 updates of 16 games each, so that what counts is how soon it learns. The score is the mean return from fixed
starts, with the likelier push each time; other starts are for the verdict. Run it again: it resumes, and adds nothing.

    python studies/cart_pole.py
"""

from __future__ import annotations

import functools
import logging
import sys
from collections.abc import Iterable
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import TensorDataset

import actsearch as acs

STORAGE = f"sqlite:///{Path(__file__).with_name('actsearch.db')}"
TRIALS = 24
LONGEST = 200  # steps of a game, 4 s
SECONDS, FORCE, GRAVITY = 0.02, 10.0, 9.8
POLE, CART, HALF_LENGTH = 0.1, 1.0, 0.2  # kg, kg, m; theirs has 0.5, and is easier
ANGLE, TRACK = 12 * torch.pi / 180, 2.4  # rad, m to either side


def make_model() -> nn.Module:
    """The policy; of each state (games, 4) the logit of a push to the right, (games, 1)."""
    return nn.Sequential(
        nn.Linear(4, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 1)
    )  # fmt: skip


def push(state: Tensor, right: Tensor) -> Tensor:
    """The next state of each game, by Euler's rule: place, speed, angle, angular speed; (games, 4)."""
    place, speed, angle, spin = state.unbind(-1)
    sine, cosine = angle.sin(), angle.cos()
    pulled = (FORCE * (2 * right - 1) + POLE * HALF_LENGTH * spin**2 * sine) / (CART + POLE)
    inertia = HALF_LENGTH * (4 / 3 - POLE * cosine**2 / (CART + POLE))
    turned = (GRAVITY * sine - cosine * pulled) / inertia
    driven = pulled - POLE * HALF_LENGTH * turned * cosine / (CART + POLE)
    rates = torch.stack([speed, driven, spin, turned], -1)
    return state + SECONDS * rates


def play(
    model: nn.Module, state: Tensor, longest: int, greedy: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """States (steps, games, 4), pushes and whether the pole still stood before each, both (steps, games)."""
    stands = torch.ones(len(state))
    states, pushes, standing = [], [], []
    with torch.no_grad():
        for _ in range(longest):
            chance = model(state).squeeze(-1).sigmoid()
            right = (chance > 0.5).float() if greedy else torch.bernoulli(chance)
            states.append(state)
            pushes.append(right)
            standing.append(stands)
            after = push(state, right)
            falls = (after[:, 2].abs() > ANGLE) | (after[:, 0].abs() > TRACK)
            stands = stands * ~falls
            if not stands.any():
                break
            state = torch.where(stands[:, None] > 0, after, torch.zeros(()))
    return torch.stack(states), torch.stack(pushes), torch.stack(standing)


def learn(longest: int, model: nn.Module, batch: list[Tensor]) -> Tensor:
    """REINFORCE: pushes become likelier by how much longer their games went on than the others at that step."""
    states, pushes, standing = play(model, batch[0], longest, greedy=False)
    to_go = standing.flip(0).cumsum(0).flip(0)  # (steps, games)
    mean = (to_go * standing).sum(1, keepdim=True) / standing.sum(1, keepdim=True)
    advantage = (to_go - mean) * standing
    advantage = advantage / (advantage.square().sum() / standing.sum()).sqrt().clamp(min=1.0)
    surprise = F.binary_cross_entropy_with_logits(
        model(states).squeeze(-1), pushes, reduction="none"
    )
    return (advantage * surprise).sum() / standing.sum()


def score(longest: int, model: nn.Module, batches: Iterable[list[Tensor]]) -> dict[str, float]:
    """The mean return: how many steps the pole stood, without chance."""
    starts = torch.cat(
        [starts for (starts,) in batches]
    )  # played at once, which takes little longer than one
    return {"return": play(model, starts, longest, greedy=True)[2].sum(0).mean().item()}


def make_starts(games: int, seed: int) -> TensorDataset:
    """Places, speeds, angles and angular speeds at random, (games, 4); some are lost whatever one does."""
    width = torch.tensor([1.5, 0.75, 0.15, 0.75])
    random = torch.rand(games, 4, generator=torch.Generator().manual_seed(seed))
    return TensorDataset((2 * random - 1) * width)


def make_task(small: bool = False) -> acs.Task:
    """Starts to learn from, to search by, and for the verdict."""
    longest = 20 if small else LONGEST
    return acs.Task(
        name="cart-pole",
        model=make_model,
        train=make_starts(1024, seed=0),
        valid=make_starts(256, seed=1),
        test=make_starts(1024, seed=2),
        step=functools.partial(learn, longest),
        evaluate=functools.partial(score, longest),
        metric="return",
        steps=2 if small else 30,
        eval_every=2 if small else 30,
        batch_size=16,
        lr=1e-2,
        seeds=1 if small else 2,
    )


def main(storage: str = STORAGE, small: bool = False) -> None:
    """Search, confirm, print the evidence; ``small`` is a quick look at whether it all runs."""
    logging.basicConfig(format="%(message)s")
    logging.getLogger("actsearch").setLevel(logging.INFO)  # says how long it will take
    torch.set_num_threads(1)  # a network this small is fastest so
    task = make_task(small)
    study = acs.create_study(
        study_name="cart-pole",
        storage=storage,
        strategy="bayesian",
        direction="maximize",
        load_if_exists=True,
    )
    study.optimize(task, total_trials=4 if small else TRIALS)
    verdict = study.confirm(
        task, top_k=1 if small else 2, seeds=2 if small else None, covers="seeds"
    )
    print(f"\n{verdict}")
    print(f"\nBrowse it:  {Path(sys.executable).with_name('actsearch')} dashboard {storage}")


if __name__ == "__main__":
    main()
