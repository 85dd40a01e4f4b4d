"""actsearch: find the activation function that suits your own torch.nn.Module.

``import actsearch as acs``. Names are loaded when first used, so that the command line and the dashboard, which
only read results, start without torch.
"""

from __future__ import annotations

import importlib
import sys
import types
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from actsearch.activation import HingeSum, activation, approximate, gain, moments
    from actsearch.adapters import register_hf, timm_act_layer
    from actsearch.catalog import CATALOG as catalog
    from actsearch.errors import (
        ActivationError,
        ActsearchError,
        ActsearchWarning,
        FormulaError,
        PlacementError,
        SpaceError,
        StorageError,
        StudyError,
        TaskError,
    )
    from actsearch.evaluation import Candidate, Cost, Run, TrialPruned, cost
    from actsearch.execution import Local, Processes
    from actsearch.export import plot, to_python
    from actsearch.expression import Expression, parse
    from actsearch.halving import SuccessiveHalving
    from actsearch.placement import Placement, Site, place, sites
    from actsearch.records import TrialState
    from actsearch.report import Verdict
    from actsearch.screening import fingerprint
    from actsearch.strategies import Bayesian, Genetic, RandomSearch, Space
    from actsearch.study import Study, Trial, create_study, delete_study, load_study
    from actsearch.task import Task

__version__ = "0.1.0"

_HOMES = {
    "actsearch.activation": ("HingeSum", "activation", "approximate", "gain", "moments"),
    "actsearch.adapters": ("register_hf", "timm_act_layer"),
    "actsearch.catalog": ("catalog",),
    "actsearch.errors": (
        "ActivationError",
        "ActsearchError",
        "ActsearchWarning",
        "FormulaError",
        "PlacementError",
        "SpaceError",
        "StorageError",
        "StudyError",
        "TaskError",
    ),
    "actsearch.evaluation": ("Candidate", "Cost", "Run", "TrialPruned", "cost"),
    "actsearch.execution": ("Local", "Processes"),
    "actsearch.export": ("plot", "to_python"),
    "actsearch.expression": ("Expression", "parse"),
    "actsearch.halving": ("SuccessiveHalving",),
    "actsearch.placement": ("Placement", "Site", "place", "sites"),
    "actsearch.records": ("TrialState",),
    "actsearch.report": ("Verdict",),
    "actsearch.screening": ("fingerprint",),
    "actsearch.strategies": ("Bayesian", "Genetic", "RandomSearch", "Space"),
    "actsearch.study": ("Study", "Trial", "create_study", "delete_study", "load_study"),
    "actsearch.task": ("Task",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}
_RENAMED = {"catalog": "CATALOG"}

__all__ = [
    "ActivationError",
    "ActsearchError",
    "ActsearchWarning",
    "Bayesian",
    "Candidate",
    "Cost",
    "Expression",
    "FormulaError",
    "Genetic",
    "HingeSum",
    "Local",
    "Placement",
    "Processes",
    "PlacementError",
    "RandomSearch",
    "Run",
    "Site",
    "Space",
    "SpaceError",
    "StorageError",
    "Study",
    "StudyError",
    "SuccessiveHalving",
    "Task",
    "TaskError",
    "Trial",
    "TrialPruned",
    "TrialState",
    "Verdict",
    "activation",
    "approximate",
    "catalog",
    "cost",
    "create_study",
    "delete_study",
    "fingerprint",
    "gain",
    "load_study",
    "moments",
    "parse",
    "place",
    "plot",
    "register_hf",
    "sites",
    "timm_act_layer",
    "to_python",
]


def __getattr__(name: str) -> Any:
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(home), _RENAMED.get(name, name))
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


class _Package(types.ModuleType):
    """``acs.activation`` and ``acs.catalog`` are a function and a table, although submodules have these names.

    Importing a submodule sets its name on the package; a data descriptor on the class comes before that.
    """

    @property
    def activation(self) -> Any:
        return __getattr__("activation")

    @activation.setter
    def activation(self, value: Any) -> None: ...

    @property
    def catalog(self) -> Any:
        return __getattr__("catalog")

    @catalog.setter
    def catalog(self, value: Any) -> None: ...


sys.modules[__name__].__class__ = _Package
