"""The steps to an answer: learning rate, search, verdict, weights, each within what is left of the budget."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from actsearch.errors import StudyError
from actsearch.evaluation import Subject
from actsearch.records import TrialState
from actsearch.report import INTERRUPTED, Verdict, rate_trainings
from actsearch.study.answer.budget import Budget
from actsearch.study.answer.decision import FOUND, Decision
from actsearch.study.answer.ledger import Ledger
from actsearch.study.answer.options import Options
from actsearch.study.answer.plan import MOST_TRIALS, Costs, Plan, TooLittle, make_plan
from actsearch.study.answer.result import FindResult, Spent
from actsearch.study.answer.winner import train_winner
from actsearch.study.answer.words import ONE_RATE, describe_best, describe_visible, say_unanswered
from actsearch.study.attributes import set_attribute
from actsearch.study.confirm import Confirmation, TooEarly
from actsearch.study.limits import ConfirmLimits
from actsearch.study.preparation import task_differences
from actsearch.study.progress import announce
from actsearch.study.question import Question
from actsearch.study.rate import may_choose_rate
from actsearch.study.study import Study
from actsearch.study.times import format_seconds
from actsearch.study.turn import only_one
from actsearch.study.unfinished import digest
from actsearch.task import Task

__all__ = ["Finder"]

_NO_TIME = 1e-9
_REVISED = "revised, of what is to come: "


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
        self._decision = Decision.read(study.user_attrs)
        self._confirmation: Confirmation | None = None
        self._told: tuple[Plan, float] | None = None  # the plan, with seconds of a training
        seeds = subject.seeds if isinstance(subject.seeds, int) else len(subject.seeds)
        self._ledger = Ledger(study, task, subject, options, seeds, began)
        self._ledger.add_earlier(self._decision.seconds)
        self._costs = Costs(
            seeds,
            has_rate=subject.learning_rate is not None,
            tunes_first=may_choose_rate(subject),
            longer=self._ledger.longer() if budget.trainings is None else 1.0,
        )

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
                f"{self._subject.metric!r} does not tell which way is better: give direction='maximize' or 'minimize' "
                "(--direction)"
            )

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
        if known.trials == len(self._ledger.trained()) and known.asked in ("", self._asked()):
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
        trained = math.floor(self._ledger.searched())
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
            math.ceil(self._ledger.searched() * self._costs.seeds),
            stored + self._decision.given_up + begun,
            self._decision.weights,
            self._ledger.elapsed(),
        )

    def _left(self) -> int:
        """Trainings, for search, verdict and weights."""
        if self._budget.trainings is not None:
            spent = self._spent()
            return self._budget.trainings - spent.trainings + spent.weights
        assert self._budget.seconds is not None
        each = max(self._ledger.each(), 1e-9)
        left = self._budget.seconds - self._ledger.elapsed()
        left -= max(0.0, self._ledger.weights() - each)  # that one is not trained side by side
        return int(min(left / each, 1e9))

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
        elif target > self._ledger.searched():
            self._search_in_time()
            self._check_time_was_enough()
        self._begin_verdict()

    def _plan(self) -> int:
        """Trials in all; the first plan is revised when it is known what the learning rate took."""
        trained = math.floor(self._ledger.searched())
        try:
            plan = make_plan(
                self._left(), self._costs, trained=trained, rate=None if trained == 0 else 0
            )
        except TooLittle as error:
            if trained == 0:
                raise StudyError(error.explain(self._budget, self._ledger.each())) from None
            if self._left() < 1 or trained < 2:
                raise TooEarly from None
            plan = Plan(
                0, 0, trained, self._left(), 1, is_tuned=False
            )  # what there is can be compared, as far as that goes
        goes_on = f"goes on after {self._spent()}: " if trained else ""
        self._tell_plan(plan, goes_on)
        if trained == 0:
            self._optimize(1, self._budget.seconds)
            plan = self._revise(plan)
            self._tell_plan(plan, _REVISED)
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
                self._left(), self._costs, trained=math.floor(self._ledger.searched()), rate=0
            )
        except TooLittle as error:
            least = error.least
            return (
                least if least.search <= self._left() // 2 else replace(least, trials=plan.trials)
            )

    def _search_for(self, target: int) -> None:
        """As many trials as are planned, or more for as many trainings where some are given up early."""
        while (left := int(target - self._ledger.searched())) > 0:
            trained = len(self._ledger.trained())
            self._optimize(min(trained + left, max(MOST_TRIALS, target)), None)
            if (
                len(self._ledger.trained()) == trained
            ):  # nothing more to propose, or as many as there may be
                return

    def _search_in_time(self) -> None:
        """For its share of the time; then it is known what the rest pays for."""
        assert self._budget.seconds is not None
        plan = self._revise(Plan(0, 0, 0, 0, 1))
        self._tell_plan(plan, _REVISED)
        left = self._budget.seconds - self._ledger.elapsed()
        if left > 0 and plan.search:
            self._optimize(MOST_TRIALS, plan.search / plan.trainings * left)
        plan = self._revise(plan)
        self._decision = replace(self._decision, top_k=plan.top_k, is_tuned=int(plan.is_tuned))

    def _check_time_was_enough(self) -> None:
        """Where trainings take longer than was forecast, the model unchanged may be all that was trained."""
        candidates = [item for item in self._ledger.trained() if not item.candidate.is_baseline]
        if all(item.state is TrialState.PRUNED for item in candidates):
            raise TooEarly

    def _optimize(self, trials: int, timeout: float | None) -> None:
        self._study.optimize(
            self._task, total_trials=trials, timeout=timeout, executor=self._options.executor,
            show_progress_bar=self._options.show_progress_bar,
        )  # fmt: skip

    def _begin_verdict(self) -> None:
        """Keep what the verdict will be about: interrupted, it goes on over the same finalists."""
        trained = len(self._ledger.trained())
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
        verdict = verdict.with_diagnostics(lambda number: self._study.trials[number].diagnostics)
        if verdict.cut:
            self._decision = replace(self._decision, open=verdict.trainings)
            return verdict
        verdicts = self._study.verdicts
        # not always the newest: it may have been stored by a call that was killed, and others asked for since
        answer = next(
            (place for place, one in enumerate(verdicts) if one == verdict), len(verdicts) - 1
        )
        self._decision = replace(
            self._decision, open=0, answer=answer, answered=self._asked(),
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
        seconds = self._budget.seconds - self._ledger.elapsed() - self._ledger.weights()
        return ConfirmLimits(None, max(seconds, _NO_TIME), named, takes_interrupt=True)

    # words

    def _tell(self, text: str) -> None:
        announce(f"study {self._study.study_name}: {text}", self._options.show_progress_bar)

    def _best(self) -> str:
        return describe_best(self._ledger.trained(), self._study.direction, self._subject.metric)

    def _tell_plan(self, plan: Plan, begins: str) -> None:
        """Unless it is about what was told before."""
        each = self._ledger.each()
        if self._told is not None:
            before, seconds = self._told
            if not plan.differs(before, each / max(seconds, 1e-9)):
                return
        self._told = plan, each
        shows = describe_visible(
            self._ledger.trained(), self._costs.seeds, self._study, plan.top_k
        )
        is_share = each < self._ledger.alone()
        self._tell(f"{begins}{plan.describe(each, is_share=is_share, shows=shows)}")

    def _tell_next(self) -> None:
        top_k, each = self._decision.top_k, self._ledger.each()
        costs = self._costs
        if not self._decision.is_tuned:
            costs = replace(costs, has_rate=False)
        about = costs.verdict(top_k, len(self._ledger.trained())) - self._decision.open
        about = min(about, self._left() - 1)
        if about < 1:
            return
        about, each = round(about / self._costs.longer), each * self._ledger.longer()
        finalists = "finalist" if top_k == 1 else "finalists"
        self._tell(
            f"{self._best()}; next, a verdict over {top_k} {finalists} on test data: about {about} trainings "
            f"of {format_seconds(each)}, {format_seconds(about * each)}"
        )

    def _keep(self) -> None:
        """Write down what was decided and spent."""
        self._decision = replace(self._decision, seconds=self._ledger.elapsed())
        set_attribute(self._study.storage, self._study.study_name, FOUND, self._decision.to_json())
