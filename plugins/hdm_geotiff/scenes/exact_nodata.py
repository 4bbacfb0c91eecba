"""Nodata values of integers of 64 bits: a floating-point number cannot tell those beyond 2**53 from their neighbors.

Rasterio gives nodata values as float: -9223372036854775807 comes as -9223372036854775808, and 18446744073709551615 as
no value at all. GDAL itself knows them exactly, and writes them as text into a VRT.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import rasterio.shutil
from rasterio.io import DatasetReader, MemoryFile

from hdm_pipeline.errors import UnsupportedSceneError

_EXACT = 2**53
"""Whole numbers below it, and it, are floating-point numbers of 64 bits, one by one."""

_WIDE = ("int64", "uint64")
_BAND = re.compile(r"<VRTRasterBand\b.*?</VRTRasterBand>", re.DOTALL)
_NODATA = re.compile(r"<NoDataValue>\s*([+-]?\d+)\s*</NoDataValue>")


def nodata_of(dataset: DatasetReader) -> tuple[float | None, ...]:
    """Nodata value of each band as the file has it, to the last digit; None where a band has none."""
    found: tuple[float | None, ...] = tuple(dataset.nodatavals)
    pairs = zip(found, dataset.dtypes, strict=True)
    if not any(dtype in _WIDE and (value is None or abs(value) >= _EXACT) for value, dtype in pairs):
        return found
    with MemoryFile(ext=".vrt") as described:
        rasterio.shutil.copy(dataset, described.name, driver="VRT")
        text = described.read().decode("utf-8", "replace")
    exact = [_NODATA.search(band) for band in _BAND.findall(text)]
    return tuple(
        int(match[1]) if match and dtype in _WIDE else value
        for value, dtype, match in zip(found, dataset.dtypes, exact, strict=True)
    )


def check_nodata(dataset: DatasetReader, nodata: Sequence[float | None]) -> None:
    """Refuse nodata values of bands of 64 bits that were rounded: they would hide the pixels of another value.

    Raises:
        UnsupportedSceneError: a value beyond 2**53 is given as a floating-point number.
    """
    for value, dtype in zip(nodata, dataset.dtypes, strict=True):
        if dtype in _WIDE and isinstance(value, float) and abs(value) >= _EXACT and value == value // 1:
            what = f"nodata {value:.17g} of a band of {dtype} is rounded, and may mean a number beside it"
            remedy = "write it as a whole number with all its digits, without point or exponent"
            raise UnsupportedSceneError(what, where=dataset.name, remedy=remedy)
