"""One small real database, made through the public API; pages are run by Streamlit's own AppTest."""

from __future__ import annotations

import json
import sqlite3
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
import streamlit as st
import torch
import torch.nn.functional as F
from chromium import Browser, served
from streamlit import config
from streamlit.components.v2 import manifest_scanner
from streamlit.testing.v1 import AppTest
from torch import nn

import actsearch as acs
from actsearch import function_server
from actsearch.report import Reader
from actsearch_dashboard import function_client

Opener = Callable[..., AppTest]

EVIL = (
    "=1+1 <img src=x onerror=alert(1)><b>bold</b> **strong** [click](javascript:alert(1)) $x^2$ "
    r"$\href{javascript:alert(1)}{x}$ :red[red] "
    'https://evil.example """\nimport os'
)


@pytest.fixture
def evil() -> str:
    """Text that wants to be markup, markdown, a spreadsheet's formula and Python."""
    return EVIL


def _model() -> nn.Module:
    return nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 2))


def _deep() -> nn.Module:
    """Three sites."""
    layers: list[nn.Module] = []
    for _ in range(3):
        layers += [nn.Linear(2 if not layers else 4, 4), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(4, 2))


def _task(**changes: Any) -> acs.Task:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(96, 2, generator=generator)
    y = (x[:, 0] * x[:, 1] > 0).long()
    settings: dict[str, Any] = dict(
        model=_model,
        train=(x[:64], y[:64]),
        valid=(x[64:80], y[64:80]),
        test=(x[80:], y[80:]),
        loss=F.cross_entropy,
        metric="accuracy",
        epochs=2,
        batch_size=32,
        lr=1e-2,
        device="cpu",
    )
    return acs.Task(**{"tune_lr": False} | settings | changes)


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Studies "empty" (no trial), "plain" (no verdict) and "confirmed". Never write to it: copy."""
    path = tmp_path_factory.mktemp("dashboard") / "whole.db"
    url = f"sqlite:///{path}"
    acs.create_study(study_name="empty", storage=url, strategy="random")
    plain = acs.create_study(study_name="plain", storage=url, strategy="random")
    plain.optimize(_task(), n_trials=2, show_progress_bar=False)
    study = acs.create_study(study_name="confirmed", storage=url, strategy="genetic")
    study.enqueue_trial("x*tanh(x)")
    study.enqueue_trial("x*tanh(x)")  # a duplicate
    study.optimize(_task(), n_trials=6, show_progress_bar=False)
    study.confirm(_task(), top_k=1, seeds=8, show_progress_bar=False)
    return path


@pytest.fixture(scope="session")
def several(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Study "several" with two objectives. Never write to it."""
    path = tmp_path_factory.mktemp("several") / "several.db"
    study = acs.create_study(
        study_name="several",
        storage=f"sqlite:///{path}",
        strategy="genetic",
        directions=("maximize", "minimize"),
    )
    study.enqueue_trial("relu")
    study.enqueue_trial("x*tanh(x)")
    study.optimize(_task(objectives=("accuracy", "size")), n_trials=4, show_progress_bar=False)
    return path


@pytest.fixture(scope="session")
def by_site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Study "by site": trial 0 has one learned activation everywhere, trial 1 another for each third of the depth."""
    path = tmp_path_factory.mktemp("by_site") / "by_site.db"
    study = acs.create_study(
        study_name="by site",
        storage=f"sqlite:///{path}",
        strategy="random",
        space=acs.Space(sites="per_depth"),
    )
    study.enqueue_trial('x*sigmoid(param(1.0, per="channel")*x)')
    study.enqueue_trial({"depth:1/3": "sin", "depth:2/3": "relu", "depth:3/3": "x*tanh(x)"})
    study.optimize(_task(model=_deep), n_trials=3, show_progress_bar=False)
    return path


@pytest.fixture(scope="session")
def family(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Study "family": a genetic search of three small generations. Never write to it."""
    path = tmp_path_factory.mktemp("family") / "family.db"
    study = acs.create_study(
        study_name="family",
        storage=f"sqlite:///{path}",
        strategy=acs.Genetic(population=4, first_batch=4, batch=4),
    )
    study.optimize(_task(epochs=1), n_trials=12, show_progress_bar=False)
    return path


@pytest.fixture
def copied(whole: Path, tmp_path: Path) -> Path:
    """A copy that a test may change."""
    copy = tmp_path / "copy.db"
    with closing(sqlite3.connect(whole)) as source, closing(sqlite3.connect(copy)) as target:
        source.backup(target)  # a plain copy would miss what is still in the -wal file
    return copy


@pytest.fixture
def hostile(copied: Path) -> Path:
    """A database in which every text is hostile and one formula no longer parses."""
    item: dict[str, Any] = {
        "formula": "__import__('os')",
        "name": None,
        "hyperparameters": {},
        "label": EVIL,
    }
    named = {
        "formula": EVIL,
        "name": "relu",
        "hyperparameters": {"grad_at_zero": 0.0},
        "label": EVIL,
    }
    unknown: dict[str, Any] = {
        "formula": "x",
        "name": EVIL,
        "hyperparameters": {"alpha": EVIL},
        "label": EVIL,
    }
    with closing(sqlite3.connect(copied)) as base, base:
        (study,) = base.execute("SELECT id FROM studies WHERE name = 'confirmed'").fetchone()
        base.execute(
            "UPDATE trials SET formula = ?, label = ?, operation = ?, reason = ?, warnings = ?, user_attrs = ?",
            (EVIL, EVIL, EVIL, EVIL, json.dumps([EVIL]), json.dumps({EVIL: EVIL})),
        )
        for number, activations in enumerate(({"*": item}, {"*": named}, {EVIL: unknown})):
            base.execute(
                "UPDATE trials SET activations = ?, state = 'COMPLETE', duplicate_of = NULL "
                "WHERE study_id = ? AND number = ?",
                (json.dumps(activations), study, number),
            )
        task = json.loads(
            base.execute("SELECT task FROM studies WHERE id = ?", (study,)).fetchone()[0]
        )
        base.execute(
            "UPDATE studies SET name = ?, task = ?, user_attrs = ?, strategy = ? WHERE id = ?",
            (EVIL, json.dumps(task | {"metric": EVIL}), json.dumps({EVIL: EVIL}),
             json.dumps({"name": EVIL}), study),
        )  # fmt: skip
        (text,) = base.execute("SELECT verdict FROM confirmations").fetchone()
        verdict = json.loads(text)
        verdict["metric"] = verdict["baseline"]["label"] = EVIL
        for row in verdict["rows"]:
            row["label"] = row["formula"] = EVIL
        base.execute("UPDATE confirmations SET verdict = ?", (json.dumps(verdict),))
    return copied


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Opener:
    """``opened(page, storage, study=..., trial=...)`` runs a page once; ``session`` is what other pages left."""

    def run(
        page: str,
        storage: Path | str | None,
        session: Mapping[str, Any] = MappingProxyType({}),
        **query: str,
    ) -> AppTest:
        url = f"sqlite:///{storage}" if isinstance(storage, Path) else storage
        monkeypatch.setattr(sys, "argv", ["serve.py", *([url] if url is not None else [])])
        app = AppTest.from_function(_page, kwargs={"page": page}, default_timeout=30)
        for name, value in query.items():
            app.query_params[name] = value
        for name, left in session.items():
            app.session_state[name] = left
        return app.run()

    return run


def _page(page: str) -> None:
    """Runs inside AppTest, as a script of its own."""
    import importlib

    module: Any = importlib.import_module(f"actsearch_dashboard.pages.{page}")
    module.render()


@pytest.fixture(scope="session", autouse=True)
def as_served() -> Iterator[None]:
    """What the server switches off: the search for components alone would take half the time of a page."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(manifest_scanner, "scan_component_manifests", lambda: [])
        config.set_option("browser.gatherUsageStats", False)
        yield


@pytest.fixture(autouse=True)
def fresh_caches() -> None:
    """What one test has read must not serve another."""
    st.cache_data.clear()
    st.cache_resource.clear()


class _Here:
    """Answers like the process that the pages ask about functions, in this one, which has loaded torch anyway."""

    def start(self) -> None:
        pass

    def ask(self, request: bytes) -> bytes:
        return function_server.answer(request).encode() + b"\n"


@pytest.fixture(scope="session")
def function_process() -> Iterator[Any]:
    """A process that answers about functions, as in use; it has loaded torch."""
    client = function_client._Client()
    client.ask(b'{"call": "sample_all", "items": []}\n')
    yield client
    process = client._process  # another one if the first has ended for idleness
    assert process is not None
    process.communicate()  # it ends with its input


@pytest.fixture(autouse=True)
def answers(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Functions are computed here; those of a test that takes ``function_process``, there."""
    has_process = "function_process" in request.fixturenames
    client = request.getfixturevalue("function_process") if has_process else _Here()
    monkeypatch.setattr(function_client, "_client", client)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    opened = Browser(tmp_path_factory.mktemp("downloads"))
    yield opened
    opened.chrome.quit()


@pytest.fixture
def whole_reader(whole: Path) -> Iterator[Reader]:
    reader = Reader(f"sqlite:///{whole}")
    yield reader
    reader.close()


@pytest.fixture(scope="module")
def site(whole: Path, browser: Browser) -> Iterator[str]:
    with served(whole, browser) as address:
        yield address
