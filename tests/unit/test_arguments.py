"""What is of the wrong kind is refused in words at each door of the Python API."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hdm_pipeline import FewShotSegmenter, Pipeline, Session, open_output, segment
from hdm_pipeline.errors import ConfigError, HdmError
from hdm_pipeline.options import RunOptions
from tests.unit.config.test_file import GOOD

WRONG_PATHS = [None, 3, b"x", "", "a\0b", ["a"]]


def refused(call: Callable[[], object]) -> None:
    with pytest.raises(HdmError) as caught:
        call()
    assert caught.value.what
    assert caught.value.where
    assert caught.value.remedy


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "flood.yaml"
    path.write_text(GOOD)
    return path


@pytest.mark.parametrize("path", WRONG_PATHS)
@pytest.mark.parametrize("door", [Pipeline.from_yaml, open_output, Session, FewShotSegmenter.load])
def test_what_is_no_path(door: Callable[[Any], object], path: object) -> None:
    refused(lambda: door(path))


@pytest.mark.parametrize("overrides", [None, "a=b", [1], {"a": "b"}, 3])
def test_overrides_are_texts(file: Path, overrides: Any) -> None:
    refused(lambda: Pipeline.from_yaml(file, overrides))


@pytest.mark.parametrize("environment", [3, {"MASK": 1}, ["MASK"]])
def test_an_environment_is_of_texts(file: Path, environment: Any) -> None:
    refused(lambda: Pipeline.from_yaml(file, (), environment))


@pytest.mark.parametrize("given", [None, "flood.yaml", 3])
def test_a_pipeline_is_made_of_a_file_that_was_read(given: Any) -> None:
    refused(lambda: Pipeline(given))


@pytest.mark.parametrize("arguments", [{"on_event": 3}, {"options": {"limit": 1}}])
def test_a_run_takes_a_function_and_options(file: Path, arguments: Any) -> None:
    refused(lambda: Pipeline.from_yaml(file).run(**arguments))


@pytest.mark.parametrize("limits", [{"limit": -1}, {"limit": "3"}, {"limit": 1.5}, {"time_budget": "1h"}])
def test_limits_are_numbers(limits: Any) -> None:
    refused(lambda: RunOptions(**limits))


@pytest.mark.parametrize("headers", [0, None, "all", 1.5])
def test_headers_are_counted(file: Path, headers: Any) -> None:
    refused(lambda: Pipeline.from_yaml(file).plan(headers))


@pytest.mark.parametrize("chunks", [0, "auto", 1.5, True])
def test_chunks_are_counted(tmp_path: Path, chunks: Any) -> None:
    with pytest.raises(ConfigError, match="the side of chunks"):
        open_output(tmp_path, chunks=chunks)


@pytest.mark.parametrize(
    "choice",
    [
        {"device": 3},
        {"device": "gpu"},
        {"precision": "fp64"},
        {"runtime": None},
        {"augment": 4},
        {"reduction": "2"},
        {"reduction": float("nan")},
        {"pin": 3},
    ],
)
def test_a_segmenter_takes_words_that_it_knows(choice: Any) -> None:
    refused(lambda: FewShotSegmenter.load("builtin:pyramid", **choice))


@pytest.mark.parametrize("options", [3, "allow_vrt", ["allow_vrt"]])
def test_options_of_a_reader_are_a_mapping(options: Any) -> None:
    refused(lambda: segment("a.tif", [("a.tif", "b.tif")], options=options))
