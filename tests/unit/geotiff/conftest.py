"""Small GeoTIFFs made for one test."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pystac
import pytest
import rasterio
from affine import Affine

from hdm_geotiff.reader import GeoTiffReader
from hdm_pipeline.contracts import SceneRef, Skipped
from tests.stac_catalog import asset, stored, write_band

UTM = {"crs": "EPSG:32633", "transform": Affine(10, 0, 500_000, 0, -10, 5_800_000)}

WriteTif = Callable[..., Path]


@pytest.fixture
def write_tif(tmp_path: Path) -> WriteTif:
    """`write_tif(name, pixels, **profile)`: pixels [bands, y, x] or [y, x]; in UTM unless told otherwise."""

    def write(
        name: str,
        pixels: npt.NDArray[Any],
        *,
        descriptions: tuple[str, ...] = (),
        mask: npt.NDArray[np.bool_] | None = None,
        sidecar: bool = False,
        scales: tuple[float, ...] = (),
        offsets: tuple[float, ...] = (),
        colorinterp: tuple[Any, ...] = (),
        **profile: Any,
    ) -> Path:
        pixels = pixels[None] if pixels.ndim == 2 else pixels
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        count, height, width = pixels.shape
        shape = {"count": count, "height": height, "width": width, "dtype": pixels.dtype}
        with (
            rasterio.Env(GDAL_TIFF_INTERNAL_MASK=not sidecar),
            rasterio.open(path, "w", driver="GTiff", **{**UTM, **shape, **profile}) as target,
        ):
            if colorinterp:
                target.colorinterp = colorinterp
            if descriptions:
                target.descriptions = descriptions
            if scales:
                target.scales, target.offsets = scales, offsets
            target.write(pixels)
            if mask is not None:
                target.write_mask(mask)
        return path

    return write


def find(path: Path | str, **options: Any) -> SceneRef:
    """The only scene behind a path."""
    (ref,) = (found for found in GeoTiffReader(options).discover(str(path)) if not isinstance(found, Skipped))
    return ref


CHIP_SIZE = 40
"""Side in pixels of `chip`."""


@pytest.fixture
def chip(write_tif: WriteTif) -> Path:
    """A small image of two bands, to draw labels on."""
    pixels = np.arange(2 * CHIP_SIZE * CHIP_SIZE, dtype=np.float32).reshape(2, CHIP_SIZE, CHIP_SIZE)
    return write_tif("chip.tif", pixels, descriptions=("VV", "VH"))


RED, NIR = stored(40, 50, 1), stored(40, 50, 2)


@pytest.fixture
def two_bands(tmp_path: Path) -> dict[str, pystac.Asset]:
    """Red and near infrared in files of their own, and what else an item carries."""
    write_band(tmp_path / "data/B04.tif", RED)
    write_band(tmp_path / "data/B08.tif", NIR)
    return {
        "thumbnail": pystac.Asset("https://nowhere.example/t.jpg", media_type="image/jpeg", roles=["thumbnail"]),
        "B08": asset(tmp_path / "data/B08.tif", "data", **{"eo:bands": [{"name": "B08", "common_name": "nir"}]}),
        "B04": asset(tmp_path / "data/B04.tif", "data", "reflectance", bands=[{"name": "b", "eo:common_name": "red"}]),
        "metadata": pystac.Asset("https://nowhere.example/m.xml", media_type="application/xml", roles=["metadata"]),
    }
