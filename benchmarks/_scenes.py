"""Scenes and pipeline files for benchmarks of the whole run.

Not the sample archive: its landscape costs 0.7 CPU seconds a megapixel, and scenes of 400 megapixels are wanted here.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import rasterio
import yaml
from affine import Affine
from rasterio.windows import Window

_ROWS = 512


def write_scene(path: Path, size: int, *, bands: int = 2, dtype: str = "float32", seed: int = 1) -> Path:
    """A square scene of dark lakes on bright land, written in strips: memory does not grow with its size."""
    rng = np.random.default_rng(seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    profile: dict[str, Any] = {
        "driver": "GTiff",
        "count": bands,
        "height": size,
        "width": size,
        "dtype": dtype,
        "crs": "EPSG:32633",
        "transform": Affine(10, 0, 500000, 0, -10, 5000000),
        "tiled": True,
        "blockxsize": 512,
        "blockysize": 512,
        "compress": "deflate",
        "zlevel": 1,
        "bigtiff": "if_safer",
    }
    with rasterio.open(path, "w", **profile) as file:
        for row in range(0, size, _ROWS):
            rows = min(_ROWS, size - row)
            y, x = np.mgrid[row : row + rows, 0:size].astype(np.float32)
            water = np.sin(x / 97) + np.cos(y / 83) > 0.6
            pixels = np.where(water, -19, -8) + rng.integers(-2, 3, (bands, rows, size))
            file.write(pixels.astype(dtype), window=Window(0, row, size, rows))
    return path


def ct_slice(index: int, side: int = 512) -> npt.NDArray[np.uint16]:
    """Something like a CT slice: smooth, with noise, as stored with an intercept of -1024."""
    rng = np.random.default_rng(index)
    y, x = np.mgrid[:side, :side]
    body = 1000 * np.exp(-(((x - 256) / 180) ** 4) - (((y - 256) / 140) ** 4)) + 40 * np.sin(x / 31 + index / 9)
    return np.asarray(np.clip(body + rng.normal(0, 12, (side, side)) + 40, 0, 4095), dtype=np.uint16)


def write_support(folder: Path, *, bands: int = 2, side: int = 256) -> None:
    """`chip.tif` and `mask.tif`, cut from the same kind of scene."""
    write_scene(folder / "chip.tif", side, bands=bands, seed=2)
    with rasterio.open(folder / "chip.tif") as chip:
        profile = chip.profile | {"count": 1, "dtype": "uint8"}
        water = chip.read(1) < -13
    with rasterio.open(folder / "mask.tif", "w", **profile) as file:
        file.write(water.astype(np.uint8), 1)


def write_pipeline(folder: Path, name: str, weights: str, **sections: dict[str, Any]) -> Path:
    """A pipeline file over `folder/scenes`; keyword arguments update its sections."""
    content: dict[str, Any] = {
        "name": "bench",
        "input": {"uri": "scenes", "bands": [1, 2], "scale": {"fixed": [-25, 0]}},
        "support": {
            "adapt": "off",
            "classes": [{"name": "water", "examples": [{"image": "chip.tif", "mask": "mask.tif"}]}],
        },
        "model": {"weights": weights, "reduction": 1},
        "tiling": {"size": 256, "overlap": 32},
        "execution": {"executor": "inline"},
        "output": {"directory": name, "products": ["mask"], "keep": "nothing"},
    }
    for section, changes in sections.items():
        content[section] = {**content[section], **changes}
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(content))
    return path
