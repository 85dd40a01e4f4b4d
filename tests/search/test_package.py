"""The package as a whole: what an import costs, what its names are, and what its code never does."""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import actsearch as acs
import actsearch_dashboard

FOLDER = Path(acs.__file__).parent
DASHBOARD = Path(actsearch_dashboard.__path__[0])
MODULES = sorted(FOLDER.rglob("*.py"))


def _python(code: str) -> str:
    """What a fresh interpreter prints."""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


class TestLazyNames:
    def test_reading_needs_no_torch(self, sqlite_url: str) -> None:
        study = acs.create_study(study_name="s", storage=sqlite_url, directions=["minimize"] * 2)
        study.optimize(
            lambda candidate, run: {"a": 1.0, "b": 2.0}, n_trials=1, show_progress_bar=False
        )
        statements = (
            "import actsearch",
            "import actsearch.operators, actsearch.expression, actsearch.records",
            "import actsearch.storage, actsearch.report",
            "import actsearch as acs; dir(acs); acs.parse('x*tanh(x)').latex(); acs.catalog['relu']",
            "from actsearch.report import Reader\n"
            "try: Reader('sqlite:///no/such.db')\n"
            "except Exception as error: assert type(error).__name__ == 'StorageError', error",
            f"from actsearch.cli import main; assert main(['show', 's', '--storage', {sqlite_url!r}]) == 0",
        )
        check = "import sys; assert 'torch' not in sys.modules, 'torch was imported'"
        assert "Pareto front" in _python("\n".join(f"{each}\n{check}" for each in statements))

    @pytest.mark.slow
    def test_the_check_would_notice_torch(self) -> None:
        code = "import actsearch as acs; acs.Task; import sys; print('torch' in sys.modules)"
        assert _python(code) == "True"

    @pytest.mark.parametrize(
        "before",
        [
            "names = list(acs.__all__)",
            "names = list(reversed(acs.__all__))",
            "import actsearch.activations, actsearch.activation_catalog; names = acs.__all__",
            "from actsearch import *; names = acs.__all__",
        ],
    )
    @pytest.mark.slow
    def test_names_resolve_to_the_right_objects_in_any_order(self, before: str) -> None:
        code = f"""
import actsearch as acs
{before}
for name in names:
    getattr(acs, name)
import importlib, types
assert acs.activation is importlib.import_module("actsearch.activations").activation
assert acs.catalog is importlib.import_module("actsearch.activation_catalog").CATALOG
assert acs.place is importlib.import_module("actsearch.placement").place
assert acs.Task is importlib.import_module("actsearch.task").Task
assert acs.Study is importlib.import_module("actsearch.study").Study
assert acs.parse is importlib.import_module("actsearch.expression").parse
assert acs.catalog["relu"].name == "relu" and callable(acs.activation)
from actsearch import activation, catalog
assert callable(activation) and "relu" in catalog
modules = [name for name in acs.__all__ if isinstance(getattr(acs, name), types.ModuleType)]
assert modules == ["benchmark"], modules  # which is one; other names must not be hidden by a module of their name
print("right")
"""
        assert _python(code) == "right"

    @pytest.mark.slow
    def test_submodules_can_still_be_imported_from(self) -> None:
        code = (
            "import actsearch as acs; acs.activation; acs.catalog\n"
            "from actsearch.activations import describe\n"
            "from actsearch.activation_catalog import CATALOG\n"
            "import actsearch.activations as module\n"
            "print(CATALOG is acs.catalog, describe('relu').name)"
        )
        assert _python(code) == "True relu"

    @pytest.mark.parametrize("name", ["Tusk", "_nothing", "tanh", "__wrapped__"])
    def test_an_unknown_name_is_an_attribute_error(self, name: str) -> None:
        with pytest.raises(AttributeError, match=name):
            getattr(acs, name)
        assert not hasattr(acs, name)

    def test_importing_an_unknown_name_is_an_import_error(self) -> None:
        code = "try: from actsearch import Tusk\nexcept ImportError as error: print(error)"
        assert "Tusk" in _python(code)

    def test_dir_lists_every_public_name(self) -> None:
        assert set(acs.__all__) <= set(dir(acs))
        assert len(set(acs.__all__)) == len(acs.__all__)

    def test_every_public_name_is_exported_under_its_own_name_in_the_table(self) -> None:
        """Type checkers take ``import name as name`` alone for an export."""
        stub = ast.parse((FOLDER / "__init__.pyi").read_text())
        aliases = [a for node in stub.body if isinstance(node, ast.ImportFrom) for a in node.names]
        assert [alias.name for alias in aliases] == [alias.asname for alias in aliases]
        assert sorted(alias.name for alias in aliases) == acs.__all__

    @pytest.mark.parametrize(
        "package",
        [path.parent for folder in (FOLDER, DASHBOARD) for path in folder.rglob("__init__.py")],
    )
    def test_no_export_has_the_name_of_a_module_beside_it(self, package: Path) -> None:
        """Importing the module would put it in the place of the export; of ``acs.benchmark`` it is the export."""
        tree = ast.parse((package / "__init__.py").read_text())
        names = {
            alias.asname or alias.name
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom)
            for alias in node.names
        }
        modules = {path.stem for path in package.glob("*.py")}
        modules |= {path.parent.name for path in package.glob("*/__init__.py")}
        public = {name for name in acs.__all__ if not inspect.ismodule(getattr(acs, name))}
        assert not modules & (names | (public if package == FOLDER else set()))


class TestDocumentation:
    @pytest.mark.parametrize("name", acs.__all__)
    def test_every_public_name_is_documented(self, name: str) -> None:
        value = getattr(acs, name)
        documented = value if inspect.isroutine(value) or inspect.isclass(value) else type(value)
        text = inspect.getdoc(documented)
        assert text
        if inspect.isclass(value):
            assert "__doc__" in vars(value), "inherited"
            assert not text.startswith(f"{value.__name__}("), "made by dataclass"

    @pytest.mark.parametrize(
        "name", [name for name in acs.__all__ if inspect.isclass(getattr(acs, name))]
    )
    def test_so_is_every_public_method(self, name: str) -> None:
        kind = getattr(acs, name)
        for attribute, member in vars(kind).items():
            if attribute.startswith("_") or not isinstance(
                member, (property, classmethod, staticmethod, type(lambda: 0))
            ):
                continue
            assert inspect.getdoc(getattr(kind, attribute)), f"{name}.{attribute}"


def test_every_error_is_of_the_family() -> None:
    errors: list[Any] = [getattr(acs, name) for name in acs.__all__ if name.endswith("Error")]
    assert len(errors) >= 8
    assert all(issubclass(error, acs.ActsearchError) for error in errors)
    assert issubclass(acs.FormulaError, ValueError)


def test_the_version_is_that_of_the_distribution() -> None:
    from importlib import metadata

    assert acs.__version__ == metadata.version("actsearch")
