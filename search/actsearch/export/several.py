"""Several activations as one file: a class for each, and where each belongs."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from actsearch.export.subject import make_class_name
from actsearch.export.words import escape_docstring
from actsearch.records import ActivationRecord

__all__ = ["write_module"]

_IMPORTS = ("import torch", "from torch import nn", "from torch.nn import functional as F")


def write_module(
    records: Mapping[str, ActivationRecord], name: str, note: str, write: Callable[..., str]
) -> str:
    """One file with a class for each different activation and ``ACTIVATIONS``, which says by group what goes where.

    Args:
        records: activations by group of sites.
        name: of the classes of composed formulas, with a number where there are several.
        note: words for the head of the file.
        write: writes one activation as a file.
    """
    names: dict[str, str] = {}
    blocks: list[str] = []
    for record in records.values():
        if record.label in names:
            continue
        wanted = name if record.name is None else make_class_name(record)
        same = sum(
            known.rstrip("0123456789_") == wanted.rstrip("0123456789_") for known in names.values()
        )
        names[record.label] = f"{wanted}_{same + 1}" if same else wanted
        for block in _blocks(write(record, name=names[record.label])):
            if block not in blocks:
                blocks.append(block)
    code = "\n\n".join(blocks)
    imports = [line for line in _IMPORTS if line != _IMPORTS[2] or "F." in code]
    places = "".join(
        f"    {group!r}: {names[record.label]},\n" for group, record in records.items()
    )
    head = "Several activations, found with actsearch, each for a group of sites."
    return (
        f'"""{head}\n\n{escape_docstring(note)}\n"""\n\n'
        + "\n".join(imports)
        + f"\n\n\n{code}\n\n"
        "# group of sites: a path or pattern of module names, or a band of the depth, first to last\n"
        f"ACTIVATIONS = {{\n{places}}}\n"
    )


def _blocks(file: str) -> list[str]:
    """The functions and classes of a file, without its head and its imports; the class says what its head said."""
    after = file.split("\nimport torch\n", 1)[1]
    lines = [line for line in after.splitlines() if line not in _IMPORTS]
    return [
        block.strip("\n") + "\n" for block in "\n".join(lines).split("\n\n\n") if block.strip()
    ]
