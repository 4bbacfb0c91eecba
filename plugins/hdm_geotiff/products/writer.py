"""The GeoTIFF writer plug-ins: `mask`, `score` and `uncertainty`, all cloud-optimized.

The mask is uint8 with nodata 255, a color table and nearest overviews. Class names stand in the band's description and
tags, and, as GDAL's category names and attribute table, in ``mask.tif.aux.xml``: a TIFF has no place for these.

The score is uint8, one band a class, 0..255 = probability 0..1, with averaged overviews. All 256 values are
measurements, so no value can mean nodata: an internal mask does, which QGIS, GDAL and rasterio honour. Scale 1/255 is
set on each band, so that QGIS shows probabilities. The uncertainty is laid out likewise.

All have a style for QGIS beside them (``mask.qml``, ``score.qml``), which it takes by itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any, ClassVar

import numpy as np

from hdm_pipeline.contracts import (
    BACKGROUND,
    NODATA,
    ClassInfo,
    PixelSource,
    Product,
    RunCatalog,
    SceneHeader,
    SceneKind,
)
from hdm_pipeline.errors import ConfigError, WriteError


class _CogWriter:
    """What the products share; implements `hdm_pipeline.contracts.Writer` but for `write`."""

    name: ClassVar[str]
    scenes: ClassVar[SceneKind] = "rasters"
    libraries: ClassVar[tuple[str, ...]] = ("rasterio", "pyproj")
    media_type: ClassVar[str] = "image/tiff"

    def __init__(self, options: Mapping[str, Any] | None = None) -> None:
        """Take no options.

        Raises:
            ConfigError: any option is given.
        """
        if options:
            where = f"options of the product {self.name}: {', '.join(map(str, options))}"
            raise ConfigError("this product has no options", where=where, remedy="remove them")

    def check(self, classes: Sequence[ClassInfo]) -> list[str]:
        """Check that the classes fit into uint8 with 255 as nodata; see `Writer.check`."""
        return check_classes(classes)

    def filename(self, scene: SceneHeader) -> str:
        """The product's name with ``.tif``."""
        return f"{self.name}.tif"

    def sidecars(self, filename: str) -> tuple[str, ...]:
        """What GDAL and QGIS look for beside a product; GDAL may have put statistics there, too."""
        return f"{filename}.aux.xml", f"{PurePath(filename).stem}.qml"


class MaskWriter(_CogWriter):
    """Writes the mask of a scene as ``mask.tif``; implements `contracts.ArchiveWriter`."""

    name: ClassVar[str] = "mask"

    def write(self, product: Product, path: Path) -> None:
        """Write the mask; see `Writer.write`.

        Raises:
            OutputError: the folder is not writable, or the disk is full.
            WriteError: any other failure.
        """
        from hdm_geotiff.products.class_raster import open_class_raster
        from hdm_geotiff.products.cog import windows

        names = {BACKGROUND: "background", **{one.value: one.name for one in product.classes}, NODATA: "nodata"}
        told = ", ".join(f"{value} {name}" for value, name in names.items() if value != NODATA)
        by_value = {f"CLASS_{value}": name for value, name in names.items()}
        tags = {**provenance_tags(product), "CLASSES": ", ".join(f"{v}={name}" for v, name in names.items())}
        with open_class_raster(path, product.scene, product.classes, told, by_value, tags) as target:
            for window in windows(product.scene, product.block):
                target.write(window, product.mask.read(window)[0])

    def mosaic(self, run: RunCatalog, *, whole: bool) -> dict[str, Any]:
        """Put the masks of all scenes together; see `ArchiveWriter.mosaic`."""
        from hdm_geotiff.products.mask_mosaic import write_mosaics

        return write_mosaics(run, whole=whole)

    def compare(self, before: RunCatalog, after: RunCatalog, folder: Path | None) -> dict[str, Any]:
        """Compare masks of one place; see `ArchiveWriter.compare`."""
        from hdm_geotiff.products.change import compare_masks

        return compare_masks(before, after, folder)


class _BandsWriter(_CogWriter):
    """What products of one uint8 band a class share: all values are measurements, and a mask says what is valid."""

    unit: ClassVar[str]

    def write(self, product: Product, path: Path) -> None:
        """Write the bands; see `Writer.write`.

        Raises:
            OutputError: the folder is not writable, or the disk is full.
            WriteError: any other failure.
        """
        from hdm_geotiff.products.cog import CogLayout, open_cog, windows
        from hdm_geotiff.products.styles import score_style
        from hdm_geotiff.scenes.raster_grid import raster_window

        count = len(product.classes)
        source = self._source(product)
        _, style = self.sidecars(path.name)
        beside = {style: score_style(product.classes)}
        with open_cog(path, product.scene, CogLayout(count, None, "AVERAGE"), beside) as target:
            target.update_tags(**provenance_tags(product))
            target.scales, target.offsets = (1 / 255,) * count, (0.0,) * count
            target.units = (self.unit,) * count
            for number, one in enumerate(product.classes, 1):
                target.set_band_description(number, one.name)
            for window in windows(product.scene, product.block):
                valid = product.mask.read(window)[0] != NODATA
                # What is not written reads as masked, but for the first window: without it there would be no mask.
                if valid.any() or (window.y, window.x) == (0, 0):
                    values = np.where(valid, source.read(window), np.uint8(0))
                    target.write(values, window=raster_window(window))
                    target.write_mask(valid, window=raster_window(window))

    def _source(self, product: Product) -> PixelSource:
        raise NotImplementedError


class ScoreWriter(_BandsWriter):
    """Writes the scores of a scene as ``score.tif``."""

    name: ClassVar[str] = "score"
    unit: ClassVar[str] = "probability"

    def _source(self, product: Product) -> PixelSource:
        return product.score


class UncertaintyWriter(_BandsWriter):
    """Writes how uncertain the scores of a scene are as ``uncertainty.tif``."""

    name: ClassVar[str] = "uncertainty"
    unit: ClassVar[str] = "uncertainty"
    needs_uncertainty: ClassVar[bool] = True

    def _source(self, product: Product) -> PixelSource:
        if product.uncertainty is None:
            raise WriteError(
                "the uncertainty of the scores was not computed",
                where=product.scene.ref.id,
                remedy="give a product that has it, as a run does whose output.products name uncertainty",
            )
        return product.uncertainty


def check_classes(classes: Sequence[ClassInfo]) -> list[str]:
    """`Writer.check` of all products here.

    Raises:
        ConfigError: the classes do not fit into uint8 with 0 as background and 255 as nodata.
    """
    values = [one.value for one in classes]
    if not classes or len(set(values)) != len(values) or min(values) <= BACKGROUND or max(values) >= NODATA:
        where = ", ".join(f"{one.name}: {one.value}" for one in classes) or "no class"
        remedy = f"number the classes {BACKGROUND + 1} to {NODATA - 1}, each once"
        raise ConfigError("these classes do not fit into a mask", where=where, remedy=remedy)
    return []


def provenance_tags(product: Product) -> dict[str, str]:
    """What made a product, as texts for its metadata."""
    made = product.provenance
    date = product.scene.attributes.get("datetime") or product.scene.attributes.get("start_datetime")
    return {
        "TIFFTAG_SOFTWARE": f"hdm_pipeline {made.version}",
        "HDM_VERSION": made.version,
        "HDM_SCENE": product.scene.ref.id,
        "HDM_MODEL": made.model,
        "HDM_PIPELINE_HASH": made.pipeline_hash,
        "HDM_WEIGHTS_HASH": made.weights_hash,
        "HDM_SUPPORT_HASH": made.support_hash,
        "HDM_THRESHOLD": f"{made.threshold:g}",
        **({"HDM_DATETIME": date} if date else {}),
    }
