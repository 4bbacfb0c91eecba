# ruff: noqa: D101, D102
"""Folders of PNG images as scenes, and masks as PNG: an example of a plug-in, in one file."""

import re
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image

from hdm_pipeline.contracts import IGNORE, Band, LabeledImage, RasterGeometry, SceneHeader, SceneRef
from hdm_pipeline.errors import ArchiveError, ConfigError, ReadError, SupportError, WriteError
from hdm_pipeline.grid import Window

BANDS, GEOMETRY = (Band("red"), Band("green"), Band("blue")), RasterGeometry((1.0, 0.0, 0.0, 0.0, -1.0, 0.0))


def load(path):
    """Pixels [3, y, x] uint8 and validity [y, x] of a PNG file: what is transparent is not valid."""
    try:
        with Image.open(path, formats=["PNG"]) as image:
            pixels = np.asarray(image.convert("RGBA")).transpose(2, 0, 1)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ReadError("not a readable PNG", where=str(path), remedy="save the image again") from error
    return pixels[:3], pixels[3] > 0


class Plugin:
    def __init__(self, options=None):
        if options:
            raise ConfigError(f"unknown options {', '.join(options)}", where=self.name, remedy="remove them")


class PngSource:
    def __init__(self, ref):
        self.pixels, self.valid = load(ref.uri)  # PNG cannot be read in parts
        self.header = SceneHeader(ref, (3, 1, *self.valid.shape), "uint8", BANDS, GEOMETRY, warnings=("no CRS",))

    def read(self, window, bands):
        part = (slice(window.y, window.bottom), slice(window.x, window.right))
        return self.pixels[(list(bands), *part)].astype(np.float32), self.valid[part].copy()

    def sample(self, bands, max_pixels):
        return self.pixels[list(bands)][:, self.valid][:, :: -(-self.valid.size // max_pixels)].astype(np.float32)

    def row_areas(self):
        return None


class PngReader(Plugin):
    name = "png"

    def discover(self, uri):
        if not Path(uri).is_dir():
            raise ArchiveError("there is no such folder", where=uri, remedy="give a folder of PNG files")
        for path in sorted(Path(uri).glob("*.png"), key=lambda path: path.stem):
            name, facts = re.sub(r"[^A-Za-z0-9._-]", "_", f"scene_{path.stem}"), path.stat()
            yield SceneRef(name, str(path), self.name, f"{facts.st_size}-{facts.st_mtime_ns}")

    def header(self, ref):
        return PngSource(ref).header

    @contextmanager
    def open(self, ref):
        yield PngSource(ref)

    def read_support(self, request):
        try:
            (pixels, valid), ((mask, _, _), _) = load(request.image), load(request.mask)
        except ReadError as error:
            raise SupportError(error.what, where=error.where, remedy=error.remedy) from error
        label = np.isin(mask, request.values).astype(np.uint8)
        if mask.shape != valid.shape or not label.any():
            raise SupportError("mask of another size, or without the class", where=request.mask, remedy="check it")
        background = set(request.background or range(IGNORE)) - {*request.ignore}
        label[~np.isin(mask, [*request.values, *background]) | ~valid] = IGNORE
        return [LabeledImage(Path(request.image).stem, pixels.astype(np.float32), valid, label, BANDS)]


class PngWriter(Plugin):
    name = "png-mask"

    def check(self, classes):
        return []

    def filename(self, scene):
        return "mask.png"

    def write(self, product, path):
        (height, width), (rows, columns) = product.mask.shape[2:], product.block
        mask = np.empty((height, width), np.uint8)
        for y in range(0, height, rows):
            for x in range(0, width, columns):
                window = Window(z=0, y=y, x=x, height=min(rows, height - y), width=min(columns, width - x))
                mask[y : window.bottom, x : window.right] = product.mask.read(window)[0]
        try:
            Image.fromarray(mask).save(path, "PNG")
        except OSError as error:
            raise WriteError("cannot write the PNG", where=str(path), remedy="check the folder") from error
