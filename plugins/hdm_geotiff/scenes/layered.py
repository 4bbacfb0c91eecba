"""Opening a scene made of several files: its grid, its header, and its pixels.

The grid is that of the finest band that is asked for, or has the `resolution` of the options; bands of another
resolution are resampled to it (`hdm_geotiff.scenes.raster_grid`). Files are opened when a band of theirs is first
needed.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
from affine import Affine
from rasterio.io import DatasetReader

from hdm_geotiff.files.environment import open_dataset, reading
from hdm_geotiff.files.named_crs import crs_named
from hdm_geotiff.files.uris import check_uri
from hdm_geotiff.options import ReaderOptions
from hdm_geotiff.recipes.layers import Layer, LayeredScene, words_of
from hdm_geotiff.scenes.header import (
    check_size,
    check_transform,
    date_attributes,
    declared,
    geometry_of,
    grid_warnings,
    option_warnings,
    placing,
    sidecar_warnings,
)
from hdm_geotiff.scenes.levels import Edges, Levels
from hdm_geotiff.scenes.metadata import ProductFacts, product_facts
from hdm_geotiff.scenes.raster_grid import Grid, Lie, raster_window
from hdm_geotiff.scenes.source import RasterSource
from hdm_geotiff.scenes.stored import StoredBands, own_laws
from hdm_geotiff.scenes.validity import Mask
from hdm_geotiff.values import Law
from hdm_pipeline.contracts import Band, SceneHeader, SceneRef, SceneWarning
from hdm_pipeline.errors import UnsupportedSceneError
from hdm_pipeline.grid import Window


@dataclass(frozen=True)
class _Opened:
    """A band that is open: its file, its number there from 0, how it is read, and how the grid lies on it."""

    layer: Layer
    stored: StoredBands
    index: int
    law: Law
    lie: Lie | None = None

    @property
    def grid(self) -> Grid:
        """Where its pixels lie: as the file says, or else as the layer does of a file of this size."""
        own = Grid.of(self.stored.dataset)
        if own.placed or not self.layer.placed:
            return own
        crs, transform, shape = json.loads(self.layer.placed)
        if tuple(shape) != own.shape:
            return own
        with reading(self.layer.uri, "read the coordinates that the catalog gives"):
            given = Affine(*transform)
            check_transform(given, own.shape, self.layer.uri)
            return Grid(crs_named(crs), given, *own.shape)


@contextmanager
def open_layered(ref: SceneRef, options: ReaderOptions, instead: str = "") -> Iterator[RasterSource]:
    """Open a scene by its recipe.

    Args:
        ref: the scene; `ref.recipe` is a `LayeredScene`.
        options: of the reader.
        instead: what else the user can do about a damaged file, for messages.

    Raises:
        ReadError: a file cannot be read.
        UnsupportedSceneError: the scene has a problem, or its bands do not lie on each other.
    """
    scene = LayeredScene.loads(ref.recipe)
    if scene.problem:
        raise UnsupportedSceneError(scene.problem, where=ref.uri, remedy=scene.remedy)
    with ExitStack() as stack:
        files = _Files(ref, scene, options, instead, stack)
        yield LayeredSource(files, allow_network=options.allow_network)


def asked_for(layers: Sequence[Layer], asked: Sequence[str]) -> tuple[list[Layer], list[int]]:
    """The layers that are bands of the scene, and which of them `input.bands` needs.

    Args:
        layers: of the scene.
        asked: entries of `input.bands`; none means all bands that are not extra.

    Returns:
        Where the entries name bands, these bands in the order of the scene. Else all that are not extra, in the order
        of their numbers, so that numbers count among them. With them, which of these are needed, from 0; all where an
        entry says something that is no band, which whoever resolves the entries will tell.
    """
    by_name = {layer.name.casefold(): layer for layer in layers}
    plain = [layer for layer in layers if not layer.extra]
    named: list[Layer] = []
    numbers: set[int] = set()
    unknown = False
    for entry in asked:
        exact = by_name.get(entry.strip().casefold())
        words = [entry.strip()] if exact else words_of(entry)
        for word in words:
            number = word if word == entry.strip() else word[1:] if word[0] == "b" else ""
            if word.casefold() in by_name:
                named.append(by_name[word.casefold()])
            elif number.isdecimal() and 1 <= int(number) <= len(plain):
                numbers.add(int(number) - 1)
            elif not word[0].isdecimal() or word == entry.strip():
                unknown = True
    wanted = [layer for layer in layers if layer in named]
    if wanted and not numbers and not unknown:
        return wanted, list(range(len(wanted)))
    shown = [layer for layer in layers if not layer.extra or layer in named]
    if unknown or not asked:
        return shown, [place for place, layer in enumerate(shown) if layer.uri]
    needed = [*named, *(plain[number] for number in numbers)]
    return shown, [place for place, layer in enumerate(shown) if layer in needed]


class _Files:
    """The files of a scene, each opened once and closed with the scene."""

    def __init__(
        self, ref: SceneRef, scene: LayeredScene, options: ReaderOptions, instead: str, stack: ExitStack
    ) -> None:
        self.ref = ref
        self.scene = scene
        self.options = options
        self.layers, self.needed = asked_for(scene.layers, options.asked)
        self._instead = instead
        self._stack = stack
        self._datasets: dict[str, DatasetReader] = {}
        self._levels: dict[str, Levels] = {}

    def open(self, number: int) -> _Opened:
        """Open a band, by its place among `layers`.

        Raises:
            ReadError: the file, or the product's metadata, cannot be read.
            UnsupportedSceneError: it is too large, or has no such band.
        """
        layer = self.layers[number]
        if not layer.uri:
            had = ", ".join(one.name for one in self.layers if one.uri)
            what = f"band {layer.name}, number {number + 1}, is missing (the scene has {had})"
            raise UnsupportedSceneError(what, where=self.ref.uri, remedy="add the file, or leave the scene out")
        dataset = self._dataset(layer.uri)
        if layer.band > dataset.count:
            what = f"band {layer.name} is band {layer.band} of a file that has {dataset.count}"
            raise UnsupportedSceneError(what, where=layer.uri, remedy="check which file holds the band")
        laws = list(own_laws(dataset))
        integer = np.dtype(dataset.dtypes[layer.band - 1]).kind in "iu"
        laws[layer.band - 1] = law = self._law(number, laws[layer.band - 1], integer=integer)
        with reading(layer.uri, "read the header", allow_network=self.options.allow_network, instead=self._instead):
            return _Opened(layer, StoredBands(dataset, laws), layer.band - 1, law)

    def levels(self, layer: Layer, stored: StoredBands) -> Levels:
        """The overviews of a band, opened once."""
        return self._levels.setdefault(layer.name, Levels(stored, self._stack))

    @cached_property
    def product(self) -> ProductFacts:
        """What the product's metadata say."""
        return product_facts(self.scene, f"{self.ref.uri}/{self.ref.id}")

    def _dataset(self, uri: str) -> DatasetReader:
        if uri not in self._datasets:
            check_uri(uri, allow_network=self.options.allow_network, allow_vrt=self.options.allow_vrt)
            with reading(uri, "open the file", allow_network=self.options.allow_network, instead=self._instead):
                dataset = self._datasets[uri] = self._stack.enter_context(open_dataset(uri))
                check_size(dataset, uri, self.options)
        return self._datasets[uri]

    def _law(self, number: int, own: Law, *, integer: bool) -> Law:
        """How a band is read: by the user, the recipe, the file's tags, and the product's metadata, in this order.

        Metadata speak of integers as they were delivered; whoever made others of them has applied it.
        """
        layer = self.layers[number]
        said = self.product.laws.get(layer.code, own) if integer else own
        law = own if (own.scale, own.offset) != (1.0, 0.0) else said
        if layer.scale is not None or layer.offset is not None:
            law = Law(1.0 if layer.scale is None else layer.scale, layer.offset or 0.0)
        nodata = next((one for one in (layer.nodata, own.nodata, said.nodata) if one is not None), None)
        names = [one.name for one in self.layers]
        laws = [Law(law.scale, law.offset, nodata) if place == number else Law() for place in range(len(names))]
        return self.options.values.applied(laws, self.ref, names)[number]


class LayeredSource(RasterSource):
    """A scene of several files.

    Args:
        files: of the scene.
        allow_network: whether reading may fetch.
    """

    def __init__(self, files: _Files, *, allow_network: bool = False) -> None:
        self._files = files
        opened = {number: files.open(number) for number in files.needed}
        measured = [one for one in opened.values() if not one.layer.categorical] or list(opened.values())
        finest = min(measured, key=lambda one: (one.grid.pixel, -one.stored.dataset.width))
        self._reference = finest
        grid = finest.grid
        if files.options.resolution is not None and grid.placed:
            grid = grid.at_resolution(files.options.resolution)
        self._grid = grid
        self._opened = {number: self._lying(one) for number, one in opened.items()}
        super().__init__(self._describe(), grid, allow_network=allow_network)

    def _lying(self, one: _Opened) -> _Opened:
        own = one.grid
        lie = Lie.between(self._grid, own, one.layer.name, self._reference.layer.name, self._files.ref.uri)
        return _Opened(one.layer, one.stored, one.index, one.law, None if lie.same else lie)

    def _band(self, number: int) -> _Opened:
        if number not in self._opened:
            self._opened[number] = self._lying(self._files.open(number))
        return self._opened[number]

    def _stored(self, window: Window, bands: Sequence[int]) -> tuple[npt.NDArray[np.float32], Mask]:
        pixels = np.empty((len(bands), window.height, window.width), dtype=np.float32)
        valid: Mask | None = None
        for place, number in enumerate(bands):
            one, target = self._band(number), pixels[place : place + 1]
            with reading(one.layer.uri, f"read band {one.layer.name}", allow_network=self._allow_network):
                if one.lie is None:
                    _, known = one.stored.read([one.index], raster_window(window), target)
                else:
                    known = self._resample(one, one.lie, window, target[0])
            valid = known if valid is None else np.logical_and(valid, known, out=valid)
        return pixels, np.ones(pixels.shape[1:], dtype=np.bool_) if valid is None else valid

    def means(self, bands: Sequence[int], rows: Edges, columns: Edges) -> tuple[npt.NDArray[np.float32], Mask]:
        """See `RasterSource.means`; each band is the mean of its own valid pixels."""
        pixels = np.empty((len(bands), len(rows) - 1, len(columns) - 1), dtype=np.float32)
        valid = np.ones(pixels.shape[1:], dtype=np.bool_)
        for place, number in enumerate(bands):
            one = self._band(number)
            down = one.lie.rows.placed(rows) if one.lie else rows
            across = one.lie.columns.placed(columns) if one.lie else columns
            with reading(one.layer.uri, f"read band {one.layer.name}", allow_network=self._allow_network):
                made, known = self._files.levels(one.layer, one.stored).read(
                    [one.index], down, across, categorical=one.layer.categorical
                )
            pixels[place] = made[0]
            valid &= known
        return pixels, valid

    def _resample(self, one: _Opened, lie: Lie, window: Window, target: npt.NDArray[np.float32]) -> Mask:
        """Fill `target` with a window of a band on another grid; its validity."""
        valid = np.empty(target.shape, dtype=np.bool_)
        nearest = one.layer.categorical or self._files.options.resampling == "nearest"
        for strip in lie.strips(window):
            source = lie.source(strip, nearest)
            made, known = one.stored.read([one.index], raster_window(source))
            rows = slice(strip.y - window.y, strip.bottom - window.y)
            target[rows], valid[rows] = lie.resampled(made[0], known, source, strip, nearest)
        return valid

    def _describe(self) -> SceneHeader:
        """The header of the scene; of bands that are not needed it says no more than their names."""
        ref, dataset = self._files.ref, self._reference.stored.dataset
        grid, layers = self._grid, self._files.layers
        with reading(ref.uri, "read the header", allow_network=self._files.options.allow_network):
            warnings = [*grid_warnings(dataset, grid), *self._notes()]
            attributes = placing(dataset) if grid == self._reference.grid else {}
            dtypes = [np.dtype(one.stored.dataset.dtypes[one.index]) for one in self._opened.values()]
            chunk = min(dataset.block_shapes)
            attributes |= self._dates(dataset)
        bands = [Band(layer.name, layer.unit) for layer in layers]
        for number, one in self._opened.items():
            unit = one.layer.unit or (one.stored.dataset.units[one.index] or "").strip()
            bands[number] = Band(one.layer.name, unit, nodata=declared(one.law.nodata))
        return SceneHeader(
            ref=ref,
            shape=(len(layers), 1, grid.height, grid.width),
            dtype=str(np.result_type(*dtypes)),
            bands=tuple(bands),
            geometry=geometry_of(grid),
            chunk=(int(chunk[0]), int(chunk[1])),
            warnings=tuple(warnings),
            attributes=attributes,
        )

    def _dates(self, dataset: DatasetReader) -> dict[str, str]:
        """When the scene was taken, and what says so: its item, or else what `hdm_geotiff.dates` asks."""
        scene, files = self._files.scene, self._files
        return scene.attributes or date_attributes(dataset, files.ref, files.options, scene.datetime)

    def _notes(self) -> list[str | SceneWarning]:
        """Which bands are resampled, what the product lacks, and which of several bands of a file is used."""
        files, found = self._files, list[str | SceneWarning]()
        found += option_warnings(files.ref, [layer.name for layer in files.scene.layers], files.options)
        if not files.options.values.offset.entries:
            found += files.product.warnings
        for one in self._opened.values():
            if one.stored.dataset.count > 1 and sum(layer.uri == one.layer.uri for layer in files.scene.layers) == 1:
                name, count = os.path.basename(one.layer.uri), one.stored.dataset.count
                found.append(f"{name} holds {count} bands: number {one.index + 1} is {one.layer.name}")
        for uri, dataset in {one.layer.uri: one.stored.dataset for one in self._opened.values()}.items():
            found += sidecar_warnings(dataset, uri)
        other = [one.layer.name for one in self._opened.values() if one.lie is not None]
        if other:
            how = files.options.resampling
            found.append(f"resampled to pixels of {self._grid.pixel:g} ({how}): {', '.join(other)}")
        return found
