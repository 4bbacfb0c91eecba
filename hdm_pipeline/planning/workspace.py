"""The output directory of a pipeline, as its settings say where it lies."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from hdm_pipeline.config.schema import PipelineConfig
from hdm_pipeline.errors import ConfigError
from hdm_pipeline.objects.folder import ObjectFolder
from hdm_pipeline.output.files import output_errors
from hdm_pipeline.output.layout import Workspace, place_of

_FETCHED = ("dicomweb://", "dimse://")


def workspace_of(config: PipelineConfig) -> Workspace:
    """The layout of a pipeline's output.

    Raises:
        ObjectStoreError: an address that may not be used.
        ConfigError: the output lies in a bucket among the scenes, or workers lack what lies on the driver's disk.
        OutputError: a file lies where a folder is to be, or this node has no folder to stand for an object store.
    """
    check_output(config)
    check_work(config)
    check_backbone(config)
    return Workspace.of(config.output.directory, config.execution.work, shared=config.execution.executor == "ray")


def check_output(config: PipelineConfig) -> None:
    """Check the address of an output, that its products are not found as scenes, and that workers find these.

    Raises:
        ObjectStoreError: an address that may not be used.
        OutputError: a file lies where a folder is to be.
        ConfigError: the output lies in a bucket among the scenes; or these come out of a PACS to the driver's disk,
            and the workers are a cluster.
    """
    place = place_of(config.output.directory)
    if not isinstance(place, ObjectFolder):
        _check_folder(place, "output.directory")
        return
    for uri in config.input.uris:
        if uri.startswith(_FETCHED) and _on_other_nodes(config):
            raise ConfigError(
                "series of a PACS are fetched to the driver's disk, which the workers of a cluster do not see",
                where=f"{uri}, output in {place}",
                remedy="leave execution.address out (a Ray of this machine), or write to a disk that all nodes share",
            )
        if f"{place}/".startswith(uri.rstrip("/") + "/") or f"{uri}/".startswith(f"{place}/"):
            remedy = "choose a prefix beside that of the scenes: in a bucket products are not told from scenes"
            raise ConfigError(f"the output lies with the scenes of {uri}", where=str(place), remedy=remedy)


def check_work(config: PipelineConfig) -> None:
    """Check where staged pixels and scores are to lie, if the pipeline says so.

    Raises:
        ObjectStoreError: an address that may not be used.
        OutputError: a file lies where a folder is to be.
    """
    place = None if config.execution.work is None else place_of(config.execution.work)
    if isinstance(place, Path):
        _check_folder(place, "execution.work")


def _check_folder(folder: Path, setting: str) -> None:
    with output_errors(folder, setting=setting):
        there = next(one for one in (folder, *folder.parents) if os.path.lexists(one))
        if not there.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(there))


def check_backbone(config: PipelineConfig) -> None:
    """Check that workers on other nodes have the folder of a backbone: only files of weights are brought to them.

    Raises:
        ConfigError: the output lies in a bucket, so that these share no disk.
    """
    in_bucket = isinstance(place_of(config.output.directory), ObjectFolder)
    if config.model.backbone is not None and in_bucket and _on_other_nodes(config):
        raise ConfigError(
            "a backbone's folder is not brought to other nodes",
            where=config.model.backbone.path,
            remedy="put the folder on every node under this path and share the output by a disk, take other weights, "
            "or leave execution.address out to work on this machine only",
        )


def _on_other_nodes(config: PipelineConfig) -> bool:
    return config.execution.executor == "ray" and config.execution.address is not None
