"""What is wrong in a pipeline file is told once, also of values that may be of several kinds."""

from __future__ import annotations

from pathlib import Path

import pytest

from hdm_pipeline.config.file import PipelineFileError
from tests.unit.config.test_file import GOOD, read


def told(tmp_path: Path, override: str) -> list[tuple[str, str]]:
    with pytest.raises(PipelineFileError) as caught:
        read(tmp_path, GOOD, override)
    return [(problem.key, problem.what) for problem in caught.value.problems]


EXAMPLE = "support.classes.0.examples.0"


@pytest.mark.parametrize(
    ("override", "key", "what"),
    [
        ("support.adapt=3", "support.adapt", "should be 'auto' or 'off', or a section with keys of its own"),
        ("support.adapt={steps: -1}", "support.adapt.steps", "should be greater than or equal to 0"),
        ("support.adapt={step: 3}", "support.adapt.step", "no such key"),
        ("model.reduction=0", "model.reduction", "should be 'auto', or greater than or equal to 1"),
        ("execution.actors=0", "execution.actors", "should be greater than or equal to 1, or 'auto'"),
        ("input.uri=3", "input.uri", "should be a text, or a list"),
        ("input.uri=[1]", "input.uri.0", "should be a text"),
        ("input.bands=[[1]]", "input.bands.0", "should be a whole number, or a text"),
        ("input.scale.fixed=[1]", "input.scale.fixed.1", "a value of the list is missing"),
        ("input.scale.fixed=[[0, 1], [1]]", "input.scale.fixed.1.1", "a value of the list is missing"),
        (f"{EXAMPLE}.ignore={{wher: x}}", f"{EXAMPLE}.ignore.wher", "no such key"),
        (f"{EXAMPLE}.ignore=1.5", f"{EXAMPLE}.ignore", "should be a list, or a section with keys of its own"),
        ("output.products=[{mask: 1}]", "output.products.0.mask", "should be a section with keys of its own"),
    ],
)
def test_a_value_that_fits_none_of_several_kinds_is_told_once(
    tmp_path: Path, override: str, key: str, what: str
) -> None:
    assert told(tmp_path, override) == [(key, what)]


def test_each_of_several_wrong_values_is_told(tmp_path: Path) -> None:
    assert [key for key, _ in told(tmp_path, "input.uri=[1, a, 2]")] == ["input.uri.0", "input.uri.2"]
    assert [key for key, _ in told(tmp_path, "support={adapt: 3, calibrate: 3}")] == [
        "support.classes",
        "support.adapt",
        "support.calibrate",
    ]
