"""Published finds and habits, put to the test: does the claimed activation beat what it was said to beat, here?

Each claim is tried on a task of the other studies, or on NSAD-Bench's tables, at the size of a laptop: the activation
that the claim is about against the one that it was compared with, both at the learning rates that suit them, under
fresh paired seeds, on test data that nothing else has seen. A verdict "equivalent" says that they differ by less than
the margin that is printed. It says what holds here, not that a paper is wrong about its own networks: these are small,
and trained for as long as is printed, the transformer that reads Hamlet for 400 steps. Its test windows are grouped by
passage, as in its own study. Weights are drawn as torch does, but for SELU, whose paper asks for LeCun's normal ones.

    python studies/published_claims.py            # all claims, about 25 minutes
    python studies/published_claims.py selu snake # some of them

Run it again: claims with a verdict are read from the database.
"""

from __future__ import annotations

import logging
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import digits_cnn
import digits_deep_mlp
import digits_mlp
import gan
import implicit_image
import language_model
import nsad_bench
import physics
import speech
import torch
from torch import nn

import actsearch as acs

STORAGE = f"sqlite:///{Path(__file__).with_name('actsearch.db')}"
TRAININGS = 96
USUAL = (nn.ReLU, nn.LeakyReLU, nn.GELU, nn.SiLU)
SMALL = ("selu", "snake")  # of a quick look
SIREN = {group: implicit_image.SIREN[site] for site, group in implicit_image.GROUPS.items()}


@dataclass(frozen=True)
class Claim:
    """What was claimed, and where it is tried.

    Attributes:
        key: a short name.
        new: the activation that is said to be better; or one for each group of sites.
        old: what it is said to be better than.
        source: who says so.
        said: what was measured there.
        task: makes the task, whose model holds ``old``; the argument asks for a quick look.
        margin: difference of the metric below which two activations count as equivalent.
        sites: group of each site, where ``new`` differs by group.
        direction: of a metric whose name does not tell it.
        replaces: modules of the model that give way to ``old``.
        groups: labels of the test rows, where some of them belong together.
        note: how it was tried, where that needs a word.
        placed: ``old`` as ``acs.place`` takes it, where weights are drawn anew for each of the two (``gain="auto"``),
            which those of the model unchanged never are. Else they are as torch draws them.
    """

    key: str
    new: str | Mapping[str, str]
    old: type[nn.Module]
    source: str
    said: str
    task: Callable[[bool], acs.Task]
    margin: float
    sites: Mapping[str, str] | None = None
    direction: Literal["minimize"] | None = None
    replaces: tuple[type[nn.Module], ...] = USUAL
    groups: Callable[[acs.Task], list[int]] | None = None
    note: str = ""
    placed: str | None = None

    @property
    def named(self) -> str:
        """The new activation in words."""
        if isinstance(self.new, str):
            return self.new
        return ", ".join(f"{name} in {group}" for group, name in self.new.items())

    @property
    def placing(self) -> str | dict[str, str]:
        """The new activation as ``acs.place`` takes it, by site where it differs by group."""
        if isinstance(self.new, str):
            return self.new
        return {site: self.new[group] for site, group in (self.sites or {}).items()}


def holding(claim: Claim, model: Callable[[], nn.Module]) -> Callable[[], nn.Module]:
    """A builder of the same model with the claim's old activation in the place of its own."""

    def build() -> nn.Module:
        built = model()
        for parent in list(built.modules()):
            for name, child in parent.named_children():
                if isinstance(child, claim.replaces):
                    setattr(parent, name, claim.old())
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


def phoneme(small: bool) -> acs.Task:
    """A table of NSAD-Bench, in its network."""
    return nsad_bench.make_task(small).replace(tune_lr="auto")


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
        note="weights N(0, g^2 / inputs): g = 1 for SELU, as LeCun's; g^2 = 2 for ReLU, as He's", placed="relu",
    ),
    Claim(
        "learned swish", "swish", nn.SiLU, "Ramachandran et al. 2017, arXiv:1710.05941",
        "a learned beta does as well or better than beta = 1", mlp, 0.01,
    ),
    Claim(
        "snake", "snake", nn.ReLU, "Ziyin et al. 2020, arXiv:2006.08195",
        "continues periodic functions, which ReLU and tanh cannot", waves, 0.01,
    ),
    Claim(
        "gelusine", "gelu_sine", nn.GELU, "Vitvitskyi et al. 2026, arXiv:2602.05688",
        "loss outside of the training range 54.7, with GELU 78.8", waves, 0.01,
    ),
    Claim(
        "prelu", "prelu", nn.ReLU, "He et al. 2015, arXiv:1502.01852",
        "ImageNet: top-1 error 1.2 points lower; here on a table", phoneme, 0.002,
    ),
    Claim(
        "pade", "pade", nn.ReLU, "NSAD-Bench 2026, github.com/ana55e/nsad-bench",
        "phoneme: AUC 0.9077, with ReLU 0.8918, both at a rate of 0.001", phoneme, 0.002,
    ),
    Claim(
        "gelu", "gelu", nn.ReLU, "Hendrycks and Gimpel 2016, arXiv:1606.08415",
        "better than ReLU and ELU in vision, language and speech", language_model.make_task, 0.01,
        groups=language_model.passages,
    ),
    Claim(
        "relu2", "relu2", nn.ReLU, "So et al. 2021, arXiv:2109.08668 (Primer)",
        "squaring ReLU makes most of the gain of a searched transformer", language_model.make_task, 0.01,
        groups=language_model.passages,
    ),
    Claim(
        "gelu speech", "gelu", nn.ReLU, "Hendrycks and Gimpel 2016, arXiv:1606.08415",
        "better than ReLU on TIMIT's frames", speech.make_task, 0.01,
    ),
    Claim(
        "siren", SIREN, nn.ReLU, "Sitzmann et al. 2020, arXiv:2006.09661",
        "images are fitted far better than with ReLU", implicit_image.make_task, 0.5, implicit_image.GROUPS,
        note="sin(30 x) as it comes out with weights as torch draws them",
    ),
    Claim(
        "tanh", "tanh", nn.ReLU, "habit: Raissi et al. 2019, J. Comput. Phys. 378",
        "networks for differential equations have tanh: ReLU's second derivative is 0", physics.make_task, 0.01,
        direction="minimize", replaces=(nn.Tanh,),
    ),
    Claim(
        "leaky relu", {"generator": "relu", "discriminator": "max(x, 0.2 * x)"}, nn.ReLU,
        "Radford et al. 2015, arXiv:1511.06434 (DCGAN)", "works well in the discriminator", gan.make_task, 1.0,
        gan.GROUPS, "minimize",
    ),
)  # fmt: skip


def is_in(study: acs.Study, claim: Claim) -> bool:
    """Whether a trial has the claim's new activations: a claim may have had others when the study was made."""
    names = {claim.new} if isinstance(claim.new, str) else {*claim.new.values()}
    wanted = {acs.Candidate.of(name).formula for name in names}
    return any(
        {item.formula for item in trial.record.candidate.activations.values()} == wanted
        for trial in study.trials
    )


def try_claim(claim: Claim, storage: str, small: bool) -> tuple[acs.Verdict, str]:
    """The verdict of one claim, read from the storage if it is there, and where it is tried."""
    task = claim.task(small)
    task = task.replace(model=holding(claim, task.model), gain="auto" if claim.placed else None)
    study = acs.create_study(
        study_name=f"claim {claim.key}",
        storage=storage,
        strategy="random",
        direction=claim.direction,
        space=acs.Space(sites=claim.sites) if claim.sites else None,
        load_if_exists=True,
    )
    if not study.trials:
        study.enqueue_trial(claim.placing)
    elif not is_in(study, claim):
        sys.exit(
            f"study {study.study_name!r} was made with another form of this claim: delete it, or take another database"
        )
    study.optimize(task, total_trials=2)
    verdict = study.confirm(
        task,
        top_k=1,
        baseline=claim.placed,
        seeds=2 if small else None,
        lrs=[] if small else None,
        min_effect=claim.margin,
        budget=None if small else TRAININGS,
        groups=None if small or claim.groups is None else claim.groups(task),
    )
    length = f"{task.epochs} epochs" if task.steps is None else f"{task.steps} steps"
    return verdict, f"{task.name} ({length})"


def row(claim: Claim, verdict: acs.Verdict, place: str) -> str:
    """A claim, what was said, and what came out, in three lines."""
    found = verdict.rows[0]
    if not math.isfinite(found.difference):
        difference = "diverged"
    else:
        difference = f"{found.difference:+.4f} [{found.low:+.4f}, {found.high:+.4f}]"
    note = f" ({claim.note})" if claim.note else ""
    return "\n".join(
        [
            f"{claim.named} over {claim.old.__name__}: {claim.source}{note}",
            f"    said: {claim.said}",
            f"    here: {verdict.metric} {verdict.baseline.mean:.4f} -> {found.mean:.4f}, {difference} on {place}, "
            f"{verdict.seeds} seeds, margin {claim.margin}; verdict: {found.verdict}",
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
    found = {key: try_claim(known[key], storage, small) for key in chosen}
    words = [verdict.rows[0].verdict for verdict, _ in found.values()]
    print()
    for key, (verdict, place) in found.items():
        print(row(known[key], verdict, place))
    counts = [f"{words.count(word)} {word}" for word in dict.fromkeys(words)]
    print(f"\nVerdicts on {len(words)} claims: {', '.join(counts)}")
    print(f"Browse it:  {Path(sys.executable).with_name('actsearch')} dashboard {storage}")


if __name__ == "__main__":
    main(keys=sys.argv[1:])
