"""What an activation module costs: to import, to build, and to compute beside the same written by hand in torch.

Run ``python tests/benchmarks/activation_module.py``; the exit status is 1 when a limit is exceeded. Times differ from
machine to machine, so what is compared is measured in turns in one run, and a limit on speed is a limit on a ratio of
medians, for a hidden layer of ordinary size. Forward and backward, one thread.
"""

from __future__ import annotations

import argparse
import gc
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

import actsearch as acs

BUILD_MS = 1.0  # a module from a formula of 15 nodes
IMPORT_S = 0.3
RATIO = 1.3  # composed, or from the catalog, to the same in torch

HIDDEN = (128, 256)  # batch x features, where the limit on the ratio holds
SIZES = ((8, 16), HIDDEN, (256, 1024))

FIFTEEN_NODES = "x * sigmoid(param({start}) * x) + 0.5 * tanh(x) - x * x"


class ByHand(nn.Module):
    """A formula as one would write it: learned numbers and constants kept on the module, then one expression."""

    def __init__(self, formula: Callable[[ByHand, Tensor], Tensor]) -> None:
        super().__init__()
        self.one = nn.Parameter(torch.tensor(1.0))
        self.quarter = nn.Parameter(torch.tensor(0.25))
        self.zero: Tensor
        self.register_buffer("zero", torch.tensor(0.0))
        self.formula = formula

    def forward(self, x: Tensor) -> Tensor:
        """Shape kept."""
        return self.formula(self, x)


COMPOSED: dict[str, Callable[[ByHand, Tensor], Tensor]] = {
    "x * tanh(x)": lambda m, x: x * torch.tanh(x),
    "x * sigmoid(param(1.0) * x)": lambda m, x: x * torch.sigmoid(m.one * x),
    "max(x, 0) + param(0.25) * min(x, 0)": lambda m, x: (
        torch.maximum(x, m.zero) + m.quarter * torch.minimum(x, m.zero)
    ),
    "piecewise(0.1 * x, x * x)": lambda m, x: torch.where(x < 0, 0.1 * x, x * x),
    "gate(sin(x), x)": lambda m, x: torch.sigmoid(torch.sin(x)) * x,
    FIFTEEN_NODES.format(start=1.0): lambda m, x: (
        x * torch.sigmoid(m.one * x) + 0.5 * torch.tanh(x) - x * x
    ),
    "0.5 * x * (1 + tanh(0.8 * (x + 0.0447 * cube(x)))) + gauss(x) / (1 + abs(x))": lambda m, x: (
        0.5 * x * (1 + torch.tanh(0.8 * (x + 0.0447 * (x * x * x))))
        + torch.exp(-torch.square(x)) / (1 + torch.abs(x))
    ),
}

CATALOG: dict[str, nn.Module] = {
    "relu": nn.ReLU(),
    "leaky_relu": nn.LeakyReLU(),
    "elu": nn.ELU(),
    "gelu": nn.GELU(),
    "silu": nn.SiLU(),
    "mish": nn.Mish(),
    "softplus": nn.Softplus(),
    "softsign": nn.Softsign(),
    "tanh": nn.Tanh(),
    "hardswish": nn.Hardswish(),
    "logsigmoid": nn.LogSigmoid(),
}


ORDINARY: dict[str, tuple[str, Callable[[Tensor], Tensor] | nn.Module]] = {
    "max(x, 0)": ("nn.ReLU", nn.ReLU()),
    "max(x, 0.1 * x)": ("nn.LeakyReLU", nn.LeakyReLU(0.1)),
    "min(max(x, -1), 1)": ("clamp(-1, 1)", lambda x: x.clamp(-1, 1)),
    "max(x, 0.1 * x, sin(x))": (
        "maximum",
        lambda x: torch.maximum(torch.maximum(x, 0.1 * x), torch.sin(x)),
    ),
    "prelu": ("nn.PReLU", nn.PReLU()),
}
"""Formulas beside what torch has for the same values, but for the gradient where two arguments are equal: a formula
shares it, as torch.maximum does, and torch's fused forms give all of it to one side. No limit holds for these.
"""


class Plain(nn.Module):
    """A function as a module."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        """Shape kept."""
        return self.function(x)


def seconds(module: nn.Module, x: Tensor, upstream: Tensor) -> float:
    """One forward and backward."""
    x.grad = None
    start = time.perf_counter()
    module(x).backward(upstream)
    return time.perf_counter() - start


def in_turns(
    ours: nn.Module, theirs: nn.Module, size: tuple[int, int], repeats: int
) -> tuple[float, float]:
    """Median microseconds of each."""
    x, upstream = torch.randn(size, requires_grad=True), torch.randn(size)
    times = [(seconds(ours, x, upstream), seconds(theirs, x, upstream)) for _ in range(repeats)]
    one, other = zip(*times[len(times) // 10 :], strict=True)  # the first warm up
    return 1e6 * statistics.median(one), 1e6 * statistics.median(other)


def compare(
    title: str,
    pairs: Mapping[str, tuple[nn.Module, nn.Module]],
    repeats: int,
    limit: float = RATIO,
) -> list[str]:
    """Print a table; return what exceeds the limit."""
    print(f"\n{title}: microseconds, ours / by hand = ratio")
    print("".join(f"{f'{rows} x {columns}':>28}" for rows, columns in SIZES))
    exceeded = []
    for name, (ours, theirs) in pairs.items():
        cells = []
        for size in SIZES:
            a, b = in_turns(ours, theirs, size, repeats if size != SIZES[-1] else repeats // 5)
            cells.append(f"{a:10.0f} /{b:7.0f} = {a / b:5.2f}")
            if size == HIDDEN and a / b > limit:
                exceeded.append(f"{name}: {a / b:.2f} times torch at {HIDDEN}, limit {limit}")
        print("  ".join(cells), "", name)
    return exceeded


def build(repeats: int) -> list[str]:
    """Build modules from texts that all differ, so that nothing is remembered."""
    size = acs.parse(FIFTEEN_NODES.format(start=1.0)).size
    times = []
    for index in range(repeats):
        text = FIFTEEN_NODES.format(start=1 + index / 1000)
        start = time.perf_counter()
        acs.activation(text)
        times.append(1000 * (time.perf_counter() - start))
    median = statistics.median(times)
    print(f"read and build a formula of {size} nodes: {median:.3f} ms (limit {BUILD_MS})")
    assert size == 15
    return [f"build: {median:.3f} ms, limit {BUILD_MS}"] if median > BUILD_MS else []


def load() -> list[str]:
    """Import in fresh processes; torch must not come with it."""
    code = (
        "import sys, time; start = time.perf_counter(); import actsearch; "
        "print(time.perf_counter() - start, 'torch' in sys.modules)"
    )
    printed = [
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        for _ in range(5)
    ]
    taken, torch_came = zip(*(result.stdout.split() for result in printed), strict=True)
    median = statistics.median(map(float, taken))
    print(f"import actsearch: {median:.3f} s (limit {IMPORT_S})")
    exceeded = [f"import: {median:.3f} s, limit {IMPORT_S}"] if median > IMPORT_S else []
    return exceeded + ["import actsearch imports torch"] * ("True" in torch_came)


def main() -> int:
    """Measure everything; 1 when a limit is exceeded."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--repeats", type=int, default=300, help="of each measurement")
    repeats = parser.parse_args().repeats
    torch.set_num_threads(1)
    torch.manual_seed(0)
    gc.disable()
    exceeded = load() + build(repeats)
    composed = {text: (acs.activation(text), ByHand(hand)) for text, hand in COMPOSED.items()}
    exceeded += compare("composed formulas", composed, repeats)
    rows = {name: (acs.activation(name), module) for name, module in CATALOG.items()}
    exceeded += compare("catalog rows", rows, repeats)
    ordinary = {
        f"{text} against {name}": (
            acs.activation(text),
            other if isinstance(other, nn.Module) else Plain(other),
        )
        for text, (name, other) in ORDINARY.items()
    }
    compare("the same values, another gradient at a tie", ordinary, repeats, float("inf"))
    for line in exceeded:
        print(f"LIMIT EXCEEDED  {line}")
    return 1 if exceeded else 0


if __name__ == "__main__":
    raise SystemExit(main())
