"""What runs of a model, as who watches it tells."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from torch import nn
from torch.nn.modules import activation as torch_activations

from actsearch.placement.call_site import Place, is_torch_s, standing
from actsearch.placement.known_activations import is_activation
from actsearch.placement.redirect import Calls
from actsearch.placement.seen import Call, Key, Seen

__all__ = ["Recorder"]

_ACTIVATIONS = torch_activations.__file__
_NOT_OWN = ("torch.", "actsearch.")


@dataclass
class _Running:
    """One run of a module's forward.

    Attributes:
        path: of the module.
        begun: whether the forward was called yet; hooks come before.
        layer: the last submodule with weights that it used.
        weight: the last weight of its own that it used.
        passed: what fed each place of a call, once for each time it was passed.
    """

    path: str
    begun: bool = False
    layer: str = ""
    weight: str = ""
    passed: dict[Place, list[str]] = field(default_factory=dict)

    @property
    def feeder(self) -> str:
        """What comes before a call, as far as it is known."""
        return self.layer or self.weight


class Recorder:
    """Collects what runs; who watches tells it when modules begin and end."""

    def __init__(self, model: nn.Module) -> None:
        modules = dict(model.named_modules())
        self.activations = {
            path for path, module in modules.items() if path and is_activation(module)
        }
        self._weighty = {
            path
            for path, module in modules.items()
            if next(module.parameters(), None) is not None and path not in self.activations
        }
        self._modules = modules
        self._paths = {module: path for path, module in modules.items()}
        self._varying: set[str] = set()
        self.seen = Seen()
        self._loops: set[tuple[str, Place]] = set()
        self._stack: list[_Running] = []

    def enter(self, path: str) -> None:
        """A module begins."""
        if self._stack and path in self._weighty:
            self._stack[-1].layer = path
        self._stack.append(_Running(path))
        self.seen.ran.add(path)

    def begins(self, path: str) -> bool:
        """Whether a call of a module's forward is the one that was entered; no if it was called without its module."""
        if not self._stack or self._stack[-1].path != path or self._stack[-1].begun:
            return False
        self._stack[-1].begun = True
        return True

    def leave(self) -> None:
        """A place that one layer feeds again and again stands in a loop over time."""
        running = self._stack.pop()
        for place, feeders in running.passed.items():
            if any(feeders) and len(set(feeders)) < len(feeders):
                self._loops.add((running.path, place))

    def weight(self, name: str) -> None:
        """The module that runs uses a weight of its own."""
        if self._stack:
            self._stack[-1].weight = name

    def module(self, path: str) -> Key:
        """An activation module ran."""
        return self._add(path)

    def call(self, name: str, function: Any) -> Key | None:
        """A call by the module that runs; None if it stays as it is: one of an activation module or of torch itself."""
        here = standing(name)
        if here.hook is not None:
            self.seen.unled[self._paths.get(here.hook, ""), name, "in a forward hook"] = None
            self._varying |= {running.path for running in self._stack}
            return None
        if not self._stack:
            self.seen.unled["", name, "outside of forward"] = None
            return None
        running, place = self._stack[-1], here.place
        if running.path in self.activations:
            return None
        if is_torch_s(place):
            if place[1] == _ACTIVATIONS:
                self.seen.loose[running.path] = name
            return None
        if here.repeated:
            self.seen.repeated[running.path, place] = name
            return None
        feeders = running.passed.setdefault(place, [])
        feeders.append(running.feeder)
        passed = len(feeders) - 1
        for code in here.through:
            self.seen.through.setdefault((running.path, code), {}).setdefault(place, passed)
        led: Calls | None = vars(self._modules[running.path]).get("_actsearch_calls")
        if led is not None and (site := led.answering(place, passed)) is not None:
            # torch.fx calls methods itself
            return self.module(f"{running.path}.{site}".lstrip(".")) if site else None
        return self._add(Call(running.path, name, function, place, passed))

    def kernel(self, name: str) -> None:
        """What is computed with no call of a function, unless in a module of torch, ours, or an activation."""
        path = self._stack[-1].path if self._stack else ""
        if path in self.activations or type(self._modules[path]).__module__.startswith(_NOT_OWN):
            return
        where = "beneath Python, by torch.ops or in code that torch.jit compiled"
        self.seen.unled[path, name, where] = None

    def _add(self, key: Key) -> Key:
        if key not in self.seen.order:
            self.seen.order.append(key)
        return key

    def result(self) -> Seen:
        """What ran, the passes of a loop over time as one call."""

        def merged(key: Key) -> Key:
            if isinstance(key, Call) and (key.owner, key.place) in self._loops:
                return Call(key.owner, key.name, key.function, key.place, None)
            return key

        return Seen(
            list(dict.fromkeys(merged(key) for key in self.seen.order)),
            {merged(key) for key in self.seen.gates},
            {merged(key) for key in self.seen.outputs},
            self.seen.repeated,
            self._varying | {path for path, _ in [*self._loops, *self.seen.repeated]},
            self.seen.ran,
            self.seen.loose,
            self.seen.unled,
            self.seen.through,
        )
