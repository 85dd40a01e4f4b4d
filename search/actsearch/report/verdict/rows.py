"""What a verdict says: its rows, its table, its sentence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from actsearch.errors import ActivationError, StorageError
from actsearch.html_parts import fragment, paragraph, table
from actsearch.records import ActivationRecord, CandidateRecord, TrainingSettings
from actsearch.report.json_values import to_json_data
from actsearch.report.verdict import stored
from actsearch.report.verdict.caveats import KeptWeights, SharedRows
from actsearch.report.verdict.looks import LOOKS, MIN_SEEDS
from actsearch.report.verdict.recipe import Recipe, read_settings
from actsearch.report.verdict.table import draw_table, format_value, table_cells
from actsearch.report.verdict.words import describe_row, describe_verdict, is_decided
from actsearch.storage import tolerant
from actsearch.storage.tolerant import UNREADABLE, one_line

__all__ = ["MIN_SEEDS", "Covers", "Direction", "Verdict", "VerdictRow", "Word"]

_ROUNDING = 1e-13

Direction = Literal["maximize", "minimize"]

Covers = Literal["seeds", "seeds+rows"]

Word = Literal[
    "better",
    "worse",
    "not distinguishable",
    "equivalent",
    "too few seeds",
    "left early",
    "baseline",
]
"""Read from the interval; "left early" is who left a race before there were enough seeds for any other word."""


@dataclass(frozen=True)
class VerdictRow:
    """One line of a verdict.

    Attributes:
        formula: formula of the candidate, or label of the baseline.
        label: short text for tables.
        mean: mean score over the seeds, at the tuned learning rate. Over splits, where other seeds test other rows, of
            a line with fewer seeds than the baseline: the baseline's mean and the difference.
        difference: mean paired difference to the baseline, in the metric's units; of a winner somewhat optimistic, as
            it won by it, while the interval holds.
        low: lower end of the simultaneous 95 % interval of the difference; -inf for "left early".
        high: upper end; inf for "left early".
        p_value: of the two-sided paired t test, adjusted for comparisons and looks: below .05 where the interval leaves
            out 0.
        verdict: the word read from the interval.
        values: the scores, a diverged seed as the worst value seen.
        as_given: mean score at the learning rate of the search, over the first ``as_given_seeds``.
        learning_rate: the tuned learning rate, median over seeds, if one was chosen.
        diverged: how many seeds diverged.
        number: trial number.
        is_catalog: whether it is a catalog row.
        activation: the activation as JSON data, as in ``ActivationRecord.to_json``; of several ``{"groups": {...}}``;
            None for the model unchanged.
        others: its values in the study's other objectives, as the search measured them; not compared.
        at_grid_end: of how many seeds the best learning rate is the last one that was tried, so that a better one may
            lie beyond: of all or none, as the mean over seeds says; in verdicts of before, of those that say so alone.
        learning_rates: those chosen, one for each seed; empty where none was, or a version before this stored it.
        as_given_seeds: after how many the rate of the search was given up, as it lost to another; 0 where it was not.

    Example:
        >>> def objective(candidate, run):
        ...     noise = torch.randn(8, generator=torch.Generator().manual_seed(run.seed))
        ...     return candidate.module()(noise).square().mean().item()
        >>> study = acs.create_study(study_name="confirmed", direction="minimize")
        >>> study.optimize(objective, n_trials=3, show_progress_bar=False)
        >>> verdict = study.confirm(objective, top_k=1, seeds=8, baseline="relu", show_progress_bar=False)
        >>> row = verdict.rows[0]
        >>> row.low <= row.difference <= row.high
        True
    """

    formula: str
    label: str
    mean: float
    difference: float
    low: float
    high: float
    p_value: float
    verdict: Word
    values: tuple[float, ...]
    as_given: float
    learning_rate: float | None = None
    diverged: int = 0
    number: int | None = None
    is_catalog: bool = False
    activation: Mapping[str, Any] | None = None
    others: Mapping[str, float] = field(default_factory=dict)
    at_grid_end: int = 0
    learning_rates: tuple[float, ...] = ()
    as_given_seeds: int = 0

    @property
    def is_at_grid_end(self) -> bool:
        """Whether the best learning rate of half of the seeds or more is the last one that was tried."""
        tuned = self.learning_rate is not None and self.verdict != "left early"
        return tuned and 2 * self.at_grid_end >= len(self.values) > 0

    @property
    def tuning_gain(self) -> float:
        """By how much the mean at the tuned learning rate exceeds that at the rate of the search, same seeds."""
        tried = self.values[: self.as_given_seeds] if self.as_given_seeds else self.values
        gain = sum(tried) / len(tried) - self.as_given
        return 0.0 if abs(gain) < _ROUNDING * abs(self.as_given) else gain

    @property
    def untuned(self) -> float:
        """``as_given`` beside ``mean``: where seeds test other rows, both are as if of the baseline's seeds."""
        shift = self.mean - sum(self.values) / len(self.values) if self.values else 0.0
        return self.as_given + (0.0 if abs(shift) < _ROUNDING * abs(self.mean) else shift)

    @property
    def is_damaged(self) -> bool:
        """Whether its activation was stored and cannot be read; ``formula`` then says why."""
        return self.label == UNREADABLE and self.activation is None

    @property
    def candidate(self) -> CandidateRecord:
        """What it stands for; without activations, the model unchanged.

        Raises:
            ActivationError: what was stored cannot be read.
        """
        if self.is_damaged:
            raise ActivationError(
                f"what this line of a verdict stands for cannot be read ({one_line(self.formula)}): "
                "the database was changed by another program, or holds what a newer version wrote"
            )
        if self.activation is not None:
            groups = CandidateRecord.groups_in(self.activation)
            return CandidateRecord({str(key): _read(item) for key, item in groups.items()})
        if self.verdict == "baseline":
            return CandidateRecord({}, operation="baseline")
        return CandidateRecord.shared(ActivationRecord(self.formula))


def _read(item: Any) -> ActivationRecord:
    """JSON data of an activation; what is not valid is refused where it is used."""
    return tolerant.activation(dict(item) if isinstance(item, Mapping) else item)


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
        baseline = _read_row(data["baseline"])
        rows = tuple(_read_row(item) for item in data["rows"])
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
            versus_catalog=None if against is None else _read_row(against),
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


def _read_row(data: Mapping[str, Any]) -> VerdictRow:
    """A stored row; numbers that were not finite are texts there."""
    rate, trial = map(data.get, ("learning_rate", "number"))
    what = stored.read_placed(data)
    names = ("mean", "difference", "low", "high", "p_value", "as_given")
    others = (data.get("others") or {}).items()
    return VerdictRow(
        formula=what.formula,
        label=what.label,
        verdict=stored.read_word(data["verdict"], Word),
        values=stored.read_numbers(data["values"]),
        learning_rate=None if rate is None else stored.read_number(rate),
        diverged=stored.read_count(data.get("diverged", 0)),
        number=None if trial is None else stored.read_count(trial),
        is_catalog=bool(data.get("is_catalog")),
        activation=what.activation,
        at_grid_end=stored.read_count(data.get("at_grid_end", 0)),
        others={one_line(name): stored.read_number(value) for name, value in others},
        learning_rates=stored.read_numbers(data.get("learning_rates", ())),
        as_given_seeds=stored.read_count(data.get("as_given_seeds", 0)),
        **{name: stored.read_number(data[name]) for name in names},
    )
