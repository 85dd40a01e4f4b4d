"""ONNX: what torch exports, onnxruntime computes with the same numbers, for any batch."""

from __future__ import annotations

from collections.abc import Callable

import onnxruntime
import pytest
import torch
from torch import Tensor, nn
from ways_out_cases import Case, all_cases, assert_same, extremes, in_gate, points

# torch's own exporter trips over its own deprecations
pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")

_SAMPLE = ("logsigmoid", "sign", "max(x, 0.5) - min(-1.5, param(0.3))")

OTHER_AT_NAN = {"sign": "torch's sign(NaN) is 0 while ONNX's is NaN"}


def exported(module: nn.Module) -> Callable[[Tensor], Tensor]:
    """The module as onnxruntime runs it, from a file whose batch is of any size."""
    program = torch.onnx.export(
        module, (points(),), dynamo=True, dynamic_shapes={"x": {0: "batch"}}, verbose=False
    )
    assert program is not None
    session = onnxruntime.InferenceSession(
        program.model_proto.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    (x,) = session.get_inputs()

    def run(values: Tensor) -> Tensor:
        (result,) = session.run(None, {x.name: values.numpy()})
        return torch.from_numpy(result)

    return run


@pytest.mark.parametrize("case", in_gate(all_cases(), _SAMPLE))
def test_onnxruntime_computes_the_same_for_any_batch(case: Case) -> None:
    module = case.module()
    run = exported(module)
    with torch.no_grad():
        for x in (points(), points()[:5], extremes()[1:]):
            assert_same(run(x), module(x), x)
        nan = torch.full((2, 3), float("nan"))
        same = torch.equal(run(nan).isnan(), module(nan).isnan())
    assert same == (case.name not in OTHER_AT_NAN)
