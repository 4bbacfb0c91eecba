"""What the metadata of a product say of its stored values.

Sentinel-2 (``MTD_MSIL1C.xml``, ``MTD_MSIL2A.xml``): values are reflectance times 10000. Since processing baseline 04.00
(25 January 2022) 1000 is added to what is stored; ``BOA_ADD_OFFSET`` and ``RADIO_ADD_OFFSET`` say so, and are applied,
so that scenes from before and after compare. 0 is no data.

Landsat (``*_MTL.txt``, ``*_MTL.xml``): multiplied and shifted as the file says, to surface reflectance and kelvin
(Level 2), or to reflectance at the top of the atmosphere without correction for the sun's height, and radiance of
thermal bands (Level 1). 0 is no data.

Sources: Sentinel-2 Products Specification Document (metadata of Level-1C and Level-2A); Landsat 8-9 Collection 2
Level 2 Science Product Guide, LSDS-1619.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from hdm_geotiff.files.containers import read_text
from hdm_geotiff.files.remote import read_remote
from hdm_geotiff.files.uris import is_remote
from hdm_geotiff.recipes.layers import LayeredScene
from hdm_geotiff.recipes.products_by_name import SENTINEL2_BANDS, safe_root
from hdm_geotiff.values import Law
from hdm_pipeline.contracts import SceneWarning

_OFFSET = re.compile(r'<(?:BOA|RADIO)_ADD_OFFSET\s+band_id="(\d+)"\s*>\s*([-+.\deE]+)\s*<')
_BASELINE = re.compile(r"_N(\d{4})_")
_OFFSET_SINCE = "2022-01-25"
_TILE = re.compile(r"(?:^|[/_])T\d\d[A-Z]{3}_\d{8}T\d{6}")
_NO_MTL = "its MTL file is missing: values are those stored, not reflectance"
_URI = re.compile(r"<PRODUCT_URI(?:_1C|_2A)?>\s*([^<]+)<")
_ELEMENT = re.compile(r"<(/?)(\w+)>(?:([^<>]+)</\2>)?")
_LANDSAT_BAND = re.compile(r"(SR_|ST_)?B(\d+(?:_VCID_\d)?)")


@dataclass(frozen=True)
class ProductFacts:
    """What a product's metadata say.

    Attributes:
        laws: how its bands are read, by `Layer.code`; empty where nothing but the files says so.
        warnings: what is to be known where a product comes without its metadata.
    """

    laws: Mapping[str, Law]
    warnings: tuple[str | SceneWarning, ...] = ()


def product_facts(scene: LayeredScene, name: str) -> ProductFacts:
    """Read a product's metadata.

    Args:
        scene: the scene.
        name: what it is called: the name of a Sentinel-2 product tells its processing baseline.

    Raises:
        ReadError: the metadata cannot be read.
    """
    if not scene.product:
        return ProductFacts({})
    text = ""
    if scene.metadata:
        text = read_remote(scene.metadata) if is_remote(scene.metadata) else read_text(scene.metadata)
    if scene.product == "landsat":
        laws = {layer.code: _landsat(layer.code, text) for layer in scene.layers if _LANDSAT_BAND.fullmatch(layer.code)}
        return ProductFacts(laws, () if text else (_NO_MTL,))
    if not _is_of(text, scene):
        text = ""
    return ProductFacts(_sentinel2(text), () if text else tuple(_offset_unknown(scene, name)))


def _is_of(text: str, scene: LayeredScene) -> bool:
    """Whether metadata are a scene's own: bands of several products may lie in one folder, with the file of one."""
    product, stamp = _URI.search(text), re.sub(r"[^0-9T]", "", scene.datetime)
    return safe_root(scene.metadata) is not None or product is None or len(stamp) < 15 or stamp in product[1]


def _offset_unknown(scene: LayeredScene, name: str) -> Iterator[SceneWarning]:
    baseline = _BASELINE.search(name)
    sure = baseline is not None and baseline[1] >= "0400"
    if baseline is None and not _TILE.search(name):
        return  # called like a product, but made by somebody else
    if not sure and (baseline is not None or scene.datetime < _OFFSET_SINCE):
        return
    what = "the product's MTD_MSIL*.xml is missing: values may be 1000 too high, as they are stored since 2022"
    remedy = "put the file beside the bands, or set the reader option offset (-1000, or 0 where they are not)"
    yield SceneWarning("offset_unknown", what, remedy, suspect=sure)


def _sentinel2(text: str) -> dict[str, Law]:
    offsets = {int(number): float(value) for number, value in _OFFSET.findall(text)}
    laws = {band: Law(offset=offsets.get(number, 0.0), nodata=0.0) for number, band in enumerate(SENTINEL2_BANDS)}
    return {**laws, "SCL": Law(nodata=0.0)}


def _landsat(code: str, text: str) -> Law:
    """The law of a band; stored values where the metadata do not name it."""
    found = _LANDSAT_BAND.fullmatch(code)
    if found is None:
        return Law()
    kind, number = found[1] or "", found[2]
    wanted = {
        "SR_": [("LEVEL2_SURFACE_REFLECTANCE_PARAMETERS", "REFLECTANCE", number)],
        "ST_": [("LEVEL2_SURFACE_TEMPERATURE_PARAMETERS", "TEMPERATURE", f"ST_B{number}")],
        "": [
            (group, quantity, number)
            for quantity in ("REFLECTANCE", "RADIANCE")  # thermal bands have no reflectance
            for group in ("LEVEL1_RADIOMETRIC_RESCALING", "RADIOMETRIC_RESCALING")
        ],
    }[kind]
    said = {(group, key): value for group, key, value in _entries(text)}
    for group, quantity, band in wanted:
        scale = _number(said.get((group, f"{quantity}_MULT_BAND_{band}")))
        offset = _number(said.get((group, f"{quantity}_ADD_BAND_{band}")))
        if scale is not None and offset is not None:
            return Law(scale, offset, 0.0)
    return Law(nodata=0.0)


def _entries(text: str) -> Iterator[tuple[str, str, str]]:
    """(group, key, value) of metadata in either format."""
    group = ""
    if text.lstrip().startswith("<"):
        for closing, name, value in _ELEMENT.findall(text):
            if value:
                yield group, name, value.strip()
            elif not closing:
                group = name
        return
    for line in text.splitlines():
        key, _, value = (part.strip() for part in line.partition("="))
        if key == "GROUP":
            group = value
        elif key != "END_GROUP":
            yield group, key, value.strip('"')


def _number(text: str | None) -> float | None:
    try:
        value = float(text) if text is not None else math.nan
    except ValueError:
        return None
    return value if math.isfinite(value) else None
