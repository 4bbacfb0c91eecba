"""What changes with the files of an example: hashes of them, and of what lies beside them and changes what is read."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from hdm_pipeline.errors import SupportError
from hdm_pipeline.hashing import file_hash, stat_identity

_HASHED_WHOLE = 256 << 20
"""Files up to this size are hashed by content, larger ones (a whole volume in one file) by size and time."""

_OF_VECTOR_FILES = (
    *(".shx", ".dbf", ".cpg", ".qpj"),
    *(".qix", ".sbn", ".sbx", ".fbn", ".fbx", ".ain", ".aih", ".atx", ".ixs", ".mxs", ".idm", ".ind"),  # indexes
    *(".qmd", ".qml", ".sld", ".qlr"),
)
"""What GIS put beside a Shapefile or a GeoPackage; no image is read from it."""


def sidecars(path: str, labels: str = "") -> list[str]:
    """Hashes of the files that are called as one is: ``chip.tif.aux.xml`` and ``chip.tfw`` change what is read.

    Drawn labels may lie beside the image under its name (``chip.gpkg``, ``chip.shp``): these count by what is read.
    """
    folder, name = os.path.split(path)
    if not os.path.isfile(path):
        return []
    starts = (f"{name}.", f"{os.path.splitext(name)[0]}.")
    beside = sorted(other for other in os.listdir(folder or ".") if other.startswith(starts) and other != name)
    if labels:
        drawn = os.path.basename(labels)
        beside = [o for o in beside if not o.startswith(drawn) and not o.lower().endswith(_OF_VECTOR_FILES)]
    files = [os.path.join(folder, other) for other in beside]
    return [f"{os.path.basename(file)}:{content_hash(file)}" for file in files if os.path.isfile(file)]


def content_hash(path: str) -> str:
    """Hash of a file, or of what a folder holds; a remote address stands for itself.

    Raises:
        SupportError: it cannot be read.
    """
    if "://" in path or path.startswith("/vsi"):
        return path
    try:
        if os.path.isdir(path):
            digest = hashlib.sha256()
            for folder, folders, names in os.walk(path):
                folders.sort()
                for name in sorted(names):
                    full = os.path.join(folder, name)
                    digest.update(f"{os.path.relpath(full, path)}:{stat_identity(full)}\n".encode())
            return digest.hexdigest()
        return stat_identity(path) if os.path.getsize(path) > _HASHED_WHOLE else file_hash(Path(path))
    except OSError as error:
        raise SupportError(
            f"support file cannot be read: {error.strerror}", where=path, remedy="check the path and its permissions"
        ) from error
