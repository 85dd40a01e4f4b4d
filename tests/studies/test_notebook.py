"""The notebook in studies/ runs from top to bottom, as a newcomer runs it, and running it again adds nothing."""

from __future__ import annotations

import ast
import importlib.util
import itertools
import json
import re
from pathlib import Path
from typing import Any

import pytest

import actsearch as acs
from actsearch.report import Reader

STUDIES = Path(__file__).parents[2] / "studies"
NOTEBOOKS = sorted(STUDIES.glob("*.ipynb"))
PARAMETERS = {"BUDGET": 60, "EPOCHS": 1}
"""Of a small run, in the place of those in the cell that is tagged so."""
WORSE = ', strategy="bayesian", space=acs.Space(activations=["sigmoid", "hardsigmoid"])'
"""A search that finds nothing better."""

SHOWN = {"text/html", "application/vnd.plotly.v1+json"}
"""Tables and figures."""

each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def load(path: Path) -> dict[str, Any]:
    notebook: dict[str, Any] = json.loads(path.read_text())
    return notebook


def is_parameters(cell: dict[str, Any]) -> bool:
    return "parameters" in cell["metadata"].get("tags", ())


def make_small(notebook: dict[str, Any]) -> None:
    """Replace the parameters, all of which have to be known here."""
    (cell,) = filter(is_parameters, notebook["cells"])
    assigned = [ast.unparse(line).partition(" = ")[0] for line in ast.parse(text(cell)).body]
    assert assigned == list(PARAMETERS)
    cell["source"] = "\n".join(f"{name} = {value}" for name, value in PARAMETERS.items())


def text(cell: dict[str, Any]) -> str:
    return "".join(cell["source"])


def code(notebook: dict[str, Any]) -> list[str]:
    return [text(cell) for cell in notebook["cells"] if cell["cell_type"] == "code"]


def need(*libraries: str) -> None:
    if missing := [name for name in libraries if importlib.util.find_spec(name) is None]:
        pytest.skip(f"not installed: .venv/bin/pip install {' '.join(missing)}")


def stored(folder: Path) -> list[tuple[Any, ...]]:
    """What was trained, of every study in a folder."""
    found: list[tuple[Any, ...]] = []
    for database in sorted(folder.glob("*.db")):
        reader = Reader(f"sqlite:///{database}")
        for study in reader.studies():
            trials = [(item.number, item.state, item.value) for item in reader.trials(study)]
            spent = [verdict.trainings for _, verdict in reader.verdicts(study)]
            found.append((study.name, trials, spent, study.user_attrs["find"]["weights"]))
        reader.close()
    return found


def test_there_is_a_notebook() -> None:
    assert NOTEBOOKS


@each_notebook
class TestAsItIsStored:
    def test_it_is_valid(self, path: Path) -> None:
        need("nbformat")
        import nbformat

        nbformat.validate(nbformat.read(path, as_version=nbformat.NO_CONVERT))
        notebook = load(path)
        assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
        assert notebook["metadata"]["kernelspec"]["name"] == "python3"

    def test_it_has_no_outputs(self, path: Path) -> None:
        cells = [cell for cell in load(path)["cells"] if cell["cell_type"] == "code"]
        assert [cell["outputs"] for cell in cells] == [[]] * len(cells)
        assert {cell["execution_count"] for cell in cells} == {None}

    def test_its_code_parses_and_uses_names_that_there_are(self, path: Path) -> None:
        for source in code(load(path)):
            for node in ast.walk(ast.parse(source)):
                match node:
                    case ast.Attribute(value=ast.Name(id="acs"), attr=name):
                        assert hasattr(acs, name)

    def test_one_cell_has_the_parameters(self, path: Path) -> None:
        make_small(load(path))

    def test_it_is_in_the_table_of_studies(self, path: Path) -> None:
        assert f"`{path.name}`" in (STUDIES / "README.md").read_text()

    def test_it_names_the_files_that_it_writes_and_git_ignores_them(self, path: Path) -> None:
        ignored = (STUDIES.parent / ".gitignore").read_text().splitlines()
        written = re.findall(r"\w+\.db\b|\w+\.html\b", "\n".join(code(load(path))))
        assert written
        prose = [text(cell) for cell in load(path)["cells"] if cell["cell_type"] == "markdown"]
        for name in written:
            assert f"`{name}`" in prose[0]
            assert f"/studies/*{Path(name).suffix}" in ignored


@each_notebook
def test_its_cells_run_until_it_searches(path: Path) -> None:
    names: dict[str, Any] = {}
    for source in itertools.takewhile(lambda source: "acs.find(" not in source, code(load(path))):
        exec(compile(source, str(path), "exec"), names)
    assert names["task"].test is not None


@pytest.mark.slow
@pytest.mark.parametrize("further", ["", WORSE], ids=["as it is", "the model is kept"])
@each_notebook
def test_its_cells_run_in_order(
    path: Path, further: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The code alone, without a kernel."""
    monkeypatch.chdir(tmp_path)
    notebook = load(path)
    make_small(notebook)
    names: dict[str, Any] = {}
    for source in code(notebook):
        searching = source.replace("budget=BUDGET", f"budget=BUDGET{further}")
        exec(compile(searching, str(path), "exec"), names)
    result = names["result"]
    assert result.spent.trainings <= PARAMETERS["BUDGET"]
    if further:
        assert result.verdict.winner is result.verdict.baseline
    assert (tmp_path / "report.html").is_file()


@pytest.mark.slow
@each_notebook
def test_it_runs_in_a_kernel_and_running_it_again_trains_nothing(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    need("nbclient", "ipykernel")
    import nbformat
    from nbclient import NotebookClient

    for name in ("IPYTHONDIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR"):
        monkeypatch.setenv(name, str(tmp_path / "jupyter"))
    folder = tmp_path / "work"
    folder.mkdir()
    small = load(path)
    make_small(small)
    first: list[tuple[Any, ...]] = []
    for _ in range(2):
        notebook = nbformat.reads(json.dumps(small), as_version=4)
        where = {"metadata": {"path": str(folder)}}
        NotebookClient(notebook, timeout=300, resources=where).execute()
        assert (folder / "report.html").is_file()
        outputs = [item for cell in notebook.cells for item in cell.get("outputs", ())]
        assert {kind for item in outputs for kind in item.get("data", ())} >= SHOWN
        printed = [item for item in outputs if item.output_type == "stream"]
        assert not any("Warning" in item.text for item in printed)
        plans = [item.name for item in printed if "trainings of" in item.text]
        assert set(plans) <= {"stdout"}  # notebooks show stderr like errors
        assert plans or first
        assert stored(folder)
        first = first or stored(folder)
        assert stored(folder) == first
