"""Arguments that a script gives by mistake: variables that are not set, paths that are too long."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from hdm_pipeline.reporting.scene_table import typed
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


@pytest.mark.parametrize("words", ["run flood.yaml --output out", "plan flood.yaml", "schema"])
def test_a_present_folder_that_was_removed_is_told(tmp_path: Path, words: str) -> None:
    (gone := tmp_path / "gone").mkdir()
    code = f"cd {gone}; rmdir {gone}; exec {sys.executable} -m hdm_pipeline {words}"
    said = subprocess.run(["bash", "-c", code], capture_output=True, text=True, check=False)
    assert said.returncode == (0 if words == "schema" else 2)
    assert "Traceback" not in said.stderr


def test_paths_are_told_whole_where_the_present_folder_was_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (gone := tmp_path / "gone").mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert typed(tmp_path / "out" / "run.json") == str(tmp_path / "out" / "run.json")
