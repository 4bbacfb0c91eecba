"""A GeoTIFF reader that crashes, hangs or raises on scenes whose id says so."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar

from hdm_geotiff.reader import GeoTiffReader
from hdm_pipeline.contracts import SceneRef, SceneSource


class FaultyReader(GeoTiffReader):
    """By the first letters of a scene's id: what becomes of who opens it.

    `segfault` crashes the process, `hang` sleeps for ever, `slow` for a while, `raise` is an error of no known type.
    """

    name: ClassVar[str] = "faulty"

    @contextmanager
    def open(self, ref: SceneRef) -> Iterator[SceneSource]:
        """Open a scene, or do what its name says."""
        if ref.id.startswith("segfault"):
            ctypes.string_at(0)
        if ref.id.startswith("hang"):
            time.sleep(3600)
        if ref.id.startswith("slow"):
            time.sleep(0.5)
        if ref.id.startswith("raise"):
            raise KeyError("a bug in a reader")
        with super().open(ref) as source:
            yield source
