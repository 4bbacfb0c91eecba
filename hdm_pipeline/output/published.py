"""Products in an object store: files are uploaded whole, and a manifest that is written last makes them count.

Nothing can be renamed there. So the manifest of a scene (`.hdm/published/<scene>.json`) is removed first and written
last: whoever finds one finds the files that it names, with these bytes. Its entity tag stands in the ledger; where
both differ, the scene is published again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hdm_pipeline.contracts import OUTPUT_MARKER
from hdm_pipeline.hashing import file_hash
from hdm_pipeline.objects.folder import ObjectFolder

SCHEMA = 1

_FOLDER = f"{OUTPUT_MARKER}/published/"


def upload(root: Path, bucket: ObjectFolder, scene: str, files: Sequence[Path], told: Mapping[str, Any]) -> str:
    """Upload a scene's products and make them count.

    Args:
        root: folder of this node that stands for the output directory.
        bucket: the output directory.
        scene: its id.
        files: below `root`.
        told: JSON-able; what a new driver must know to take the scene for done.

    Returns:
        The entity tag of the manifest.

    Raises:
        ObjectStoreError: the store does not answer, or refuses; the scene then counts as not published.
    """
    key = f"{_FOLDER}{scene}.json"
    bucket.delete(key)
    listed = []
    for path in files:
        name = path.relative_to(root).as_posix()
        bucket.put(name, path)
        listed.append({"name": name, "bytes": path.stat().st_size, "sha256": file_hash(path)})
    manifest = {"schema": SCHEMA, "scene": scene, "files": listed, "told": dict(told)}
    return bucket.put(key, (json.dumps(manifest, indent=1, allow_nan=False) + "\n").encode())


def tags(bucket: ObjectFolder) -> dict[str, str]:
    """Entity tags of all manifests by scene; a request for each thousand.

    Raises:
        ObjectStoreError: the store does not answer, or refuses.
    """
    return {key.removeprefix(_FOLDER).removesuffix(".json"): tag for key, tag in bucket.tags(_FOLDER).items()}


def told(bucket: ObjectFolder, scene: str) -> dict[str, Any] | None:
    """What the manifest of a scene says; None where there is none, or one of another release.

    Raises:
        ObjectStoreError: the store does not answer, or refuses.
    """
    content = bucket.get(f"{_FOLDER}{scene}.json")
    try:
        manifest = {} if content is None else json.loads(content)
        return dict(manifest["told"]) if manifest["schema"] == SCHEMA else None
    except (ValueError, KeyError, TypeError):
        return None


def withdraw(bucket: ObjectFolder, scene: str) -> bool:
    """Move a scene's products to `.hdm/stale/<scene>/`: they were made of a file that is not there any more.

    Returns:
        Whether there were any.

    Raises:
        ObjectStoreError: the store does not answer, or refuses.
    """
    bucket.delete(f"{_FOLDER}{scene}.json")
    found = [key for key, _ in bucket.keys(f"{scene}/")]
    if found:
        bucket.delete_all(f"{OUTPUT_MARKER}/stale/{scene}/")
    for key in found:
        bucket.move(key, f"{OUTPUT_MARKER}/stale/{key}")
    return bool(found)
