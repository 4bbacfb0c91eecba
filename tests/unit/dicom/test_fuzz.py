"""Damaged files end in a typed error or in a read, never in anything else; the damage is the same in every run."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import DeflatedExplicitVRLittleEndian, JPEG2000Lossless, RLELossless

from hdm_dicom.reader import DicomReader
from hdm_dicom.segmentation.writer import SegmentationWriter
from hdm_pipeline.contracts import SceneRef, SupportRequest
from hdm_pipeline.errors import ArchiveError, SceneError, SupportError
from hdm_pipeline.grid import Window
from tests.dicom_product import make_product
from tests.dicom_series import write_series

CASES = 10


def damaged(content: bytes, rng: random.Random) -> bytes:
    """A few bytes changed, removed or added, most of them in the header; sometimes the end is missing."""
    data = bytearray(content)
    for _ in range(rng.choice((1, 3, 10, 40))):
        at = rng.randrange(128, min(len(data), rng.choice((600, 2000, len(data)))))
        kind = rng.random()
        if kind < 0.6:
            data[at] = rng.randrange(256)
        elif kind < 0.8:
            del data[at : at + rng.randrange(1, 9)]
        else:
            data[at:at] = rng.randbytes(rng.randrange(1, 5))
    return bytes(data[: rng.randrange(len(data))] if rng.random() < 0.15 else data)


def compressed(syntax: str) -> object:
    def change(dataset: Dataset, index: int) -> None:
        if syntax == DeflatedExplicitVRLittleEndian:
            dataset.file_meta.TransferSyntaxUID = syntax
        elif syntax:
            dataset.compress(syntax)

    return change


@pytest.mark.parametrize("syntax", ["", RLELossless, JPEG2000Lossless, DeflatedExplicitVRLittleEndian])
def test_damaged_images(tmp_path: Path, syntax: str) -> None:
    image = np.random.default_rng(0).integers(0, 4000, (64, 64), dtype=np.uint16)
    paths = write_series(tmp_path / "series", pixels=lambda index: image, change=compressed(syntax))  # type: ignore[arg-type]
    contents = [path.read_bytes() for path in paths]
    rng = random.Random(syntax)
    for case in range(CASES):
        paths[case % 5].write_bytes(damaged(contents[case % 5], rng))
        reader = DicomReader({"policy": rng.choice(("strict", "split", "resample")), "max_volume_bytes": 1 << 26})
        for item in reader.discover(str(tmp_path / "series")):
            if isinstance(item, SceneRef):
                try:
                    header = reader.header(item)
                    with reader.open(item) as source:
                        for z in range(min(header.shape[1], 8)):
                            source.read(Window.whole(z, header.shape[2:]), [0])
                except SceneError as error:
                    assert error.what  # noqa: PT017 - whether it raises depends on the damage
        paths[case % 5].write_bytes(contents[case % 5])


@pytest.mark.parametrize("kind", ["BINARY", "FRACTIONAL", "LABELMAP"])
def test_damaged_segmentations(tmp_path: Path, kind: str) -> None:
    write_series(tmp_path / "series")
    path = tmp_path / "seg.dcm"
    SegmentationWriter({"type": kind}).write(make_product(tmp_path / "series"), path)
    content, rng = path.read_bytes(), random.Random(kind)
    read = refused = 0
    for _ in range(CASES):
        path.write_bytes(damaged(content, rng))
        try:
            assert DicomReader().read_support(SupportRequest(str(tmp_path / "series"), str(path)))
            read += 1
        except (SupportError, ArchiveError):
            refused += 1
    assert read + refused == CASES
