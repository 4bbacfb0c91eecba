"""The nodes of a cluster: whether all see the files that their workers are to read, and on which one a step failed.

It is told before a scene is begun. Without this each scene would fail by itself on every node but the driver's.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Mapping
from pathlib import Path

import ray
import ray.exceptions
import ray.util
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from hdm_pipeline.errors import ConfigError, HdmError
from hdm_pipeline.execution.messages import RunContext
from hdm_pipeline.model.weights_file import BUILTIN
from hdm_pipeline.output.files import output_errors

_PATIENCE = 60.0
"""Seconds for all answers; a node that has not answered by then is not waited for."""

_SHOWN = 5
_REMEDIES = {
    "input.uri": "put the scenes into a bucket (input.uri: s3://...)",
    "input.aoi": "leave it out",
    "output.directory": "write to a bucket (output.directory: s3://...)",
    "execution.work": "leave it out, or name a bucket",
    "model.weights": "write to a bucket, by which weights are brought to other nodes",
    "model.backbone.path": "take other weights",
}


def several_nodes() -> bool:
    """Whether the cluster has more than one node now."""
    return sum(bool(node["Alive"]) for node in ray.nodes()) > 1  # type: ignore[no-untyped-call]


def require_seen(context: RunContext) -> None:
    """Ask each node of the cluster once whether it sees what lies on a disk.

    Raises:
        ConfigError: one does not see the archive, or the folder of the output.
        OutputError: `execution.work` cannot be made.
    """
    nodes = [node for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]
    paths = local_paths(context)
    if not paths:
        return
    asked = {}
    for node in nodes:
        there = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        task = ray.remote(unseen).options(num_cpus=0, scheduling_strategy=there)
        asked[task.remote(paths)] = str(node["NodeManagerAddress"])
    lacking: dict[str, list[str]] = {}
    for answer in ray.wait(list(asked), num_returns=len(asked), timeout=_PATIENCE)[0]:
        try:
            for path in ray.get(answer):
                lacking.setdefault(path, []).append(asked[answer])
        except ray.exceptions.RayError:  # it is gone: what it would have done is done elsewhere
            continue
    for path, without in lacking.items():
        raise ConfigError(
            f"{len(without)} of {len(nodes)} nodes of the cluster do not see {path}",
            where=f"{paths[path]}, on {', '.join(sorted(without)[:_SHOWN])}",
            remedy=f"{_REMEDIES[paths[path]]}, share it with every node under this path, or leave execution.address "
            "out to work on this machine only",
        )


def local_paths(context: RunContext) -> dict[str, str]:
    """Key of the pipeline file by what workers read and write there by a path; of a pattern the folder it begins with.

    Raises:
        OutputError: `execution.work` cannot be made.
    """
    config, workspace = context.config, context.workspace
    found = {}
    for uri in config.input.uris:
        if "://" not in uri and not uri.startswith("/vsi"):
            path = Path(uri)
            while glob.has_magic(str(path)):
                path = path.parent
            found[str(path)] = "input.uri"
    if config.input.aoi is not None:
        found[config.input.aoi] = "input.aoi"
    if workspace.bucket is None:
        found[str(workspace.root)] = "output.directory"
    if isinstance(workspace.work, Path):
        with output_errors(workspace.work):
            workspace.work.mkdir(parents=True, exist_ok=True)
        found[str(workspace.work)] = "execution.work"
    if workspace.bucket is None:
        model = config.model
        if model.backbone is not None:
            found[model.backbone.path] = "model.backbone.path"
        if not model.weights.startswith(BUILTIN) and (model.backbone is None or model.backbone.add_weights):
            found[model.weights] = "model.weights"
    return found


def unseen(paths: Mapping[str, str]) -> list[str]:
    """Paths that are not there on this node; of an archive an empty folder is none: a disk is to be mounted there."""
    return [path for path, key in paths.items() if not _seen(path, some=key == "input.uri")]


def here() -> str:
    """The address of the node that this process is on."""
    return str(ray.util.get_node_ip_address())  # type: ignore[no-untyped-call]


def on_node(error: HdmError, address: str) -> HdmError:
    """The error of a step, which now says on which node it was raised."""
    error.where = f"{error.where}, on node {address}".removeprefix(", ")
    return error


def _seen(path: str, *, some: bool) -> bool:
    try:
        return os.path.isfile(path) or (os.path.isdir(path) and (not some or bool(os.listdir(path))))
    except OSError:
        return False
