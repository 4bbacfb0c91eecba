"""An archive of small CT series with marked patients, a labelled support, and pipelines over it: folder or PACS."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image
from pydicom.dataset import Dataset

from tests.dicom_product import ORGAN
from tests.dicom_series import uid, write_series

MARKERS = (b"MARKERNAME", b"MARKERID", b"MARKERACC", b"MARKERDOC", b"19590807")


def disc(index: int) -> np.ndarray:
    """A bright disc that moves from slice to slice."""
    y, x = np.mgrid[:96, :96]
    inside = (y - 48) ** 2 + (x - 30 - 6 * index) ** 2 < 200
    return np.where(inside, 1200, 950).astype(np.uint16)


def marked(study: str) -> Callable[[Dataset, int], None]:
    """Make a slice one of a study of its own, of a patient whose every attribute is a marker."""

    def change(dataset: Dataset, index: int) -> None:
        dataset.PatientName, dataset.PatientID = "MARKERNAME^X", "MARKERID"
        dataset.PatientBirthDate = "19590807"
        dataset.AccessionNumber, dataset.ReferringPhysicianName = "MARKERACC", "MARKERDOC^Y"
        dataset.StudyDescription = dataset.SeriesDescription = "MARKERNAME"
        dataset.StudyInstanceUID, dataset.StudyID = uid(study), study

    return change


def write_archive(folder: Path, count: int = 3, slices: int = 5) -> list[str]:
    """Series in studies of their own; returns their SeriesInstanceUIDs."""
    depths = [2.0 * index for index in range(slices)]
    for number in range(count):
        write_series(
            folder / f"{number}", depths, series=f"series {number}", pixels=disc, change=marked(f"study {number}")
        )
    return [uid(f"series {number}") for number in range(count)]


def write_pipeline(root: Path, weights: Path, out: str, **input_: Any) -> Path:
    """A pipeline with the support in a folder; `input_` says where the archive is. Products: SEG and NIfTI."""
    support = root / "support"
    if not support.exists():
        write_series(support / "series", series="support", pixels=disc, change=marked("support"))
        for z in (1, 3):
            Image.fromarray((disc(z) > 1000).astype(np.uint8)).save(support / f"mask_{z}.png")
    liver = {"category": ORGAN, "type": "SCT:10200004:Liver"}
    examples = [{"image": "support/series", "mask": f"support/mask_{z}.png", "slices": [z]} for z in (1, 3)]
    content = {
        "name": "pacs",
        "input": {"reader": "dicom", "bands": [1, 1, 1], "scale": {"fixed": [-160, 240]}, **input_},
        "support": {"adapt": "off", "classes": [{"name": "disc", "codes": liver, "examples": examples}]},
        "model": {"weights": str(weights)},
        "tiling": {"size": 64, "overlap": 16, "block": 4},
        "execution": {"executor": "inline", "batch_size": 2},
        "output": {"directory": out, "products": ["segmentation", "nifti"]},
    }
    path = root / f"{out}.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def leaks_of(out: Path) -> list[str]:
    """Where a marker stands in what was written, beside the products."""
    products = (".dcm", ".nii.gz", ".json")
    found = []
    for path in (path for path in out.rglob("*") if path.is_file()):
        inside = os.path.relpath(path, out)
        if ".hdm" not in path.parts and path.name != "run.json" and path.name.endswith(products):
            continue
        found += [f"{inside}: {m!r}" for m in MARKERS if m in path.read_bytes() or m.decode() in inside]
    return found
