"""Where trials run. Executors only evaluate; they never touch the database.

Names are loaded when first used: a process that only hands on what others train starts without torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from actsearch.execution.local import Local
    from actsearch.execution.on_ray import Ray
    from actsearch.execution.on_slurm.executor import Slurm
    from actsearch.execution.pool import Pool
    from actsearch.execution.processes import Processes
    from actsearch.execution.work import Executor, Finished, Job, Work

__all__ = ["Executor", "Finished", "Job", "Local", "Pool", "Processes", "Ray", "Slurm", "Work"]

_HOMES = {
    "Local": "local",
    "Pool": "pool",
    "Processes": "processes",
    "Ray": "on_ray",
    "Slurm": "on_slurm.executor",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES.get(name, 'work')}"), name)
