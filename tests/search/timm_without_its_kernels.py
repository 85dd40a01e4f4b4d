"""Importing timm, transformers and lightning beside a torch that torchvision's compiled operators were not built for.

They import torchvision, which registers shapes for its compiled operators and stops when they are missing
("operator torchvision::nms does not exist"), as they are when a CPU build of torch meets the PyPI wheel. No
activation needs them: their names are declared here, and the import repeated.
"""

from __future__ import annotations

import importlib
import importlib.util
import re
import sys
from pathlib import Path
from typing import Any

import torch

__all__ = ["import_timm_activations", "mend_torchvision"]

_KEPT: list[torch.library.Library] = []  # a library that is collected takes its operators along


def import_timm_activations() -> Any:
    """timm's activation registry, the module ``timm.layers.create_act``.

    Raises:
        ImportError: timm or torchvision is not installed.
    """
    mend_torchvision()
    return importlib.import_module("timm.layers.create_act")


def mend_torchvision() -> None:
    """Make torchvision importable, if it is installed; to be called before what imports it."""
    try:
        importlib.import_module("torchvision")
    except ImportError:
        return
    except RuntimeError as error:
        if "torchvision::" not in str(error):
            raise
        for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
            del sys.modules[name]
        _declare_operators()
        importlib.import_module("torchvision")


def _declare_operators() -> None:
    spec = importlib.util.find_spec("torchvision")
    assert spec is not None
    assert spec.origin is not None
    library: Any = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]
    for path in sorted(Path(spec.origin).parent.rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        for name in re.findall(
            r"(?:register_meta\(\"|register_fake\(\"torchvision::)(\w+)\"", text
        ):
            if not hasattr(torch.ops.torchvision, name):
                library.define(f"{name}() -> ()")
    _KEPT.append(library)


mend_torchvision()  # before anything, in whatever order, imports half of it
