"""What a found activation costs in a product: memory and time of training, tables, hinges, C.

Run ``python tests/benchmarks/deployment.py``; the exit status is 1 when a limit is exceeded. What is compared is
measured in turns in one run, and a limit on speed is a limit on a ratio of medians. Forward and backward, one thread.
"""

from __future__ import annotations

import argparse
import gc
import shutil
import statistics
import time
from collections.abc import Sequence
from typing import cast

import numpy as np
import torch
from scipy import special
from torch import Tensor, nn

import actsearch as acs
from actsearch.deployment.compiler import build_header

FIFTEEN_NODES = "x * sigmoid(param(1.0) * x) + 0.5 * tanh(x) - x * x"
HIDDEN, LARGE = (128, 256), (1024, 4096)  # a usual layer, and one beyond the cache
KEPT, EAGER, COMPILED = 1.1, 1.5, 1.3
HINGES, ERROR, SHARE = 8, 0.01, 0.9


def seconds(module: nn.Module, x: Tensor, upstream: Tensor) -> float:
    """One forward and backward."""
    x.grad = None
    start = time.perf_counter()
    module(x).backward(upstream)
    return time.perf_counter() - start


def medians(modules: Sequence[nn.Module], shape: tuple[int, int], repeats: int) -> list[float]:
    """Milliseconds of each, in turns."""
    x, upstream = torch.randn(shape, requires_grad=True), torch.randn(shape)
    for module in modules:  # the first pays for what is set up, or compiles
        seconds(module, x, upstream)
    times = [[seconds(module, x, upstream) for module in modules] for _ in range(repeats)]
    return [1e3 * statistics.median(column) for column in zip(*times, strict=True)]


def kept_bytes(module: nn.Module, x: Tensor) -> int:
    """What autograd keeps beside parameters; a storage counts once."""
    storages: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        if not isinstance(tensor, nn.Parameter):
            storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        module(x)
    return sum(storages.values())


def limit(name: str, value: float, most: float) -> list[str]:
    """Print a line; the name where it is too much."""
    is_over = value > most
    print(f"{name}: {value:.3g} (limit {most:g}){'  EXCEEDED' if is_over else ''}", flush=True)
    return [name] if is_over else []


def memory() -> list[str]:
    """Bytes that are kept for the backward pass."""
    x = torch.randn(HIDDEN, requires_grad=True)
    plain, lean = (acs.activation(FIFTEEN_NODES, lean=lean) for lean in (False, True))
    gelu = kept_bytes(nn.GELU(), x)
    print(f"kept, composed form: {kept_bytes(plain, x) / gelu:.3g} times nn.GELU")
    return limit("kept, lean form, times nn.GELU", kept_bytes(lean, x) / gelu, KEPT)


def eager(repeats: int) -> list[str]:
    """The lean form beside the composed one."""
    exceeded = []
    for shape, count in (((64, 64), repeats), (HIDDEN, repeats), (LARGE, max(5, repeats // 40))):
        plain, lean = (acs.activation(FIFTEEN_NODES, lean=lean) for lean in (False, True))
        composed, own, gelu = medians([plain, lean, nn.GELU()], shape, count)
        print(f"{shape}: composed {composed:.3f} ms, lean {own:.3f} ms, nn.GELU {gelu:.3f} ms")
        exceeded += limit(f"lean, times composed, {shape}", own / composed, EAGER)
    return exceeded


def compiled() -> list[str]:
    """Compiled, beside compiled GELU, beyond the cache."""
    modules = [
        acs.activation(FIFTEEN_NODES, lean=True),
        acs.activation("x * sigmoid(1.5 * x)", lean=True),
        nn.GELU(),
    ]
    own, short, gelu = medians(
        [cast(nn.Module, torch.compile(module, fullgraph=True)) for module in modules], LARGE, 9
    )
    print(
        f"{LARGE}: 15 nodes {own:.2f} ms, x * sigmoid(1.5 * x) {short:.2f} ms, GELU {gelu:.2f} ms, all compiled"
    )
    return limit("compiled, 15 nodes, times compiled GELU", own / gelu, COMPILED)


def tables() -> list[str]:
    """int8 on all 256 inputs beside the quantised function; the C form beside the table."""
    made = acs.deploy(
        "silu",
        "int8",
        input_scale=0.05,
        input_zero_point=3,
        output_scale=0.04,
        output_zero_point=-90,
    )
    x = 0.05 * (np.arange(-128, 128) - 3)
    expected = np.clip(np.round(x * special.expit(x) / 0.04) - 90, -128, 127)
    exceeded = limit(
        "int8, codes off on 256 inputs", float(np.abs(np.array(made.table) - expected).max()), 1
    )
    if shutil.which("cc") is None:
        print("C: no compiler, not compared")
        return exceeded
    header = acs.deploy(
        "silu",
        "c",
        name="found",
        input_scale=0.05,
        input_zero_point=3,
        output_scale=0.04,
        output_zero_point=-90,
    )
    assert header.text is not None
    found = build_header(header.text, "found", np.int8)(np.arange(-128, 128))
    return exceeded + limit(
        "C, codes unlike the table", float(np.sum(found != np.array(made.table))), 0
    )


def hinges() -> list[str]:
    """How many of the recommended rows are so many hinges to .01 on [-6, 6], by a sure bound."""
    errors = {}
    for name in acs.catalog.names(tier="recommended"):
        try:
            errors[name] = acs.deploy(name, "hinges", hinges=HINGES, interval=(-6, 6)).max_error
        except acs.ActivationError as refusal:
            print(f"hinges, {name}: {refusal}")
    for name, error in sorted(errors.items(), key=lambda item: -item[1])[:4]:
        print(f"hinges, {name}: at most {error:.4f} off")
    share = float(np.mean([error <= ERROR for error in errors.values()]))
    print(f"hinges: {share:.0%} of {len(errors)} rows within {ERROR:g} (limit {SHARE:.0%})")
    return [] if share >= SHARE else ["hinges"]


def main() -> int:
    """Measure everything; 1 when a limit is exceeded."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--repeats", type=int, default=200, help="of each measurement")
    parser.add_argument(
        "--skip-compiled", action="store_true", help="torch.compile takes long on a busy machine"
    )
    given = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    gc.disable()
    exceeded = memory() + tables() + hinges() + eager(given.repeats)
    exceeded += [] if given.skip_compiled else compiled()
    for line in exceeded:
        print(f"LIMIT EXCEEDED  {line}")
    return 1 if exceeded else 0


if __name__ == "__main__":
    raise SystemExit(main())
