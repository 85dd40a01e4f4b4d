"""A study: its trials, and the three things one does with it - optimize, look, confirm."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import pandas as pd

from actsearch.checks import check_one_of
from actsearch.errors import StudyError
from actsearch.evaluation import Objective
from actsearch.execution import Executor
from actsearch.export.page import make_page
from actsearch.halving import SuccessiveHalving
from actsearch.records import Diagnostics, StudyRecord, TrialRecord, TrialState
from actsearch.report import (
    Pruning,
    Verdict,
    best_trial,
    chosen_rate,
    curve_trials,
    diagnostics_frame,
    first_diagnostics,
    objective_names,
    pareto_front,
    read_verdicts,
    resolve_duplicates,
    summarize_pruning,
    trials_frame,
)
from actsearch.report.notebook import show_study
from actsearch.report.optuna_view import optuna_study
from actsearch.report.verdict.rows import Covers
from actsearch.report.writing import write_file
from actsearch.storage import Storage
from actsearch.study.confirm import Confirmation
from actsearch.study.driver import Driver
from actsearch.study.enqueued import make_enqueued
from actsearch.study.limits import ConfirmLimits, Limits
from actsearch.study.question import Question
from actsearch.study.site_groups import known_groups
from actsearch.study.trainings import VerdictTraining
from actsearch.study.trial import Trial
from actsearch.study.turn import only_one

if TYPE_CHECKING:
    import optuna

__all__ = ["Study"]

_log = logging.getLogger("actsearch")
_DEFAULT_TRIALS = 100

Callback = Callable[["Study", Trial], None]
VerdictCallback = Callable[["Study", VerdictTraining], None]


class Study:
    """A search for an activation function, kept in a database. Made by :func:`actsearch.create_study`.

    Example:
        >>> def objective(candidate, run):
        ...     return candidate.module()(torch.tensor([1.0])).item()
        >>> study = acs.create_study(study_name="demo", direction="minimize")
        >>> study.optimize(objective, n_trials=3, show_progress_bar=False)
        >>> study.best_value == min(t.value for t in study.trials if t.state.name == "COMPLETE")
        True
    """

    def __init__(self, storage: Storage, record: StudyRecord) -> None:
        self._storage = storage
        self._record = record
        self._stop = False

    @property
    def record(self) -> StudyRecord:
        """The stored settings."""
        return self._record

    @property
    def storage(self) -> Storage:
        """Where it is kept."""
        return self._storage

    @property
    def study_name(self) -> str:
        """The study's name."""
        return self._record.name

    @property
    def user_attrs(self) -> Mapping[str, Any]:
        """Further data kept with the study, such as ``task_changes``, ``warm_start`` and ``learning_rate``."""
        return self._read_again().user_attrs

    def _read_again(self) -> StudyRecord:
        """The stored settings, to which this process or another one may have added since."""
        self._record = self._storage.study(self._record.name)
        return self._record

    @property
    def direction(self) -> str | None:
        """ "maximize" or "minimize"; None until the first optimize has asked the metric."""
        return self._record.direction

    @property
    def directions(self) -> tuple[str, ...]:
        """Of every objective, in order; empty until the first optimize has asked the metric."""
        if self._record.directions:
            return self._record.directions
        return () if self.direction is None else (self.direction,)

    def set_direction(self, direction: Literal["maximize", "minimize"]) -> None:
        """Set the direction, where neither the study nor a metric has set it yet.

        Raises:
            StudyError: the study has the other direction, or another process runs it.
        """
        if self.direction == direction:
            return
        if not self._storage.set_direction(self._record, direction):
            lease = self._storage.lease(self._record)
            lease.acquire()  # refused while its holder lives
            try:
                self._storage.update_study(self._record.id, lease, direction=direction)
            finally:
                lease.release()
        self._record = self._storage.study(self._record.name)

    @property
    def trials(self) -> list[Trial]:
        """Every trial in order of number."""
        verdicts, records = self.verdicts, self._trials()
        curves = curve_trials(records)
        return [self._trial(item, verdicts, curves.get(item.number)) for item in records]

    @property
    def best_trial(self) -> Trial:
        """The COMPLETE trial with the best value; StudyError while there is none, or with several objectives."""
        self._refuse_several("best_trial")
        return self._trial(best_trial(self._trials(), self.direction), self.verdicts)

    @property
    def best_trials(self) -> list[Trial]:
        """The Pareto front, in order of number: COMPLETE trials that no other is as good as in every objective and
        better in one. With one objective, the trials with the best value."""
        verdicts = self.verdicts
        if not self.directions:
            return []
        front = pareto_front(self._trials(), self.directions)
        return [self._trial(record, verdicts) for record in front]

    def _refuse_several(self, name: str) -> None:
        if len(self.directions) > 1:
            raise StudyError(
                f"study {self.study_name!r} has {len(self.directions)} objectives and no {name}: use best_trials"
            )

    @property
    def best_value(self) -> float:
        """Value of the best trial: the largest of many noisy numbers, and so optimistic. See :meth:`confirm`."""
        self._refuse_several("best_value")
        value = self.best_trial.value
        assert value is not None
        return value

    def trials_dataframe(self) -> pd.DataFrame:
        """One row a trial."""
        return trials_frame(self._trials(), objectives=objective_names(self._record))

    def diagnostics_dataframe(self) -> pd.DataFrame:
        """What was seen inside: one row for each trial, seed, stage ("start", "end") and site."""
        return diagnostics_frame(self._storage.trials(self._record.id, diagnostics=True))

    @property
    def optuna_study(self) -> optuna.Study:
        """The trained trials as an Optuna study in memory, for ``optuna.visualization``."""
        return optuna_study(self._record, self._trials(epochs=True))

    def optimize(
        self,
        objective: Objective,
        n_trials: int | None = None,
        total_trials: int | None = None,
        timeout: float | None = None,
        executor: Executor | None = None,
        callbacks: Iterable[Callback] = (),
        show_progress_bar: bool = True,
        task_changed: Literal["refuse", "accept"] = "refuse",
    ) -> None:
        """Search. Returns when a limit is reached; call again, or run the script again, to go on.

        Ctrl-C, or SIGTERM, ends it when the running trials are stored, and then does what it always does: Ctrl-C
        raises KeyboardInterrupt here. A second one does so at once; the running trials are then run again later.

        Args:
            objective: a Task, or any ``objective(candidate, run) -> float or {name: float}``; with several objectives
                a mapping.
            n_trials: trials this call trains to an end, those interrupted before included; 100 if no limit is given.
            total_trials: train until the study has so many trained trials in all.
            timeout: start no further trial after so many seconds.
            executor: where trials run; in this process by default.
            callbacks: called with (study, trial) after each trained trial.
            show_progress_bar: show progress on standard error.
            task_changed: "accept" goes on although the task differs from the one of the stored trials.

        Raises:
            StudyError: another process runs the study, another thread optimizes or confirms one, the task changed, or
                the direction is unknown.
            TaskError: model, data, loss and metric do not fit together.
            PlacementError: the model has nothing to replace.
            KeyboardInterrupt: after Ctrl-C.
        """
        check_one_of("task_changed", task_changed, ("refuse", "accept"), StudyError)
        if n_trials is None and total_trials is None and timeout is None:
            n_trials = _DEFAULT_TRIALS
        limits = Limits(n_trials, total_trials, timeout)
        with only_one(self.study_name, "optimize"):
            self._optimize(
                objective, limits, executor, callbacks, show_progress_bar, task_changed == "accept"
            )

    def _optimize(
        self,
        objective: Objective,
        limits: Limits,
        executor: Executor | None,
        callbacks: Iterable[Callback],
        show_progress_bar: bool,
        accept_changed_task: bool,
    ) -> None:
        self._stop = False
        driver = Driver(self._storage, self._record, objective, executor, lambda: self._stop)
        self._record = driver.prepare(accept_changed_task=accept_changed_task)
        listeners = [
            lambda record, call=callback: call(self, self._ended(record)) for callback in callbacks
        ]
        driver.run(limits, listeners, show_progress_bar)

    @property
    def pruning(self) -> Pruning | None:
        """What the study's pruner saved so far, and how well it tells good from bad; None without a pruner."""
        if self._record.pruner is None:
            return None
        pruner = SuccessiveHalving.from_json(self._record.pruner)
        return summarize_pruning(self._trials(epochs=True), pruner)

    def stop(self) -> None:
        """From a callback: end the running ``optimize`` before the next trial, or ``confirm`` with what is known."""
        self._stop = True

    def enqueue_trial(self, candidate: Any, **hyperparameters: Any) -> int:
        """Have an activation tried next, before further proposals.

        Args:
            candidate: catalog name, formula or Expression; for a search by site also a mapping to these from every
                group, or from some of them and ``"*"`` for the others; "baseline" or None for your model unchanged.
            hyperparameters: settings of a catalog row.

        Returns:
            The trial's number.

        Raises:
            FormulaError, ActivationError: it is not a valid activation.
            SpaceError: a mapping names other sites than the study's groups.
        """
        own = make_enqueued(candidate, hyperparameters, self._record)
        if not own.is_baseline and (known := known_groups(self._read_again())) is not None:
            own = known.groups.normalize(own)
        trial = TrialRecord(-1, TrialState.WAITING, own)
        return self._storage.add_trials(self._record.id, [trial], None)[0].number

    def confirm(
        self,
        objective: Objective,
        top_k: int = 5,
        seeds: int | None = None,
        baseline: Any = None,
        min_effect: float | None = None,
        show_progress_bar: bool = True,
        *,
        budget: int | None = None,
        timeout: float | None = None,
        executor: Executor | None = None,
        callbacks: Iterable[VerdictCallback] = (),
        covers: Covers = "seeds+rows",
        lrs: Sequence[float] | None = None,
        splits: Any = None,
        groups: Any = None,
    ) -> Verdict:
        """Is the best of this study really better than what you have?

        The best 3 x ``top_k`` are trained again under a fresh seed, on validation data, and ``top_k`` kept. They and
        the baseline race on test data that the search never touched: under one fresh seed after the other, paired,
        for a Task at the learning rate that suits each, until one is better, none can become better, or 16 seeds are
        used up; a finalist that cannot win any more leaves, and so does a rate that is surely worse than another. The
        intervals hold over all finalists and all looks. Each training is stored when it ends. A verdict with the same
        settings over the same trials is read from the storage instead of being made again.

        With several objectives the finalists are ``top_k`` of the Pareto front, spread evenly over it, and compared on
        the first objective, with the others as the search measured them beside.

        Args:
            objective: the Task with ``test`` data, or the callable of the search.
            top_k: finalists.
            seeds: None for a race; a number for so many paired seeds for each finalist, whatever comes out; below 8
                there is no verdict.
            baseline: None for the user's model unchanged, or an activation.
            min_effect: smallest difference in the metric that matters.
            show_progress_bar: show progress on standard error.
            budget: trainings that it may take in all, those of interrupted calls included; where they end before the
                answer is known, the verdict says so, and is not stored: the same call with more goes on from there.
            timeout: seconds, likewise; a round of trainings begins only where it is expected to end in time.
            executor: where trainings run, as for :meth:`optimize`; in this process by default.
            callbacks: called with (study, training) after each training, when it is stored: a
                :class:`actsearch.VerdictTraining`. ``study.stop()`` ends the verdict there with what is known.
            covers: what the intervals are to hold for: new training runs and new test rows like these; or, "seeds", new
                training runs on these test rows alone. Where scores are not known by rows, as with ``evaluate=``, they
                hold for the latter; ``verdict.covers`` says it.
            lrs: learning rates to try beside that of the search, for each finalist and the baseline; an empty list for
                none. By default a third and three times of it, and further ones where they may be better.
            splits: for small data: the test rows are divided, some are trained on besides the training data and the
                others tested, in turn: the first seed on the first split, the next on the next, and again from the
                first. So a large part of the rows can be kept from the search, without which there is no verdict. A
                splitter of scikit-learn (k-fold, repeated, stratified, grouped, by time); a list of (rows to train on,
                rows to test), positions in the test data; or a number, for a shuffled k-fold. Validation data stay.
            groups: a label for each test row, or for all rows of train, valid and test in this order: rows of one
                label, as those of one patient, are never trained on and tested at once, which is refused, and the
                interval holds for new groups like these, of which there must be 5 or more.

        Raises:
            StudyError: no complete trial, splits or groups that do not fit the test rows, a budget that is too small
                for any comparison, another process runs the study, or another thread optimizes or confirms one; a
                process of the executor crashed, or took too long.
            TaskError: the task has no test data.
        """
        self._stop = False
        listeners = list(callbacks)

        def listen(training: VerdictTraining) -> bool:
            for callback in listeners:
                callback(self, training)
            return self._stop

        confirmation = Confirmation(
            self._storage,
            self._read_again(),
            objective,
            Question(top_k, seeds, baseline, min_effect, covers, lrs, splits, groups),
            ConfirmLimits(budget, timeout),
            executor=executor,
            listen=listen,
        )
        with only_one(self.study_name, "confirm"):
            verdict = confirmation.verdict(self._trials(), show_progress_bar)
        return verdict.with_diagnostics(self._read_diagnostics)

    def report(self, path: str | os.PathLike[str]) -> None:
        """Write one page of HTML that can be sent to anybody: it needs no other file and no network.

        It has the newest verdict with its intervals, code to paste, the functions, the search and its curves, what was
        spent, and how to make it again.

        Args:
            path: where to, as in "report.html"; what stood there before is replaced.

        Raises:
            StorageError: the file cannot be written.
        """
        record = self._read_again()
        stored = self._storage.confirmations(record.id)
        verdicts = read_verdicts((item.created, item.verdict) for item in stored)
        cut = sum(self._storage.interrupted_confirmations(record.id))
        text = make_page(record, self._trials(epochs=True), verdicts, cut)
        write_file(os.fspath(path), lambda file: file.write(text), self._storage.database.url)

    @property
    def verdicts(self) -> list[Verdict]:
        """Stored verdicts, oldest first."""
        stored = self._storage.confirmations(self._record.id)
        read = read_verdicts((item.created, item.verdict) for item in stored)
        return [verdict.with_diagnostics(self._read_diagnostics) for _, verdict in read]

    def _trials(self, *, epochs: bool = False) -> list[TrialRecord]:
        self._read_again()  # a rate may have been chosen since
        return resolve_duplicates(self._storage.trials(self._record.id, epochs=epochs))

    def _ended(self, record: TrialRecord) -> Trial:
        """For a callback."""
        self._read_again()
        return self._trial(record, ())

    def _trial(
        self, record: TrialRecord, verdicts: Sequence[Verdict], curve: int | None = None
    ) -> Trial:
        verdicts_on_it = (verdict for verdict in reversed(verdicts) if verdict.row(record.number))
        verdict = next(verdicts_on_it, None)
        rate = chosen_rate(self._record.user_attrs)
        return Trial(
            record,
            self.study_name,
            verdict,
            self._read_diagnostics,
            rate,
            curve,
            self._read_epochs,
        )

    def _read_epochs(self, number: int) -> TrialRecord:
        return self._storage.trials(self._record.id, numbers=[number], epochs=True)[0]

    def _read_diagnostics(self, number: int) -> Diagnostics | None:
        trials = self._storage.trials(self._record.id, numbers=[number], diagnostics=True)
        return first_diagnostics(trials[0]) if trials else None

    def __repr__(self) -> str:
        return f"Study({self.study_name!r}, {self._storage.database.url})"

    def _repr_html_(self) -> str:
        return show_study(
            self._record, lambda: (self._read_again(), self._trials(), self.verdicts)
        )
