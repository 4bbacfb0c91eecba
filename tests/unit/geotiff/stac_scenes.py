"""Scenes that a catalog names: found, and read whole."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from hdm_geotiff.reader import GeoTiffReader
from hdm_pipeline.contracts import SceneRef, Skipped
from hdm_pipeline.grid import Window


def find_all(uri: Path | str, **options: Any) -> list[SceneRef | Skipped]:
    return list(GeoTiffReader(options).discover(str(uri)))


def find_one(uri: Path | str, **options: Any) -> SceneRef:
    (found,) = find_all(uri, **options)
    assert isinstance(found, SceneRef)
    return found


def read_whole(ref: SceneRef, **options: Any) -> tuple[list[str], np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """(names of the bands, pixels, validity) of a whole scene."""
    with GeoTiffReader(options).open(ref) as source:
        count, _, height, width = source.header.shape
        pixels, valid = source.read(Window(z=0, y=0, x=0, height=height, width=width), range(count))
        return [band.name for band in source.header.bands], pixels, valid
