"""Static STAC catalogs over real files, made with pystac, for tests of STAC as input."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pystac
import rasterio
from affine import Affine

TAKEN = datetime(2024, 6, 2, 10, 10, 31, tzinfo=UTC)


def write_band(path: Path, pixels: npt.NDArray[Any], side: float = 10.0, **profile: Any) -> Path:
    """One file, [y, x] or [bands, y, x]; its upper left corner is always the same."""
    pixels = pixels if pixels.ndim == 3 else pixels[None]
    path.parent.mkdir(parents=True, exist_ok=True)
    grid = {"crs": "EPSG:32633", "transform": Affine(side, 0, 500_000, 0, -side, 5_000_000), **profile}
    size = {"count": pixels.shape[0], "height": pixels.shape[1], "width": pixels.shape[2], "dtype": pixels.dtype.name}
    with rasterio.open(path, "w", driver="GTiff", **size, **grid) as file:
        file.write(pixels)
    return path


def item(name: str, assets: Mapping[str, pystac.Asset], taken: datetime | None = TAKEN, **fields: Any) -> pystac.Item:
    """An item; where it lies is not what is tested."""
    corners = [[15.0, 45.0], [15.1, 45.0], [15.1, 45.1], [15.0, 45.1], [15.0, 45.0]]
    place = {"type": "Polygon", "coordinates": [corners]}
    return pystac.Item(name, place, [15.0, 45.0, 15.1, 45.1], taken, fields, assets=dict(assets))


def asset(href: str | Path, *roles: str, **fields: Any) -> pystac.Asset:
    """An asset that is a GeoTIFF."""
    return pystac.Asset(str(href), media_type=pystac.MediaType.COG, roles=list(roles) or ["data"], extra_fields=fields)


def catalog(folder: Path, *items: pystac.Item, collection: str = "sentinel-2-l2a") -> Path:
    """A self-contained catalog with one collection, saved below `folder`; gives the catalog's file.

    Assets with absolute paths become relative to their items.
    """
    root = pystac.Catalog("root", "a catalog of tests")
    extent = pystac.Extent(pystac.SpatialExtent([[15, 45, 15.1, 45.1]]), pystac.TemporalExtent([[TAKEN, None]]))
    below = pystac.Collection(collection, "scenes", extent)
    root.add_child(below)
    below.add_items(items)
    root.normalize_hrefs(str(folder))
    root.make_all_asset_hrefs_relative()
    root.save(pystac.CatalogType.SELF_CONTAINED)
    return folder / "catalog.json"


def stored(height: int, width: int, seed: int = 0) -> npt.NDArray[np.uint16]:
    """Numbers as satellites' products hold them."""
    return np.random.default_rng(seed).integers(1, 5000, (height, width)).astype(np.uint16)
