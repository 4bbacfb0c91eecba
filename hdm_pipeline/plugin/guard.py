"""Keeps plug-ins to their contract at run time: a plug-in that lies is named, before its pixels go anywhere.

Every reader and writer that `registry` makes is wrapped here. Checked is what the core relies on and what costs next
to nothing; `hdm_pipeline.testing` checks a plug-in thoroughly, before it is shipped. Errors of our tree pass through;
anything else that a plug-in raises becomes a `PluginError` with its type and place but without its text, which may
name a patient or hold a secret. The whole story is in the exception it was raised from, which a log shows, too: of a
private scene it is dropped.
"""

from __future__ import annotations

import json
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from hdm_pipeline.contracts import (
    ArchiveWriter,
    Band,
    CatalogWriter,
    ClassInfo,
    LabeledImage,
    PixelSource,
    Product,
    RasterGeometry,
    Reader,
    RunCatalog,
    SceneHeader,
    SceneRef,
    SceneSource,
    SceneWarning,
    SidecarWriter,
    Skipped,
    SupportRequest,
    VectorLabelReader,
    VolumeGeometry,
    Writer,
)
from hdm_pipeline.errors import HdmError, OutputError, PluginError, PluginLoadError, SupportError
from hdm_pipeline.grid import Window
from hdm_pipeline.output.layout import checked_component

_REMEDY = "this is a bug in the plug-in: tell its author, who can run hdm_pipeline.testing against it"
_END = object()


class _Guard:
    """What all guards share: the plug-in's name, and how its errors are told.

    Args:
        plugin: entry point name.
        error: what to raise: `PluginLoadError` where no scene could be worked on.
    """

    def __init__(self, plugin: str, error: type[PluginError] = PluginError) -> None:
        self.plugin = plugin
        self._error = error

    def require(self, holds: bool, what: str, where: str) -> None:
        """Raise `PluginError` unless the plug-in kept to its contract."""
        if not holds:
            raise self._error(f"plug-in {self.plugin!r} broke its contract: {what}", where=where, remedy=_REMEDY)

    @contextmanager
    def calling(self, method: str, where: str, *, private: bool = False) -> Iterator[None]:
        """Run a method of the plug-in; what it raises beyond our errors becomes a `PluginError`."""
        try:
            yield
        except (HdmError, MemoryError):
            raise
        except (Exception, SystemExit) as error:  # whatever a stranger's code may raise
            frames = traceback.extract_tb(error.__traceback__)
            place = f"{Path(frames[-1].filename).name}:{frames[-1].lineno}"
            failure = self._error(
                f"plug-in {self.plugin!r} failed in {method}: {type(error).__name__} at {place}",
                where=where,
                remedy=_REMEDY,
            )
            if private:
                raise failure from None
            raise failure from error


class GuardedReader:
    """A reader that is kept to `contracts.Reader`.

    Args:
        reader: the plug-in.
        plugin: its entry point name.
    """

    def __init__(self, reader: Reader, plugin: str) -> None:
        self.name = plugin
        self.volumes = bool(getattr(reader, "volumes", False))
        self._reader = reader
        self._guard = _Guard(plugin)

    def discover(self, uri: str) -> Iterator[SceneRef | Skipped]:
        """See `Reader.discover`."""
        with self._guard.calling("discover", uri):
            found = iter(self._reader.discover(uri))
        while True:
            with self._guard.calling("discover", uri):
                item: Any = next(found, _END)
            if item is _END:
                return
            self._check_found(item, uri)
            yield item

    def header(self, ref: SceneRef) -> SceneHeader:
        """See `Reader.header`."""
        with self._guard.calling("header", ref.shown, private=ref.private):
            header = self._reader.header(ref)
        check_header(self._guard, header, ref)
        return header

    @contextmanager
    def open(self, ref: SceneRef) -> Iterator[SceneSource]:
        """See `Reader.open`."""
        stack = ExitStack()
        with self._guard.calling("open", ref.shown, private=ref.private):
            source = stack.enter_context(self._reader.open(ref))
        try:
            self._guard.require(isinstance(source, SceneSource), "open gives no SceneSource", ref.shown)
            check_header(self._guard, source.header, ref)
            yield GuardedSource(source, self.name)
        finally:
            with self._guard.calling("closing a scene", ref.shown, private=ref.private):
                stack.close()

    def example_files(self, request: SupportRequest) -> list[str]:
        """See `Reader`; none where the reader has no such method."""
        tell = getattr(self._reader, "example_files", None)
        if tell is None:
            return []
        with self._guard.calling("example_files", request.image):
            return [str(path) for path in tell(request)]

    def read_support(self, request: SupportRequest) -> list[LabeledImage]:
        """See `Reader.read_support`."""
        where = f"{request.image} with {request.mask}"
        if request.vector is not None:
            self._vector_reader(request)
        with self._guard.calling("read_support", where):
            images = self._reader.read_support(request)
        may_be_empty = request.vector is not None and request.vector.optional
        self._guard.require(
            isinstance(images, list) and (len(images) > 0 or may_be_empty), "read_support gives no list", where
        )
        for image in images:
            check_labeled(self._guard, image, where)
        return images

    def check_vector(self, request: SupportRequest) -> None:
        """See `VectorLabelReader.check_vector`."""
        reader = self._vector_reader(request)
        with self._guard.calling("check_vector", request.mask):
            reader.check_vector(request)

    def vector_identity(self, request: SupportRequest) -> str:
        """See `VectorLabelReader.vector_identity`."""
        reader, where = self._vector_reader(request), f"{request.image} with {request.mask}"
        with self._guard.calling("vector_identity", where):
            found = reader.vector_identity(request)
        self._guard.require(isinstance(found, str), f"vector_identity gives a {type(found).__name__}", where)
        return found

    def _vector_reader(self, request: SupportRequest) -> VectorLabelReader:
        """The reader, if it takes vector files as labels.

        Raises:
            SupportError: it does not.
        """
        if not isinstance(self._reader, VectorLabelReader):
            raise SupportError(
                f"the reader {self.name!r} takes no labels from vector files (polygons, lines, points)",
                where=request.mask,
                remedy="give a `mask` in one of the reader's own formats; drawn labels are for input.reader: geotiff",
            )
        return self._reader

    def _check_found(self, item: Any, uri: str) -> None:
        require = self._guard.require
        require(isinstance(item, SceneRef | Skipped), f"discover gives a {type(item).__name__}", uri)
        if isinstance(item, SceneRef):
            try:
                checked_component(item.id)
            except OutputError:
                require(False, f"the scene id {item.id!r} cannot be a folder name", item.shown)
            require(item.reader == self.name, f"a scene names the reader {item.reader!r}", item.shown)
            require(bool(item.identity), "a scene has no identity", item.shown)


class GuardedSource:
    """An open scene that is kept to `contracts.SceneSource`.

    Args:
        source: the plug-in's.
        plugin: its entry point name.
    """

    def __init__(self, source: SceneSource, plugin: str) -> None:
        self.header = source.header
        self._source = source
        self._guard = _Guard(plugin)

    def read(self, window: Window, bands: Sequence[int]) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
        """See `SceneSource.read`."""
        where = f"{self.header.ref.shown}: {window}"
        with self._guard.calling("read", where, private=self.header.ref.private):
            result = self._source.read(window, tuple(bands))
        require = self._guard.require
        require(isinstance(result, tuple) and len(result) == 2, "read gives no pair of pixels and validity", where)
        pixels, valid = result
        _check_array(self._guard, "pixels", pixels, np.float32, (len(bands), window.height, window.width), where)
        _check_array(self._guard, "validity", valid, np.bool_, (window.height, window.width), where)
        require(_finite(pixels, valid), "pixels that it calls valid are not finite", where)
        return pixels, valid

    def sample(self, bands: Sequence[int], max_pixels: int) -> npt.NDArray[np.float32]:
        """See `SceneSource.sample`."""
        where = self.header.ref.shown
        with self._guard.calling("sample", where, private=self.header.ref.private):
            pixels = self._source.sample(tuple(bands), max_pixels)
        count = pixels.shape[1] if isinstance(pixels, np.ndarray) and pixels.ndim == 2 else 0
        _check_array(self._guard, "the sample", pixels, np.float32, (len(bands), count), where)
        self._guard.require(count <= max_pixels, f"the sample has {count} pixels, not {max_pixels} at most", where)
        self._guard.require(bool(np.isfinite(pixels).all()), "the sample is not finite", where)
        return pixels

    def row_areas(self) -> npt.NDArray[np.float64] | None:
        """See `SceneSource.row_areas`."""
        where = self.header.ref.shown
        with self._guard.calling("row_areas", where, private=self.header.ref.private):
            areas = self._source.row_areas()
        if areas is not None:
            _check_array(self._guard, "row areas", areas, np.float64, (self.header.shape[2],), where)
            self._guard.require(bool(np.isfinite(areas).all() and (areas >= 0).all()), "row areas are no areas", where)
        return areas


class GuardedWriter:
    """A writer that is kept to `contracts.Writer`.

    Args:
        writer: the plug-in.
        plugin: its entry point name.
    """

    def __init__(self, writer: Writer, plugin: str) -> None:
        self.name = plugin
        self.needs_uncertainty = bool(getattr(writer, "needs_uncertainty", False))
        self._writer = writer
        self._guard = _Guard(plugin)

    def check(self, classes: Sequence[ClassInfo]) -> list[str]:
        """See `Writer.check`."""
        with self._guard.calling("check", "the classes"):
            return list(self._writer.check(tuple(classes)))

    def filename(self, scene: SceneHeader) -> str:
        """See `Writer.filename`."""
        where = scene.ref.shown
        with self._guard.calling("filename", where, private=scene.ref.private):
            name = self._writer.filename(scene)
        return self._plain(name, f"the file name {name!r}", where)

    def sidecars(self, filename: str) -> tuple[str, ...]:
        """See `SidecarWriter.sidecars`; none where the writer is none."""
        if not isinstance(self._writer, SidecarWriter):
            return ()
        with self._guard.calling("sidecars", filename):
            names = tuple(self._writer.sidecars(filename))
        for name in names:
            self._guard.require(name != filename, "a sidecar is called as the product", filename)
            self._plain(name, f"the name of a sidecar, {name!r},", filename)
        return names

    def write(self, product: Product, path: Path) -> None:
        """See `Writer.write`."""
        where = product.scene.ref.shown
        mask, score = (GuardedPixels(source, self.name) for source in (product.mask, product.score))
        doubt = None if product.uncertainty is None else GuardedPixels(product.uncertainty, self.name)
        with self._guard.calling("write", where, private=product.scene.ref.private):
            self._writer.write(replace(product, mask=mask, score=score, uncertainty=doubt), path)
        made = path.is_file() and not path.is_symlink() and path.stat().st_size > 0
        self._guard.require(made, "write left no file where it was told to", where)

    def _plain(self, name: object, called: str, where: str) -> str:
        """`name`, if it is one that a file may have in the output."""
        try:
            return checked_component(name if isinstance(name, str) else "")
        except OutputError:
            self._guard.require(False, f"{called} is not plain", where)
            raise

    @property
    def describes(self) -> bool:
        """Whether it is a `CatalogWriter`, and so runs last."""
        return isinstance(self._writer, CatalogWriter)

    def finish(self, run: RunCatalog) -> tuple[str, ...]:
        """See `CatalogWriter.finish`; nothing where the writer is none."""
        if not isinstance(self._writer, CatalogWriter):
            return ()
        with self._guard.calling("finish", str(run.root)):
            names = tuple(self._writer.finish(run))
        for name in names:
            made = isinstance(name, str) and Path(name).name == name and (run.root / name).is_file()
            self._guard.require(made, f"finish made no file called {name!r}", str(run.root))
        return names

    @property
    def gathers(self) -> bool:
        """Whether it is an `ArchiveWriter`."""
        return isinstance(self._writer, ArchiveWriter)

    def mosaic(self, run: RunCatalog, *, whole: bool) -> dict[str, Any]:
        """See `ArchiveWriter.mosaic`; nothing where the writer is none."""
        if not isinstance(self._writer, ArchiveWriter):
            return {"files": []}
        with self._guard.calling("mosaic", str(run.root)):
            made = dict(self._writer.mosaic(run, whole=whole))
        there = all(Path(name).name == name and (run.root / name).is_file() for name in made["files"])
        self._guard.require(there, "mosaic made no file of a name that it tells", str(run.root))
        return made

    def compare(self, before: RunCatalog, after: RunCatalog, folder: Path | None) -> dict[str, Any]:
        """See `ArchiveWriter.compare`; nothing where the writer is none."""
        if not isinstance(self._writer, ArchiveWriter):
            return {}
        with self._guard.calling("compare", f"{before.root} and {after.root}"):
            return dict(self._writer.compare(before, after, folder))


class GuardedPixels:
    """A `contracts.PixelSource` that lets a writer read only within the scene.

    Args:
        source: the scene's scores or mask.
        plugin: the writer's name.
    """

    def __init__(self, source: PixelSource, plugin: str) -> None:
        self.shape = source.shape
        self._source = source
        self._guard = _Guard(plugin)

    def read(self, window: Window) -> npt.NDArray[np.uint8]:
        """See `PixelSource.read`."""
        _, depth, height, width = self.shape
        inside = 0 <= window.z < depth and 0 <= window.y < window.bottom <= height
        inside = inside and 0 <= window.x < window.right <= width
        self._guard.require(inside, f"it reads outside of the scene ({depth} x {height} x {width})", str(window))
        return self._source.read(window)


def guard_reader(reader: Any, plugin: str) -> Reader:
    """Wrap a reader.

    Raises:
        PluginLoadError: it is no reader at all.
    """
    _Guard(plugin, PluginLoadError).require(
        isinstance(reader, Reader), "it lacks methods of a Reader", type(reader).__qualname__
    )
    return cast(Reader, GuardedReader(reader, plugin))


def guard_writer(writer: Any, plugin: str) -> GuardedWriter:
    """Wrap a writer.

    Raises:
        PluginLoadError: it is no writer at all.
    """
    _Guard(plugin, PluginLoadError).require(
        isinstance(writer, Writer), "it lacks methods of a Writer", type(writer).__qualname__
    )
    return GuardedWriter(writer, plugin)


def construct(kind: Any, plugin: str, options: Mapping[str, Any]) -> Any:
    """Call a plug-in's class with its options (a copy).

    Raises:
        HdmError: as the plug-in raises it; `PluginLoadError` for anything else.
    """
    with _Guard(plugin, PluginLoadError).calling(
        "its constructor", f"options {', '.join(map(str, options)) or '(none)'}"
    ):
        return kind(dict(options))


def check_header(guard: _Guard, header: Any, ref: SceneRef) -> None:
    """Raise `PluginError` unless a header is one, and of this scene."""
    require, where = guard.require, ref.shown
    require(isinstance(header, SceneHeader), f"the header is a {type(header).__name__}", where)
    require(header.ref == ref, "the header is of another scene", where)
    shape = header.shape
    require(len(shape) == 4 and all(type(n) is int and n > 0 for n in shape), f"the shape is {shape}", where)
    require(len(header.bands) == shape[0], f"{len(header.bands)} bands are described, not {shape[0]}", where)
    require(all(isinstance(band, Band) for band in header.bands), "bands are not described by Band", where)
    geometry = header.geometry
    require(isinstance(geometry, RasterGeometry | VolumeGeometry), "the geometry is neither kind", where)
    numbers = geometry.transform if isinstance(geometry, RasterGeometry) else geometry.affine
    count = 6 if isinstance(geometry, RasterGeometry) else 16
    require(len(numbers) == count and bool(np.isfinite(numbers).all()), "the geometry is no affine map", where)
    told = all(isinstance(warning, str | SceneWarning) for warning in header.warnings)
    require(told, "a warning is neither a text nor a SceneWarning", where)
    require(len(header.chunk) == 2 and min(header.chunk) > 0, f"the chunk is {header.chunk}", where)
    try:
        json.dumps(dict(header.attributes), allow_nan=False)
    except (TypeError, ValueError):
        require(False, "the attributes are no JSON", where)


def check_labeled(guard: _Guard, image: Any, where: str) -> None:
    """Raise `PluginError` unless this is a usable `LabeledImage`."""
    guard.require(isinstance(image, LabeledImage), f"a support example is a {type(image).__name__}", where)
    guard.require(getattr(image.label, "ndim", 0) == 2, "the label of a support example is no image", where)
    shape = image.label.shape
    _check_array(guard, "the pixels of a support example", image.pixels, np.float32, (len(image.bands), *shape), where)
    _check_array(guard, "the validity of a support example", image.valid, np.bool_, shape, where)
    _check_array(guard, "the label of a support example", image.label, np.uint8, shape, where)
    guard.require(_finite(image.pixels, image.valid), "valid pixels of a support example are not finite", where)
    if image.statistics is not None:
        drawn = image.statistics.shape[1:] if isinstance(image.statistics, np.ndarray) else ()
        _check_array(guard, "the statistics", image.statistics, np.float32, (len(image.bands), *drawn), where)
        guard.require(bool(np.isfinite(image.statistics).all()), "the statistics are not finite", where)
    counts = np.bincount(image.label.ravel(), minlength=256)
    guard.require(not counts[2:255].any(), "a support label holds values other than 0, 1 and 255", where)
    guard.require(bool((image.label[~image.valid] == 255).all()), "a support label is not 255 where invalid", where)


def _check_array(guard: _Guard, what: str, array: Any, dtype: Any, shape: tuple[int, ...], where: str) -> None:
    guard.require(isinstance(array, np.ndarray), f"{what} are no array but a {type(array).__name__}", where)
    fits = array.dtype == dtype and array.shape == shape
    guard.require(fits, f"{what}: {array.dtype} {array.shape}, not {np.dtype(dtype)} {shape}", where)


def _finite(pixels: npt.NDArray[np.float32], valid: npt.NDArray[np.bool_]) -> bool:
    """Whether all valid pixels are finite. A sum is infinite or NaN as soon as one of its parts is, and fast."""
    with np.errstate(over="ignore", invalid="ignore"):
        if np.isfinite(pixels.sum(dtype=np.float32)):
            return True
    return bool((np.isfinite(pixels) | ~valid).all())
