"""Where a model has activations."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Literal

from torch import fx, nn

from actsearch.activations import Activation, count_pieces
from actsearch.html_parts import fragment, paragraph, table
from actsearch.placement.chains import Replay
from actsearch.placement.elementwise import lies_between_0_and_1
from actsearch.placement.function_module import FunctionModule
from actsearch.placement.known_activations import (
    GATES,
    MODULES,
    NORMALISING,
    PASSING_MODULES,
    SQUASHING,
    function_name,
    is_activation,
)
from actsearch.placement.modular import Discovery
from actsearch.placement.run_trace import formula_of_module
from actsearch.placement.script_modules import ScriptModuleProxy
from actsearch.placement.source_names import activations_in_unrun_methods
from actsearch.text_table import align_columns

__all__ = ["Site", "SiteRole", "Sites", "list_sites"]

SiteRole = Literal["hidden", "gate", "output"]

# torch computes their activations inside of one kernel
_FUSED = (nn.RNNBase, nn.RNNCellBase, nn.MultiheadAttention)
# in the name of an attribute or a class: attention, squeeze-and-excitation and other gates
_GATING = re.compile(r"gate|squeeze|excit|attn|attention|(^|[._])se([._]|$)|SE[A-Z]", re.ASCII)
_SHOWN_METHODS = 3  # in a note
_SHOWN_MODULES = 5  # likewise; of a large model there may be hundreds


@dataclass(frozen=True)
class Site:
    """One place in a model where an activation stands.

    Attributes:
        path: dotted name, as in ``placement.model.named_modules()`` once something was placed.
        kind: "module", held as a submodule; "function", called in a ``forward`` or held as an attribute.
        type: class of the module, or name of the function; the formula of what has no name.
        order: 0-based position in depth, as the model runs; as it is defined, where that could not be seen.
        role: "hidden"; "gate", one that multiplies something else (squeeze-and-excitation, attention, GLU); "output",
            softmax elsewhere and a squashing function at the very end.
        aliases: further paths that lead to the same attribute of the same module.
        formula: what it computes, in the language of formulas; empty where that has no words for it.

    Example:
        >>> site = acs.sites(nn.Sequential(nn.Linear(4, 8), nn.ReLU()))[0]
        >>> site.path, site.kind, site.type, site.role
        ('1', 'module', 'ReLU', 'hidden')
    """

    path: str
    kind: Literal["module", "function"]
    type: str
    order: int
    role: SiteRole
    aliases: tuple[str, ...] = ()
    formula: str = ""


class Sites(list[Site]):
    """The activations of a model in order of depth; ``print`` shows them as a table, and so does a notebook.

    Attributes:
        how: how functions were looked for: "traced" by torch.fx, "run" on the sample, or "listed": only what modules
            hold was seen.
        notes: what a user should know besides, as plain sentences.
    """

    def __init__(self, items: Iterable[Site], how: str, notes: tuple[str, ...] = ()) -> None:
        super().__init__(items)
        self.how = how
        self.notes = notes

    def __str__(self) -> str:
        lines = align_columns([_COLUMNS, *map(_cells, self)])
        return "\n".join([*lines, self._summary(), *self.notes])

    def _repr_html_(self) -> str:
        def parts() -> list[str]:
            sites = [table(_COLUMNS, map(_cells, self), styled=True)] if self else []
            return [*sites, *map(paragraph, (self._summary(), *self.notes))]

        return fragment(parts, "this list of sites")

    def _summary(self) -> str:
        roles = ", ".join(
            f"{count} {role}"
            for role in ("hidden", "gate", "output")
            if (count := sum(site.role == role for site in self))
        )
        listed = "listed as modules and attributes"
        how = {"traced": "traced by torch.fx", "run": "seen running", "listed": listed}[self.how]
        number = f"{len(self)} site{'' if len(self) == 1 else 's'}"
        return f"{number} ({roles or 'none'}), {how}"


_COLUMNS = ("path", "kind", "type", "role")


def _cells(site: Site) -> tuple[str, str, str, str]:
    return site.path, site.kind, site.type, site.role


def list_sites(model: nn.Module, discovery: Discovery) -> Sites:
    """The sites of a model in which every activation is a submodule."""
    execution, keys = discovery.execution, discovery.keys
    position = {path: index for index, path in enumerate(keys)}
    parts = {path for chain in execution.chains.values() for path in chain.passing_modules}
    parts |= {key for key in execution.torn if isinstance(key, str)}
    paths = [item for item in _activation_paths(model) if item[0] not in parts]
    # a stable sort: what never ran stays in the order in which it is defined
    paths.sort(key=lambda item: position.get(item[0], len(position)))
    last = _last_leaf(model)
    items = [
        Site(
            path,
            *_kind_and_type(module),
            order,
            _role(path, module, discovery, path == last, model),
            aliases,
            execution.formulas.get(keys.get(path, path)) or formula_of_module(module),
        )
        for order, (path, module, aliases) in enumerate(paths)
    ]
    if not any(site.role == "hidden" for site in items):
        # a block of a network, whose end is not that of the whole
        items = [
            replace(site, role="hidden")
            if site.role == "output" and not _is_head(site.path, model, discovery)
            else site
            for site in items
        ]  # fmt: skip
    return Sites(items, discovery.how, tuple(_notes(model, discovery)))


def _is_head(path: str, model: nn.Module, discovery: Discovery) -> bool:
    """Whether a function stands at the end that is hardly ever in the middle."""
    kind = function_name(model.get_submodule(path))
    is_output = discovery.keys.get(path, path) in discovery.execution.outputs
    return kind in NORMALISING or (kind in SQUASHING and is_output)


def _kind_and_type(module: nn.Module) -> tuple[Literal["module", "function"], str]:
    return (
        ("function", module.name)
        if isinstance(module, FunctionModule)
        else ("module", type(module).__name__)
    )


def _notes(model: nn.Module, discovery: Discovery) -> Iterator[str]:
    """What a user should know: what was not looked into, and what stays as it is."""
    if isinstance(model, MODULES):
        yield (
            f"The model is an activation itself ({_kind_and_type(model)[1]}) and has none inside: put it into a module "
            "that holds it, as nn.Sequential(model)."
        )
    elif discovery.how == "listed":
        yield (
            f"Functions called in forward were not searched for, since {discovery.reason}; "
            "give sample=, one batch of inputs."
        )
    elif discovery.reason:
        yield f"Functions called only in training were not searched for: in training mode {discovery.reason}."
    if discovery.how == "traced" and _runs_around_forward(model):
        yield "Functions called by hooks on the model or by its own __call__ were not searched for; give sample=."
    yield from _notes_on_calls(discovery)
    others = list(dict.fromkeys(_other_methods(model, discovery)))
    for method, name in others[:_SHOWN_METHODS]:
        yield f"{method} calls {name} and did not run; it stays as it is."
    if len(others) > _SHOWN_METHODS:
        yield f"Likewise {len(others) - _SHOWN_METHODS} more methods."
    if unreached := _list_unreached(model, discovery):
        shown = ", ".join(unreached[:_SHOWN_MODULES])
        more = ", ..." if len(unreached) > _SHOWN_MODULES else ""
        yield f"Did not run, so that functions called there were not seen: {shown}{more}."
    yield from _notes_on_modules(model)


def _notes_on_calls(discovery: Discovery) -> Iterator[str]:
    """Calls that were seen and cannot be redirected."""
    execution = discovery.execution
    for (path, _), name in execution.rerun.items():
        yield (
            f"{path or 'The model'} calls {name} inside of torch.utils.checkpoint or of an autograd.Function, whose "
            "backward pass does not know what is put there; it stays as it is."
        )
    for path, name in execution.unregistered.items():
        yield (
            f"{path or 'The model'} uses an activation module ({name}) that is not an attribute of any module; "
            "it stays as it is: hold it as self.act."
        )
    for key, why in execution.torn.items():
        path = key if isinstance(key, str) else key.owner
        name = "this module" if isinstance(key, str) else key.name
        yield f"{path or 'The model'} uses {name} in {why}; it stays as it is."
    for path in sorted(execution.mixed):
        yield (
            f"{path} runs both between layers and at an output, and is one site of one role: hold a module of its own "
            "for each place."
        )
    for path, name, where in execution.unreplaceable:
        yield f"{path or 'The model'} calls {name} {where}; it stays as it is."


def _notes_on_modules(model: nn.Module) -> Iterator[str]:
    """Modules whose activations are out of reach: compiled, or inside of one kernel."""
    fused: dict[str, list[str]] = {}
    for path, module in model.named_modules():
        if isinstance(module, ScriptModuleProxy):
            yield f"{path}: {module} is a ScriptModule, compiled by torch.jit, and stays as it is."
        if isinstance(module, _FUSED):
            fused.setdefault(type(module).__name__, []).append(path or "the model")
    for kind, paths in fused.items():
        more = f" and {len(paths) - 1} more" if len(paths) > 1 else ""
        yield f"{paths[0]}{more}: {kind} computes its own activations in one fused kernel; they stay as they are."


def _runs_around_forward(model: nn.Module) -> bool:
    """Whether a call of the model runs code around its forward, which a trace does not enter."""
    own_call = type(model).__call__ is not nn.Module.__call__
    return (own_call and not isinstance(model, fx.GraphModule)) or bool(
        model._forward_pre_hooks or model._forward_hooks
    )


def _other_methods(model: nn.Module, discovery: Discovery) -> Iterator[tuple[str, str]]:
    """Methods of the user's own classes that no run went through, as ``Model.generate``, with what each calls."""
    ran = {code for _, code in discovery.execution.entries}
    for module in model.modules():
        if discovery.how != "listed" and not is_activation(module):
            for method, name in activations_in_unrun_methods(module, ran):
                yield f"{type(module).__name__}.{method}", name


def _list_unreached(model: nn.Module, discovery: Discovery) -> list[str]:
    """Modules of the user's own classes whose forward was not run, the outermost ones."""
    if discovery.how == "listed":
        return []
    paths: list[str] = []
    for path, module in model.named_modules():
        if path in discovery.execution.executed or any(
            path.startswith(f"{outer}.") for outer in paths
        ):
            continue
        own = not type(module).__module__.startswith(("torch.", "actsearch."))
        has_forward = type(module).forward is not nn.Module.forward
        if own and has_forward and not is_activation(module):
            paths.append(path)
    return paths


def _activation_paths(model: nn.Module) -> Iterator[tuple[str, nn.Module, tuple[str, ...]]]:
    """Path, module and alias paths of each attribute that holds an activation."""
    by_attribute: dict[tuple[int, str], list[str]] = {}
    held: dict[tuple[int, str], nn.Module] = {}
    order: dict[str, int] = {}
    activations = {
        id(module)
        for module in model.modules()
        if isinstance(module, MODULES) or (module is not model and is_activation(module))
    }
    for parent_path, parent in model.named_modules(remove_duplicate=False):
        order[parent_path] = len(order)
        if id(parent) in activations:
            continue
        for name, child in parent._modules.items():  # named_children would skip a shared instance
            if child is not None and id(child) in activations:
                held[id(parent), name] = child
                path = f"{parent_path}.{name}".lstrip(".")
                by_attribute.setdefault((id(parent), name), []).append(path)
    for key, paths in sorted(by_attribute.items(), key=lambda item: order[item[1][0]]):
        yield paths[0], held[key], tuple(paths[1:])


def _last_leaf(model: nn.Module) -> str:
    """The last layer that changes a number; what only reshapes may come after it."""
    leaves = [
        path
        for path, module in model.named_modules(remove_duplicate=False)
        if next(module.children(), None) is None and not isinstance(module, PASSING_MODULES)
    ]
    parent = model.get_submodule(leaves[-1].rpartition(".")[0]) if leaves else None
    if isinstance(parent, (nn.TransformerEncoderLayer, nn.TransformerDecoderLayer)):
        return ""  # they define their activation last and use it in the middle
    return leaves[-1] if leaves else ""


def _role(
    path: str, module: nn.Module, discovery: Discovery, is_last: bool, model: nn.Module
) -> SiteRole:
    """By what becomes of the result, where that was seen, else by position and names."""
    if isinstance(module, Activation) and count_pieces(module) > 1:
        return "gate"  # it changes the shape; what stands before it was made wider for it
    kind = function_name(module)
    execution, known = discovery.execution, path in discovery.keys
    key = discovery.keys.get(path, path)
    if kind in NORMALISING:
        is_gate = key in execution.gates if known else _sounds_like_a_gate(path, model)
        return "gate" if is_gate else "output"
    if kind == "glu":
        return "gate"
    if kind in SQUASHING and (key in execution.outputs if known else is_last):
        return "output"
    chain = execution.chains.get(key)
    # of a chain with weights the module is the one call that carries it
    curve = (
        module.forward
        if chain is None
        else Replay(chain.steps, chain.start, chain.end, by_example=True)
    )
    opens = kind in GATES or lies_between_0_and_1(curve)
    if opens and (key in execution.gates if known else _sounds_like_a_gate(path, model)):
        return "gate"
    return "output" if key in execution.ends else "hidden"


def _sounds_like_a_gate(path: str, model: nn.Module) -> bool:
    """Of what did not run: by names, and unless a layer is seen to follow, since a gate is no place to put anything."""
    owner, _, name = path.rpartition(".")
    parent = model.get_submodule(owner)
    if isinstance(parent, nn.Sequential):
        names = list(parent._modules)
        after = [parent.get_submodule(item) for item in names[names.index(name) + 1 :]]
        followed = any(p.dim() > 1 for module in after for p in module.parameters())
        return not followed
    return bool(_GATING.search(path) or _GATING.search(type(model.get_submodule(owner)).__name__))
