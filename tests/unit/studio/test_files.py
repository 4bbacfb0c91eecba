"""Which files are given out, and that no request leads to another one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from hdm_pipeline.errors import ConfigError, DiskFullError, HdmError, NoSuchSceneError, OutputError
from hdm_studio.errors import NotThereError, status_of
from hdm_studio.files import page_files, published


@pytest.fixture
def out(tmp_path: Path) -> Path:
    folder = tmp_path / "out"
    for name in (
        "a/mask.tif",
        "a/notes.txt",
        "report.html",
        "run.json",
        ".hdm/ledger.sqlite",
        "a/.hidden",
        "other.txt",
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    (tmp_path / "secret.txt").write_text("secret")
    return folder


def test_what_was_published_is_given(out: Path) -> None:
    assert published(out, "a/mask.tif", ["a/mask.tif"]).read_text() == "a/mask.tif"
    assert published(out, "report.html", []).read_text() == "report.html"
    assert published(out, "run.json", []).read_text() == "run.json"


@pytest.mark.parametrize(
    "path",
    [
        "",
        "a",
        "a/notes.txt",
        "other.txt",
        ".hdm/ledger.sqlite",
        "a/.hidden",
        "../secret.txt",
        "a/../../secret.txt",
        "report/../../secret.txt",
        "report.html/",
        "/etc/passwd",
        "a/gone.tif",
        "report.html\n",
        "report\\..\\secret.txt",
    ],
)
def test_nothing_else_is(out: Path, path: str) -> None:
    with pytest.raises(NotThereError):
        published(out, path, ["a/mask.tif", "a/gone.tif"])


def test_a_link_that_leaves_the_output_is_not_followed(out: Path) -> None:
    os.replace(out / "report.html", out / "kept.html")
    (out / "report.html").symlink_to(out / "kept.html")
    assert published(out, "report.html", []).name == "kept.html"  # it stays inside
    (out / "report.html").unlink()
    (out / "report.html").symlink_to(out.parent / "secret.txt")
    (out / "b").symlink_to(out.parent)
    for path in ("report.html", "b/secret.txt"):
        with pytest.raises(NotThereError):
            published(out, path, ["b/secret.txt"])


def test_the_page_is_a_list_of_names_that_are_known(tmp_path: Path) -> None:
    for name in ("index.html", "studio.js", "notes.md"):
        (tmp_path / name).write_text(name)
    (tmp_path / "folder").mkdir()
    assert sorted(page_files(tmp_path)) == ["index.html", "studio.js"]


def test_without_the_page_it_is_told_how_to_build_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="not been built") as caught:
        page_files(tmp_path / "page")
    assert "make studio" in caught.value.remedy


def test_errors_have_the_status_that_programs_expect() -> None:
    found: list[tuple[HdmError, int]] = [
        (ConfigError("x"), 400),
        (NotThereError("x"), 404),
        (NoSuchSceneError("x"), 404),
        (OutputError("x"), 500),
        (DiskFullError("x"), 507),
    ]
    assert [status_of(error) for error, _ in found] == [status for _, status in found]
