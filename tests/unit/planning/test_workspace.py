"""Where an output may lie, seen from where its scenes lie."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hdm_pipeline.config.schema import PipelineConfig
from hdm_pipeline.errors import ConfigError, ObjectStoreError, OutputError
from hdm_pipeline.planning.workspace import check_backbone, check_output, workspace_of


def config(uri: str, directory: str, model: dict[str, Any] | None = None, **execution: Any) -> PipelineConfig:
    example = {"image": "a.tif", "mask": "b.tif"}
    return PipelineConfig.model_validate(
        {
            "name": "test",
            "input": {"uri": uri, "bands": [1], "scale": {"fixed": [0, 1]}},
            "support": {"classes": [{"name": "water", "examples": [example]}]},
            "execution": execution,
            "model": model or {},
            "output": {"directory": directory},
        }
    )


@pytest.mark.parametrize("directory", ["s3://bucket/scenes/out", "s3://bucket", "s3://bucket/scenes"])
def test_products_in_a_bucket_do_not_lie_with_the_scenes(directory: str) -> None:
    with pytest.raises(ConfigError, match="lies with the scenes"):
        check_output(config("s3://bucket/scenes/", directory))


def test_beside_them_they_may_lie(tmp_path: Path) -> None:
    check_output(config("s3://bucket/scenes/", "s3://bucket/scenes-out"))
    check_output(config("scenes", str(tmp_path)))


def test_what_a_driver_fetches_is_not_seen_by_a_cluster_without_a_shared_disk() -> None:
    pacs = "dicomweb://pacs/studies"
    with pytest.raises(ConfigError, match="fetched to the driver"):
        check_output(config(pacs, "s3://bucket/out", executor="ray", address="auto"))
    check_output(config(pacs, "s3://bucket/out", executor="ray"))
    check_output(config(pacs, "s3://bucket/out", executor="inline"))
    check_output(config(pacs, "/shared/out", executor="ray", address="auto"))


def test_a_backbone_is_not_brought_to_other_nodes() -> None:
    backbone = {"backbone": {"family": "transformers", "path": "/models/dino"}}
    there = config("scenes", "s3://bucket/out", backbone, executor="ray", address="auto")
    for check in (check_backbone, workspace_of):
        with pytest.raises(ConfigError, match="not brought to other nodes") as caught:
            check(there)
        assert caught.value.where == "/models/dino"
    check_backbone(config("scenes", "s3://bucket/out", backbone, executor="ray"))
    check_backbone(config("scenes", "s3://bucket/out", executor="ray", address="auto"))
    check_backbone(config("scenes", "/shared/out", backbone, executor="ray", address="auto"))


@pytest.mark.parametrize(
    "directory",
    [
        "s3://",
        "s3:///x",
        "s3://bucket/../x",
        "S3://b/x",
        "s3://key:secret@bucket/x",
        "s3://key:secret@b/../x",
        "S3://key:secret@b/x",
        "s3://b//x?X-Amz-Signature=secret",
    ],
)
def test_addresses_that_may_not_be_used(directory: str) -> None:
    with pytest.raises(ObjectStoreError) as caught:
        check_output(config("scenes", directory))
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("place", ["file", "file/below", "link", "link/below"])
@pytest.mark.parametrize("setting", ["output.directory", "execution.work"])
def test_a_file_where_a_folder_is_to_be_is_refused_before_a_run(tmp_path: Path, place: str, setting: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("not there")
    folders = {"output.directory": str(tmp_path / "out"), "execution.work": str(tmp_path / "work")}
    folders[setting] = str(tmp_path / place)
    given = config("scenes", folders["output.directory"], work=folders["execution.work"])
    with pytest.raises(OutputError, match="a file lies where a folder is to be") as caught:
        workspace_of(given)
    assert setting in caught.value.remedy
