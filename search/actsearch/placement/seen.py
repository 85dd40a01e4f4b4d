"""What ran of a model: its activation modules, and the calls of activation functions."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from types import CodeType
from typing import Any

from actsearch.placement.call_site import Place

__all__ = ["Call", "Key", "Seen"]


@dataclass(frozen=True)
class Call:
    """A call of an activation function.

    Attributes:
        owner: path of the module whose forward makes it.
        name: of the function.
        function: what is called; for a method, the method of torch.Tensor.
        place: where in the code it stands.
        passed: how often the same run of the forward was there before; None for any number, in a loop over time.
    """

    owner: str
    name: str
    function: Any
    place: Place
    passed: int | None


Key = str | Call
"""An activation that ran: the path of a module, or a call."""


@dataclass
class Seen:
    """What ran.

    Attributes:
        order: activation modules by path, and calls, in the order in which they first ran.
        gates: those whose results multiply something else.
        outputs: those whose results are returned.
        repeated: calls that the backward pass makes again, by owner and place, with the function's name.
        varying: owners that do not always make the same calls in the same order.
        ran: paths of the modules whose forward ran.
        loose: names of activation modules that are no attribute of anything, by path of the module that uses them.
        unled: functions that nothing can be put in the place of: path of the module that calls them, name, and where
            they are called, as in a hook.
        through: how often each place was passed before a function first led there, by owner and the function's code.
    """

    order: list[Key] = field(default_factory=list)
    gates: set[Key] = field(default_factory=set)
    outputs: set[Key] = field(default_factory=set)
    repeated: dict[tuple[str, Place], str] = field(default_factory=dict)
    varying: set[str] = field(default_factory=set)
    ran: set[str] = field(default_factory=set)
    loose: dict[str, str] = field(default_factory=dict)
    unled: dict[tuple[str, str, str], None] = field(default_factory=dict)
    through: dict[tuple[str, CodeType], dict[Place, int]] = field(default_factory=dict)

    @property
    def calls(self) -> list[Call]:
        """The calls, in order."""
        return [key for key in self.order if isinstance(key, Call)]

    def by_owner(self) -> dict[str, list[Call]]:
        """The calls of each module's forward, in order."""
        found: dict[str, list[Call]] = {}
        for call in self.calls:
            found.setdefault(call.owner, []).append(call)
        return found

    def inside(self, path: str) -> Seen:
        """The same, of a module that stands at a path."""

        def outside(key: Key) -> Key:
            if isinstance(key, Call):
                return replace(key, owner=f"{path}.{key.owner}".rstrip("."))
            return f"{path}.{key}"

        return Seen(
            [outside(key) for key in self.order],
            {outside(key) for key in self.gates},
            {outside(key) for key in self.outputs},
            {
                (f"{path}.{owner}".rstrip("."), place): name
                for (owner, place), name in self.repeated.items()
            },
            {f"{path}.{owner}".rstrip(".") for owner in self.varying},
            {"", *(f"{path}.{one}".rstrip(".") for one in self.ran)},
            {f"{path}.{owner}".rstrip("."): name for owner, name in self.loose.items()},
            {
                (f"{path}.{owner}".rstrip("."), name, where): None
                for owner, name, where in self.unled
            },
            {
                (f"{path}.{owner}".rstrip("."), code): places
                for (owner, code), places in self.through.items()
            },
        )

    def joined(self, other: Seen) -> Seen:
        """What ran in either of two runs."""
        repeated = self.repeated | other.repeated
        first, second = (other, self) if set(self.order) <= set(other.order) else (self, other)
        order = [
            key
            for key in dict.fromkeys([*first.order, *second.order])
            if not isinstance(key, Call) or (key.owner, key.place) not in repeated
        ]
        one, two = self.by_owner(), other.by_owner()
        varying = {owner for owner in one | two if one.get(owner) != two.get(owner)}
        return Seen(
            order,
            self.gates | other.gates,
            self.outputs | other.outputs,
            repeated,
            self.varying | other.varying | varying,
            self.ran | other.ran,
            self.loose | other.loose,
            self.unled | other.unled,
            {
                key: other.through.get(key, {}) | self.through.get(key, {})
                for key in self.through | other.through
            },
        )
