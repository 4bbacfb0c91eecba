"""The pipeline file that the plug-in writes, read as the command line reads it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from hdm_pipeline.config.example import Example, Features
from hdm_pipeline.config.file import read_pipeline_file
from hdm_pipeline.config.schema import PipelineConfig
from qgis_hdm.pipeline_text import Training, pipeline_text, safe_name, unusable

TRAINING = Training(
    name="lakes",
    image="/data/my scene [1] #2: é.tif",
    scenes=("/data/scenes",),
    bands=(1, 3),
    ranges=((0.0, 255.0), (-1e-07, 12345.678)),
    labels="labels.gpkg",
    classes=("lake", 'it\'s "wet": no'),
    background=True,
    complete=False,
    output="results",
)


def read(training: Training, folder: Path) -> PipelineConfig:
    path = folder / "training.yaml"
    path.write_text(pipeline_text(training), encoding="utf-8")
    return read_pipeline_file(path, (), {}).config


def only_example(config: PipelineConfig, index: int) -> Example:
    (example,) = config.support.classes[index].examples
    return example


def test_what_was_chosen_comes_back(tmp_path: Path) -> None:
    config = read(TRAINING, tmp_path)
    assert config.name == "lakes"
    assert config.input.uri == ["/data/scenes"]
    assert config.input.bands == [1, 3]
    assert config.input.scale.fixed == [(0.0, 255.0), (-1e-07, 12345.68)]
    assert config.output.directory == "results"
    assert config.output.products == ["mask", "polygons"]
    assert config.execution.executor == "inline"
    assert [one.name for one in config.support.classes] == list(TRAINING.classes)
    first, second = only_example(config, 0), only_example(config, 1)
    assert first.image == "/data/my scene [1] #2: é.tif"
    assert (first.labels, first.where) == ("labels.gpkg", "class = 'lake'")
    assert first.background == Features(where="class <> 'lake'")
    assert second.where == "class = 'it''s \"wet\": no'"
    assert not first.complete


@pytest.mark.parametrize(
    "name", ["no", "yes", "Off", "null", "1", "1e5", "~", "- a", "{a}", "é", "a\nb", "", " x", "'"]
)
def test_any_class_name_comes_back(tmp_path: Path, name: str) -> None:
    training = replace(TRAINING, classes=("lake", name or "x"), name=safe_name(name), output=name or "o")
    config = read(training, tmp_path)
    assert [one.name for one in config.support.classes] == ["lake", name or "x"]
    assert config.output.directory == (name or "o")


def test_one_class_needs_a_background(tmp_path: Path) -> None:
    one = replace(TRAINING, classes=("lake",), background=False)
    assert "nothing says what is not the class" in (unusable(one) or "")
    assert "background" in (unusable(one) or "")
    complete = replace(one, complete=True)
    assert unusable(complete) is None
    example = only_example(read(complete, tmp_path), 0)
    assert (example.complete, example.background) == (True, [])
    drawn = replace(one, background=True)
    assert unusable(drawn) is None
    assert only_example(read(drawn, tmp_path), 0).background == Features(where="class <> 'lake'")


def test_what_cannot_be_learned_is_told() -> None:
    assert "No feature has a class" in (unusable(replace(TRAINING, classes=())) or "")
    assert "more than 64" in (unusable(replace(TRAINING, classes=("x" * 65,))) or "")
    assert unusable(TRAINING) is None
    assert unusable(replace(TRAINING, background=False)) is None  # the other class is background


@pytest.mark.parametrize(
    ("text", "name"), [("S2 (1)", "S2_1"), ("", "training"), ("é", "training"), ("x" * 99, "x" * 64), ("-a.b-", "a.b")]
)
def test_names_of_pipelines_are_safe(text: str, name: str) -> None:
    assert safe_name(text) == name
