"""The product `quicklook`: ``preview.png``, the scene with its mask at 512 pixels, for file managers and web pages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from hdm_pipeline.contracts import ClassInfo, Product, SceneHeader, SceneKind
from hdm_pipeline.errors import ConfigError, WriteError

_EFFORT = 3
"""Of compression: higher ones cost more time than a smaller file is worth."""


class QuicklookWriter:
    """Writes the picture that the core makes of a scene; implements `hdm_pipeline.contracts.Writer`."""

    name: ClassVar[str] = "quicklook"
    scenes: ClassVar[SceneKind] = "rasters"
    media_type: ClassVar[str] = "image/png"
    needs_picture: ClassVar[bool] = True

    def __init__(self, options: Mapping[str, Any] | None = None) -> None:
        """Take no options.

        Raises:
            ConfigError: any option is given.
        """
        if options:
            where = f"options of the product {self.name}: {', '.join(map(str, options))}"
            raise ConfigError("this product has no options", where=where, remedy="remove them")

    def check(self, classes: Sequence[ClassInfo]) -> list[str]:
        """Any classes can be drawn; see `Writer.check`."""
        return []

    def filename(self, scene: SceneHeader) -> str:
        """``preview.png``."""
        return "preview.png"

    def write(self, product: Product, path: Path) -> None:
        """Write the picture; see `Writer.write`.

        Raises:
            OutputError: the folder is not writable, or the disk is full.
            WriteError: there is no picture.
        """
        from PIL import Image

        from hdm_geotiff.files.failures import write_error

        if product.picture is None:
            raise WriteError(
                "no picture of the scene was made",
                where=product.scene.ref.id,
                remedy="run it with the version of hdm_pipeline that this plug-in belongs to",
            )
        try:
            Image.fromarray(product.picture).save(path, format="PNG", compress_level=_EFFORT)
        except OSError as error:
            raise write_error(error, path, error) from error
