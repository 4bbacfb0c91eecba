"""What workers on other nodes must see, and what is asked for it."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from hdm_pipeline.errors import ReadError
from hdm_pipeline.execution.messages import RunContext
from hdm_pipeline.execution.nodes import local_paths, on_node, unseen
from hdm_pipeline.output.layout import Workspace


def context(uris: list[str], workspace: Workspace, aoi: str | None = None) -> RunContext:
    model = SimpleNamespace(backbone=None, weights="builtin:base")
    config = SimpleNamespace(input=SimpleNamespace(uris=uris, aoi=aoi), model=model)
    return cast(RunContext, SimpleNamespace(config=config, workspace=workspace))


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("/data/scenes", "/data/scenes"),
        ("/data/scenes/*.tif", "/data/scenes"),
        ("/data/*/deep/**/*.tif", "/data"),
        ("/data/list.txt", "/data/list.txt"),
        ("s3://archive/scenes/", None),
        ("/vsis3/archive/scenes", None),
        ("dicomweb://host/x", None),
    ],
)
def test_of_the_archive_it_is_what_lies_on_a_disk(tmp_path: Path, uri: str, expected: str | None) -> None:
    found = local_paths(context([uri], Workspace(tmp_path)))
    assert found == ({} if expected is None else {expected: "input.uri"}) | {str(tmp_path): "output.directory"}


def test_of_an_output_in_a_bucket_it_is_the_work_on_a_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HDM_SCRATCH", str(tmp_path))
    uris: list[Any] = ["s3://archive/"]
    assert local_paths(context(uris, Workspace.of("s3://out/b", shared=True))) == {}
    work = Workspace.of("s3://out/b", str(tmp_path / "new" / "work"))
    found = local_paths(context(uris, work, aoi="/data/area.geojson"))
    assert found == {"/data/area.geojson": "input.aoi", str(work.work): "execution.work"}
    assert unseen(found) == ["/data/area.geojson"]


def test_an_empty_folder_is_no_archive_but_may_be_an_output(tmp_path: Path) -> None:
    empty, full = tmp_path / "empty", tmp_path / "full"
    for folder in (empty, full):
        folder.mkdir()
    (full / "scene.tif").touch()
    paths = {str(empty): "input.uri", str(full): "input.uri", str(full / "scene.tif"): "input.uri", "/no/such": "x"}
    assert unseen(paths) == [str(empty), "/no/such"]
    assert unseen({str(empty): "output.directory"}) == []


def test_an_error_stays_what_it_is() -> None:
    error = on_node(ReadError("cut", where="scene a", remedy="copy it"), "10.0.0.2")
    assert isinstance(error, ReadError)
    assert (error.what, error.where, error.remedy) == ("cut", "scene a, on node 10.0.0.2", "copy it")
    assert on_node(ReadError("cut"), "10.0.0.2").where == "on node 10.0.0.2"
