from __future__ import annotations

import errno
from pathlib import Path

import pytest

from hdm_pipeline.errors import OutputError
from hdm_pipeline.output.files import output_errors, remove_tree, write_json
from hdm_pipeline.output.layout import Workspace, checked_component


@pytest.mark.parametrize("name", ["..", ".", "a/b", "/etc", "", ".hdm", "a\0b", "run.json", "a.", "x" * 200, "a\nb"])
def test_names_that_would_leave_the_output_are_refused(name: str) -> None:
    with pytest.raises(OutputError):
        checked_component(name)


def test_plain_names_are_kept() -> None:
    assert checked_component("S1A_20240601T17.SAFE") == "S1A_20240601T17.SAFE"


def test_a_scene_may_be_called_like_the_report_but_not_like_its_files(tmp_path: Path) -> None:
    assert checked_component("report") == "report"
    for file in (Workspace(tmp_path).page, Workspace(tmp_path).pages):
        with pytest.raises(OutputError):
            checked_component(file.name)


def test_a_link_out_of_the_output_is_refused(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "out")
    workspace.create()
    (tmp_path / "elsewhere").mkdir()
    (workspace.root / "scene").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OutputError, match="symbolic link"):
        workspace.product_folder("scene")


@pytest.mark.parametrize(
    ("number", "word"), [(errno.ENOSPC, "full"), (errno.EACCES, "writable"), (errno.EIO, "cannot write")]
)
def test_what_the_system_says_becomes_a_remedy(number: int, word: str) -> None:
    with pytest.raises(OutputError, match=word) as caught, output_errors(Path("/x")):
        raise OSError(number, "said the system")
    assert caught.value.remedy


def test_json_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"a": 1})
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "a.json", {"a": float("nan")})
    assert (tmp_path / "a.json").read_text() == '{\n "a": 1\n}\n'


def test_removing_what_is_not_there_is_fine(tmp_path: Path) -> None:
    remove_tree(tmp_path / "nothing")
