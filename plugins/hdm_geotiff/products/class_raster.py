"""A raster of classes as a COG, with what tells them apart: names, colors, GDAL's table and a style for QGIS."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt
from rasterio.io import DatasetWriter

from hdm_geotiff.products.cog import CogLayout, open_cog
from hdm_geotiff.products.styles import BACKGROUND_COLOR, attribute_table, mask_style
from hdm_geotiff.scenes.raster_grid import raster_window
from hdm_pipeline.contracts import BACKGROUND, NODATA, ClassInfo, SceneHeader
from hdm_pipeline.grid import Window


class ClassRaster:
    """A raster of classes that is being written.

    Args:
        target: the open file.
    """

    def __init__(self, target: DatasetWriter) -> None:
        self._target = target

    def write(self, window: Window, pixels: npt.NDArray[np.uint8]) -> None:
        """Write class numbers [height, width]; 255 is nodata, as is what is never written."""
        if (pixels != NODATA).any():
            self._target.write(pixels[None], window=raster_window(window))


@contextmanager
def open_class_raster(
    path: Path,
    header: SceneHeader,
    classes: Sequence[ClassInfo],
    description: str,
    band_tags: Mapping[str, str],
    tags: Mapping[str, str] | None = None,
) -> Iterator[ClassRaster]:
    """Write a raster of classes; it appears, with its ``.aux.xml`` and ``.qml``, when the block ends without an error.

    Args:
        path: where it appears, in an existing folder.
        header: whose size and place it gets.
        classes: what its values mean; 0 is background.
        description: of its band.
        band_tags: of its band.
        tags: of the file.

    Raises:
        OutputError: the folder is not writable, or the disk is full.
        WriteError: any other failure.
    """
    sidecars = {f"{path.name}.aux.xml": attribute_table(classes), f"{path.stem}.qml": mask_style(classes)}
    with open_cog(path, header, CogLayout(1, NODATA, "NEAREST"), sidecars) as target:
        if tags:
            target.update_tags(**tags)
        target.update_tags(1, **band_tags)
        target.set_band_description(1, description)
        target.write_colormap(1, {BACKGROUND: BACKGROUND_COLOR, **{one.value: tuple(one.color) for one in classes}})
        yield ClassRaster(target)
