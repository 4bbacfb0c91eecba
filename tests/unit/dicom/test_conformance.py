"""Reader and writers before the suite that strangers' plug-ins are run against."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image
from pydicom.dataset import Dataset

from hdm_dicom.nifti import NiftiWriter
from hdm_dicom.reader import DicomReader
from hdm_dicom.segmentation.writer import SegmentationWriter
from hdm_dicom.structure_set.writer import StructureSetWriter
from hdm_pipeline.contracts import NODATA, SceneRef, SupportRequest
from hdm_pipeline.grid import Window
from hdm_pipeline.testing import check_reader, check_writer, example_product
from tests.dicom_product import LIVER, SPLEEN
from tests.dicom_series import write_series


def noise(index: int) -> np.ndarray:
    return np.random.default_rng(index).integers(0, 3000, (60, 70), dtype=np.uint16)


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    def padded(dataset: Dataset, index: int) -> None:
        dataset.add_new(0x00280120, "US", 17)

    write_series(tmp_path / "archive" / "one", series="one", pixels=noise, change=padded)
    write_series(tmp_path / "archive" / "two", (0.0,), series="two", pixels=noise)
    (tmp_path / "archive" / "note.txt").write_text("no DICOM")
    return tmp_path / "archive"


@pytest.mark.parametrize("options", [{}, {"plane": "sagittal"}, {"plane": "coronal", "neighbors": 1}])
def test_reader(archive: Path, tmp_path: Path, options: dict[str, object]) -> None:
    def empty(dataset: Dataset, index: int) -> None:
        del dataset.PixelData

    write_series(tmp_path / "empty", change=empty)
    paths = write_series(tmp_path / "cut", pixels=noise)
    paths[2].write_bytes(paths[2].read_bytes()[:-1000])
    size = {"sagittal": (5, 60), "coronal": (5, 70)}.get(str(options.get("plane")), (60, 70))
    Image.fromarray(np.ones(size, np.uint8)).save(tmp_path / "mask.png")
    support = SupportRequest(str(archive / "one"), str(tmp_path / "mask.png"), slices=(2,))
    check_reader(
        DicomReader,
        str(archive),
        options=options,
        damaged=[str(tmp_path / "empty"), str(tmp_path / "cut")],
        support=support,
        unusable_support=[
            SupportRequest(str(archive / "one"), str(tmp_path / "mask.png"), (9,), slices=(2,)),
            SupportRequest(str(archive / "one"), str(archive / "note.txt")),
            SupportRequest(str(tmp_path / "nowhere"), str(tmp_path / "mask.png")),
        ],
    )


def read_nifti(path: Path) -> np.ndarray:
    return np.asarray(nibabel.load(path).dataobj).transpose(2, 1, 0)  # type: ignore[attr-defined]


@pytest.mark.parametrize("kind", ["BINARY", "FRACTIONAL", "LABELMAP"])
def test_segmentation_writer(archive: Path, tmp_path: Path, kind: str) -> None:
    reader = DicomReader()
    ref = next(found for found in reader.discover(str(archive / "one")) if isinstance(found, SceneRef))
    header = reader.header(ref)
    folder = tmp_path / "products"
    folder.mkdir()
    classes = (LIVER, SPLEEN)
    product, empty = example_product(header, classes), example_product(header, classes, empty=True)
    check_writer(SegmentationWriter, product, folder, options={"type": kind}, empty=empty)


def test_structure_set_writer(archive: Path, tmp_path: Path) -> None:
    reader = DicomReader()
    ref = next(found for found in reader.discover(str(archive / "one")) if isinstance(found, SceneRef))
    header = reader.header(ref)
    folder = tmp_path / "products"
    folder.mkdir()
    classes = (LIVER, SPLEEN)
    check_writer(
        StructureSetWriter, example_product(header, classes), folder, empty=example_product(header, classes, empty=True)
    )


def test_nifti_writer(archive: Path, tmp_path: Path) -> None:
    reader = DicomReader()
    ref = next(found for found in reader.discover(str(archive / "one")) if isinstance(found, SceneRef))
    product = example_product(reader.header(ref), (LIVER, SPLEEN))
    folder = tmp_path / "products"
    folder.mkdir()
    check_writer(NiftiWriter, product, folder)
    NiftiWriter().write(product, tmp_path / "out.nii.gz")
    mask = product.mask.read(Window(z=0, y=0, x=0, height=60, width=70))[0]
    assert np.array_equal(read_nifti(tmp_path / "out.nii.gz")[0], np.where(mask == NODATA, 0, mask))
