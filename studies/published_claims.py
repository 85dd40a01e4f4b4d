"""Published finds and habits, put to the test: does the claimed activation beat what it was said to beat, here?

Each claim is tried on a task of the other studies, or on NSAD-Bench's tables, at the size of a laptop: the activation
that the claim is about against the one that it was compared with, both at the learning rates that suit them, under
fresh paired seeds, on test data that nothing else has seen. A verdict "equivalent" says that they differ by less than
the margin that is printed. It says what holds here, not that a paper is wrong about its own networks.

    python studies/published_claims.py            # all claims, about an hour on 2 cores
    python studies/published_claims.py selu snake # some of them

Run it again: claims with a verdict are read from the database.
"""

from __future__ import annotations

import logging
import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import digits_cnn
import digits_deep_mlp
import digits_mlp
import torch
from torch import nn

import actsearch as acs

STORAGE = f"sqlite:///{Path(__file__).with_name('actsearch.db')}"
TRAININGS = 96
SMALL = ("selu", "snake")  # of a quick look


@dataclass(frozen=True)
class Claim:
    """What was claimed, and where it is tried.

    Attributes:
        key: a short name.
        new: the activation that is said to be better.
        old: what it is said to be better than.
        source: who says so.
        said: what was measured there.
        task: makes the task, whose model holds ``old``; the argument asks for a quick look.
        margin: difference of the metric below which two activations count as equivalent.
    """

    key: str
    new: str
    old: type[nn.Module]
    source: str
    said: str
    task: Callable[[bool], acs.Task]
    margin: float


def holding(model: Callable[[], nn.Module], kind: type[nn.Module]) -> Callable[[], nn.Module]:
    """A builder of the same model with ``kind`` in the place of each of its ReLUs and GELUs."""

    def build() -> nn.Module:
        built = model()
        for parent in list(built.modules()):
            for name, child in parent.named_children():
                if isinstance(child, nn.ReLU | nn.GELU | nn.SiLU):
                    setattr(parent, name, kind())
        return built

    return build


def waves(small: bool) -> acs.Task:
    """sin(x) + x / 4 with noise, learned on [-10, 10], to be continued to where nothing was seen."""
    draw = torch.Generator().manual_seed(0)

    def rows(count: int, low: float, high: float) -> tuple[torch.Tensor, torch.Tensor]:
        x = low + (high - low) * torch.rand(count, 1, generator=draw)
        y = torch.sin(x) + x / 4
        return x, y + 0.05 * torch.randn(y.shape, generator=draw)

    return acs.Task(
        name="waves",
        model=lambda: nn.Sequential(
            nn.Linear(1, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 1)
        ),
        train=rows(512, -10, 10),
        valid=rows(256, 10, 15),
        test=rows(512, 15, 20),
        loss=nn.functional.mse_loss,
        metric="mse",
        epochs=2 if small else 60,
        batch_size=64,
        lr=3e-3,
    )


def mlp(small: bool) -> acs.Task:
    """Digits, two layers of 64."""
    return digits_mlp.make_task(1 if small else 15).replace(seeds=1)


def deep(small: bool) -> acs.Task:
    """Digits, twelve layers without normalisation."""
    return digits_deep_mlp.make_task(1 if small else 15)


def cnn(small: bool) -> acs.Task:
    """Digits as images, by accuracy alone."""
    return digits_cnn.make_task(1 if small else 10).replace(objectives=None)


CLAIMS = (
    Claim(
        "swish", "silu", nn.ReLU, "Ramachandran et al. 2017, arXiv:1710.05941",
        "ImageNet: +0.9 points of accuracy on Mobile NASNet-A", cnn, 0.01,
    ),
    Claim(
        "mish", "mish", nn.SiLU, "Misra 2019, arXiv:1908.08681",
        "overtakes Swish on most of its image sets", cnn, 0.01,
    ),
    Claim(
        "eelu", "eelu", nn.ReLU, "Rahman et al. 2024, arXiv:2409.04915",
        "better than standard activations in 92.8 % of cases", cnn, 0.01,
    ),
    Claim(
        "elish", "elish", nn.ReLU, "Basirat and Roth 2018, arXiv:1808.00783",
        "better than ReLU on three image sets", cnn, 0.01,
    ),
    Claim(
        "selu", "selu", nn.ReLU, "Klambauer et al. 2017, arXiv:1706.02515",
        "deep networks without normalisation train, and beat ReLU's", deep, 0.01,
    ),
    Claim(
        "learned swish", "swish", nn.SiLU, "Ramachandran et al. 2017, arXiv:1710.05941",
        "a learned beta does as well or better than beta = 1", mlp, 0.01,
    ),
    Claim(
        "snake", "snake", nn.ReLU, "Ziyin et al. 2020, arXiv:2006.08195",
        "continues periodic functions, which ReLU and tanh cannot", waves, 0.01,
    ),
)  # fmt: skip


def try_claim(claim: Claim, storage: str, small: bool) -> acs.Verdict:
    """The verdict of one claim; read from the storage if it is there."""
    task = claim.task(small)
    task = task.replace(model=holding(task.model, claim.old))
    study = acs.create_study(
        study_name=f"claim {claim.key}",
        storage=storage,
        strategy="random",
        load_if_exists=True,
    )
    if not study.trials:
        study.enqueue_trial(claim.new)
    study.optimize(task, total_trials=2)
    return study.confirm(
        task,
        top_k=1,
        seeds=2 if small else None,
        lrs=[] if small else None,
        min_effect=claim.margin,
        budget=None if small else TRAININGS,
    )


def row(claim: Claim, verdict: acs.Verdict) -> str:
    """A claim, what was said, and what came out, in three lines."""
    found = verdict.rows[0]
    if not math.isfinite(found.difference):
        difference = "diverged"
    else:
        difference = f"{found.difference:+.4f} [{found.low:+.4f}, {found.high:+.4f}]"
    return "\n".join(
        [
            f"{claim.new} over {claim.old.__name__}: {claim.source}",
            f"    said: {claim.said}",
            f"    here: {verdict.metric} {verdict.baseline.mean:.4f} -> {found.mean:.4f}, {difference} on "
            f"{claim.task.__name__}, {verdict.seeds} seeds, margin {claim.margin}; verdict: {found.verdict}",
        ]
    )


def main(storage: str = STORAGE, small: bool = False, keys: Sequence[str] = ()) -> None:
    """Try the claims, print what came out; ``small`` is a quick look at whether it all runs."""
    logging.basicConfig(format="%(message)s")
    logging.getLogger("actsearch").setLevel(logging.INFO)
    torch.set_num_threads(1)  # networks this small are fastest so
    known = {claim.key: claim for claim in CLAIMS}
    chosen = keys or (SMALL if small else tuple(known))
    if unknown := [key for key in chosen if key not in known]:
        sys.exit(f"there is no claim {unknown[0]!r}; there are {', '.join(known)}")
    verdicts = {key: try_claim(known[key], storage, small) for key in chosen}
    words = {key: verdict.rows[0].verdict for key, verdict in verdicts.items()}
    print()
    for key, verdict in verdicts.items():
        print(row(known[key], verdict))
    counts = [
        f"{list(words.values()).count(word)} {word}" for word in dict.fromkeys(words.values())
    ]
    print(f"\nVerdicts on {len(words)} claims: {', '.join(counts)}")
    print(f"Browse it:  {Path(sys.executable).with_name('actsearch')} dashboard {storage}")


if __name__ == "__main__":
    main(keys=sys.argv[1:])
