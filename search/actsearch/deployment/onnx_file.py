"""An activation as an ONNX file, checked with ONNX Runtime where that is installed."""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from actsearch.checks import check_integer
from actsearch.errors import ActivationError

__all__ = ["OLDEST_OPSET", "export_onnx", "run_onnx"]

OLDEST_OPSET = 18
"""That torch's exporter writes; it converts to older ones only where nothing it uses is newer."""

Array = npt.NDArray[np.float64]
_USUAL = 20


def export_onnx(module: nn.Module, opset: int | None, shape: tuple[int, int] = (2, 3)) -> bytes:
    """Write a module as ONNX, input and output of shape ``(batch, features)`` of any size.

    Raises:
        ActivationError: onnx or onnxscript are missing, an opset that is too old or not known, or torch's exporter
            cannot write the module; says why.
    """
    missing = [name for name in ("onnx", "onnxscript") if importlib.util.find_spec(name) is None]
    if missing:
        raise ActivationError(
            f"ONNX export needs {' and '.join(missing)}: pip install 'actsearch[onnx]'"
        )
    version = _USUAL if opset is None else check_integer("opset", opset, ActivationError, low=1)
    if version < OLDEST_OPSET:
        raise ActivationError(
            f"opset {version} is too old: torch's exporter writes {OLDEST_OPSET} and later; take one of these, or "
            "onnx.version_converter on the file"
        )
    batch: Any = {0: "batch", 1: "features"} if _takes_any_features(module) else {0: "batch"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's exporter trips over its own deprecations
        try:
            program = torch.onnx.export(
                module.eval(),
                (torch.zeros(shape),),
                dynamo=True,
                opset_version=version,
                dynamic_shapes=(batch,),
                input_names=["x"],
                output_names=["y"],
                verbose=False,
            )
        except Exception as error:
            reason = (
                str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            )
            raise ActivationError(
                f"torch cannot write it as ONNX with opset {version}: {reason}"
            ) from error
    assert program is not None
    written = next(
        (
            item.version
            for item in program.model_proto.opset_import
            if item.domain in ("", "ai.onnx")
        ),
        None,
    )
    if written != version:
        raise ActivationError(
            f"torch's exporter wrote opset {written} in the place of {version}: take that one"
        )
    return bytes(program.model_proto.SerializeToString())


def _takes_any_features(module: nn.Module) -> bool:
    """Whether it takes any number of features: not where it learns for each channel."""
    return getattr(module, "channels", None) is None


def run_onnx(data: bytes, features: int = 1) -> Callable[[Array], Array] | None:
    """The file's values at points ``(n,)``, by ONNX Runtime; None where that is not installed."""
    if importlib.util.find_spec("onnxruntime") is None:
        return None
    import onnxruntime

    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])

    def run(points: Array) -> Array:
        (y,) = session.run(None, {"x": np.repeat(points.astype(np.float32)[:, None], features, 1)})
        return np.asarray(y, np.float64)[:, 0]

    return run
