"""The collection of a run: which items there are, and where and when they lie.

What a collection says of its items (boxes, dates, classes) is remembered in one file of the writer's own, so that a
run over an archive of many thousand scenes reads the items of those that it published, and no others.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import pystac
from pystac.utils import str_to_datetime

from hdm_geotiff.stac.assets import MEDIA_TYPES
from hdm_geotiff.stac.item import CLASSIFICATION, COLLECTION, PROCESSING, PROJECTION
from hdm_pipeline.contracts import RunCatalog

log = logging.getLogger(__name__)

ITEM = "item.json"

_MEMORY = "items.json"
_FORMAT = 1
_PROPERTIES = ("proj:code", "processing:level", "hdm:model", "hdm:weights_hash", "hdm:support_hash", "hdm:threshold")
"""What is summed up of the items."""

_DEFINITION = ("type", "title", "roles", "data_type", "nodata", "bands", "classification:classes")
"""What is alike in the assets of one name, whatever the scene."""


def known_items(run: RunCatalog) -> dict[str, dict[str, Any]]:
    """What the collection needs of each item, by scene; only items that are new or were made anew are read.

    An item that cannot be read is left out, and told: it is one scene's, and the run has done the others.
    """
    before = _remembered(run.memory / _MEMORY)
    found: dict[str, dict[str, Any]] = {}
    for entry in run.entries:
        path = next((file for file in entry.files if file.name == ITEM), None)
        if path is None:
            continue
        old = before.get(entry.scene)
        if old is not None and old["version"] == entry.version:
            found[entry.scene] = old
            continue
        try:
            found[entry.scene] = _facts(path, entry.version)
        except FileNotFoundError:
            log.warning("%s is not there and not in the collection; run again: the scene is published anew", path)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            what = "%s cannot be read and is not in the collection (%s: %s); remove it and run again: the scene is "
            log.warning(what + "published anew", path, type(error).__name__, error)
    return found


def memory_text(items: dict[str, dict[str, Any]]) -> str:
    """What is to be remembered, for `known_items` of the next run."""
    return json.dumps({"format": _FORMAT, "items": items}, separators=(",", ":"))


def memory_path(run: RunCatalog) -> Path:
    """Where it is remembered."""
    return run.memory / _MEMORY


def make_collection(run: RunCatalog, items: dict[str, dict[str, Any]], options: dict[str, str]) -> dict[str, Any]:
    """The collection as a dictionary in a fixed order.

    Args:
        run: the output directory.
        items: of `known_items`.
        options: ``id``, ``title``, ``description`` and ``license`` of the collection.
    """
    definitions: dict[str, pystac.ItemAssetDefinition | dict[str, Any]] = {}
    for facts in items.values():
        for name, definition in facts["assets"].items():
            definitions.setdefault(name, pystac.ItemAssetDefinition(definition))
    collection = pystac.Collection(
        options["id"],
        options["description"],
        pystac.Extent(_spatial(items.values()), _temporal(items.values())),
        title=options["title"],
        stac_extensions=[PROJECTION, CLASSIFICATION, PROCESSING],
        license=options["license"],
        summaries=pystac.Summaries(_summaries(items.values()), maxcount=1000),
        assets=_assets(run),
    )
    if definitions:
        collection.item_assets = definitions
    collection.clear_links()
    collection.add_link(pystac.Link("root", f"./{COLLECTION}", "application/json"))
    for scene in items:
        collection.add_link(pystac.Link("item", f"./{scene}/{ITEM}", "application/geo+json", scene))
    return collection.to_dict(include_self_link=False, transform_hrefs=False)


def _assets(run: RunCatalog) -> dict[str, pystac.Asset]:
    """The files of all scenes together: the report, and mosaics."""
    found = {"run": pystac.Asset("./run.json", "What the run did", None, "application/json", ["metadata"])}
    for name in run.files:
        suffix = Path(name).suffix
        roles = ["data"] if suffix in (".tif", ".vrt") else ["metadata"]
        found[name] = pystac.Asset(f"./{name}", name, None, MEDIA_TYPES.get(suffix), roles)
    return found


def _facts(path: Path, version: str) -> dict[str, Any]:
    item = json.loads(path.read_text(encoding="utf-8"))
    properties = item["properties"]
    assets = {
        name: {field: _uncounted(asset[field]) for field in _DEFINITION if field in asset}
        for name, asset in item["assets"].items()
    }
    moment = properties.get("datetime")
    known = properties.get("hdm:datetime_source") != "unknown"
    return {
        "version": version,
        "bbox": item.get("bbox"),
        "start": (properties.get("start_datetime") or moment) if known else None,
        "end": (properties.get("end_datetime") or moment) if known else None,
        "properties": {name: properties[name] for name in _PROPERTIES if properties.get(name) is not None},
        "assets": assets,
    }


def _uncounted(value: Any) -> Any:
    """A field of an asset without what differs from scene to scene: counts of pixels."""
    if isinstance(value, list):
        return [{k: v for k, v in one.items() if k != "count"} if isinstance(one, dict) else one for one in value]
    return value


def _remembered(path: Path) -> dict[str, dict[str, Any]]:
    """What the last run left; nothing where that cannot be read: then all items are read again."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    usable = isinstance(found, dict) and found.get("format") == _FORMAT
    return found["items"] if usable else {}


def _summaries(items: Iterable[dict[str, Any]]) -> dict[str, list[Any]]:
    found: dict[str, set[Any]] = {name: set() for name in _PROPERTIES}
    for facts in items:
        for name, value in facts["properties"].items():
            found[name].add(value)
    return {name: sorted(values) for name, values in found.items() if values}


def _temporal(items: Iterable[dict[str, Any]]) -> pystac.TemporalExtent:
    """From the first date that is known to the last; open where none is."""
    known = [(facts["start"], facts["end"]) for facts in items if facts["start"] is not None]
    if not known:
        unknown: list[datetime | None] = [None, None]
        return pystac.TemporalExtent([unknown])
    starts, ends = ([str_to_datetime(one) for one in column] for column in zip(*known, strict=True))
    return pystac.TemporalExtent([[min(starts), max(ends)]])


def _spatial(items: Iterable[dict[str, Any]]) -> pystac.SpatialExtent:
    """The smallest box around all items, across the antimeridian where that is smaller.

    The globe where no item has a place: STAC wants a box.
    """
    boxes = [facts["bbox"] for facts in items if facts["bbox"] is not None]
    if not boxes:
        return pystac.SpatialExtent([[-180.0, -90.0, 180.0, 90.0]])
    south, north = min(box[1] for box in boxes), max(box[3] for box in boxes)
    west, east = _longitudes([(box[0], box[2]) for box in boxes])
    return pystac.SpatialExtent([[west, south, east, north]])


def _longitudes(spans: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """The shortest arc (west, east) that holds all (west, east): all but the widest gap between them."""
    cut = [
        part for west, east in spans for part in ([(west, east)] if west <= east else [(west, 180.0), (-180.0, east)])
    ]
    merged: list[list[float]] = []
    for west, east in sorted(cut):
        if merged and west <= merged[-1][1]:
            merged[-1][1] = max(merged[-1][1], east)
        else:
            merged.append([west, east])
    gaps = [(merged[(n + 1) % len(merged)][0] - one[1]) % 360.0 for n, one in enumerate(merged)]
    if len(merged) == 1 or max(gaps) == 0.0:
        return merged[0][0], merged[-1][1]
    widest = gaps.index(max(gaps))
    return merged[(widest + 1) % len(merged)][0], merged[widest][1]
