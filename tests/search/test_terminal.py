"""What several rooms share for terminals: aligned tables, and libraries that are kept quiet."""

from __future__ import annotations

import logging
import warnings

import pytest

from actsearch.silence import silence
from actsearch.text_table import align_columns


def test_columns_are_as_wide_as_their_widest_cell() -> None:
    rows = [("name", "mean", "verdict"), ("relu", "0.5", ""), ("x*sigmoid(x)", "12.25", "better")]
    assert align_columns(rows, right=[1]) == [
        "name           mean  verdict",
        "relu            0.5",
        "x*sigmoid(x)  12.25  better",
    ]


def test_a_library_is_quiet_inside_and_as_before_afterwards(
    caplog: pytest.LogCaptureFixture,
) -> None:
    logger = logging.getLogger("some_library")
    with silence("some_library", DeprecationWarning):
        logger.info("chatter")
        logger.warning("trouble")
        warnings.warn("old", DeprecationWarning, stacklevel=1)
        with pytest.raises(UserWarning):  # the tests turn warnings into errors
            warnings.warn("another", UserWarning, stacklevel=1)
    assert caplog.messages == ["trouble"]
    assert logger.level == logging.NOTSET
