"""Tiny Sentinel-2 and Landsat products with the names, folders and metadata of real ones."""

from __future__ import annotations

import shutil
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import rasterio
from affine import Affine

ORIGIN = Affine(10, 0, 499980, 0, -10, 5200020)
CRS = "EPSG:32633"
RESOLUTIONS = {"B01": 60, "B05": 20, "B06": 20, "B07": 20, "B8A": 20, "B09": 60, "B10": 60, "B11": 20, "B12": 20}
ORDER = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B10", "B11", "B12")
Bands = Mapping[str, npt.NDArray[np.uint16]]


def write_band(path: Path, pixels: npt.NDArray[Any], side: float, **profile: Any) -> Path:
    """One band from the products' common corner, as JPEG 2000 without loss or as GeoTIFF, by the suffix."""
    path.parent.mkdir(parents=True, exist_ok=True)
    driver: dict[str, Any] = {"driver": "GTiff"}
    if path.suffix == ".jp2":
        driver = {"driver": "JP2OpenJPEG", "QUALITY": "100", "REVERSIBLE": "YES", "YCBCR420": "NO"}
    height, width = pixels.shape
    size = {"count": 1, "height": height, "width": width, "dtype": pixels.dtype, "crs": CRS}
    with rasterio.open(
        path, "w", **{**driver, **size, "transform": ORIGIN * Affine.scale(side / 10), **profile}
    ) as file:
        file.write(pixels, 1)
    return path


def coarse(pixels: npt.NDArray[Any], times: int) -> npt.NDArray[Any]:
    """Means of squares of pixels."""
    height, width = (length // times for length in pixels.shape)
    parts = pixels[: height * times, : width * times].reshape(height, times, width, times)
    return np.asarray(np.rint(parts.mean(axis=(1, 3))), dtype=pixels.dtype)


def write_safe(
    folder: Path,
    bands: Bands,
    *,
    level: str = "L2A",
    date: str = "20220126T100321",
    tile: str = "T33UUP",
    offset: int | None = -1000,
    metadata: bool = True,
) -> Path:
    """A Sentinel-2 product with some of its bands.

    Args:
        folder: where its `.SAFE` folder is made.
        bands: stored values at 10 m, by name; those of 20 m and 60 m are made of these.
        level: ``L1C`` or ``L2A``.
        date: when it was taken.
        tile: its tile.
        offset: what the metadata say is to be added; None for a baseline before 04.00.
        metadata: whether they are there.
    """
    baseline = "N0400" if offset is not None else "N0301"
    safe = folder / f"S2A_MSI{level}_{date}_{baseline}_R122_{tile}_20220126T131820.SAFE"
    images = safe / "GRANULE" / f"{level}_{tile}_A034450_20220126T100322" / "IMG_DATA"
    for name, pixels in bands.items():
        finest = RESOLUTIONS.get(name, 10)
        for side in (10, 20, 60) if level == "L2A" else (finest,):
            if side < finest or (name == "B08" and side > 10):
                continue
            path = images / f"R{side}m" / f"{tile}_{date}_{name}_{side}m.jp2"
            if level == "L1C":
                path = images / f"{tile}_{date}_{name}.jp2"
            write_band(path, coarse(pixels, side // 10), side)
    quality = safe / "GRANULE" / images.parent.name / "QI_DATA"
    write_band(quality / "MSK_CLASSI_B00.jp2", np.ones((8, 8), dtype=np.uint8), 60)
    if level == "L2A":
        classes = np.where(np.indices((8, 8)).sum(axis=0) % 2, 4, 6).astype(np.uint8)
        write_band(images / "R20m" / f"{tile}_{date}_SCL_20m.jp2", classes, 20)
        write_band(images / "R10m" / f"{tile}_{date}_TCI_10m.jp2", np.ones((8, 8), dtype=np.uint8), 10)
    if metadata:
        (safe / f"MTD_MSI{level}.xml").write_text(_safe_metadata(safe.name, level, offset))
    return safe


def _safe_metadata(name: str, level: str, offset: int | None) -> str:
    tag = "BOA" if level == "L2A" else "RADIO"
    listed = "".join(f'<{tag}_ADD_OFFSET band_id="{number}">{offset}</{tag}_ADD_OFFSET>\n' for number in range(13))
    offsets = f"<{tag}_ADD_OFFSET_VALUES_LIST>\n{listed}</{tag}_ADD_OFFSET_VALUES_LIST>" if offset is not None else ""
    return (
        f'<?xml version="1.0" encoding="UTF-8" standalone="no"?>\n<n1:Level-User_Product xmlns:n1="https://psd-14">'
        f"<n1:General_Info><PRODUCT_URI>{name}</PRODUCT_URI><Product_Image_Characteristics><Special_Values>"
        f"<SPECIAL_VALUE_TEXT>NODATA</SPECIAL_VALUE_TEXT>"
        f"<SPECIAL_VALUE_INDEX>0</SPECIAL_VALUE_INDEX></Special_Values>{offsets}</Product_Image_Characteristics>"
        f"</n1:General_Info></n1:Level-User_Product>\n"
    )


LANDSAT = "LC08_L2SP_193027_20220126_20220201_02_T1"


def write_landsat(folder: Path, bands: Bands, *, name: str = LANDSAT, xml: bool = False) -> Path:
    """A Landsat product of Collection 2, Level 2, with some of its bands and a QA band; pixels of 30 m."""
    product = folder / name
    for band, pixels in bands.items():
        write_band(product / f"{name}_{band}.TIF", pixels, 30)
    first = next(iter(bands.values()))
    write_band(product / f"{name}_QA_PIXEL.TIF", np.full(first.shape, 21824, dtype=np.uint16), 30, nodata=1)
    groups = {
        "LEVEL2_SURFACE_REFLECTANCE_PARAMETERS": ("2.75e-05", "-0.2"),
        "LEVEL1_RADIOMETRIC_RESCALING": ("2.0000E-05", "-0.100000"),
    }
    temperature = {"TEMPERATURE_MULT_BAND_ST_B10": "0.00341802", "TEMPERATURE_ADD_BAND_ST_B10": "149.0"}
    entries = {
        group: {
            f"REFLECTANCE_{key}_BAND_{number}": value
            for number in range(1, 8)
            for key, value in zip(("MULT", "ADD"), values, strict=True)
        }
        for group, values in groups.items()
    } | {"LEVEL2_SURFACE_TEMPERATURE_PARAMETERS": temperature}
    text = "GROUP = LANDSAT_METADATA_FILE\n"
    for group, keys in entries.items():
        lines = "".join(f"    {key} = {value}\n" for key, value in keys.items())
        text += f"  GROUP = {group}\n{lines}  END_GROUP = {group}\n"
    text += "END_GROUP = LANDSAT_METADATA_FILE\nEND\n"
    if xml:
        inner = "".join(
            f"<{group}>" + "".join(f"<{key}>{value}</{key}>" for key, value in keys.items()) + f"</{group}>"
            for group, keys in entries.items()
        )
        text = f'<?xml version="1.0"?>\n<LANDSAT_METADATA_FILE>{inner}</LANDSAT_METADATA_FILE>\n'
    (product / f"{name}_MTL.{'xml' if xml else 'txt'}").write_text(text)
    return product


def zipped(product: Path, name: str | None = None) -> Path:
    """A product as a zip file beside it; the folder is removed."""
    made = shutil.make_archive(str(product.parent / "made"), "zip", product.parent, product.name)
    path = Path(made).rename(product.parent / (name or f"{product.name}.zip"))
    shutil.rmtree(product)
    return path


def tarred(product: Path, files: Sequence[Path] | None = None) -> Path:
    """The files of a product as a tar file beside it, without a folder, as the USGS delivers them; they are removed."""
    path = product.parent / f"{product.name}.tar"
    with tarfile.open(path, "w") as archive:
        for file in files or sorted(product.iterdir()):
            archive.add(file, file.name)
    shutil.rmtree(product)
    return path
