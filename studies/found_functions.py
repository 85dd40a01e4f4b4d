"""What was found in each field, drawn beside what the network had: one picture of all studies of fields.

Run it after the studies: it reads from the database their last verdicts against the model unchanged, and writes
found_functions.html beside it. Thick is the winner, or where nothing is better the best of those that were compared
under the most seeds; dashed is what the model has unchanged. A candidate with several groups of sites has a line for
each.

    python studies/found_functions.py
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import plotly.graph_objects as go
import torch
from plotly.subplots import make_subplots

import actsearch as acs
from actsearch.activations import curve
from actsearch.records import ActivationRecord, StudyRecord
from actsearch.report import Reader

STORAGE = f"sqlite:///{Path(__file__).with_name('actsearch.db')}"
FIELDS = {  # study: its field, and the activations of its model
    "speech": ("speech: digits", ("relu",)),
    "sentiment": ("sentiment: films", ("relu",)),
    "spelling-to-sound": ("spelling to sounds", ("relu",)),
    "hamlet": ("language: Hamlet", ("gelu",)),
    "cars": ("regression: cars", ("relu",)),
    "gan": ("GAN: digits", ("relu", "max(x, 0.2 * x)")),  # generator, discriminator
    "implicit-image": ("image from coordinates", ("relu",)),
    "burgers": ("physics: Burgers", ("tanh",)),
    "cart-pole": ("control: a pole", ("relu",)),
    "nsad-phoneme-auto": ("table: phoneme", ("relu",)),
}
COLUMNS = 2
REACH = 4.0
DASHES = ("dash", "dot")
COLOURS = ("#0072B2", "#D55E00", "#009E73")  # Okabe & Ito: safe for colour-blind readers


class Found(NamedTuple):
    """What a study found: its verdict in a few words, and the functions by group of sites."""

    words: str
    functions: dict[str, tuple[np.ndarray, np.ndarray]]


def read(reader: Reader, study: StudyRecord) -> Found | None:
    """From its last verdict against the model unchanged; None without one."""
    verdicts = [verdict for _, verdict in reader.verdicts(study)]
    against_model = [
        verdict
        for verdict in verdicts
        if not verdict.baseline.is_damaged and verdict.baseline.candidate.is_baseline
    ]
    if not against_model:
        return None
    verdict = against_model[-1]
    best = shown_row(verdict)
    if best is None:
        return None
    return Found(
        f"{best.verdict}, {verdict.metric} {best.difference:+.3g}",
        {
            f"{'' if key == '*' else f'{key}: '}{item.label}": sampled(item)
            for key, item in best.candidate.activations.items()
        },
    )


def sampled(item: ActivationRecord) -> tuple[np.ndarray, np.ndarray]:
    """A function as it begins, at points so close that SIREN's fast sine is one."""
    drawn = curve(item, -REACH, REACH, 1601)
    return drawn.x, drawn.y


def shown_row(verdict: acs.Verdict) -> acs.VerdictRow | None:
    """The winner; where that is the baseline, of those with the most seeds the best. None where none can be read."""
    rows = [row for row in verdict.rows if not row.is_damaged]
    if verdict.winner in rows:
        return verdict.winner
    sign = 1 if verdict.direction == "maximize" else -1
    return max(
        rows,
        key=lambda row: (row.verdict != "left early", len(row.values), sign * row.difference),
        default=None,
    )


def own(name: str) -> tuple[np.ndarray, np.ndarray]:
    """The function that a model has unchanged."""
    x = torch.linspace(-REACH, REACH, 161)
    with torch.no_grad():
        return x.numpy(), acs.activation(name)(x).numpy()


def draw(found: dict[str, Found]) -> go.Figure:
    """A panel for each field."""
    rows = -(-len(found) // COLUMNS)
    titles = [
        f"{FIELDS[name][0]}<br><sub>{item.words}; dashed: {', '.join(FIELDS[name][1])}</sub>"
        for name, item in found.items()
    ]
    figure = make_subplots(
        rows=rows, cols=COLUMNS, subplot_titles=titles, vertical_spacing=0.3 / rows
    )
    for panel, (name, item) in enumerate(found.items()):
        place = {"row": panel // COLUMNS + 1, "col": panel % COLUMNS + 1}
        reached = []
        for label, dash in zip(FIELDS[name][1], DASHES, strict=False):
            x, y = own(label)
            line = {"color": "#777777", "dash": dash}
            figure.add_scatter(x=x, y=y, name=label, line=line, **place)
        for (label, (x, y)), colour in zip(item.functions.items(), _repeated(), strict=False):
            seen = np.abs(x) <= REACH
            reached.extend(y[seen][np.isfinite(y[seen])])
            figure.add_scatter(
                x=x[seen], y=y[seen], name=label, line={"color": colour, "width": 3}, **place
            )
            figure.add_annotation(
                text=label if len(label) < 42 else f"{label[:40]}…",
                font={"color": colour, "size": 12}, showarrow=False, xanchor="left", x=-REACH,
                y=1 - 0.09 * len(reached) / max(1, seen.sum()), yref="y domain", **place,
            )  # fmt: skip
        low, high = np.percentile(reached, [2, 98]) if reached else (-1, 1)
        figure.update_yaxes(range=[min(low, -1) - 0.4, max(high, 1) + 1.2], **place)
    figure.update_layout(
        template="plotly_white", showlegend=False, width=1000, height=250 * rows + 60,
        margin={"l": 40, "r": 20, "t": 60, "b": 30},
    )  # fmt: skip
    return figure


def _repeated() -> Iterator[str]:
    while True:
        yield from COLOURS


def main(storage: str = STORAGE, small: bool = False) -> None:
    """Read, draw, write; there is nothing that ``small`` could leave out."""
    del small
    reader = Reader(storage)
    studies = {study.name: study for study in reader.studies()}
    found = {
        name: item for name in FIELDS if name in studies and (item := read(reader, studies[name]))
    }
    reader.close()
    if not found:
        sys.exit(f"{storage} has no verdict of these studies yet: run {', '.join(FIELDS)} first")
    path = Path(storage.removeprefix("sqlite:///")).with_name("found_functions.html")
    draw(found).write_html(path)
    print(f"{len(found)} of {len(FIELDS)} fields: {path}")


if __name__ == "__main__":
    main()
