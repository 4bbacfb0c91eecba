"""A disk that fills while a DICOM Segmentation or a NIfTI volume is written is the run's error, not the scene's."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hdm_pipeline.contracts import SceneHeader
from hdm_pipeline.errors import HdmError, OutputError
from hdm_pipeline.plugin.registry import make_writer
from tests.dicom_product import LIVER, make_product
from tests.dicom_series import write_series

SLICES, SIDE = 12, 96


def noise(header: SceneHeader) -> np.ndarray:
    """A mask that no codec makes small, and of which every slice holds something."""
    return np.random.default_rng(1).integers(0, 2, (1, *header.shape[1:]), dtype=np.uint8)


@pytest.mark.parametrize(
    ("writer", "options", "plane", "room"),
    [
        ("segmentation", {"type": "BINARY"}, "acquired", 40),  # the slices kept in a temporary file fill the disk
        ("segmentation", {"type": "BINARY"}, "acquired", 130),  # the file itself does
        ("segmentation", {"type": "FRACTIONAL"}, "acquired", 230),  # its pixels do, as pydicom tells it
        ("segmentation", {"type": "BINARY"}, "coronal", 40),  # turning the mask does
        ("nifti", {}, "acquired", 8),
    ],
)
def test_a_full_disk_is_the_runs_error(
    tmp_path: Path, small_disk: Path, writer: str, options: dict[str, Any], plane: str, room: int
) -> None:
    """`room` is what is free, in KiB; the volume takes 108 KiB at a byte a voxel."""
    write_series(tmp_path / "series", range(SLICES), shape=(SIDE, SIDE))
    product = make_product(tmp_path / "series", noise, options={"plane": plane}, classes=(LIVER,))
    (small_disk / "ballast").write_bytes(bytes((300 - room) << 10))
    write = make_writer(writer, options).write
    with pytest.raises(HdmError) as caught:
        write(product, small_disk / "product")
    assert isinstance(caught.value, OutputError)
    assert "full" in caught.value.what
    assert "free space" in caught.value.remedy
    subprocess.run(["mount", "-o", "remount,size=64m", small_disk], check=True)
    write(product, small_disk / "product")
    write(product, tmp_path / "roomy")
    assert (small_disk / "product").read_bytes() == (tmp_path / "roomy").read_bytes()
