"""Prints the zoo, and the sites of three of its models: ``python tests/search/zoo_table.py``."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterable, Iterator
from typing import Any

from torch import nn
from zoo import Entry, built
from zoo_own import OWN
from zoo_peers import TIMM, TORCHVISION, TRAINED, TRANSFORMERS

import actsearch as acs
from actsearch.placement import Site, Sites

__all__ = ["table"]

ZOO: dict[str, Entry] = {**OWN, **TORCHVISION, **TIMM, **TRANSFORMERS, **TRAINED}
_RUNS = 2  # the faster one counts: what is loaded once is not what it takes
_SHOWN = (("resnet18", False), ("bert", False), ("bert", True), ("autoencoder", True))


def table(zoo: dict[str, Entry]) -> Iterator[str]:
    """Markdown: the sites of each model by kind, those that are not hidden with their role; how they are found without
    a sample, and how many of them where not all; in what time, and in what time by running the model on a sample.
    """
    yield "| model | sites | modules | functions | without a sample | ms | run on a sample, ms |"
    yield "|---|---:|---|---|---|---:|---:|"
    for name, entry in zoo.items():
        try:
            model = built(entry)
        except ImportError as error:
            yield f"| {name} | cannot be built: {error} |"
            continue
        alone, alone_ms = _timed(model, None)
        seen, seen_ms = _timed(model, entry.sample())
        cells = [name, str(len(seen)), _types(seen, "module"), _types(seen, "function")]
        cells += [_how(alone, seen), f"{alone_ms:.0f}", f"{seen_ms:.0f}"]
        yield f"| {' | '.join(cells)} |"


def _types(sites: Iterable[Site], kind: str) -> str:
    """Such as "2 SiLU, 1 Sigmoid (gate)"."""
    named = [
        site.type if site.role == "hidden" else f"{site.type} ({site.role})"
        for site in sites
        if site.kind == kind
    ]
    return ", ".join(f"{named.count(name)} {name}" for name in dict.fromkeys(named))


def _how(found: Sites, seen: Sites) -> str:
    how = {"traced": "traced", "listed": "modules and attributes"}[found.how]
    return how if len(found) == len(seen) else f"{how}: {len(found)} of {len(seen)}"


def _timed(model: nn.Module, sample: Any) -> tuple[Sites, float]:
    """What is found, and milliseconds."""
    times = []
    for _ in range(_RUNS):
        start = time.perf_counter()
        found = acs.sites(model, sample)
        times.append(1000 * (time.perf_counter() - start))
    return found, min(times)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    print(*table(ZOO), sep="\n")
    for name, with_sample in _SHOWN:
        model, sample = built(ZOO[name]), ZOO[name].sample() if with_sample else None
        print(f"\nprint(acs.sites({name}{', sample' if with_sample else ''}))")
        print(acs.sites(model, sample))
