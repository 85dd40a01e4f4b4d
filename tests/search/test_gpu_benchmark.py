"""The script that measures an accelerator runs through: where one is lent, minutes count."""

from __future__ import annotations

from pathlib import Path

import gpu
import pytest


@pytest.mark.slow
def test_it_writes_its_tables_on_a_cpu(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tables = tmp_path / "gpu.md"
    assert gpu.main(["--device", "cpu", "--small", "--out", str(tables)]) == 0
    written = tables.read_text()
    for part in gpu.PARTS:
        assert part in written.lower()
    assert "|" in written
    assert written.strip().splitlines()[0] in capsys.readouterr().out
