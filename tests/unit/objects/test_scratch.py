"""Scratch on a node: the user's alone, and cells of processes that are gone are removed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from hdm_pipeline.errors import OutputError
from hdm_pipeline.objects.scratch import VARIABLE, cells_folder, mirror_of, scratch_root
from hdm_pipeline.output.layout import Workspace
from hdm_pipeline.output.manifest import is_plain


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    return tmp_path


def test_nobody_else_may_look_into_it(scratch: Path) -> None:
    assert scratch_root().stat().st_mode & 0o077 == 0
    assert mirror_of("s3://bucket/a") != mirror_of("s3://bucket/b")
    assert mirror_of("s3://bucket/a").parent == scratch_root()


def test_a_link_in_its_place_is_refused(scratch: Path) -> None:
    elsewhere = scratch / "elsewhere"
    elsewhere.mkdir()
    (scratch / f"hdm_pipeline-{os.getuid()}").symlink_to(elsewhere)
    with pytest.raises(PermissionError):
        scratch_root()
    with pytest.raises(OutputError, match="no folder that can stand") as caught:
        Workspace.of("s3://bucket/out")
    assert VARIABLE in caught.value.remedy


def test_cells_of_processes_that_are_gone_are_removed(scratch: Path) -> None:
    mine = cells_folder()
    gone = mine.with_name("999999999-left")
    gone.mkdir()
    cells_folder()
    assert mine.is_dir()
    assert not gone.exists()


@pytest.mark.parametrize("name", ["../a", "/etc/passwd", "a/../../b", "", "a\\b"])
def test_names_from_a_bucket_that_would_leave_the_folder_are_told(name: str) -> None:
    assert not is_plain(name)
    assert is_plain("scene/mask.tif")
