"""Global random generators, borrowed and given back."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator

import numpy as np
import torch

from actsearch.seeds import global_streams

__all__ = ["isolated_random"]


@contextlib.contextmanager
def isolated_random(seed: int) -> Iterator[None]:
    """Seed torch, numpy and random inside the block; outside, their streams go on as if nothing had happened.

    User models, dropout and data transforms draw from these global generators, so they have to be set; ours never
    are left changed. Blocks of other threads wait for it to end.

    Raises:
        StudyError: another thread has kept the streams for a minute.
    """
    with global_streams:
        devices = list(range(torch.cuda.device_count())) if torch.cuda.is_initialized() else []  # type: ignore[no-untyped-call]
        python_state = random.getstate()
        numpy_state = np.random.get_state()  # noqa: NPY002 - user code may use the old global stream
        with torch.random.fork_rng(devices=devices):
            if torch.cuda.is_available():
                torch.manual_seed(seed)
            else:  # which would write down a traceback for each device that may be there later
                torch.default_generator.manual_seed(seed)
            random.seed(seed)
            np.random.seed(seed % 2**32)  # noqa: NPY002
            try:
                yield
            finally:
                random.setstate(python_state)
                np.random.set_state(numpy_state)  # noqa: NPY002
