"""actsearch: find the activation function that suits your own torch.nn.Module.

``import actsearch as acs``. Names are loaded when first used, so that the command line and the dashboard, which
only read results, start without torch. ``__init__.pyi`` is the table of them.
"""

from __future__ import annotations

import ast
import importlib
import pkgutil
from typing import Any

__version__ = "0.1.0"


def _read_homes() -> dict[str, str]:
    """The module that holds each public name."""
    stub = pkgutil.get_data(__name__, "__init__.pyi")  # also from a zip
    assert stub is not None
    return {
        alias.name: node.module or ""
        for node in ast.parse(stub).body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }


_HOMES = _read_homes()

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = _HOMES[name]
    if home == __name__:  # a package, as acs.benchmark
        return importlib.import_module(f"{home}.{name}")
    value = getattr(importlib.import_module(home), name)
    globals()[name] = value  # asked for once
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
