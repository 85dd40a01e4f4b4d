"""What a verdict says: its rows, its table, its sentence."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from actsearch.errors import StorageError
from actsearch.html_parts import fragment, paragraph, table
from actsearch.records import CandidateRecord, Diagnostics, TrainingSettings
from actsearch.report.json_values import to_json_data
from actsearch.report.verdict import stored
from actsearch.report.verdict.caveats import KeptWeights, SharedRows
from actsearch.report.verdict.looks import LOOKS, MIN_SEEDS
from actsearch.report.verdict.recipe import Recipe, read_settings
from actsearch.report.verdict.row import VerdictRow, Word, read_row
from actsearch.report.verdict.table import draw_table, format_value, table_cells
from actsearch.report.verdict.words import describe_row, describe_verdict, is_decided
from actsearch.storage.tolerant import one_line

__all__ = ["MIN_SEEDS", "Covers", "Direction", "Verdict", "VerdictRow", "Word"]

Direction = Literal["maximize", "minimize"]

Covers = Literal["seeds", "seeds+rows"]


@dataclass(frozen=True)
class Verdict:
    """The answer of ``study.confirm``. ``str(verdict)`` is the table with its closing sentence.

    Attributes:
        study_name: the study.
        metric: what was measured.
        direction: which way is better.
        seeds: paired seeds; the most that any line has, as those that could not win any more left a race early.
        comparisons: comparisons on this test data so far, these included; intervals hold over all of them.
        baseline: what the others are compared with.
        rows: the finalists, best mean first.
        winner: the best row that is "better", else the baseline.
        versus_catalog: a composed winner compared with the best catalog row, if there is one.
        visible_difference: the smallest true difference that this test finds in 4 of 5 cases.
        min_effect: differences below this do not matter to the user.
        validation_only: the objective did not tell search from confirmation.
        kept_weights: how much of the model is pretrained (fine-tuning); None where nothing is.
        shared_rows: test rows that the search has seen, if there are any: of train, of valid.
        trainings: how many trainings it took; 0 in verdicts that were stored before they were counted.
        settings: how a Task is trained; None for an objective of the user's own, and in verdicts of before.
        most_seeds: to how many the race would have gone; 0 in verdicts that were stored before there were races.
        cut: what ended the race before the answer was known, as "the budget of 60 trainings"; "" for nothing.
        covers: what the intervals hold for: "seeds+rows", new training runs and new test rows like these; or "seeds",
            new training runs on these test rows, as in all verdicts that were stored before there was another one.
        splits: into how many splits the test rows were divided; 0 where every training tests all of them.
        test_data: digest of the tested rows, equal for equal ones; None where they are not known, as in older verdicts.
        groups: of how many groups the test rows are; 0 where each row stands for itself, and in older verdicts.
        rows_share: of the variance of a difference, what the test rows make of it; 0 where the intervals do not cover
            them.

    Example:
        >>> def objective(candidate, run):
        ...     noise = torch.randn(8, generator=torch.Generator().manual_seed(run.seed))
        ...     return candidate.module()(noise).square().mean().item()
        >>> study = acs.create_study(study_name="confirmed", direction="minimize")
        >>> study.optimize(objective, n_trials=3, show_progress_bar=False)
        >>> verdict = study.confirm(objective, top_k=1, seeds=8, baseline="relu", show_progress_bar=False)
        >>> verdict.seeds, verdict.baseline.label, verdict.validation_only
        (8, 'relu', True)
    """

    study_name: str
    metric: str
    direction: Direction
    seeds: int
    comparisons: int
    baseline: VerdictRow
    rows: tuple[VerdictRow, ...]
    winner: VerdictRow
    versus_catalog: VerdictRow | None
    visible_difference: float
    min_effect: float | None = None
    validation_only: bool = False
    kept_weights: KeptWeights | None = None
    shared_rows: tuple[SharedRows, ...] = ()
    trainings: int = 0
    settings: TrainingSettings | None = None
    most_seeds: int = 0
    cut: str = ""
    covers: Covers = "seeds"
    rows_share: float = 0.0
    splits: int = 0
    test_data: str | None = None
    groups: int = 0

    @property
    def candidate(self) -> CandidateRecord:
        """What the winner is, as ``acs.activation``, ``acs.place`` and exports take it; see :class:`VerdictRow`."""
        return self.winner.candidate

    @property
    def diagnostics(self) -> Diagnostics | None:
        """Of the winner, see :attr:`VerdictRow.diagnostics`."""
        return self.winner.diagnostics

    def with_diagnostics(self, read: Callable[[int], Diagnostics | None]) -> Verdict:
        """The same, with lines that know what their trials recorded.

        Args:
            read: of a trial, by its number.
        """
        lines = {
            id(row): replace(row, _read_diagnostics=read) for row in (self.baseline, *self.rows)
        }
        return replace(
            self,
            baseline=lines[id(self.baseline)],
            rows=tuple(lines[id(row)] for row in self.rows),
            winner=lines[id(self.winner)],
        )

    @property
    def looks(self) -> tuple[int, ...] | None:
        """Of a race, the numbers of seeds at which it was looked at; None where there was one look."""
        return LOOKS if self.most_seeds == LOOKS[-1] and self.seeds in LOOKS else None

    @property
    def claim(self) -> str:
        """What the intervals hold for, in words."""
        rows = "new groups of rows like these" if self.groups else "new rows like these"
        return f"new training runs and {rows if self.covers == 'seeds+rows' else 'this test set'}"

    @property
    def counted(self) -> str:
        """How many comparisons the intervals hold for, in words."""
        number = self.comparisons
        return "the one comparison" if number == 1 else f"all {number} comparisons"

    @property
    def sentence(self) -> str:
        """What to do, in plain words, and what to keep in mind."""
        return describe_verdict(self)

    @property
    def is_decided(self) -> bool:
        """Whether it says what to do, rather than that it cannot tell: with too few seeds it cannot."""
        return is_decided(self)

    def recipe(self, row: VerdictRow | None = None) -> Recipe:
        """What to set to get the result of a line; ``acs.to_python(verdict)`` writes it as code.

        Args:
            row: one of ``rows``, or ``baseline``; by default the winner.
        """
        row = self.winner if row is None else row
        settings = self.settings
        if (
            settings is not None and row.activation is None
        ):  # nothing is drawn anew in the model unchanged
            settings = replace(settings, gain=None)
        return Recipe(row.label, row.learning_rate, row.learning_rates, settings)

    def row(self, number: int) -> VerdictRow | None:
        """The line of a trial, by its number; None if it was not compared."""
        return next((row for row in self.rows if row.number == number), None)

    def remark(self, row: VerdictRow) -> str:
        """One plain sentence on one line of the verdict."""
        return describe_row(self, row)

    def __str__(self) -> str:
        lines = [self._heading(), draw_table(self), self._power(), self.sentence]
        return "\n".join(filter(None, lines))

    def _repr_html_(self) -> str:
        return fragment(self._parts, "this verdict")

    def _parts(self) -> list[str]:
        """The same for a notebook."""
        head, *rows = table_cells(self)
        numbers = range(1, len(head) - 1)
        parts = [paragraph(self._heading()), table(head, rows, right=numbers, styled=True)]
        if power := self._power():
            parts.append(paragraph(power))
        return [*parts, paragraph(self.sentence, strong=True)]

    @property
    def spent(self) -> str:
        """How many seeds it took, in words."""
        if self.seeds < self.most_seeds:
            return f"{self.seeds} of at most {self.most_seeds} paired seeds"
        return f"{self.seeds} paired seeds"

    def _power(self) -> str:
        if self.cut and self.seeds < MIN_SEEDS:
            return ""  # no difference gives a word
        return f"smallest difference that this test would find in 4 of 5 cases: {format_value(self.visible_difference)}"

    @property
    def tested(self) -> str:
        """What it was measured on, in words."""
        where = "validation data" if self.validation_only else "test data"
        return where + (f" in {self.splits} splits" if self.splits > 1 else "")

    def _heading(self) -> str:
        return (
            f"{self.study_name}: {self.metric} on {self.tested}, {self.spent}, "
            f"intervals hold for {self.counted} made on it, over {self.claim}"
        )

    def to_json(self) -> dict[str, Any]:
        """Every number, as JSON data without NaN."""
        data: dict[str, Any] = to_json_data(self)
        data["winner"] = next(
            index for index, row in enumerate((self.baseline, *self.rows)) if row is self.winner
        )
        return data

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Verdict:
        """Read :meth:`to_json` output.

        What is returned holds valid activations, numbers and plain texts alone; a line whose activation cannot be read
        is kept with its numbers and says so, see :attr:`VerdictRow.is_damaged`.

        Raises:
            StorageError: for data that is not a verdict.
        """
        try:
            return cls._read(data)
        except (LookupError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise StorageError(
                f"a stored verdict cannot be read ({type(error).__name__}: {one_line(error)}): "
                "it was changed by another program, or is damaged"
            ) from None

    @classmethod
    def _read(cls, data: Mapping[str, Any]) -> Verdict:
        baseline = read_row(data["baseline"])
        rows = tuple(read_row(item) for item in data["rows"])
        against = data["versus_catalog"]
        min_effect = data.get("min_effect")
        if baseline.verdict != "baseline" or any(row.verdict == "baseline" for row in rows):
            raise ValueError("its baseline is not the line that is called so")
        winner = (baseline, *rows)[stored.read_count(data["winner"])]
        # a winner is called better, or is the baseline; the first version may have named others
        if winner.verdict in ("worse", "equivalent"):
            raise ValueError(f"its winner is called {winner.verdict!r}")
        return cls(
            study_name=one_line(data["study_name"]),
            metric=one_line(data["metric"]),
            direction=stored.read_word(data["direction"], Direction),
            seeds=stored.read_count(data["seeds"], 1),
            comparisons=stored.read_count(data["comparisons"]),
            baseline=baseline,
            rows=rows,
            winner=winner,
            versus_catalog=None if against is None else read_row(against),
            visible_difference=stored.read_number(data["visible_difference"]),
            min_effect=None if min_effect is None else stored.read_number(min_effect),
            validation_only=bool(data.get("validation_only")),
            kept_weights=KeptWeights.read(data.get("kept_weights")),
            shared_rows=tuple(SharedRows.read(item) for item in data.get("shared_rows") or ()),
            trainings=stored.read_count(data.get("trainings", 0)),
            settings=read_settings(data.get("settings")),
            most_seeds=stored.read_count(data.get("most_seeds", 0)),
            cut=one_line(data.get("cut", "")),
            covers=stored.read_word(data.get("covers", "seeds"), Covers),
            rows_share=stored.read_number(data.get("rows_share", 0.0)),
            splits=stored.read_count(data.get("splits", 0)),
            test_data=stored.read_digest(data.get("test_data")),
            groups=stored.read_count(data.get("groups", 0)),
        )
