"""Labels of a scene as a sparse GeoTIFF: 0 background, 1..C the classes, 255 unknown, which is its nodata value."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import rasterio
from rasterio.errors import RasterioIOError
from rasterio.io import DatasetReader

from hdm_geotiff.files.environment import environment, gdal_environment, open_dataset
from hdm_geotiff.products.cog import CogLayout, place_otherwise, plain_profile, plain_settings
from hdm_geotiff.products.styles import BACKGROUND_COLOR
from hdm_geotiff.scenes.raster_grid import Grid, raster_window
from hdm_pipeline.contracts import BACKGROUND, IGNORE, LabelPatch, SceneHeader, SceneLabels
from hdm_pipeline.grid import Window

_CLASSES = "HDM_CLASSES"
_TWIN = "HDM_POLYGONS"


def write_label_raster(path: Path, labels: SceneLabels, header: SceneHeader, twin: str) -> None:
    """Write what is drawn, on the scene's grid; blocks that hold nothing take no room.

    Args:
        path: of the file.
        labels: what is drawn.
        header: of the scene.
        twin: what tells the state of the polygons that were written with it; see `SavedRaster.twin`.

    Raises:
        rasterio.errors.RasterioError: it cannot be written.
    """
    with environment(**plain_settings()):
        with rasterio.open(path, "w", **plain_profile(header, CogLayout(1, IGNORE, "NEAREST"))) as target:
            place_otherwise(target, header)
            names = {str(value): name for value, name in labels.classes.items()}
            target.update_tags(**{_CLASSES: json.dumps(names), _TWIN: twin})
            target.set_band_description(1, "labels")
            colors = {value: tuple(color) for value, color in labels.colors.items()}
            target.write_colormap(1, {BACKGROUND: BACKGROUND_COLOR, **colors})
            for patch in labels.patches:
                target.write(patch.values, 1, window=raster_window(patch.window))
        # GDAL may report a full disk only to its log when it closes a file: look at what is there.
        with rasterio.open(path) as written:
            for patch in labels.patches:
                if not np.array_equal(written.read(1, window=raster_window(patch.window)), patch.values):
                    raise RasterioIOError("the file came out wrong")


class SavedRaster:
    """A file that `write_label_raster` wrote, or what another program made of it.

    Args:
        path: of the file.

    Raises:
        rasterio.errors.RasterioError: it is no GeoTIFF.
        ValueError: it is one of another kind.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        with gdal_environment(), open_dataset(str(path)) as file:
            if file.count != 1 or file.dtypes[0] != "uint8":
                raise ValueError(f"{file.count} bands of {file.dtypes[0]}, not one of bytes")
            self.grid = Grid.of(file)
            tags = file.tags()
            self.twin = str(tags.get(_TWIN, ""))
            """Of the polygons that were written with it; empty where there were none."""
            self.colors = {value: (rgba[0], rgba[1], rgba[2]) for value, rgba in _colors(file).items()}
            """By value."""
            named: dict[str, str] | None = json.loads(tags[_CLASSES]) if _CLASSES in tags else None
        self.classes: Mapping[int, str] | None = None if named is None else {int(one): named[one] for one in named}
        """Names by value; None where another program dropped them."""

    def patches(self, renumbered: Mapping[int, int]) -> tuple[LabelPatch, ...]:
        """What it holds, block by block; only blocks that are stored are read.

        Args:
            renumbered: values as they are now by those of the file; others become unknown.
        """
        table = np.full(256, IGNORE, dtype=np.uint8)
        table[BACKGROUND] = BACKGROUND
        table[list(renumbered)] = list(renumbered.values())
        found = []
        with gdal_environment(), open_dataset(str(self._path)) as file:
            for window in _stored(file):
                values = table[file.read(1, window=raster_window(window))]
                if (values != IGNORE).any():
                    found.append(LabelPatch(window, values))
        return tuple(found)


def _colors(file: DatasetReader) -> dict[int, tuple[int, ...]]:
    try:
        return dict(file.colormap(1))
    except ValueError:  # without one
        return {}


def _stored(file: DatasetReader) -> Sequence[Window]:
    """Blocks of a file that take room."""
    height, width = file.block_shapes[0]
    return [
        Window(z=0, y=y, x=x, height=min(height, file.height - y), width=min(width, file.width - x))
        for y in range(0, file.height, height)
        for x in range(0, file.width, width)
        if file.get_tag_item(f"BLOCK_OFFSET_{x // width}_{y // height}", "TIFF", bidx=1) is not None
    ]
