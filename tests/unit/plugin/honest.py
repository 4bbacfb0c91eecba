"""Honest plug-ins, and the same with methods that a test replaces."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from hdm_pipeline.contracts import (
    Band,
    ClassInfo,
    LabeledImage,
    Product,
    Provenance,
    RasterGeometry,
    SceneHeader,
    SceneRef,
    Skipped,
    SupportRequest,
)
from hdm_pipeline.grid import Window
from hdm_pipeline.plugin.guarded_reader import guard_reader
from hdm_pipeline.plugin.guarded_writer import guard_writer

REF = SceneRef("scene", "/archive/scene", "honest", "1")
HEADER = SceneHeader(
    REF, (2, 1, 40, 30), "float32", (Band("VV"), Band("VH")), RasterGeometry((10.0, 0.0, 0.0, 0.0, -10.0, 0.0))
)
WINDOW = Window(z=0, y=0, x=0, height=8, width=6)


class Source:
    header = HEADER

    def read(self, window: Window, bands: Any) -> Any:
        shape = window.height, window.width
        return np.ones((len(bands), *shape), np.float32), np.ones(shape, np.bool_)

    def sample(self, bands: Any, max_pixels: int) -> Any:
        return np.ones((len(bands), min(max_pixels, 5)), np.float32)

    def row_areas(self) -> Any:
        return np.full(40, 100.0)


class Reader:
    """Honest, unless a test replaces one of its methods."""

    name: ClassVar[str] = "honest"
    source: Any = Source()

    def __init__(self, options: Any = None) -> None:
        self.options = options

    def discover(self, uri: str) -> Iterator[Any]:
        yield REF
        yield Skipped(uri, "no scene")

    def header(self, ref: SceneRef) -> Any:
        return HEADER

    @contextmanager
    def open(self, ref: SceneRef) -> Iterator[Any]:
        yield self.source

    def read_support(self, request: SupportRequest) -> Any:
        return [labeled()]


class Writer:
    name: ClassVar[str] = "honest"

    def __init__(self, options: Any = None) -> None:
        self.options = options

    def check(self, classes: Any) -> list[str]:
        return []

    def filename(self, scene: SceneHeader) -> Any:
        return "mask.bin"

    def write(self, product: Product, path: Path) -> None:
        path.write_bytes(product.mask.read(Window(z=0, y=0, x=0, height=40, width=30)).tobytes())


def labeled(**changes: Any) -> LabeledImage:
    values = {
        "name": "chip",
        "pixels": np.ones((2, 4, 4), np.float32),
        "valid": np.ones((4, 4), np.bool_),
        "label": np.eye(4, dtype=np.uint8),
        "bands": HEADER.bands,
    }
    return LabeledImage(**{**values, **changes})


class Constant:
    shape = (1, 1, 40, 30)

    def read(self, window: Window) -> Any:
        return np.zeros((1, window.height, window.width), np.uint8)


PRODUCT = Product(
    HEADER, (ClassInfo(1, "flood"),), Constant(), Constant(), (16, 16), Provenance("1", "p", "w", "s", 0.5, "m")
)


def lie_source(**methods: Callable[..., Any]) -> Any:
    kind = type("Liar", (Source,), {name: staticmethod(method) for name, method in methods.items()})
    reader = Reader()
    reader.source = kind()
    return guard_reader(reader, "liar")


def reader_with(**methods: Callable[..., Any]) -> Any:
    kind = type("Liar", (Reader,), {name: staticmethod(method) for name, method in methods.items()})
    return guard_reader(kind(), "liar")


def writer_with(**methods: Callable[..., Any]) -> Any:
    kind = type("Liar", (Writer,), {name: staticmethod(method) for name, method in methods.items()})
    return guard_writer(kind(), "liar")
