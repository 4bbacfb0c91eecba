"""Extras of the package: which are installed, what each is for, and how to get those that are not."""

from __future__ import annotations

import importlib.metadata
import re
from collections.abc import Iterator

from hdm_pipeline.diagnosis.finding import Finding, ok, problem

PURPOSES = {
    "geo": "GeoTIFF, xarray, STAC",
    "dicom": "DICOM series",
    "pacs": "DICOMweb and DIMSE",
    "s3": "archives in object stores",
    "studio": "the local page to label and try",
    "openvino": "model.runtime: openvino",
    "foundation": "backbones of other families",
    "tensorboard": "curves of a training",
    "distributed": "training on several GPUs",
}
"""What a user installs an extra for; those for developers are not told."""

_REQUIREMENT = re.compile(r"([\w.-]+)[^;]*;.*extra == ['\"]([\w-]+)['\"]")


def extra_findings() -> Iterator[Finding]:
    """One line an extra. One that is not installed is no fault: whoever needs it finds it here."""
    try:
        required = importlib.metadata.requires("hdm-pipeline") or []
    except importlib.metadata.PackageNotFoundError:
        yield problem("extras", "hdm-pipeline is not installed, only its source is there", "pip install hdm-pipeline")
        return
    wanted: dict[str, list[str]] = {}
    for line in required:
        if (found := _REQUIREMENT.match(line)) and found[2] in PURPOSES:
            wanted.setdefault(found[2], []).append(found[1])
    for extra, names in wanted.items():
        absent = [name for name in names if not _installed(name)]
        state = f"no {', '.join(absent)}; pip install 'hdm-pipeline[{extra}]'" if absent else "installed"
        yield ok(f"extra {extra}", f"({PURPOSES[extra]}) {state}")


def _installed(distribution: str) -> bool:
    try:
        importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True
