"""Weights for workers on other nodes, which share no disk with the driver: through the object store of the output.

A file is named by its hash there and on each node, so that it never travels in halves, and is shared by actors of a
node that load it at the same time. When the run ends it is removed from there (`output.mirror`), with what runs left
that were killed. On a node it lies while it is loaded; what killed actors left goes with the next weights.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

from hdm_pipeline.errors import ConfigError, WeightsError
from hdm_pipeline.hashing import file_hash
from hdm_pipeline.model.weights_file import SHIPPED
from hdm_pipeline.objects.folder import ObjectFolder
from hdm_pipeline.objects.scratch import VARIABLE, weights_folder
from hdm_pipeline.output.files import output_errors, write_bytes
from hdm_pipeline.output.layout import UPLOADS
from hdm_pipeline.output.reading import copy_for_reading, give_back

_NAME = "weights.safetensors"


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


@contextmanager
def fetched_weights(bucket: ObjectFolder, uploaded: Mapping[str, str]) -> Iterator[dict[str, str]]:
    """Within: weights that were uploaded lie on this node.

    Args:
        bucket: the output.
        uploaded: as `upload_weights` gave it.

    Yields:
        Where they lie, by path.

    Raises:
        ObjectStoreError: the store does not answer, or refuses.
        OutputError: this node has no folder for them.
        WeightsError: the object is gone, or is another one.
    """
    with ExitStack() as stack:
        found = {}
        for sha256 in set(uploaded.values()):
            with output_errors(Path("scratch"), setting=VARIABLE):
                base = weights_folder()
            fill = partial(_fetch, bucket, sha256)
            found[sha256] = copy_for_reading(base, sha256.encode(), fill, given_back=True)
            stack.callback(give_back, found[sha256])
        yield {path: str(found[sha256] / _NAME) for path, sha256 in uploaded.items()}


def _fetch(bucket: ObjectFolder, sha256: str, folder: Path) -> None:
    """Bring weights into an empty folder."""
    content, target = bucket.get(_key(sha256)), folder / _NAME
    if content is not None:
        write_bytes(target, content, setting=VARIABLE)
    if content is None or file_hash(target) != sha256:
        what = "weights are gone from the output" if content is None else "weights were changed in the output"
        raise WeightsError(what, where=bucket.at(_key(sha256)), remedy="start the run again: it uploads them")


def _key(sha256: str) -> str:
    return f"{UPLOADS}/{sha256}.safetensors"
