"""From the assets of an item to the bands of a scene.

A band may be asked for by the key of its asset (``B04``), by its name in the asset's list of bands, or by its common
name (``red``); of an asset of several bands also by ``key:2`` or ``key:name``. Scale, offset, nodata and unit are taken
from ``raster:bands`` (raster extension 1), or from ``bands`` and the asset itself (STAC 1.1, raster extension 2).
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from hdm_geotiff.files.named_crs import is_named
from hdm_geotiff.recipes.layers import Layer, words_of
from hdm_geotiff.recipes.scene_ids import SUFFIXES

_NUMBER = re.compile(r"b?\d+")
_RASTERS = ("image/tiff", "image/jp2", "image/vnd.stac.geotiff", "image/x.geotiff", "application/x-geotiff")
_CLASSES = frozenset(("data-mask", "cloud", "cloud-shadow", "snow-ice", "water-mask", "saturation", "land-water"))
_PICTURES = frozenset(("thumbnail", "overview", "metadata"))
_ANGLES = frozenset(("angle", "azimuth", "sun-azimuth", "sun-elevation", "incidence-angle", "date"))
_NO_MEASUREMENTS = _CLASSES | _PICTURES | _ANGLES | {"visual"}


@dataclass(frozen=True)
class AssetBand:
    """One band of an asset.

    Attributes:
        layer: as a scene has it.
        asset: key of its asset.
        names: what else it may be called, best first.
    """

    layer: Layer
    asset: str
    names: tuple[str, ...]


def bands_of(
    assets: Mapping[str, Any], resolve: Mapping[str, str], asked: Sequence[str], properties: Mapping[str, Any]
) -> list[AssetBand]:
    """The bands of all assets that are rasters, in the order of the item.

    Args:
        assets: of the item, as JSON.
        resolve: where each asset lies, by key.
        asked: entries of `input.bands`: an asset that does not say how many bands it has gets those asked by number.
        properties: of the item.
    """
    rasters = {key: asset for key, asset in assets.items() if key in resolve and _is_raster(asset, resolve[key])}
    plain = [key for key, asset in rasters.items() if not _roles(asset) & _NO_MEASUREMENTS]
    found: list[AssetBand] = []
    for key, asset in rasters.items():
        bands = list(_described(asset))
        if not bands:
            bands = [{}] * (_highest(asked) if plain == [key] else 1)
        several, placed = len(bands) > 1, _placed({**properties, **asset})
        for number, band in enumerate(bands, 1):
            name = str(band.get("name") or "")
            common = str(band.get("eo:common_name") or band.get("common_name") or "")
            own = key if not several else name or f"{key}_{number}"
            names = (key, name, common) if not several else (f"{key}:{number}", f"{key}:{name}", name, common)
            layer = Layer(own, resolve[key], number, **_values(band, asset), **_kind(asset), placed=placed)
            found.append(AssetBand(layer, key, tuple(one for one in names if one and not one.endswith(":"))))
    return _unique(found)


def chosen(bands: Sequence[AssetBand], wanted: Mapping[str, str]) -> tuple[list[Layer], list[str]]:
    """The bands that the reader option `bands` names.

    Args:
        bands: of the item.
        wanted: name of the band in `input.bands` -> what it is called in the item.

    Returns:
        The layers, and what the item lacks.
    """
    known = _by_name(bands)
    found = [
        replace(known[called.casefold()].layer, name=name, extra=False)
        for name, called in wanted.items()
        if called.casefold() in known
    ]
    return found, [called for called in wanted.values() if called.casefold() not in known]


def renamed(bands: Sequence[AssetBand], asked: Sequence[str]) -> list[Layer]:
    """The bands under the names that they are asked for by; those that nobody asks for under their own.

    Where every word is known, only what is asked for is kept: a catalog may have many thousand items of 30 assets each.
    """
    known = _by_name(bands)
    layers = {band.layer.name.casefold(): band.layer for band in bands}
    kept: dict[str, Layer] = {}
    complete = bool(asked)
    for entry in asked:
        exact = entry.strip()
        for word in [exact] if exact.casefold() in known else words_of(entry):
            band = known.get(word.casefold())
            if band is None:
                complete = False
                continue
            layer = replace(band.layer, name=layers[word.casefold()].name if word.casefold() in layers else word)
            kept.setdefault(layer.name.casefold(), layer)
    if complete:
        return list(kept.values())
    return list({**layers, **kept}.values())


def by_number(bands: Sequence[AssetBand], asked: Sequence[str]) -> bool:
    """Whether a band is asked for by its number rather than by a name."""
    known = _by_name(bands)
    words = [word for entry in asked if entry.strip().casefold() not in known for word in words_of(entry)]
    return any(_NUMBER.fullmatch(word) and word.casefold() not in known for word in words)


def _by_name(bands: Sequence[AssetBand]) -> dict[str, AssetBand]:
    """Bands by everything that they may be called: keys of assets come before names, names before common names."""
    found: dict[str, AssetBand] = {}
    for band in bands:
        found.setdefault(band.layer.name.casefold(), band)
    for place in range(4):
        for band in bands:
            if place < len(band.names):
                found.setdefault(band.names[place].casefold(), band)
    return found


def _unique(bands: list[AssetBand]) -> list[AssetBand]:
    """Bands with names of their own: of two that are called alike, all but the first get the key of their asset too."""
    taken: set[str] = set()
    found = []
    for band in bands:
        if band.layer.name.casefold() in taken:
            band = replace(band, layer=replace(band.layer, name=f"{band.asset}_{band.layer.band}"))
        taken.add(band.layer.name.casefold())
        found.append(band)
    return found


def _is_raster(asset: Any, uri: str) -> bool:
    if not isinstance(asset, dict) or _roles(asset) & _PICTURES:
        return False
    media_type = str(asset.get("type") or "").split(";")[0].strip().lower()
    if media_type:
        return media_type in _RASTERS
    return os.path.splitext(uri.split("?")[0])[1].lower() in (*SUFFIXES, ".vrt")


def _roles(asset: Mapping[str, Any]) -> frozenset[str]:
    roles = asset.get("roles")
    return frozenset(str(role).lower() for role in roles) if isinstance(roles, list) else frozenset()


def _kind(asset: Mapping[str, Any]) -> dict[str, Any]:
    roles = _roles(asset)
    classes = bool(roles & _CLASSES) or "classification:classes" in asset or "classification:bitfields" in asset
    return {"extra": bool(roles & _NO_MEASUREMENTS) or classes, "categorical": classes}


def _described(asset: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """What an asset says of each band, of all of its lists of bands together."""
    lists = [asset.get(name) for name in ("eo:bands", "raster:bands", "bands")]
    known = [one for one in lists if isinstance(one, list)]
    for number in range(max((len(one) for one in known), default=0)):
        parts = [one[number] for one in known if number < len(one) and isinstance(one[number], dict)]
        yield {name: value for part in parts for name, value in part.items()}


def _values(band: Mapping[str, Any], asset: Mapping[str, Any]) -> dict[str, Any]:
    """Scale, offset, nodata and unit of a band; what is not said, or is no number, is left to the file."""
    found: dict[str, Any] = {}
    for name in ("scale", "offset"):
        value = _first(band.get(name), band.get(f"raster:{name}"), asset.get(f"raster:{name}"))
        if _is_number(value):
            found[name] = float(value)
    nodata = _first(band.get("nodata"), asset.get("nodata"))
    if _is_number(nodata):
        # Whole numbers of 64 bits would lose digits.
        found["nodata"] = nodata if abs(nodata) >= 2**53 else float(nodata)
    unit = _first(band.get("unit"), asset.get("unit"))
    return found | ({"unit": unit} if isinstance(unit, str) else {})


def _placed(said: Mapping[str, Any]) -> str:
    """Where an asset lies, as the projection extension says it and `Layer.placed` has it; empty if not all is said."""
    code = said.get("proj:code") or said.get("proj:wkt2")
    if code is None and _is_number(said.get("proj:epsg")):
        code = f"EPSG:{said['proj:epsg']}"
    transform, shape = said.get("proj:transform"), said.get("proj:shape")
    if not (isinstance(code, str) and isinstance(transform, list) and isinstance(shape, list)):
        return ""
    if not is_named(code):
        return ""
    if len(transform) < 6 or len(shape) != 2 or not all(map(_is_number, [*transform, *shape])):
        return ""
    return json.dumps([code, transform[:6], shape])


def _first(*values: Any) -> Any:
    return next((value for value in values if value is not None), None)


def _is_number(value: Any) -> bool:
    """Whether a value is a finite number; NaN, as text, is never valid anyway."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def _highest(asked: Sequence[str]) -> int:
    """The highest number of a band that is asked for; 1 at least."""
    numbers = [int(word.removeprefix("b")) for entry in asked for word in words_of(entry) if _NUMBER.fullmatch(word)]
    return max([1, *(number for number in numbers if number <= 4096)])
