"""The writer plug-in `stac`: ``item.json`` for each scene, and ``collection.json`` for the run."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from hdm_geotiff.files.placing import put
from hdm_pipeline.contracts import ClassInfo, Product, RunCatalog, SceneHeader
from hdm_pipeline.errors import ConfigError

_OPTIONS = ("collection", "title", "description", "license")


class StacWriter:
    """Implements `hdm_pipeline.contracts.CatalogWriter`."""

    name: ClassVar[str] = "stac"
    media_type: ClassVar[str] = "application/geo+json"

    def __init__(self, options: Mapping[str, Any] | None = None) -> None:
        """Take the options ``collection`` (id of the collection), ``title``, ``description`` and ``license``.

        Raises:
            ConfigError: an option is unknown, or no text.
        """
        given = dict(options or {})
        for name, value in given.items():
            where = f"options of the product stac: {name}"
            if name not in _OPTIONS:
                raise ConfigError("there is no such option", where=where, remedy=f"one of: {', '.join(_OPTIONS)}")
            if not isinstance(value, str) or not value.strip():
                raise ConfigError(f"{value!r} is no text", where=where, remedy="give a text")
        self._options: dict[str, str] = given

    def check(self, classes: Sequence[ClassInfo]) -> list[str]:
        """Any class can be described; see `Writer.check`."""
        return []

    def filename(self, scene: SceneHeader) -> str:
        """``item.json``."""
        from hdm_geotiff.stac.collection import ITEM

        return ITEM

    def write(self, product: Product, path: Path) -> None:
        """Write the item; see `Writer.write`.

        Raises:
            OutputError: the folder is not writable, or the disk is full.
            WriteError: the scene is a volume, or a product of it cannot be read.
        """
        from hdm_geotiff.stac.item import make_item

        put(path, _text(make_item(product, self._options.get("collection"))))

    def finish(self, run: RunCatalog) -> list[str]:
        """Write the collection; see `CatalogWriter.finish`.

        Raises:
            OutputError: the folder is not writable, or the disk is full.
        """
        from hdm_geotiff.stac.collection import known_items, make_collection, memory_path, memory_text
        from hdm_geotiff.stac.item import COLLECTION

        items = known_items(run)
        options = {
            "id": run.name,
            "title": run.name,
            "description": f"Made by hdm_pipeline, pipeline {run.name}: one item for each scene.",
            "license": "other",
            **self._options,
        }
        put(run.root / COLLECTION, _text(make_collection(run, items, options)))
        put(memory_path(run), memory_text(items))
        return [COLLECTION]


def _text(value: dict[str, Any]) -> str:
    return json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
