"""Equal rows are found exactly, whatever they are made of, in about the time it takes to read them."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

import actsearch as acs
from actsearch.training import check_data
from actsearch.training.data_check.overlap import Overlap, build_tables, compare
from actsearch.training.data_check.rows import find_origin, read_rows


def _compared(one: tuple[Tensor, ...], other: tuple[Tensor, ...]) -> Overlap | None:
    rows = {
        name: read_rows(find_origin(data), has_target=True)
        for name, data in (("test", one), ("train", other))
    }
    tables = build_tables(rows)
    return compare(tables["test"], tables["train"]) if len(tables) == 2 else None


@settings(max_examples=60, deadline=None)
@given(
    width=st.one_of(
        st.integers(1, 9), st.integers(64, 150)
    ),  # of wide rows a part is hashed first
    counts=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    values=st.integers(1, 3),
    seed=st.integers(0, 2**20),
)
def test_counts_are_those_of_a_comparison_of_all_pairs(
    width: int, counts: tuple[int, int], values: int, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)

    def drawn(count: int) -> tuple[Tensor, Tensor]:
        inputs = torch.zeros(count, width)
        inputs[:, -9:] = torch.randint(
            0, values, (count, min(width, 9)), generator=generator
        ).float()
        return inputs, torch.randint(0, 2, (count,), generator=generator)

    (x, y), (u, v) = one, other = drawn(counts[0]), drawn(counts[1])
    equal = (x[:, None] == u[None]).all(-1)
    whole = equal & (y[:, None] == v[None])
    found = _compared(one, other)
    shared = int(equal.any(1).sum())
    if found is None:
        assert shared == 0
        return
    assert found.shared == shared
    assert found.relabelled == shared - int(whole.any(1).sum())
    assert found.matched.tolist() == whole.any(1).tolist()
    a, b = found.first
    assert bool(equal[a, b])
    assert a == int(equal.any(1).nonzero()[0])
    assert b == int((whole if whole[a].any() else equal)[a].nonzero()[0])


@pytest.mark.parametrize(
    "make",
    [
        lambda g: torch.randint(0, 2, (4000, 40), generator=g) * 2.0 - 1,  # signs: the highest bits alone differ
        lambda g: torch.randint(0, 2, (4000, 37), generator=g) > 0,
        lambda g: torch.randint(0, 255, (4000, 3, 5), generator=g, dtype=torch.uint8),
        lambda g: torch.randn(4000, 3, generator=g).bfloat16(),
        lambda g: torch.randn(4000, 3, generator=g).half(),
        lambda g: torch.randn(4000, generator=g, dtype=torch.float64),
        lambda g: torch.randn(4000, 2, generator=g, dtype=torch.complex64),
        lambda g: torch.randn(3, 4000, generator=g).T,
        lambda g: torch.randn(4000, 1, generator=g).expand(4000, 5),
    ],
    ids=["signs", "bool", "bytes", "bfloat16", "half", "one number", "complex", "strided", "expanded"],
)  # fmt: skip
def test_rows_of_any_type_are_hashed_apart(make: Any) -> None:
    """Invariant: rows that differ have hashes that differ; equal rows, copied, are found."""
    rows = make(torch.Generator().manual_seed(0))
    labels = torch.arange(4000) % 2
    table = build_tables({"train": read_rows(find_origin((rows, labels)), has_target=True)})[
        "train"
    ]
    listed = rows.reshape(4000, -1)
    listed = torch.view_as_real(listed).flatten(1) if listed.is_complex() else listed.float()
    exact = len(np.unique(listed.numpy(), axis=0)) if rows.dtype != torch.float64 else 4000
    assert table.distinct == exact
    picked = torch.arange(100, 200)
    found = _compared((rows[picked].clone(), labels[picked]), (rows, labels))
    assert found is not None
    assert (found.shared, found.relabelled) == (100, 0)


def test_rows_of_another_form_share_nothing() -> None:
    x, y = torch.randn(8, 4), torch.arange(8)
    assert _compared((x, y), (x[:, :3], y)) is None
    assert _compared((x, y), (x, x[:, :1], y)) is None


def test_wide_rows_are_compared_in_little_memory() -> None:
    """400 MB of equal rows are compared 16 MB at a time, whatever the width."""
    x, y = torch.zeros(1, 1_000_000).expand(100, -1), torch.arange(100)
    tables = build_tables(
        {name: read_rows(find_origin((x, y)), has_target=True) for name in ("test", "train")}
    )
    assert [len(part) for part in tables["test"].steps(np.arange(100))] == [4] * 25


def test_a_long_look_is_announced(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", logger="actsearch")
    x, y = torch.arange(400_000).float()[:, None].expand(-1, 240), torch.arange(400_000) % 2
    for count, lines in ((1000, 0), (400_000, 1)):
        task = acs.Task(
            model=lambda: nn.Sequential(nn.Linear(240, 2), nn.ReLU(), nn.Linear(2, 2)),
            train=(x[:count], y[:count]), valid=(x[:8] - 10, y[:8]), loss=F.cross_entropy,
        )  # fmt: skip
        check_data(task, task.build)
        said = [item.message for item in caplog.records if "looking through" in item.message]
        assert len(said) == lines
    assert said == ["looking through 0.4 GB of data, once for this task"]


@pytest.mark.slow
def test_a_million_rows_of_a_hundred_numbers_take_seconds() -> None:
    """About one second of processor time on an idle machine; the bound leaves room for busy ones."""
    x, y = torch.randn(1_000_000, 100), torch.randint(0, 10, (1_000_000,))
    test = torch.randn(100_000, 100), torch.randint(0, 10, (100_000,))
    test[0][:37] = x[100:137]
    task = acs.Task(
        model=lambda: nn.Sequential(nn.Linear(100, 8), nn.ReLU(), nn.Linear(8, 10)),
        train=(x, y), valid=(test[0][:10] + 1, test[1][:10]), test=test, loss=F.cross_entropy,
    )  # fmt: skip
    started = time.process_time()
    with pytest.warns(acs.ActsearchWarning, match="share 37 of 100000 inputs"):
        check_data(task, task.build)
    assert time.process_time() - started < 5
