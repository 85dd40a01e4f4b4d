"""Trials as runs of TensorBoard: the only module that imports it, and the writer that torch has for it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from actsearch.callbacks.entry import Entry, check_metric_name, make_entry, missing_library

if TYPE_CHECKING:
    from actsearch.study import Study, Trial

__all__ = ["TensorBoardCallback"]


class TensorBoardCallback:
    """Writes each trial for TensorBoard: ``study.optimize(task, callbacks=[acs.TensorBoardCallback("runs/digits")])``.

    A trial is a run, in the folder ``trial-NUMBER``: its settings and values for the tab HParams, its losses and
    metrics by epoch as scalars, its formula as a text. ``tensorboard --logdir runs/digits`` shows them.

    Args:
        log_dir: a folder of this study alone; it is made where it is missing.
        metric_name: what the value is called; with several objectives their names are added to it, or it is a list of
            one for each.

    Raises:
        ActsearchError: tensorboard is not installed.

    Example:
        >>> callback = acs.TensorBoardCallback("runs/digits")  # doctest: +SKIP
        >>> study.optimize(task, n_trials=50, callbacks=[callback])  # doctest: +SKIP
    """

    def __init__(
        self, log_dir: str | os.PathLike[str], metric_name: str | Sequence[str] = "value"
    ) -> None:
        self._metric_name = check_metric_name(metric_name)
        self._log_dir = os.fspath(log_dir)
        try:
            import tensorboard  # noqa: F401  # which the next line needs, also where torch has it imported before
            from torch.utils import tensorboard as writing
        except ImportError as error:
            raise missing_library("TensorBoardCallback", "tensorboard", error) from error
        self._library: Any = writing

    def __call__(self, study: Study, trial: Trial) -> None:
        """Write a trial that has ended."""
        entry = make_entry(study, trial, self._metric_name)
        folder = os.path.join(self._log_dir, f"trial-{trial.number}")
        with contextlib.closing(self._library.SummaryWriter(folder)) as writer:
            self._write(writer, entry, trial.number)

    def _write(self, writer: Any, entry: Entry, number: int) -> None:
        for epoch, measured in entry.curve:
            for name, value in measured.items():
                writer.add_scalar(name, value, epoch)
        for name, value in entry.metrics.items():
            writer.add_scalar(name, value, number)
        lines = (f"    {name}: {value}" for name, value in entry.settings.items())
        writer.add_text("trial", "\n".join(lines), number)  # Markdown: indented lines are code
        # add_hparams of the writer would begin a second file, of which TensorBoard may follow one
        for summary in self._library.summary.hparams(dict(entry.settings), dict(entry.metrics)):
            writer.file_writer.add_summary(summary)
