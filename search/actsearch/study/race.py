"""The trainings of a verdict, in rounds of seeds: learning rates and finalists that cannot win any more leave."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from actsearch.records import CandidateRecord, Score
from actsearch.report import (
    INTERRUPTED,
    LOOKS,
    STOPPED,
    Paired,
    PairedTest,
    Scores,
    count_groups,
    list_leaving,
    pair,
)
from actsearch.study.rate_grid import RateGrid
from actsearch.study.rate_race import RateRace
from actsearch.study.trainings import Stopped, Trainings

__all__ = ["Race", "Runner", "forecast_race"]

_FIRST = (2, 4)  # seeds after which rates leave, where all finalists stay to the end


@dataclass
class Runner:
    """One contender on its way.

    Attributes:
        record: what is trained; the first runner is the baseline.
        runs: for each seed, the score by step of the grid of learning rates.
        steps: those among which each seed's best is chosen.
        is_in: whether it gets further seeds.
    """

    record: CandidateRecord
    runs: list[dict[int, Score]]
    steps: list[int]
    is_in: bool = True

    def has(self, place: int, step: int) -> bool:
        """Whether it was trained under a seed at a rate."""
        return place < len(self.runs) and step in self.runs[place]

    def choose(self, grid: RateGrid) -> list[int]:
        """The best step of each seed on its validation data; of equals, the nearest to the rate of the search."""
        return [grid.best({step: run[step].valid for step in self.steps}) for run in self.runs]

    @property
    def is_blind(self) -> bool:
        """Whether the objective did not tell search from confirmation."""
        return any(score.blind for run in self.runs for score in run.values())

    def is_at_end(self, grid: RateGrid) -> bool:
        """Whether the step that is best on average is the last one that was tried: a better one may lie beyond."""
        tried = set().union(*self.runs)
        best = grid.best(
            {step: grid.average([run[step].valid for run in self.runs]) for step in self.steps}
        )
        return len(tried) > 1 and best in (min(tried), max(tried))

    @property
    def is_trained(self) -> bool:
        """Whether it came to a score, at any rate and under any seed."""
        return any(score.test is not None for run in self.runs for score in run.values())


class Race:
    """Trains the baseline and the finalists under one seed after the other.

    Attributes:
        runners: the baseline, then the finalists.
        is_cut: whether it ended since there was no time for more trainings, or by Ctrl-C.
        ended_by: what ended it, if not a limit.

    Tuned is, in each seed, the best of the learning rates that are not out of the race, by the validation score of that
    seed's own trainings: the luck of tuning is part of the paired differences.
    """

    def __init__(
        self,
        trainings: Trainings,
        grid: RateGrid,
        records: Sequence[CandidateRecord],
        seeds: Sequence[int],
        test: PairedTest,
        is_catalog: Sequence[bool],
        may_train: Callable[[int], bool] | None = None,
        *,
        takes_interrupt: bool = False,
    ) -> None:
        """Args:
        trainings: trains.
        grid: of learning rates.
        records: the baseline, then the finalists.
        seeds: as many as the last look needs.
        test: how the finalists are compared with the baseline; with one look, all stay to the end.
        is_catalog: which of the records are catalog rows.
        may_train: whether so many further trainings are within some limit, where there is one; else the race ends.
        takes_interrupt: whether Ctrl-C ends it likewise.
        """
        self._trainings = trainings
        self._grid = grid
        self._seeds = seeds
        self._test = test
        self._sign = 1 if test.direction == "maximize" else -1
        self._catalog = [row for row, known in enumerate(is_catalog) if known and row]
        self._may_train = may_train
        self._takes_interrupt = takes_interrupt
        self.is_cut = False
        self.ended_by = ""
        self._missing: set[int] = set()  # rows of which trainings were wanted when a limit came
        self._rates = RateRace(grid, len(records))
        self.runners = [
            Runner(record, [], steps)
            for record, steps in zip(records, self._rates.steps, strict=True)
        ]

    def run(self) -> list[Runner]:
        """Until something is better, nothing can be, or the seeds are used up."""
        try:
            self._run()
        except Stopped:
            self.is_cut, self.ended_by = True, STOPPED
        except KeyboardInterrupt:
            if not self._takes_interrupt:
                raise
            self.is_cut, self.ended_by = True, INTERRUPTED
        for runner in self.runners:  # without seeds that were begun alone
            runner.runs = [run for run in runner.runs if run]
        return self.runners

    def _run(self) -> None:
        is_race = len(self._test.looks) > 1
        for count in self._rounds():
            rows = [0, *self._running()]
            while self._train(count, rows):
                if is_race:
                    # before rates beyond an edge are tried, which those that leave do not need
                    rows = [0, *self._leave(count)]
            if is_race and self._is_over(count):
                self.is_cut = False
                break
            if self.is_cut:
                break

    def _running(self) -> list[int]:
        """Finalists that get further seeds."""
        return [row for row, runner in enumerate(self.runners) if row and runner.is_in]

    def _leave(self, count: int) -> list[int]:
        """Let finalists leave, at a look; those that stay."""
        # what has diverged at all rates so far may train at a smaller one
        trained = [row for row in self._running() if self.runners[row].is_trained]
        if count in self._test.looks and trained:
            for row in list_leaving(self._compare(trained), self._test):
                self.runners[row].is_in = False
        return self._running()

    def _is_over(self, count: int) -> bool:
        """Whether the answer is known; a composed winner is then compared with the best catalog row on its seeds.

        Cut short in a round, it is known where what was not trained would not have changed it: those that leave do so
        whatever is still found for the baseline, but one that is better may not be beside a better rate of that.
        """
        for row in self._running():
            self.runners[row].is_in = self.runners[row].is_trained or row in self._missing
        rows = [row for row in range(1, len(self.runners)) if len(self.runners[row].runs) == count]
        differences = self._compare(rows)
        better = {row: own for row, own in differences.items() if self._is_better(own)}
        if better and self._missing & {0, *better}:
            return False
        if better and self._catalog and self._best(better) not in self._catalog:
            best = [self._best(self._compare(self._catalog))]
            while self._train(count, best):
                pass
        return bool(better) or not self._running()

    def _rounds(self) -> list[int]:
        last = self._test.looks[-1]
        early: tuple[int, ...] = _FIRST if len(self._grid.first) > 1 else ()
        if self._may_train is not None and len(self._test.looks) == 1:
            early = LOOKS  # little is lost where the limit ends it
        return sorted({*self._test.looks, *(count for count in early if count < last)})

    def _train(self, count: int, rows: Sequence[int]) -> bool:
        """Some runners under so many seeds in all, at every rate that is still there; whether anything was to do.

        Then rates leave, and neighbours come, which the next call trains.
        """
        wanted = [
            (row, column, step)
            for step in sorted({step for row in rows for step in self._rates.steps[row]}, key=abs)
            for row in rows
            if step in self._rates.steps[row]
            for column in range(count)
            if not self.runners[row].has(column, step)
        ]
        if not wanted:
            return False
        if self._may_train is not None and not self._may_train(len(wanted)):
            self.is_cut, self._missing = True, {row for row, _, _ in wanted}
            return False
        for row in rows:
            runs = self.runners[row].runs
            runs += [{} for _ in range(count - len(runs))]
        asked = [
            (row, self.runners[row].record, self._seeds[column], step)
            for row, column, step in wanted
        ]
        scores = self._trainings.scores(asked, "test")
        for (row, column, step), score in zip(wanted, scores, strict=True):
            self.runners[row].runs[column][step] = score
        for row in rows:
            self.runners[row].steps = list(self._rates.steps[row])
        self._rates.update(
            {
                row: [
                    [run[step].valid for run in self.runners[row].runs]
                    for step in self.runners[row].steps
                ]
                for row in rows
            }
        )
        for row in rows:
            # what came has no scores yet
            self.runners[row].steps = [
                step for step in self.runners[row].steps if step in self._rates.steps[row]
            ]
        return True

    def _compare(self, rows: Sequence[int]) -> dict[int, Paired]:
        """With the baseline, on test data, for as many seeds as each has; empty where nothing could be trained.

        What diverged is the worst of all.
        """
        chosen = [
            [run[step] for run, step in zip(own.runs, own.choose(self._grid), strict=True)]
            for own in self.runners
        ]
        known = [score.test for own in chosen for score in own if score.test is not None]
        if not known:
            return {}
        worst = min(known) if self._sign > 0 else max(known)
        scores = [
            Scores([one.test for one in own], [one.without for one in own]) for own in chosen
        ]
        groups = count_groups(scores[:1])
        return {row: pair(scores[row], scores[0], worst, groups) for row in rows}

    def _best(self, differences: Mapping[int, Paired]) -> int:
        return max(differences, key=lambda row: self._sign * differences[row].mean)

    def _is_better(self, differences: Paired) -> bool:
        low, high, _ = self._test.interval(differences)
        return self._test.word(low, high, len(differences)) == "better"


def forecast_race(contenders: int, last: int, *, is_race: bool, has_rates: bool) -> int:
    """About how many trainings: two seeds at three rates and more, then fewer rates.

    Of a race two contenders see most seeds, and the others leave (means of ``tests/benchmarks/verdict_cost.py``).
    """
    if is_race:
        most, few = (25.5, 9.0) if has_rates else (13.0, 3.0)
        return round(2 * most + max(0, contenders - 2) * few)
    early, late = (4.0, 1.5) if has_rates else (1.0, 1.0)
    return round(contenders * (min(2, last) * early + max(0, last - 2) * late))
