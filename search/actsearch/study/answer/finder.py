"""The steps to an answer: learning rate, search, verdict, weights, each within what is left of the budget."""

from __future__ import annotations

import contextlib
import math
import statistics
import time
from dataclasses import dataclass, replace
from pathlib import Path

from torch import nn

from actsearch.errors import StudyError, TaskError
from actsearch.evaluation import Subject
from actsearch.evaluation.trained_model import build_model, train_model
from actsearch.execution import Executor
from actsearch.records import TRAININGS, TrialRecord, TrialState
from actsearch.report import INTERRUPTED, Verdict, leaderboard, rate_trainings
from actsearch.report.verdict.table import format_value
from actsearch.seeds import seed_list
from actsearch.study.answer.budget import Budget, format_seconds
from actsearch.study.answer.decision import FOUND, Decision
from actsearch.study.answer.plan import MOST_TRIALS, Costs, Plan, TooLittle, make_plan
from actsearch.study.answer.result import FindResult, Spent
from actsearch.study.answer.weights import load_weights, save_weights, weights_path
from actsearch.study.attributes import set_attribute
from actsearch.study.confirm import Confirmation, TooEarly
from actsearch.study.limits import ConfirmLimits
from actsearch.study.progress import announce
from actsearch.study.question import Question
from actsearch.study.rate import may_choose_rate
from actsearch.study.study import Study
from actsearch.study.turn import only_one
from actsearch.task import Task

__all__ = ["Finder", "Options"]


@dataclass(frozen=True)
class Options:
    """How an answer is found; see :func:`actsearch.find`."""

    min_effect: float | None = None
    executor: Executor | None = None
    show_progress_bar: bool = True
    max_weights_mb: float = 500


class Finder:
    """One call of ``acs.find``.

    What was decided and spent is kept with the study, so that another call goes on from there.
    """

    def __init__(
        self, study: Study, task: Task, subject: Subject, budget: Budget, options: Options
    ) -> None:
        self._study = study
        self._task = task
        self._subject = subject
        self._budget = budget
        self._options = options
        self._began = time.monotonic()
        self._decision = Decision.read(study.user_attrs)
        self._earlier = self._decision.seconds
        self._seconds: float | None = None  # of a training, until trials tell
        seeds = subject.seeds
        self._costs = Costs(
            seeds if isinstance(seeds, int) else len(seeds),
            has_rate=subject.learning_rate is not None,
            tunes_first=may_choose_rate(subject),
        )

    def run(self) -> FindResult:
        """Search and confirm what is not done yet, and say what came out."""
        verdict, why = self._answer()
        model, path = None, None
        if verdict is not None and not verdict.cut:
            with contextlib.suppress(KeyboardInterrupt):  # the verdict stands
                model, path = self._train_winner(verdict)
        self._keep()
        sentence = self._say_unanswered(why) if verdict is None else verdict.sentence
        ended_by = why if verdict is None else verdict.cut
        return FindResult(
            self._study, self._task, verdict, sentence, self._budget, self._spent(verdict), model, path,
            is_interrupted=ended_by.startswith(INTERRUPTED),
        )  # fmt: skip

    def _answer(self) -> tuple[Verdict | None, str]:
        """The verdict, or why there is none."""
        try:
            if not self._is_answered():
                if not self._is_decided():
                    self._search()
                self._tell_next()
            return self._confirm(), ""
        except KeyboardInterrupt:
            what = "the verdict" if self._is_decided() else "the search"
            return None, f"{INTERRUPTED} ended {what}"
        except TooEarly as error:
            return None, str(error)

    # what there is

    def _trained(self) -> list[TrialRecord]:
        return [trial.record for trial in self._study.trials if trial.state.is_trained]

    def _is_decided(self) -> bool:
        """Whether a verdict was begun over the trials as they are now."""
        return self._decision.trials == len(self._trained()) > 0

    def _is_answered(self) -> bool:
        """Whether there is an answer, and this budget is not a larger one that pays for another."""
        if not (self._decision.is_answered and self._is_decided()):
            return False
        if self._budget == self._decision.budget:
            return True
        trained = len(self._trained())
        try:
            plan = make_plan(self._left(), self._costs, trained=trained, rate=0)
        except TooLittle:
            return True
        if plan.trials <= trained:
            return True
        self._decision = replace(self._decision, trials=0)
        return False

    def _each(self) -> float:
        """Seconds of a training."""
        known = [trial.seconds for trial in self._trained() if trial.state is TrialState.COMPLETE]
        if known:
            return statistics.median(known) / self._costs.seeds
        if self._seconds is None:
            self._seconds = self._subject.forecast_seconds() or 0.0
        return self._seconds

    def _elapsed(self) -> float:
        """Seconds over all calls; of a call that was killed, what its trials took."""
        trained = sum(trial.seconds for trial in self._trained())
        return max(self._earlier + time.monotonic() - self._began, trained)

    def _spent(self, verdict: Verdict | None = None) -> Spent:
        """Args:
        verdict: one that is not stored, as its trainings go on.
        """
        attrs = self._study.user_attrs
        verdicts = self._study.verdicts
        cut = verdict.trainings if verdict is not None and verdict.cut else 0
        return Spent(
            rate_trainings(attrs),
            sum(self._count(trial) for trial in self._trained()),
            sum(item.trainings for item in verdicts) + cut,
            self._decision.weights,
            self._elapsed(),
        )

    def _count(self, trial: TrialRecord) -> int:
        """Trainings that a trial took."""
        took = trial.user_attrs.get(TRAININGS)
        return math.ceil(took) if isinstance(took, (int, float)) else self._costs.seeds

    def _left(self) -> int:
        """Trainings."""
        if self._budget.trainings is not None:
            return self._budget.trainings - self._spent().trainings
        assert self._budget.seconds is not None
        each = max(self._each(), 1e-9)
        return int(min((self._budget.seconds - self._elapsed()) / each, 1e9))

    # the steps

    def _search(self) -> None:
        trained = len(self._trained())
        rate = None if trained == 0 else 0
        try:
            plan = make_plan(self._left(), self._costs, trained=trained, rate=rate)
        except TooLittle as error:
            if trained == 0:
                raise StudyError(error.explain(self._budget, self._each())) from None
            plan = error.least
        goes_on = f"goes on after {self._spent()}: " if trained else ""
        self._tell(f"{goes_on}{plan.describe(self._each())}")
        if trained == 0:
            self._optimize(1, self._budget.seconds)
            plan = self._revise(plan)
        if self._budget.trainings is not None:
            self._optimize(plan.trials, None)
        elif plan.trials > 1:
            share = plan.search / plan.trainings
            left = self._budget.seconds - self._elapsed() if self._budget.seconds else 0.0
            if left > 0:
                self._optimize(MOST_TRIALS, share * left)
            plan = self._revise(plan)
        self._decide(plan.top_k)

    def _revise(self, plan: Plan) -> Plan:
        """With what a training takes, and how many the learning rate took, known."""
        try:
            new = make_plan(self._left(), self._costs, trained=len(self._trained()), rate=0)
        except TooLittle as error:
            new = error.least
        return new

    def _optimize(self, trials: int, timeout: float | None) -> None:
        self._study.optimize(
            self._task, total_trials=trials, timeout=timeout, executor=self._options.executor,
            show_progress_bar=self._options.show_progress_bar,
        )  # fmt: skip

    def _decide(self, top_k: int) -> None:
        """Keep what the verdict will be about: interrupted, it goes on over the same finalists."""
        trained = len(self._trained())
        self._decision = replace(self._decision, trials=trained, top_k=top_k, is_answered=False)
        self._keep()

    def _tell_next(self) -> None:
        left, each, top_k = self._left() - 1, self._each(), self._decision.top_k
        about = min(self._costs.verdict(top_k, len(self._trained())), left)
        if about < 1:
            return
        finalists = "finalist" if top_k == 1 else "finalists"
        self._tell(
            f"{self._describe_best()}; next, a verdict over {top_k} {finalists} on test data, with what was trained "
            f"for it before at most {about} trainings of {format_seconds(each)}, {format_seconds(about * each)}"
        )

    def _confirm(self) -> Verdict:
        if self._is_answered():
            limits = ConfirmLimits()  # it is read from the storage
        else:
            limits = self._limits()
        storage, study = self._study.storage, self._study.storage.study(self._study.study_name)
        question = Question(self._decision.top_k, min_effect=self._options.min_effect)
        confirmation = Confirmation(storage, study, self._task, question, limits, self._tell)
        records = [trial.record for trial in self._study.trials]
        with only_one(study.name, "confirm"):
            verdict = confirmation.verdict(records, self._options.show_progress_bar)
        if not verdict.cut:
            self._decision = replace(self._decision, is_answered=True, budget=self._budget)
            self._keep()
        return verdict

    def _limits(self) -> ConfirmLimits:
        """What is left, without the training of the weights."""
        named = f"the budget of {self._budget}"
        if self._budget.trainings is not None:
            left = self._budget.trainings - self._spent().trainings - 1
            if left < 1:
                raise TooEarly(f"{named} is used up")
            return ConfirmLimits(left, None, named, takes_interrupt=True)
        assert self._budget.seconds is not None
        seconds = self._budget.seconds - self._elapsed() - self._each()
        if seconds <= 0:
            raise TooEarly(f"{named} is used up")
        return ConfirmLimits(None, seconds, named, takes_interrupt=True)

    def _train_winner(self, verdict: Verdict) -> tuple[nn.Module | None, Path | None]:
        """The winner with its weights: read from the file, or trained and written there."""
        record, lr = verdict.candidate, verdict.winner.learning_rate
        seed = seed_list(self._study.record.seed, "weights", 1)[0]
        made_of = {
            "study": self._study.study_name,
            "activation": verdict.winner.label,
            "formulas": {key: item.to_json() for key, item in record.activations.items()},
            "lr": lr,
            "seed": seed,
            "task": self._study.record.task,
        }
        database = self._study.storage.database.path
        path = None if database is None else weights_path(database, self._study.study_name)
        if path is not None and path.is_file():
            model = build_model(self._task, record, seed)
            if load_weights(model, path, made_of):
                return model.to(self._task.torch_device()).eval(), path
        if self._left() < 1 and self._decision.weights:
            return None, None
        try:
            model = train_model(self._task, record, seed, lr)
        except TaskError as error:
            self._tell(str(error))
            return None, None
        self._decision = replace(self._decision, weights=self._decision.weights + 1)
        if path is None or not save_weights(model, path, made_of, self._options.max_weights_mb):
            return model, None
        return model, path

    # words

    def _tell(self, text: str) -> None:
        announce(f"study {self._study.study_name}: {text}", self._options.show_progress_bar)

    def _describe_best(self) -> str:
        """What leads on validation data."""
        trained = self._trained()
        own = next((trial for trial in trained if trial.candidate.is_baseline), None)
        ranked = leaderboard(trained, self._study.direction)
        best = next((trial for trial in ranked if not trial.candidate.is_baseline), None)
        if best is None or best.value is None:
            return f"{len(trained)} trials"
        beside = ""
        if own is not None and own.value is not None:
            beside = f", your model unchanged {format_value(own.value)}"
        return (
            f"{len(trained)} trials; {best.candidate.label} leads on validation data ({self._subject.metric} "
            f"{format_value(best.value)}{beside}), which is partly luck"
        )

    def _say_unanswered(self, why: str) -> str:
        again = "The same call" if why.startswith(INTERRUPTED) else "With a larger budget it"
        return (
            f"No answer yet: {why}. So far: {self._describe_best()}. {again} goes on from there."
        )

    def _keep(self) -> None:
        """Write down what was decided and spent."""
        self._decision = replace(self._decision, seconds=self._elapsed())
        set_attribute(self._study.storage, self._study.study_name, FOUND, self._decision.to_json())
