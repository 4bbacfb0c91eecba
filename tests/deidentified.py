"""Files that name a patient in every corner, and what is left of them once they are de-identified."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset

from hdm_dicom.privacy.folder import REPORT, Deidentified, deidentify_folder
from tests.dicom_series import make_slice, uid
from tests.unit.dicom.test_deidentify import KEY

MARKER = "MARKER"
SECRETS = (b"MARKER", b"20200102", b"Test^Case", b"19700101", uid("study").encode(), uid("series").encode())


def marked(dataset: Dataset, _: int = 0) -> None:
    dataset.PatientComments = dataset.InstitutionName = dataset.StationName = MARKER
    dataset.PatientName, dataset.PatientID = f"{MARKER}^X", "MARKERID"
    dataset.add_new(0x00091001, "LO", MARKER)
    dataset.file_meta.SourceApplicationEntityTitle = MARKER
    dataset.preamble = MARKER.encode().ljust(128, b"\0")


def save(dataset: Dataset, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(path, enforce_file_format=True)
    return path


def image(index: int = 0, change: Callable[[Dataset, int], None] = marked, bits: int = 16) -> Dataset:
    dataset = make_slice(index, np.random.default_rng(index).integers(0, 200, (40, 50)).astype(f"u{bits // 8}"))
    change(dataset, index)
    return dataset


def run(source: Path, out: Path, **options: object) -> Deidentified:
    return deidentify_folder(source, out, KEY, **options)  # type: ignore[arg-type]


def outputs(out: Path) -> list[Path]:
    return sorted(out.rglob("*.dcm"))


def report(out: Path) -> dict[str, dict[str, int]]:
    return json.loads((out / REPORT).read_text())


def contents(out: Path) -> dict[str, bytes]:
    return {str(path.relative_to(out)): path.read_bytes() for path in sorted(out.rglob("*")) if path.is_file()}


def burned(dataset: Dataset, _: int = 0) -> None:
    dataset.BurnedInAnnotation = "YES"
