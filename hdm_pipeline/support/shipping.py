"""Weights for workers on other nodes, which share no disk with the driver: through the object store of the output.

A file is named by its hash there and on each node, so that it travels once a node, and never in halves. When the run
ends it is removed from there (`output.mirror`), with what runs left that were killed.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from hdm_pipeline.errors import ConfigError, WeightsError
from hdm_pipeline.hashing import file_hash
from hdm_pipeline.model.weights_file import SHIPPED
from hdm_pipeline.objects.folder import ObjectFolder
from hdm_pipeline.output.files import output_errors, write_bytes
from hdm_pipeline.output.layout import UPLOADS, Workspace


def upload_weights(bucket: ObjectFolder, paths: Iterable[str]) -> dict[str, str]:
    """Upload weights that do not come with the package, unless they lie there.

    Args:
        bucket: the output.
        paths: as a bundle names them.

    Returns:
        SHA-256 by path.

    Raises:
        ConfigError: a folder of a backbone, which every node must have.
        ObjectStoreError: the store does not answer, or refuses.
    """
    found = {}
    for path in dict.fromkeys(paths):
        file = Path(path)
        if file.parent == SHIPPED:
            continue
        if not file.is_file():
            remedy = (
                "put the folder on every node under this path and share the output by a disk, or take other weights"
            )
            raise ConfigError("a backbone's folder is not brought to other nodes", where=path, remedy=remedy)
        found[path] = file_hash(file)
        key = _key(found[path])
        if bucket.tag(key) is None:
            bucket.put(key, file)
    return found


def fetched_weights(workspace: Workspace, sha256: str) -> Path:
    """The file of this node; fetched where it is missing.

    Raises:
        ObjectStoreError: the store does not answer, or refuses.
        WeightsError: the object is gone, or is another one.
    """
    bucket = workspace.bucket
    target = workspace.root / UPLOADS / f"{sha256}.safetensors"
    if bucket is None or (target.is_file() and file_hash(target) == sha256):
        return target
    content = bucket.get(_key(sha256))
    with output_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
    if content is not None:
        write_bytes(target, content)
    if content is None or file_hash(target) != sha256:
        what = "weights are gone from the output" if content is None else "weights were changed in the output"
        raise WeightsError(what, where=bucket.at(_key(sha256)), remedy="start the run again: it uploads them")
    return target


def _key(sha256: str) -> str:
    return f"{UPLOADS}/{sha256}.safetensors"
