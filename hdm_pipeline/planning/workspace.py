"""The output directory of a pipeline, as its settings say where it lies."""

from __future__ import annotations

from hdm_pipeline.config.schema import PipelineConfig
from hdm_pipeline.errors import ConfigError
from hdm_pipeline.objects.folder import ObjectFolder
from hdm_pipeline.output.layout import Workspace, place_of

_FETCHED = ("dicomweb://", "dimse://")


def workspace_of(config: PipelineConfig) -> Workspace:
    """The layout of a pipeline's output.

    Raises:
        ObjectStoreError: an address that may not be used.
        ConfigError: the output lies in a bucket among the scenes.
        OutputError: this node has no folder to stand for an object store.
    """
    check_output(config)
    return Workspace.of(config.output.directory, config.execution.work, shared=config.execution.executor == "ray")


def check_output(config: PipelineConfig) -> None:
    """Check the address of an output, that its products are not found as scenes, and that workers find these.

    Raises:
        ObjectStoreError: an address that may not be used.
        ConfigError: the output lies in a bucket among the scenes; or these come out of a PACS to the driver's disk,
            and the workers are a cluster.
    """
    place = place_of(config.output.directory)
    if not isinstance(place, ObjectFolder):
        return
    for uri in config.input.uris:
        if uri.startswith(_FETCHED) and config.execution.executor == "ray" and config.execution.address:
            raise ConfigError(
                "series of a PACS are fetched to the driver's disk, which the workers of a cluster do not see",
                where=f"{uri}, output in {place}",
                remedy="leave execution.address out (a Ray of this machine), or write to a disk that all nodes share",
            )
        if f"{place}/".startswith(uri.rstrip("/") + "/") or f"{uri}/".startswith(f"{place}/"):
            remedy = "choose a prefix beside that of the scenes: in a bucket products are not told from scenes"
            raise ConfigError(f"the output lies with the scenes of {uri}", where=str(place), remedy=remedy)
