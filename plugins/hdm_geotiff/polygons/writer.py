"""The writer plug-in `polygons`: one polygon for each connected region of a class, as a GeoPackage or its like."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from hdm_geotiff.files.placing import put
from hdm_geotiff.polygons.options import SUFFIXES, PolygonOptions
from hdm_geotiff.products.writer import check_classes, provenance_tags
from hdm_pipeline.contracts import ClassInfo, Product, SceneHeader


class PolygonWriter:
    """Writes the regions of a mask as ``polygons.gpkg``, ``.fgb`` or ``.parquet``; see `contracts.SidecarWriter`."""

    name: ClassVar[str] = "polygons"
    media_type: ClassVar[str] = "application/geopackage+sqlite3"

    def __init__(self, options: Mapping[str, Any] | None = None) -> None:
        """Take the options of `PolygonOptions`.

        Raises:
            ConfigError: an option is unknown or makes no sense, or pyarrow is missing for GeoParquet.
        """
        self.options = PolygonOptions.parse(options or {})

    def check(self, classes: Sequence[ClassInfo]) -> list[str]:
        """Check that the classes can be told apart in a mask; see `Writer.check`."""
        return check_classes(classes)

    def check_scene(self, scene: SceneHeader) -> None:
        """Check that amounts in metres make sense there; see `SceneCheckingWriter.check_scene`.

        Raises:
            WriteError: the scene's place is not known well enough.
        """
        from hdm_geotiff.polygons.polygonize import check_amounts

        check_amounts(scene, self.options)

    def filename(self, scene: SceneHeader) -> str:
        """``polygons`` with the format's suffix."""
        return f"{self.name}.{self.options.format}"

    def sidecars(self, filename: str) -> tuple[str, ...]:
        """The style for QGIS, and what must not outlive an earlier product.

        That is its journals, which SQLite would play back, and other formats.
        """
        journals = tuple(f"{self.name}.gpkg-{kind}" for kind in ("wal", "shm", "journal"))
        others = (f"{self.name}.{suffix}" for suffix in SUFFIXES)
        return (f"{self.name}.qml", *journals, *(name for name in others if name != filename))

    def write(self, product: Product, path: Path) -> None:
        """Write the polygons; see `Writer.write`.

        Raises:
            OutputError: the folder is not writable, or the disk is full.
            WriteError: the scene's place is not known well enough, or any other failure.
        """
        from hdm_geotiff.polygons.polygonize import write_polygons
        from hdm_geotiff.products.styles import polygon_style

        write_polygons(product, path, self.options, provenance_tags(product))
        put(path.with_suffix(".qml"), polygon_style(product.classes))
