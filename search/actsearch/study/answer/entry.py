"""``acs.find``: a budget in, a verdict out."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any, Literal

from torch import Tensor, nn
from torch.utils.data import DataLoader

from actsearch.checks import check_number
from actsearch.errors import StudyError, TaskError
from actsearch.evaluation import make_subject
from actsearch.execution import Executor, Work
from actsearch.report.verdict.rows import Covers
from actsearch.storage import DEFAULT_STORAGE
from actsearch.strategies import Space, Strategy
from actsearch.study.answer.budget import parse_budget
from actsearch.study.answer.finder import Finder
from actsearch.study.answer.options import Options
from actsearch.study.answer.parts import make_parts
from actsearch.study.answer.result import FindResult
from actsearch.study.create import create_study
from actsearch.study.progress import announce
from actsearch.study.question import Question
from actsearch.study.tested_rows import TestedRows
from actsearch.task import Task

__all__ = ["find"]

_UNNAMED = "find"
_FEWEST_ROWS = 30


def find(
    model: Task | nn.Module | Callable[[], nn.Module],
    *,
    budget: int | str | timedelta,
    train: Any = None,
    valid: Any = None,
    test: Any = None,
    loss: Callable[[Any, Any], Tensor] | None = None,
    study_name: str | None = None,
    storage: str | None = DEFAULT_STORAGE,
    strategy: str | Strategy | None = None,
    space: Space | None = None,
    direction: Literal["maximize", "minimize"] | None = None,
    seed: int | None = None,
    min_effect: float | None = None,
    covers: Covers = "seeds+rows",
    splits: Any = None,
    groups: Any = None,
    executor: Executor | None = None,
    show_progress_bar: bool = True,
    max_weights_mb: float = 500,
    **settings: Any,
) -> FindResult:
    """Is there a better activation for this model? One call, one budget, one answer.

    Model and data are checked; the learning rate of the model unchanged is chosen; activations are searched for;
    the best race against the model on test data that nothing has touched before; and the winner is trained once more,
    to be kept. The budget is divided between these and the plan is told before anything is trained, and again when it
    is known how long trainings take.

    Everything is stored as it ends. The same call again, now or after a crash, goes on from there, or returns the
    answer that there is; with a larger budget it goes on with a verdict that was cut short, or searches further. Ctrl-C
    ends it with the best honest answer so far; a second one at once.

    Args:
        model: a function that builds it, or a module; or a Task that has everything.
        budget: how much it may take, over all calls: trainings, as ``60``, or time, as ``"3h"``.
        train: data, as for :class:`actsearch.Task`.
        valid: likewise; what the search looks at.
        test: likewise; what the verdict looks at alone.
        loss: likewise.
        study_name: of the study; the Task's name, or "find".
        storage: where the study is kept, as for :func:`actsearch.create_study`; None for memory.
        strategy: of the search, likewise.
        space: likewise.
        direction: of a metric that does not tell which way is better, likewise.
        seed: of everything random in it, likewise.
        min_effect: smallest difference in the metric that matters, as for :meth:`actsearch.Study.confirm`.
        covers: what the verdict's intervals are to hold for, likewise.
        splits: for small data: the verdict trains on some of the test rows as well, and tests the others, in turn; as
            for :meth:`actsearch.Study.confirm`. With ``train`` alone it is divided in three first, always the same way:
            half of its rows are for the verdict, and a quarter of the others for the search to look at; by chance, or
            in their order where the splits are by time.
        groups: a label for each row, likewise; with ``train`` alone, for each row of that.
        executor: where trainings of the search and of the verdict run; in this process by default. The weights of the
            winner are trained in this process in any case.
        show_progress_bar: show plan and progress on standard error.
        max_weights_mb: the winner's weights are written beside a database file, as safetensors, unless they are larger
            than this; 0 writes none.
        settings: further ones of :class:`actsearch.Task`, such as ``metric``, ``epochs``, ``lr`` and ``optimizer``.

    Raises:
        TaskError: model, data, loss and metric do not fit together, or there are no test data and no splits, or fewer
            than 30 rows of them.
        StudyError: splits or groups do not fit the data, the budget is too small for any answer, or a study of that
            name is about something else.
        PlacementError: the model has nothing to replace.

    Example:
        >>> x = torch.randn(160, 4, generator=torch.Generator().manual_seed(0))
        >>> y = x.prod(1, keepdim=True)
        >>> result = acs.find(
        ...     lambda: nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 1)),
        ...     train=(x[:32], y[:32]), valid=(x[32:64], y[32:64]), test=(x[64:], y[64:]),
        ...     loss=nn.functional.mse_loss, epochs=1, lr=1e-2,
        ...     budget=60, storage=None, show_progress_bar=False,
        ... )
        >>> result.spent.trainings <= 60, result.verdict.winner.label == result.recipe.label
        (True, True)
    """
    began = time.monotonic()
    allowed = parse_budget(budget)
    Question(min_effect=min_effect, covers=covers)
    check_number("max_weights_mb", max_weights_mb, StudyError, low=0, finite=False)
    parts = None
    if splits is not None and train is not None and valid is None and test is None:
        parts = make_parts(train, splits, groups)
        train, valid, test, groups = parts.train, parts.valid, parts.test, parts.groups
    task = _make_task(model, dict(train=train, valid=valid, test=test, loss=loss) | settings)
    subject = make_subject(task)
    if task.test is None:
        raise TaskError(
            "find needs data that the search never sees: give the Task test=, or give model and data to find itself, "
            "as find(..., test=...), or train= alone and splits=5, which divide it"
        )
    subject.check_test()
    _check_test_rows(task.test)
    rows = TestedRows(subject, Question(splits=splits, groups=groups))
    if rows.splits is not None:
        rows.shared()
        rows.check()
    subject.check()  # before a study is made of what cannot be trained
    study = create_study(
        study_name=study_name or task.name or _UNNAMED,
        storage=storage,
        strategy=strategy,
        space=space,
        direction=direction,
        seed=seed,
        load_if_exists=True,
    )
    if parts is not None:
        announce(f"study {study.study_name}: {parts.describe()}", show_progress_bar)
    options = Options(min_effect, covers, executor, show_progress_bar, max_weights_mb, rows.splits)
    with executor or contextlib.nullcontext():  # one for search and verdict
        if executor is not None:
            executor.open(Work(subject, ()))
        return Finder(study, task, subject, allowed, options, began).run()


def _make_task(model: Any, settings: dict[str, Any]) -> Task:
    given = {name: value for name, value in settings.items() if value is not None}
    if isinstance(model, Task):
        if given:
            raise TaskError(
                f"the Task has its own {', '.join(given)}: leave it out here, or give find the model in its place"
            )
        return model
    if missing := [name for name in ("train", "valid", "test") if name not in given]:
        raise TaskError(
            f"find needs {', '.join(missing)}: three data sets, to train on, for the search to look at, and for the "
            "verdict alone; cut them from what you have, as with torch.utils.data.random_split, or give train= and "
            "splits=5, which divide it"
        )
    return Task(model=model, **given)


def _check_test_rows(test: Any) -> None:
    """Refuse a handful of rows: what is true of them is not true of others like them."""
    rows = test[0] if isinstance(test, tuple) else test
    if isinstance(test, DataLoader):
        rows = test.dataset
    try:
        count = len(rows)
    except TypeError:  # it is read to its end, however long it is
        return
    if count < _FEWEST_ROWS:
        raise TaskError(
            f"test has {count} rows: a verdict on fewer than {_FEWEST_ROWS} says nothing of others like them; "
            "give it more of what you have"
        )
