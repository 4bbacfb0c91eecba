"""Scenes from STAC items: an item is a scene, its assets are the files of its bands.

=============================  ====================================================================================
``item.json``                  one item
``search.json``                the result of a search, saved: a list of items (ItemCollection, FeatureCollection)
``catalog.json``               a static catalog or collection, with all that it links to
``items/*.json``               a pattern of any of these
``https://host/catalog.json``  the same on the network, with ``allow_network: true``
``https://host/search?...``    the search of an API, with ``allow_network: true`` and pystac-client
=============================  ====================================================================================

Bands are found by `hdm_geotiff.stac.bands`. The scene is called as the item; where two items of different collections
have one id, the collection is part of the name, and where that is not enough, a hash of the item's place.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import unquote, urlsplit

import pystac
from pystac.utils import str_to_datetime

from hdm_geotiff.dates import text
from hdm_geotiff.files.containers import container_of
from hdm_geotiff.files.sidecars import Identities
from hdm_geotiff.files.uris import is_remote, is_virtual
from hdm_geotiff.options import ReaderOptions
from hdm_geotiff.recipes.layers import STAC_ITEM, LayeredScene, layered_ref
from hdm_geotiff.recipes.scene_ids import safe_id
from hdm_geotiff.stac.bands import bands_of, by_number, chosen, renamed
from hdm_geotiff.stac.catalog import ItemAt, find_items, place_of
from hdm_pipeline.contracts import SceneRef, Skipped
from hdm_pipeline.errors import EmptyArchiveError


@dataclass(frozen=True)
class _Candidate:
    """An item that is a scene, without the item itself: a catalog may hold many thousands.

    Attributes:
        id: of the item.
        collection: its collection; empty without one.
        base: where its relative links start.
        shown: what reports call it.
        scene: its bands.
        parts: (key of an asset, what changes with its file).
    """

    id: str
    collection: str
    base: str
    shown: str
    scene: LayeredScene
    parts: tuple[tuple[str, str], ...]

    @property
    def same(self) -> tuple[object, ...]:
        """What is alike where one item stands there twice: catalogs and pages of searches repeat them."""
        return self.collection, self.id, self.scene.layers, os.path.dirname(self.base), self.scene.problem


def discover_items(uri: str, options: ReaderOptions, reader: str) -> list[SceneRef | Skipped]:
    """Scenes sorted by id, then what was left out, sorted by URI.

    Raises:
        ArchiveError: it is no STAC, or cannot be read.
        EmptyArchiveError: it holds no item.
    """
    kept: dict[tuple[object, ...], _Candidate] = {}
    skipped: list[Skipped] = []
    known = Identities()
    for found in find_items(uri, options):
        one = found if isinstance(found, Skipped) else _candidate(found, options, known)
        if isinstance(one, Skipped):
            skipped.append(one)
        elif kept.setdefault(one.same, one) is not one:
            skipped.append(Skipped(one.shown, "the same item stands there more than once"))
    if not kept:
        what = "the catalog holds no item that can be used"
        if skipped:
            what += f" ({len(skipped)} were left out, e.g. {skipped[0].uri}: {skipped[0].reason})"
        raise EmptyArchiveError(what, where=uri, remedy="name a catalog, or a list of items, that holds scenes")
    items = list(kept.values())
    scenes = [
        layered_ref(one.scene, name, one.shown, one.parts, reader) for one, name in zip(items, _ids(items), strict=True)
    ]
    return [*sorted(scenes, key=lambda ref: ref.id), *sorted(skipped, key=lambda one: one.uri)]


def _candidate(found: ItemAt, options: ReaderOptions, known: Identities) -> _Candidate | Skipped:
    """The scene of an item; or why it is left out."""
    try:
        # Its assets are looked at below: pystac would copy all of them, twice, to read a handful.
        item = pystac.Item.from_dict({**found.content, "assets": {}, "links": []})
        attributes = _attributes(found)
    except (pystac.STACError, LookupError, TypeError, ValueError, AttributeError, OverflowError) as error:
        return Skipped(found.shown, f"no valid STAC item: {type(error).__name__}: {error}")
    if item.properties.get("deprecated") is True:
        return Skipped(found.shown, "the item says that it is deprecated")
    assets = {key: asset for key, asset in found.content["assets"].items() if isinstance(asset, dict)}
    places = {key: _place(str(asset["href"]), found.base) for key, asset in assets.items() if asset.get("href")}
    scene = _scene(item, assets, places, attributes, options)
    used = {layer.uri for layer in scene.layers}
    updated = str(item.properties.get("updated", ""))
    parts = tuple(
        (key, _identity(place, assets[key], updated, known)) for key, place in places.items() if place in used
    )
    return _Candidate(item.id, item.collection_id or "", found.base, found.shown, scene, parts)


def _ids(items: Sequence[_Candidate]) -> list[str]:
    """An id for each item, unlike all others, upper and lower case being the same."""
    names = [safe_id(one.id) for one in items]
    names = _apart(names, [safe_id(f"{one.collection or 'items'}__{one.id}") for one in items])
    places = [hashlib.sha256(repr(one.same).encode("utf-8", "surrogatepass")).hexdigest()[:8] for one in items]
    return _apart(names, [safe_id(f"{name[:100]}-{place}") for name, place in zip(names, places, strict=True)])


def _apart(names: list[str], longer: list[str]) -> list[str]:
    """The longer names where the short ones are not unique."""
    count = Counter(name.casefold() for name in names)
    return [name if count[name.casefold()] == 1 else other for name, other in zip(names, longer, strict=True)]


def _scene(
    item: pystac.Item,
    assets: dict[str, Any],
    places: dict[str, str],
    attributes: dict[str, str],
    options: ReaderOptions,
) -> LayeredScene:
    bands = bands_of(assets, places, options.asked, item.properties)
    if options.bands:
        layers, missing = chosen(bands, dict(options.bands))
        scene = LayeredScene(tuple(layers), attributes=attributes)
        if missing:
            return _with_problem(scene, f"the item has no asset or band {', '.join(missing)}", assets)
        return scene
    scene = LayeredScene(tuple(renamed(bands, options.asked)), attributes=attributes)
    if not bands:
        return _with_problem(scene, "no asset of the item is a GeoTIFF or JPEG 2000", assets)
    if len({band.asset for band in bands if not band.layer.extra}) > 1 and by_number(bands, options.asked):
        # Items of one catalog list their assets in any order: a number would mean another band in each.
        return _with_problem(scene, "bands are asked for by number, but the item has several assets", assets)
    return scene


def _with_problem(scene: LayeredScene, problem: str, assets: dict[str, Any]) -> LayeredScene:
    remedy = "name assets of the item in input.bands, e.g. [B04, B08], or by the reader option bands: {red: B04}"
    return replace(scene, problem=f"{problem} (it has {', '.join(assets) or 'none'})", remedy=remedy)


def _place(href: str, base: str) -> str:
    """The path or URI of an asset. An item on the network cannot name a file on this machine."""
    local = not is_remote(base)
    if local and urlsplit(href).scheme == "file":
        return unquote(urlsplit(href).path)
    if not local and container_of(href):
        return f"{base}#{href}"
    return href if is_remote(href) or (local and is_virtual(href)) else place_of(href, base)


def _identity(place: str, asset: dict[str, Any], updated: str, known: Identities) -> str:
    """What changes with an asset: of a remote one what the item says, for asking each server would take hours."""
    if is_remote(place):
        return f"{asset.get('file:checksum', '')} {updated}"
    if is_virtual(place):
        archive = next((part for part in _prefixes(place) if os.path.isfile(part)), place)
        return known.of(archive)
    return known.of(place)


def _prefixes(place: str) -> list[str]:
    """The paths that the archive in a virtual path may have, shortest first."""
    parts = place.split("/")[2:]
    return ["/".join(parts[:end]) for end in range(1, len(parts) + 1)]


def _attributes(one: ItemAt) -> dict[str, str]:
    """The item's dates, in UTC, and where it lies, as `SceneHeader.attributes` carry them."""
    properties = one.content.get("properties") or {}
    found = {}
    for name in ("datetime", "start_datetime", "end_datetime"):
        if isinstance(properties.get(name), str) and properties.get("hdm:datetime_source") != "unknown":
            found[name] = text(str_to_datetime(properties[name]))
    if found:
        found["datetime_source"] = "the STAC item"
    return found | ({STAC_ITEM: one.href} if one.href else {})
