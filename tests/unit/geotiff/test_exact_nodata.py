"""Nodata values of integers of 64 bits, which floating-point numbers cannot tell from their neighbors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import rasterio.shutil

from hdm_geotiff.examples.mask_labels import label_of
from hdm_geotiff.reader import GeoTiffReader
from hdm_pipeline.contracts import SupportRequest
from hdm_pipeline.errors import ConfigError, UnsupportedSceneError
from hdm_pipeline.grid import Window
from tests.unit.geotiff.conftest import UTM, WriteTif, find

WIDE = [
    ("int64", -(2**63)),
    ("int64", 2**63 - 1),
    ("int64", 2**53 + 1),
    ("int64", -(2**53) - 1),
    ("uint64", 2**64 - 1),
    ("uint64", 2**53 + 1),
]


def around(dtype: str, nodata: int) -> np.ndarray:
    """A row of the nodata value, a number beside it, and one."""
    beside = nodata - 1 if nodata > 0 else nodata + 1
    return np.array([[nodata, beside, 1]], dtype=dtype)


def tagged(path: Path, pixels: np.ndarray, nodata: int) -> Path:
    """A file with a nodata value that rasterio would round: GDAL takes it as text from a VRT."""
    plain = path.with_name("plain.tif")
    height, width = pixels.shape
    with rasterio.open(
        plain, "w", driver="GTiff", count=1, height=height, width=width, dtype=pixels.dtype, **UTM
    ) as file:
        file.write(pixels[None])
    described = path.with_suffix(".vrt")
    rasterio.shutil.copy(plain, described, driver="VRT")
    text = described.read_text()
    described.write_text(text.replace("<ColorInterp>", f"<NoDataValue>{nodata}</NoDataValue><ColorInterp>"))
    rasterio.shutil.copy(described, path, driver="GTiff")
    plain.unlink()
    described.unlink()
    return path


def validity(path: Path, **options: Any) -> list[bool]:
    with GeoTiffReader(options).open(find(path)) as source:
        _, _, height, width = source.header.shape
        return source.read(Window(z=0, y=0, x=0, height=height, width=width), (0,))[1].ravel().tolist()


@pytest.mark.parametrize(("dtype", "nodata"), WIDE)
def test_a_value_of_the_file_hides_itself_and_not_its_neighbor(tmp_path: Path, dtype: str, nodata: int) -> None:
    path = tagged(tmp_path / "a.tif", around(dtype, nodata), nodata)
    assert validity(path) == [False, True, True]
    assert GeoTiffReader().header(find(path)).bands[0].nodata == nodata


@pytest.mark.parametrize(("dtype", "nodata"), WIDE)
def test_a_value_that_the_user_gives_does_so_too(write_tif: WriteTif, dtype: str, nodata: int) -> None:
    assert validity(write_tif("a.tif", around(dtype, nodata)), nodata=nodata) == [False, True, True]


def test_a_rounded_value_is_refused(write_tif: WriteTif) -> None:
    path = write_tif("a.tif", around("int64", 2**53 + 1))
    with pytest.raises(UnsupportedSceneError, match="rounded") as error:
        validity(path, nodata=float(2**53))
    assert "all its digits" in error.value.remedy
    assert validity(write_tif("b.tif", np.ones((1, 3), np.float32)), nodata=-3.4e38) == [True] * 3


@pytest.mark.parametrize("option", ["nodata", "scale_factor", "offset"])
def test_a_number_of_hundreds_of_digits_is_refused(option: str) -> None:
    with pytest.raises(ConfigError, match="not a finite number"):
        GeoTiffReader({option: 10**400})


def test_values_of_a_mask_are_compared_to_the_last_digit() -> None:
    values = np.array([[2**53, 2**53 + 1, 5, 2**64 - 1]], dtype=np.uint64)
    label = label_of(values, np.ones(values.shape, bool), SupportRequest("i", "m", values=(2**53,), ignore=(5, -1)))
    assert label.tolist() == [[1, 0, 255, 0]]
