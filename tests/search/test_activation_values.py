"""What every catalog row keeps: shape, dtype, NaN, and its input."""

from __future__ import annotations

import pytest
import torch

import actsearch as acs

# smallest shapes that each form over an axis takes, and what comes out
SHAPES = {
    "softmax2d": {(3, 1, 1): (3, 1, 1), (2, 3, 4, 5): (2, 3, 4, 5), (0, 3, 4, 5): (0, 3, 4, 5)},
    "glu": {(2,): (1,), (2, 4): (2, 2), (0, 4): (0, 2), (2, 3, 4, 6): (2, 3, 4, 3)},
    "crelu": {(2, 3): (2, 6), (0, 3): (0, 6), (2, 3, 4, 5): (2, 6, 4, 5)},
    "maxout": {(2, 4): (2, 2), (0, 4): (0, 2), (2, 6, 4, 5): (2, 3, 4, 5)},
}
KEPT = {shape: shape for shape in ((1,), (2, 3), (0, 3), (2, 3, 4, 5))}


@pytest.mark.parametrize("name", acs.catalog.names())
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_the_dtype_of_the_input_is_kept_and_the_shape_unless_the_row_is_a_gate_or_has_pieces(
    name: str, dtype: torch.dtype
) -> None:
    module = acs.activation(name)
    for shape, expected in SHAPES.get(name, KEPT).items():
        y = module(torch.ones(shape, dtype=dtype))
        assert (y.shape, y.dtype) == (torch.Size(expected), dtype)
        row = acs.catalog[name]
        assert (shape == expected) or row.role == "gate" or row.widens is not None


@pytest.mark.parametrize("name", acs.catalog.names())
def test_nan_is_never_hidden_and_the_input_never_written_to(name: str) -> None:
    x = torch.tensor([[float("nan"), -1.0, 0.5, 2.0]])
    if name == "softmax2d":
        x = x.reshape(1, 4, 1, 1)
    before = x.clone()
    assert acs.activation(name)(x).flatten()[0].isnan()
    torch.testing.assert_close(x, before, rtol=0, atol=0, equal_nan=True)
