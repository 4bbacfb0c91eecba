"""Arguments that a script gives by mistake: variables that are not set, paths that are too long."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.command import hdm
from tests.unit.config.test_file import GOOD


@pytest.mark.parametrize("option", ["--output", "--address", "--executor", "--time-budget"])
def test_an_option_of_an_unset_variable_is_refused(tmp_path: Path, option: str) -> None:
    (tmp_path / "flood.yaml").write_text(GOOD)
    said = hdm("run", "flood.yaml", option, "", folder=tmp_path)
    assert (said.returncode, said.stdout) == (2, "")
    assert [path.name for path in tmp_path.iterdir()] == ["flood.yaml"]


@pytest.mark.parametrize("command", ["status", "report", "validate", "plan"])
def test_a_path_that_is_too_long_is_told(tmp_path: Path, command: str) -> None:
    said = hdm(command, "x" * 5000, folder=tmp_path)
    assert said.returncode == 2
    assert "too long" in said.stderr
    assert "Traceback" not in said.stderr
