"""The output directory of a pipeline, as its settings say where it lies."""

from __future__ import annotations

from hdm_pipeline.config.schema import PipelineConfig
from hdm_pipeline.output.layout import Workspace


def workspace_of(config: PipelineConfig) -> Workspace:
    """The layout of a pipeline's output.

    Raises:
        ObjectStoreError: an address that may not be used.
        OutputError: this node has no folder to stand for an object store.
    """
    return Workspace.of(config.output.directory, config.execution.work, shared=config.execution.executor == "ray")
