"""`plan --check-support` draws the examples: into a file, and never onto what is no terminal that shows pictures."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

from hdm_pipeline.cli.example_picture import ExampleSheet
from hdm_pipeline.cli.main import app
from tests.integration.conftest import Workbench


def test_the_picture_is_written_and_told(bench: Workbench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(bench.root)
    monkeypatch.setenv("TERM", "xterm-kitty")
    before = set(os.listdir(bench.root)) | {"out.yaml"}
    told = CliRunner().invoke(app, ["plan", str(bench.pipeline()), "--check-support"])
    assert told.exit_code == 0, told.output
    assert told.output.splitlines()[-1] == "picture of the examples: test_examples.png"
    assert "\x1b" not in told.output
    assert set(os.listdir(bench.root)) - before == {"test_examples.png"}
    with Image.open(bench.root / "test_examples.png") as picture:
        assert picture.width > 3 * 128

    asked = ["plan", str(bench.pipeline()), "--picture", "mine.png", "--json"]
    found = json.loads(CliRunner().invoke(app, asked).stdout)
    assert found["picture"] == "mine.png"
    assert found["support"]["water"][0]["leave_one_out_iou"] is not None
    assert (bench.root / "mine.png").is_file()

    refused = CliRunner().invoke(app, ["plan", str(bench.pipeline()), "--picture", "nowhere/mine.png"])
    assert refused.exception is not None
    assert "nowhere" in str(refused.exception)


def test_a_terminal_that_shows_pictures_gets_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.unit.pictures.test_examples import example

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    sheet = ExampleSheet("../a b", None, private=False)
    sheet.pictures.append(example())
    assert sheet.write() == Path("_a_b_examples.png")
    for term, start in (("xterm-kitty", "\x1b_G"), ("xterm", "picture of")):
        monkeypatch.setattr(os, "environ", {"TERM": term})
        assert next(sheet.lines(Path("x.png"))).startswith(start)


def test_examples_of_patients_are_drawn_into_a_file_only_where_it_is_named(tmp_path: Path) -> None:
    from tests.unit.pictures.test_examples import example

    sheet = ExampleSheet("liver", None, private=True)
    sheet.pictures.append(example())
    assert sheet.write() is None
    assert "--picture" in list(sheet.lines(None))[-1]
    named = ExampleSheet("liver", tmp_path / "liver.png", private=True)
    named.pictures.append(example())
    assert named.write() == tmp_path / "liver.png"
