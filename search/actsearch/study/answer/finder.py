"""The steps to an answer: learning rate, search, verdict, weights, each within what is left of the budget."""

from __future__ import annotations

import math
import statistics
import time
from dataclasses import dataclass, replace
from typing import Any

from actsearch.errors import StudyError
from actsearch.evaluation import Subject
from actsearch.execution import Executor, Local, Pool
from actsearch.records import TRAININGS, TrialRecord, TrialState
from actsearch.report import INTERRUPTED, Verdict, rate_trainings
from actsearch.report.verdict.rows import Covers
from actsearch.study.answer.budget import Budget
from actsearch.study.answer.decision import FOUND, Decision
from actsearch.study.answer.plan import MOST_TRIALS, Costs, Plan, TooLittle, make_plan
from actsearch.study.answer.result import FindResult, Spent
from actsearch.study.answer.winner import train_winner
from actsearch.study.answer.words import ONE_RATE, describe_best, say_unanswered
from actsearch.study.attributes import set_attribute
from actsearch.study.confirm import Confirmation, TooEarly
from actsearch.study.limits import ConfirmLimits
from actsearch.study.preparation import task_differences
from actsearch.study.progress import announce
from actsearch.study.question import Question
from actsearch.study.rate import may_choose_rate
from actsearch.study.splits import Splits
from actsearch.study.study import Study
from actsearch.study.times import format_seconds
from actsearch.study.turn import only_one
from actsearch.study.unfinished import digest
from actsearch.task import Task
from actsearch.task.rows import check_rows

__all__ = ["Finder", "Options"]

_NO_TIME = 1e-9


@dataclass(frozen=True)
class Options:
    """How an answer is found; see :func:`actsearch.find`."""

    min_effect: float | None = None
    covers: Covers = "seeds+rows"
    executor: Executor | None = None
    show_progress_bar: bool = True
    max_weights_mb: float = 500
    splits: Splits | None = None  # as read from splits and groups


class Finder:
    """One call of ``acs.find``.

    What was decided and spent is kept with the study, so that another call goes on from there.
    """

    def __init__(
        self,
        study: Study,
        task: Task,
        subject: Subject,
        budget: Budget,
        options: Options,
        began: float,
    ) -> None:
        self._study = study
        self._task = task
        self._subject = subject
        self._budget = budget
        self._options = options
        self._began = began
        self._decision = Decision.read(study.user_attrs)
        self._seconds: float | None = None  # of a training alone, until trials tell
        self._confirmation: Confirmation | None = None
        seeds = subject.seeds
        self._costs = Costs(
            seeds if isinstance(seeds, int) else len(seeds),
            has_rate=subject.learning_rate is not None,
            tunes_first=may_choose_rate(subject),
            longer=self._longer() if budget.trainings is None else 1.0,
        )
        self._earlier = max(self._decision.seconds, self._stored_seconds())

    def run(self) -> FindResult:
        """Search and confirm what is not done yet, and say what came out."""
        self._check_same_task()
        self._drop_what_cannot_go_on()
        verdict, why = self._answer()
        ended_by = why or (verdict.cut if verdict is not None else "")
        model, path = None, None
        if verdict is not None and not verdict.cut:
            try:
                model, path = train_winner(
                    self._study, self._task, verdict, self._options.max_weights_mb
                )
                # also where a call that was killed has written them
                self._decision = replace(self._decision, weights=1)
            except KeyboardInterrupt:  # the verdict stands
                ended_by = INTERRUPTED
                self._tell("Ctrl-C ended the training of the weights")
        self._keep()
        sentence = say_unanswered(why, self._best()) if verdict is None else verdict.sentence
        if verdict is not None and self._costs.has_rate and not self._was_tuned(verdict):
            sentence += ONE_RATE
        return FindResult(
            self._study, self._task, verdict, sentence, self._budget, self._spent(verdict), model, path,
            is_interrupted=ended_by.startswith(INTERRUPTED),
        )  # fmt: skip

    def _answer(self) -> tuple[Verdict | None, str]:
        """The verdict, and what ended it; an earlier one where there is no newer one to the same question."""
        why = ""
        try:
            if not self._has_answer_for_this_budget():
                if self._is_undecided():
                    self._search()
                self._tell_next()
                return self._confirm(), ""
        except KeyboardInterrupt:
            what = "the search" if self._is_undecided() else "the verdict"
            why = f"{INTERRUPTED} ended {what}"
        except TooEarly:
            why = f"the budget of {self._budget} is used up"
        earlier = self._earlier_answer()
        if earlier is not None and why:
            self._tell(f"{why}; the answer is the one that there was")
        return earlier, why

    # what there is

    def _check_same_task(self) -> None:
        """Before anything is told: another task needs another study."""
        stored = self._study.record.task
        different = (
            task_differences(stored, self._subject.describe()) if stored is not None else []
        )
        if different:
            lines = "\n  ".join(different)
            raise StudyError(
                f"study {self._study.study_name!r} is about another task: give study_name= (--study) another name, "
                f"or the task as it was:\n  {lines}"
            )
        if self._study.direction is None and self._subject.direction is None:
            raise StudyError(
                f"{self._subject.metric!r} does not tell which way is better: give direction='maximize' or 'minimize'"
            )

    def _trained(self) -> list[TrialRecord]:
        return [trial.record for trial in self._study.trials if trial.state.is_trained]

    def _asked(self) -> str:
        """What a verdict is asked, besides its finalists."""
        asked: list[Any] = [self._options.min_effect, self._options.covers]
        if self._options.splits is not None:
            asked.append(self._options.splits.key())
        return digest([*asked, self._subject.test_id(self._study.record.id)])

    def _earlier_answer(self) -> Verdict | None:
        """The newest one to the same question."""
        verdicts, known = self._study.verdicts, self._decision
        fits = known.answered == self._asked() and 0 <= known.answer < len(verdicts)
        return verdicts[known.answer] if fits else None

    def _was_tuned(self, verdict: Verdict) -> bool:
        """Whether several learning rates were tried in a verdict: the answer, or one that goes on."""
        return bool(self._decision.is_tuned if verdict.cut else self._decision.answer_tuned)

    def _is_undecided(self) -> bool:
        """Whether no verdict was begun over the trials as they are now."""
        return self._decision.trials == 0

    def _drop_what_cannot_go_on(self) -> None:
        """A verdict that was begun over other trials, or asked something else, is another one now."""
        known = self._decision
        if known.trials == len(self._trained()) and known.asked in ("", self._asked()):
            return
        self._decision = replace(
            known, trials=0, asked="", open=0, given_up=known.given_up + known.open
        )

    def _has_answer_for_this_budget(self) -> bool:
        """Whether there is an answer, and this budget is not one that pays for another one."""
        if self._earlier_answer() is None:
            return False
        if self._decision.is_answered_for(self._budget):
            return True
        if self._decision.is_planned_for(self._budget):  # and was interrupted
            return False
        trained = math.floor(self._searched())
        try:
            plan = make_plan(self._left(), self._costs, trained=trained, rate=0)
        except TooLittle:
            return True
        is_less = self._decision.answer_tuned and not plan.is_tuned
        if plan.trials <= trained or is_less or self._is_smaller():
            return True
        self._decision = replace(self._decision, trials=0, asked="", target=0)
        return False

    def _is_smaller(self) -> bool:
        """Whether the answer that there is was planned for more of the same."""
        known = self._decision
        return (self._budget.trainings or 0) < known.planned or (
            self._budget.seconds or 0.0
        ) < known.planned_seconds

    def _longer(self) -> float:
        """How many times as long a training of the verdict takes, which trains on test rows as well."""
        division = self._options.splits
        if division is None or not division.trained or self._task.steps is not None:
            return 1.0
        return 1 + division.trained / check_rows(self._task.train, "train")

    def _alone(self) -> float:
        """Seconds of a training of the model unchanged, which is trained alone."""
        for trial in self._trained():
            if trial.state is TrialState.COMPLETE:
                return trial.seconds / self._costs.seeds
        if self._seconds is None:
            self._seconds = self._subject.forecast_seconds() or 0.0
        return self._seconds

    def _each(self) -> float:
        """Seconds of a training: of several that are trained side by side, its share."""
        executor = self._options.executor
        side_by_side = executor.count if isinstance(executor, Pool) else 1
        known = [trial.seconds for trial in self._trained() if trial.state is TrialState.COMPLETE]
        if len(known) > 1:
            return statistics.median(known) / self._costs.seeds / side_by_side
        return self._alone() / side_by_side

    def _elapsed(self) -> float:
        """Seconds over all calls."""
        return self._earlier + time.monotonic() - self._began

    def _stored_seconds(self) -> float:
        """About what the stored trainings took: a call that was killed has not said what it spent."""
        trained = self._trained()
        if not trained or not isinstance(self._options.executor, Local | None):
            return 0.0  # side by side they take less than their sum
        begun = sum(self._study.storage.interrupted_confirmations(self._study.record.id))
        rates = rate_trainings(self._study.user_attrs)
        stored = sum(trial.seconds for trial in trained)
        return stored + begun * self._each() + rates * self._alone()

    def _spent(self, verdict: Verdict | None = None) -> Spent:
        """Args:
        verdict: one that is not stored, as its trainings go on.
        """
        begun = self._decision.open
        if verdict is not None and verdict.cut:
            begun = verdict.trainings
        elif self._confirmation is not None:
            begun = 0 if verdict is not None else max(begun, self._confirmation.trainings)
        stored = sum(item.trainings for item in self._study.verdicts)
        return Spent(
            rate_trainings(self._study.user_attrs),
            math.ceil(self._searched() * self._costs.seeds),
            stored + self._decision.given_up + begun,
            self._decision.weights,
            self._elapsed(),
        )

    def _searched(self) -> float:
        """Trials, by what they took: one that was given up early is a part of one, a pass of shape learning several."""
        counts = (trial.user_attrs.get(TRAININGS) for trial in self._trained())
        seeds = self._costs.seeds
        took = sum(count if isinstance(count, (int, float)) else seeds for count in counts)
        return round(took / seeds, 6)

    def _left(self) -> int:
        """Trainings, for search, verdict and weights."""
        if self._budget.trainings is not None:
            spent = self._spent()
            return self._budget.trainings - spent.trainings + spent.weights
        assert self._budget.seconds is not None
        each = max(self._each(), 1e-9)
        return int(min((self._budget.seconds - self._elapsed()) / each, 1e9))

    # the steps

    def _search(self) -> None:
        """To the trials that are planned; a plan that was begun for the same budget is kept to."""
        if self._decision.is_planned_for(self._budget):
            self._tell(f"goes on after {self._spent()}")
            target = self._decision.target
        else:
            target = self._plan()
        if self._budget.seconds is None:
            self._search_for(target)
        elif target > self._searched():
            self._search_in_time()
        self._begin_verdict()

    def _plan(self) -> int:
        """Trials in all; the first plan is revised when it is known what the learning rate took."""
        trained = math.floor(self._searched())
        try:
            plan = make_plan(
                self._left(), self._costs, trained=trained, rate=None if trained == 0 else 0
            )
        except TooLittle as error:
            if trained == 0:
                raise StudyError(error.explain(self._budget, self._each())) from None
            if self._left() < 1 or trained < 2:
                raise TooEarly from None
            plan = Plan(
                0, 0, trained, self._left(), 1, is_tuned=False
            )  # what there is can be compared, as far as that goes
        goes_on = f"goes on after {self._spent()}: " if trained else ""
        each = self._each()
        self._tell(f"{goes_on}{plan.describe(each, is_share=each < self._alone())}")
        if trained == 0:
            self._optimize(1, self._budget.seconds)
            plan = self._revise(plan)
        self._decision = replace(
            self._decision, target=plan.trials, top_k=plan.top_k, is_tuned=int(plan.is_tuned),
            planned=self._budget.trainings or 0, planned_seconds=self._budget.seconds or 0.0,
        )  # fmt: skip
        self._keep()
        return plan.trials

    def _revise(self, plan: Plan) -> Plan:
        """With what a training takes, and how many the learning rate took, known."""
        try:
            return make_plan(
                self._left(), self._costs, trained=math.floor(self._searched()), rate=0
            )
        except TooLittle as error:
            least = error.least
            return (
                least if least.search <= self._left() // 2 else replace(least, trials=plan.trials)
            )

    def _search_for(self, target: int) -> None:
        """As many trials as are planned, or more for as many trainings where some are given up early."""
        while (left := int(target - self._searched())) > 0:
            trained = len(self._trained())
            self._optimize(min(trained + left, max(MOST_TRIALS, target)), None)
            if (
                len(self._trained()) == trained
            ):  # nothing more to propose, or as many as there may be
                return

    def _search_in_time(self) -> None:
        """For its share of the time; then it is known what the rest pays for."""
        assert self._budget.seconds is not None
        plan = self._revise(Plan(0, 0, 0, 0, 1))
        left = self._budget.seconds - self._elapsed()
        if left > 0 and plan.search:
            self._optimize(MOST_TRIALS, plan.search / plan.trainings * left)
        plan = self._revise(plan)
        self._decision = replace(self._decision, top_k=plan.top_k, is_tuned=int(plan.is_tuned))

    def _optimize(self, trials: int, timeout: float | None) -> None:
        self._study.optimize(
            self._task, total_trials=trials, timeout=timeout, executor=self._options.executor,
            show_progress_bar=self._options.show_progress_bar,
        )  # fmt: skip

    def _begin_verdict(self) -> None:
        """Keep what the verdict will be about: interrupted, it goes on over the same finalists."""
        trained = len(self._trained())
        self._decision = replace(self._decision, trials=trained, asked=self._asked(), open=0)
        self._keep()

    def _confirm(self) -> Verdict:
        study = self._study.storage.study(self._study.study_name)
        question = Question(
            self._decision.top_k,
            min_effect=self._options.min_effect,
            covers=self._options.covers,
            splits=self._options.splits,
            lrs=None if self._decision.is_tuned else (),
        )
        self._confirmation = Confirmation(
            self._study.storage, study, self._task, question, self._limits(), self._tell,
            self._options.executor,
        )  # fmt: skip
        records = [trial.record for trial in self._study.trials]
        with only_one(study.name, "confirm"):
            verdict = self._confirmation.verdict(records, self._options.show_progress_bar)
        if verdict.cut:
            self._decision = replace(self._decision, open=verdict.trainings)
            return verdict
        self._decision = replace(
            self._decision, open=0, answer=len(self._study.verdicts) - 1, answered=self._asked(),
            answer_tuned=self._decision.is_tuned, answer_planned=self._decision.planned,
            answer_seconds=self._decision.planned_seconds,
        )  # fmt: skip
        self._keep()
        return verdict

    def _limits(self) -> ConfirmLimits:
        """What is left, without the training of the weights; what was trained before may be used in any case."""
        named = f"the budget of {self._budget}"
        if self._budget.trainings is not None:
            # the trainings that it has are counted by the verdict itself
            left = self._left() + self._decision.open - 1
            # at least 1, which is too little: a call that was killed may have stored the verdict
            return ConfirmLimits(max(left, 1), None, named, takes_interrupt=True)
        assert self._budget.seconds is not None
        seconds = self._budget.seconds - self._elapsed() - self._alone()
        return ConfirmLimits(None, max(seconds, _NO_TIME), named, takes_interrupt=True)

    # words

    def _tell(self, text: str) -> None:
        announce(f"study {self._study.study_name}: {text}", self._options.show_progress_bar)

    def _best(self) -> str:
        return describe_best(self._trained(), self._study.direction, self._subject.metric)

    def _tell_next(self) -> None:
        top_k, each = self._decision.top_k, self._each()
        costs = self._costs
        if not self._decision.is_tuned:
            costs = replace(costs, has_rate=False)
        about = costs.verdict(top_k, len(self._trained())) - self._decision.open
        about = min(about, self._left() - 1)
        if about < 1:
            return
        about, each = round(about / self._costs.longer), each * self._longer()
        finalists = "finalist" if top_k == 1 else "finalists"
        self._tell(
            f"{self._best()}; next, a verdict over {top_k} {finalists} on test data: about {about} trainings "
            f"of {format_seconds(each)}, {format_seconds(about * each)}"
        )

    def _keep(self) -> None:
        """Write down what was decided and spent."""
        self._decision = replace(self._decision, seconds=self._elapsed())
        set_attribute(self._study.storage, self._study.study_name, FOUND, self._decision.to_json())
