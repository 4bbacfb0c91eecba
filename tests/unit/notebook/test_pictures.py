"""Real files are the same image, whether the reader opens them or rioxarray."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rioxarray

from hdm_pipeline.notebook.pictures import picture_of, reader_of
from hdm_pipeline.xarrays.image import DataArrayImage

FILES = [
    "flood/images/India_900498_S1Hand.tif",  # geographic, NaN
    "geotiff/rasterio/RGB2.byte.tif",  # a mask in a file beside it
    "geotiff/rasterio/RGBA.uint16.tif",  # transparent parts
    "geotiff/rasterio/all-nodata.tif",
    "geotiff/rasterio/rotated.tif",
    "geotiff/rasterio/world.byte.tif",
    "geotiff/rio-cogeo/image_nan.tif",  # Web Mercator
    "geotiff/rio-tiler/cog_gcps.tif",
    "geotiff/rio-tiler/cog_nonearth.tif",  # Europa
    "geotiff/rio-tiler/cog_scale.tif",  # scale and offset
    "geotiff/rio-tiler/inverted_lat.tif",
]


@pytest.mark.data
@pytest.mark.parametrize("name", FILES)
def test_a_data_array_is_the_image_that_its_file_is(test_data: Path, name: str) -> None:
    with picture_of(test_data / name, "the file", reader_of("geotiff", None)) as file:
        array = DataArrayImage(rioxarray.open_rasterio(test_data / name, masked=True), "the array")
        assert array.shape == file.shape
        assert [(band.name, band.unit) for band in array.bands] == [(band.name, band.unit) for band in file.bands]
        assert (array.pixel_size is None) == (file.pixel_size is None)
        if file.pixel_size is not None:
            assert array.pixel_size == pytest.approx(file.pixel_size, rel=0.25 if "lat" in name else 0.06)
        bands = range(file.shape[0])
        (expected, known), (pixels, valid) = (each.read(0, file.shape[1], bands) for each in (file, array))
        np.testing.assert_array_equal(valid, known)
        np.testing.assert_array_equal(pixels, expected)
        sample = array.sample(1 << 15, bands[:1])
        assert sample.shape[0] == 1
        assert (sample.size > 0) == bool(valid.any())
        assert sample.size <= 1 << 15
