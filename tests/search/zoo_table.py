"""Prints the zoo, and the sites of three of its models: ``python tests/search/zoo_table.py``."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator

from zoo import Entry, built, counted
from zoo_own import OWN
from zoo_peers import TIMM, TRANSFORMERS

import actsearch as acs

__all__ = ["table"]

ZOO: dict[str, Entry] = {**OWN, **TIMM, **TRANSFORMERS}
_HOW = {"traced": "traced", "run": "run", "listed": "modules alone"}


def table(zoo: dict[str, Entry]) -> Iterator[str]:
    """Markdown: the sites by kind, role and type, how they are found without and with a sample, and in what time."""
    yield "| model | sites | by kind, role and type | without a sample | ms | with a sample, ms |"
    yield "|---|---|---|---|---|---|"
    for name, entry in zoo.items():
        alone, alone_s = _timed(entry, None)
        seen, seen_s = _timed(entry, entry.sample())
        kinds = ", ".join(f"{count} {what}" for what, count in counted(seen).items())
        how = _HOW[alone.how]
        if counted(alone) != counted(seen):
            how += f" ({len(alone)})"
        yield f"| {name} | {len(seen)} | {kinds} | {how} | {1000 * alone_s:.0f} | {1000 * seen_s:.0f} |"


def _timed(entry: Entry, sample: object) -> tuple[acs.Sites, float]:
    model = built(entry)
    start = time.perf_counter()
    found = acs.sites(model, sample)
    return found, time.perf_counter() - start


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    _timed(OWN["mlp_functions"], None)  # what is loaded once
    print(*table(ZOO), sep="\n")
    for name in ("resnet18", "bert", "autoencoder"):
        print(f"\n{name}\n{acs.sites(built(ZOO[name]), ZOO[name].sample())}")
