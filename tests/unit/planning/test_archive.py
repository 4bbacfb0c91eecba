"""Scenes of several inputs put together: each once, in the order of their ids."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hdm_pipeline.contracts import SceneRef
from hdm_pipeline.errors import ArchiveError
from hdm_pipeline.planning.archive import discover
from tests.fake_executor import Bench


class Disk:
    """Lists what each input is said to hold: (id, path)."""

    def __init__(self, **inputs: list[tuple[str, str]]) -> None:
        self._inputs = inputs

    def discover(self, uri: str) -> Iterator[SceneRef]:
        for name, path in self._inputs[Path(uri).name]:
            yield SceneRef(name, path, "geotiff", uri)


def found(tmp_path: Path, **inputs: list[tuple[str, str]]) -> list[SceneRef]:
    config = Bench(tmp_path, {}).config
    uris = {"uri": [f"/{name}" for name in inputs]}
    config = config.model_copy(update={"input": config.input.model_copy(update=uris)})
    reader: Any = Disk(**inputs)
    return list(discover(config, reader).scenes)


def test_a_scene_that_two_inputs_name_is_one_and_the_first(tmp_path: Path) -> None:
    scenes = found(tmp_path, one=[("b", "/x/b.tif"), ("a", "/x/a.tif")], two=[("c", "/x/c.tif"), ("b", "/x/b.tif")])
    assert [ref.id for ref in scenes] == ["a", "b", "c"]
    assert scenes[1].identity == "/one"


def test_two_scenes_of_one_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ArchiveError, match="two scenes are called 'b'") as raised:
        found(tmp_path, one=[("b", "/x/b.tif"), ("a", "/x/a.tif")], two=[("b", "/y/b.tif")])
    assert raised.value.where == "/x/b.tif and /y/b.tif"
