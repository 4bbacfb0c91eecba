"""The output directory of a pipeline, as its settings say where it lies."""

from __future__ import annotations

from pathlib import Path

from hdm_pipeline.config.file import read_pipeline_file
from hdm_pipeline.config.schema import PipelineConfig
from hdm_pipeline.output.layout import Workspace


def workspace_of(config: PipelineConfig) -> Workspace:
    """The layout of a pipeline's output.

    Raises:
        ObjectStoreError: an address that may not be used.
        OutputError: this node has no folder to stand for an object store.
    """
    return Workspace.of(config.output.directory, config.execution.work, shared=config.execution.executor == "ray")


def workspace_at(place: str, overrides: list[str] | None = None) -> Workspace:
    """The layout of the output that a user means.

    Args:
        place: a pipeline file, an output directory, or the address of one.
        overrides: ``key.path=value`` items, for a pipeline file.

    Raises:
        PipelineFileError: it is a file, and no sound pipeline file.
        ObjectStoreError: an address that may not be used.
    """
    if "://" in place:
        return Workspace.of(place)
    path = Path(place)
    if path.is_file():
        return workspace_of(read_pipeline_file(path, overrides or ()).absolute())
    return Workspace(path.absolute())
