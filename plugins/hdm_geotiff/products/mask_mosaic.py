"""All masks of an output directory as one raster: a VRT over the files, and on demand a COG for each class.

A VRT has one CRS, so there is one for each. Where masks overlap, the one whose scene comes later by its id lies on top;
nodata is transparent. The pixels are those of the finest mask; coarser ones, and such as lie between these pixels, are
taken nearest.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pyproj
import rasterio
from rasterio.crs import CRS

from hdm_geotiff.files.environment import gdal_environment
from hdm_geotiff.files.failures import write_error
from hdm_geotiff.files.placing import put
from hdm_geotiff.products.class_raster import open_class_raster
from hdm_geotiff.products.cog import windows
from hdm_geotiff.products.mask_files import MaskFile, masks_of, read_mask_file
from hdm_geotiff.products.styles import BACKGROUND_COLOR, attribute_table, mask_style
from hdm_geotiff.scenes.raster_grid import raster_window
from hdm_pipeline.contracts import BACKGROUND, NODATA, ClassInfo, RunCatalog
from hdm_pipeline.errors import ReadError

_MEMORY = "masks.json"
_FORMAT = 1
_MOST = 2**31 - 1
_BLOCK = (2048, 2048)


@dataclass(frozen=True)
class Mosaic:
    """Masks of one CRS as one raster.

    Attributes:
        name: of the CRS, as files are called by it; empty if there is only one.
        grid: the raster: its `path` is the VRT.
        masks: lowest first.
        places: (x, y, width, height) of each in pixels of the raster.
    """

    name: str
    grid: MaskFile
    masks: tuple[MaskFile, ...]
    places: tuple[tuple[float, float, float, float], ...]


def write_mosaics(run: RunCatalog, *, whole: bool) -> dict[str, Any]:
    """Write ``mosaic.vrt`` (or one for each CRS), and with `whole` a COG for each class; remove earlier ones.

    Returns:
        ``files``: names of those made; ``left_out``: why scenes are in none of them, by scene; where there are several
        mosaics, ``about``: which scenes a file shows, by file.

    Raises:
        OutputError: they cannot be written.
        WriteError: any other failure.
    """
    before = _memory(run)
    known, unreadable = _known_masks(run, before.get("masks", {}))
    facts = {mask.scene: {"version": version, **asdict(mask), "path": None} for mask, version in known}
    same = {scene: one["version"] for scene, one in facts.items()} == {
        scene: one["version"] for scene, one in before.get("masks", {}).items()
    }
    masks, left_out = _usable(known)
    earlier = [name for name in before.get("files", ()) if (run.root / name).is_file()]
    made: list[str] = []
    about: dict[str, str] = {}
    try:
        for mosaic in _mosaics(run.root, masks, left_out):
            texts = {mosaic.grid.path: _vrt(mosaic, run.root)}
            texts[mosaic.grid.path.with_suffix(".qml")] = mask_style(mosaic.grid.classes)
            for path, text in texts.items():
                put(path, text)
                made.append(path.name)
            told = len(made)
            for one in mosaic.grid.classes:
                names = _class_files(mosaic, one)
                there = same and all(name in earlier for name in names)
                if whole and not there:
                    _write_class(mosaic, one, names[0])
                made += names if whole or there else ()
            if mosaic.name:
                about |= dict.fromkeys([mosaic.grid.path.name, *made[told:]], _told(mosaic))
        for name in earlier:
            if name not in made:  # of other scenes: it would show what is not there any more
                (run.root / name).unlink()
        put(run.memory / _MEMORY, json.dumps({"format": _FORMAT, "files": made, "masks": facts}))
    except OSError as error:
        raise write_error(error, run.root, error) from error
    return {"files": made, "left_out": unreadable | left_out, **({"about": about} if about else {})}


def _told(mosaic: Mosaic) -> str:
    """Which scenes one of several mosaics shows."""
    crs, scenes = CRS.from_wkt(str(mosaic.grid.crs_wkt)), len(mosaic.masks)
    authority = crs.to_authority()
    name = pyproj.CRS.from_wkt(str(mosaic.grid.crs_wkt)).name
    called = f"{':'.join(authority)} ({name})" if authority else name
    return f"{scenes} scene{'s' if scenes != 1 else ''} in {called} as one"


def _memory(run: RunCatalog) -> dict[str, Any]:
    """What the last run knew of the masks, and which files it made; nothing where that cannot be read."""
    try:
        found = json.loads((run.memory / _MEMORY).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) and found.get("format") == _FORMAT else {}


def _known_masks(run: RunCatalog, before: Mapping[str, Any]) -> tuple[list[tuple[MaskFile, str]], dict[str, str]]:
    """The masks of a run with their versions, and why others cannot be used.

    Only the headers of those that are new are read. One that is gone or damaged must not end a run whose work is done.
    """
    paths, left_out = masks_of(run), {}
    found: list[tuple[MaskFile, str]] = []
    for entry in run.entries:
        if (path := paths.get(entry.scene)) is None:
            continue
        old = before.get(entry.scene)
        try:
            if not path.is_file():
                left_out[entry.scene] = "its mask is gone: run the pipeline again"
            elif old is not None and old["version"] == entry.version:
                found.append((_remembered(old, entry.scene, path), entry.version))
            else:
                found.append((read_mask_file(entry.scene, path), entry.version))
        except ReadError as error:
            left_out[entry.scene] = error.what
    return found, left_out


def _remembered(facts: Mapping[str, Any], scene: str, path: Path) -> MaskFile:
    classes = tuple(ClassInfo(one["value"], one["name"], tuple(one["color"])) for one in facts["classes"])
    transform = tuple(facts["transform"])
    return MaskFile(scene, path, facts["width"], facts["height"], transform, facts["crs_wkt"], classes)


def _usable(known: Sequence[tuple[MaskFile, str]]) -> tuple[list[MaskFile], dict[str, str]]:
    """The masks that a VRT can hold, and why it cannot hold the others."""
    newest = max(known, key=lambda one: int(one[1].partition("-")[0] or 0), default=None)
    masks, classes = [mask for mask, _ in known], newest[0].classes if newest else ()
    good, left_out = [], {}
    for mask in masks:
        a, b, _, d, e, _ = mask.transform
        if mask.crs_wkt is None:
            left_out[mask.scene] = "no coordinate reference system"
        elif b or d or a <= 0 or e >= 0:
            left_out[mask.scene] = "rotated, or north is not up: a VRT cannot hold it"
        elif mask.classes != classes:
            left_out[mask.scene] = "made with other classes: run the pipeline to its end"
        else:
            good.append(mask)
    return good, left_out


def _mosaics(root: Path, masks: Sequence[MaskFile], left_out: dict[str, str]) -> Iterator[Mosaic]:
    """A mosaic for each CRS; where it would have too many pixels, `left_out` gets its scenes instead."""
    systems: dict[str, list[MaskFile]] = {}
    for mask in masks:
        systems.setdefault(str(mask.crs_wkt), []).append(mask)
    names: set[str] = set()
    for number, (wkt, members) in enumerate(systems.items(), 1):
        authority = CRS.from_wkt(wkt).to_authority()
        name = "" if len(systems) == 1 else f".{'_'.join(authority) if authority else f'crs{number}'}"
        if name in names:  # two texts of one CRS that differ in something
            name += f"_{number}"
        names.add(name)
        x_size = min(mask.transform[0] for mask in members)
        y_size = min(-mask.transform[4] for mask in members)
        boxes = [mask.bounds for mask in members]
        # Anchored at a mask of the finest pixels: its pixels, and those of its neighbors, stay as they are.
        fine = next(mask for mask in members if mask.transform[0] == x_size)
        left = (
            fine.transform[2] - math.ceil((fine.transform[2] - min(box[0] for box in boxes)) / x_size - 1e-6) * x_size
        )
        top = fine.transform[5] + math.ceil((max(box[3] for box in boxes) - fine.transform[5]) / y_size - 1e-6) * y_size
        width = math.ceil((max(box[2] for box in boxes) - left) / x_size - 1e-6)
        height = math.ceil((top - min(box[1] for box in boxes)) / y_size - 1e-6)
        if max(width, height) > _MOST:
            told = f"a mosaic would have {height} x {width} pixels: use scenes of one resolution, or of one region"
            left_out |= {mask.scene: told for mask in members}
            continue
        places = tuple(
            (
                (mask.transform[2] - left) / x_size,
                (top - mask.transform[5]) / y_size,
                mask.width * mask.transform[0] / x_size,
                mask.height * -mask.transform[4] / y_size,
            )
            for mask in members
        )
        transform = (x_size, 0.0, left, 0.0, -y_size, top)
        path = root / f"mosaic{name}.vrt"
        grid = MaskFile("mosaic", path, width, height, transform, wkt, members[0].classes)
        yield Mosaic(name, grid, tuple(members), places)


def _vrt(mosaic: Mosaic, root: Path) -> str:
    """The text of a VRT; its paths are relative, so that the output directory can be moved."""
    grid = mosaic.grid
    vrt = ElementTree.Element("VRTDataset", rasterXSize=str(grid.width), rasterYSize=str(grid.height))
    ElementTree.SubElement(vrt, "SRS", dataAxisToSRSAxisMapping=_axes(grid)).text = grid.crs_wkt
    a, b, c, d, e, f = grid.transform
    ElementTree.SubElement(vrt, "GeoTransform").text = ", ".join(repr(number) for number in (c, a, b, f, d, e))
    band = ElementTree.SubElement(vrt, "VRTRasterBand", dataType="Byte", band="1", blockXSize="512", blockYSize="512")
    ElementTree.SubElement(band, "NoDataValue").text = str(NODATA)
    ElementTree.SubElement(band, "ColorInterp").text = "Palette"
    _legend(band, grid.classes)
    for mask, (x, y, width, height) in zip(mosaic.masks, mosaic.places, strict=True):
        source = ElementTree.SubElement(band, "ComplexSource", resampling="nearest")
        name = ElementTree.SubElement(source, "SourceFilename", relativeToVRT="1")
        name.text = mask.path.relative_to(root).as_posix()
        ElementTree.SubElement(source, "SourceBand").text = "1"
        size = {"RasterXSize": str(mask.width), "RasterYSize": str(mask.height), "DataType": "Byte"}
        ElementTree.SubElement(source, "SourceProperties", {**size, "BlockXSize": "512", "BlockYSize": "512"})
        for tag, box in (("SrcRect", (0, 0, mask.width, mask.height)), ("DstRect", (x, y, width, height))):
            sides = zip(("xOff", "yOff", "xSize", "ySize"), (_plain(side) for side in box), strict=True)
            ElementTree.SubElement(source, tag, dict(sides))
        ElementTree.SubElement(source, "NODATA").text = str(NODATA)
    ElementTree.indent(vrt)
    return ElementTree.tostring(vrt, encoding="unicode") + "\n"


def _legend(band: ElementTree.Element, classes: Sequence[ClassInfo]) -> None:
    """Category names and colors, as the masks have them."""
    table = ElementTree.fromstring(attribute_table(classes)).find("PAMRasterBand")
    assert table is not None
    band.extend([part for part in table if part.tag in ("CategoryNames", "GDALRasterAttributeTable")])
    colors = {BACKGROUND: BACKGROUND_COLOR, **{one.value: one.color for one in classes}}
    entries = ElementTree.SubElement(band, "ColorTable")
    for value in range(NODATA + 1):
        red, green, blue = colors.get(value, (0, 0, 0))
        alpha = 0 if value == NODATA else 255
        parts = {"c1": str(red), "c2": str(green), "c3": str(blue), "c4": str(alpha)}
        ElementTree.SubElement(entries, "Entry", parts)


def _axes(grid: MaskFile) -> str:
    """Which axis of the CRS is x: GDAL's own order for georeferenced rasters."""
    first = pyproj.CRS.from_wkt(str(grid.crs_wkt)).axis_info
    return "2,1" if first and first[0].direction.lower() in ("north", "south") else "1,2"


def _plain(number: float) -> str:
    """A whole number as one: rounding must not make GDAL resample what lies pixel on pixel."""
    return str(round(number)) if abs(number - round(number)) < 1e-6 else repr(number)


def _class_files(mosaic: Mosaic, one: ClassInfo) -> list[str]:
    """Names of the COG of a class and of the files beside it."""
    name = re.sub(r"[^A-Za-z0-9._+=@-]", "_", one.name)
    stem = f"mosaic_{one.value}_{name}{mosaic.name}"
    return [f"{stem}.tif", f"{stem}.tif.aux.xml", f"{stem}.qml"]


def _write_class(mosaic: Mosaic, one: ClassInfo, name: str) -> None:
    """One class of a mosaic as a COG: 1 the class, 0 not, 255 nodata."""
    path, header = mosaic.grid.path.with_name(name), mosaic.grid.header("mosaic")
    alone, places = (replace(one, value=1),), np.array(mosaic.places)
    with (
        open_class_raster(path, header, alone, one.name, {"CLASS_1": one.name}) as target,
        gdal_environment(),
        rasterio.open(mosaic.grid.path, driver="VRT", sharing=False) as source,
    ):
        for window in windows(header, _BLOCK):
            across = (places[:, 0] < window.right) & (places[:, 0] + places[:, 2] > window.x)
            down = (places[:, 1] < window.bottom) & (places[:, 1] + places[:, 3] > window.y)
            if (across & down).any():
                pixels = source.read(1, window=raster_window(window))
                target.write(window, np.where(pixels != NODATA, pixels == one.value, NODATA).astype(np.uint8))
