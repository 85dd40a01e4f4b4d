"""Whether there is a compiler, and a C header as a function of Python."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sysconfig
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from actsearch.errors import ActivationError

__all__ = ["build_header", "check_cpp_compiler"]

Kind = type[np.int8] | type[np.int16] | type[np.float32]
_C_TYPES: dict[Any, str] = {np.int8: "int8_t", np.int16: "int16_t", np.float32: "float"}
_STRICT = ("-std=c99", "-O2", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-shared", "-fPIC")


def check_cpp_compiler() -> None:
    """Refuse where torch.compile has nothing to compile with on a CPU.

    Raises:
        ActivationError: no C++ compiler, or Python's headers are missing.
    """
    compiler = os.environ.get("CXX", "g++")
    if shutil.which(compiler) is None:
        raise ActivationError(
            f"torch.compile needs a C++ compiler, and {compiler!r} is not there: install g++, or set CXX to another"
        )
    headers = Path(sysconfig.get_paths()["include"]) / "Python.h"
    if not headers.exists():
        raise ActivationError(
            f"torch.compile needs Python's headers, and {headers} is not there: install python3-dev"
        )


def build_header(
    text: str, name: str, kind: Kind, compiler: str | None = None
) -> Callable[[npt.ArrayLike], npt.NDArray[Any]]:
    """Compile a header with one function ``kind name(kind)``, every warning an error, and load it.

    Args:
        text: of the header.
        name: of its function.
        kind: numpy's type of its argument and result.
        compiler: command of a C compiler; that of the environment's CC, or "cc".

    Raises:
        ActivationError: the compiler is missing, or refuses the header.
    """
    command = compiler or os.environ.get("CC", "cc")
    if shutil.which(command) is None:
        raise ActivationError(
            f"a C header is checked with a C compiler, and {command!r} is not there: install gcc, or set CC to another"
        )
    ctype = _C_TYPES[kind]
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "activation.h").write_text(text, encoding="utf-8")
        source = Path(folder) / "run.c"
        source.write_text(
            '#include "activation.h"\n'
            f"void run(const {ctype} *in, {ctype} *out, long n);\n"
            f"void run(const {ctype} *in, {ctype} *out, long n)\n"
            f"{{ for (long i = 0; i < n; i++) out[i] = {name}(in[i]); }}\n",
            encoding="utf-8",
        )
        library = Path(folder) / "run.so"
        done = subprocess.run(
            [command, *_STRICT, str(source), "-o", str(library)], capture_output=True, text=True
        )
        if done.returncode != 0:
            raise ActivationError(f"{command} refuses the header: {done.stderr.strip()[:2000]}")
        loaded = ctypes.CDLL(str(library))

    def run(values: npt.ArrayLike) -> npt.NDArray[Any]:
        given: npt.NDArray[Any] = np.ascontiguousarray(values, kind)
        result = np.empty_like(given)
        loaded.run(
            given.ctypes.data_as(ctypes.c_void_p),
            result.ctypes.data_as(ctypes.c_void_p),
            ctypes.c_long(given.size),
        )
        return result

    return run
