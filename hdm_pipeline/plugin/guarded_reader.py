"""Readers kept to their contract; see `guard`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from hdm_pipeline.contracts import (
    DraftingReader,
    LabelChoice,
    LabeledImage,
    LabelKeeper,
    OverviewSource,
    Reader,
    RemoteReader,
    SavedLabels,
    SceneHeader,
    SceneLabels,
    SceneRef,
    SceneSource,
    Skipped,
    SupportRequest,
    VectorLabelReader,
)
from hdm_pipeline.errors import PluginLoadError, SupportError
from hdm_pipeline.grid import Window
from hdm_pipeline.output.layout import is_component
from hdm_pipeline.plugin.guard import Guard, check_array
from hdm_pipeline.plugin.reader_checks import check_header, check_labeled, check_labels, check_pixels, check_saved


class GuardedReader:
    """A reader that is kept to `contracts.Reader`.

    Args:
        reader: the plug-in.
        plugin: its entry point name.
    """

    def __init__(self, reader: Reader, plugin: str) -> None:
        self.name = plugin
        told = getattr(reader, "volumes", None)
        self.volumes: bool | None = None if told is None else bool(told)
        self.remote = isinstance(reader, RemoteReader)
        self._reader = reader
        self._guard = Guard(plugin)

    def discover(self, uri: str) -> Iterator[SceneRef | Skipped]:
        """See `Reader.discover`."""
        where = shown(uri)
        with self._guard.calling("discover", where):
            for item in self._reader.discover(uri):
                self._check_found(item, where)
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
            if isinstance(source, OverviewSource):
                yield GuardedOverviewSource(source, self.name)
            else:
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

    def check_input(self, uri: str) -> None:
        """See `Reader`; nothing where the reader has no such method."""
        check = getattr(self._reader, "check_input", None)
        if check is not None:
            with self._guard.calling("check_input", shown(uri)):
                check(uri)

    def label_choices(self, path: str) -> list[LabelChoice]:
        """See `DraftingReader.label_choices`.

        Raises:
            SupportError: also where the reader does not look into files of labels.
        """
        if not isinstance(self._reader, DraftingReader):
            what = f"the reader {self.name!r} does not look into files of labels"
            raise SupportError(what, where=path, remedy="write `support` by hand: docs/configuration.md")
        with self._guard.calling("label_choices", path):
            found = self._reader.label_choices(path)
        listed = isinstance(found, list) and all(isinstance(one, LabelChoice) for one in found)
        self._guard.require(listed, "label_choices gives no list of LabelChoice", path)
        return found

    def told_of(self, ref: SceneRef) -> str:
        """See `DraftingReader.told_of`; empty for a reader that does not tell."""
        if not isinstance(self._reader, DraftingReader):
            return ""
        with self._guard.calling("told_of", ref.shown, private=ref.private):
            return str(self._reader.told_of(ref))

    def fetch(self, ref: SceneRef, folder: Path, stopped: Callable[[], bool]) -> list[SceneRef | Skipped]:
        """See `RemoteReader.fetch`."""
        reader = self._remote_reader(ref.shown)
        with self._guard.calling("fetch", ref.shown, private=ref.private):
            found = reader.fetch(ref, folder, stopped)
        self._guard.require(isinstance(found, list) and bool(found), "fetch gives no list", ref.shown)
        for item in found:
            self._check_found(item, ref.shown)
            local = isinstance(item, Skipped) or not item.remote
            self._guard.require(local, "a scene that was fetched is remote still", ref.shown)
        return found

    def is_remote(self, uri: str) -> bool:
        """See `RemoteReader.is_remote`; False for a reader that fetches nothing."""
        if not isinstance(self._reader, RemoteReader):
            return False
        with self._guard.calling("is_remote", shown(uri)):
            return bool(self._reader.is_remote(uri))

    def fetch_example(self, uri: str, folder: Path) -> str:
        """See `RemoteReader.fetch_example`."""
        reader = self._remote_reader(shown(uri))
        with self._guard.calling("fetch_example", shown(uri), private=True):
            return str(reader.fetch_example(uri, folder))

    def _remote_reader(self, where: str) -> RemoteReader:
        self._guard.require(isinstance(self._reader, RemoteReader), "it calls a scene remote and cannot fetch", where)
        return cast(RemoteReader, self._reader)

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
        if not isinstance(item, SceneRef):
            require(isinstance(item, Skipped), f"discover gives a {type(item).__name__}", uri)
        elif not (is_component(item.id) and item.reader == self.name and item.identity):
            require(is_component(item.id), f"the scene id {item.id!r} cannot be a folder name", item.shown)
            require(item.reader == self.name, f"a scene names the reader {item.reader!r}", item.shown)
            require(False, "a scene has no identity", item.shown)


def shown(uri: str) -> str:
    """An input as messages and reports name it: the query of an address may name a patient, or hold a key."""
    scheme, separator, rest = uri.partition("://")
    if not separator:
        return uri
    host, slash, path = rest.partition("?")[0].partition("/")
    return f"{scheme}://{host.rpartition('@')[2]}{slash}{path}"  # a name and a password may stand before the host


class GuardedLabelKeeper(GuardedReader):
    """A reader that is kept to `contracts.Reader` and `contracts.LabelKeeper`.

    Args:
        reader: the plug-in.
        keeper: the same.
        plugin: its entry point name.
    """

    def __init__(self, reader: Reader, keeper: LabelKeeper, plugin: str) -> None:
        super().__init__(reader, plugin)
        self._keeper = keeper

    def save_labels(self, labels: SceneLabels, folder: Path) -> SavedLabels:
        """See `LabelKeeper.save_labels`."""
        where = labels.scene.shown
        with self._guard.calling("save_labels", where, private=labels.scene.private):
            saved = self._keeper.save_labels(labels, folder)
        check_saved(self._guard, saved, labels, folder)
        return saved

    def load_labels(self, ref: SceneRef, classes: Mapping[int, str], folder: Path) -> SceneLabels | None:
        """See `LabelKeeper.load_labels`."""
        with self._guard.calling("load_labels", ref.shown, private=ref.private):
            found = self._keeper.load_labels(ref, classes, folder)
        if found is not None:
            check_labels(self._guard, found, ref, classes)
        return found


class GuardedSource:
    """An open scene that is kept to `contracts.SceneSource`.

    Args:
        source: the plug-in's.
        plugin: its entry point name.
    """

    def __init__(self, source: SceneSource, plugin: str) -> None:
        self.header = source.header
        self._source = source
        self._guard = Guard(plugin)

    def read(self, window: Window, bands: Sequence[int]) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
        """See `SceneSource.read`."""
        where = f"{self.header.ref.shown}: {window}"
        with self._guard.calling("read", where, private=self.header.ref.private):
            result = self._source.read(window, tuple(bands))
        return check_pixels(self._guard, "read", result, (len(bands), window.height, window.width), where)

    def sample(self, bands: Sequence[int], max_pixels: int) -> npt.NDArray[np.float32]:
        """See `SceneSource.sample`."""
        where = self.header.ref.shown
        with self._guard.calling("sample", where, private=self.header.ref.private):
            pixels = self._source.sample(tuple(bands), max_pixels)
        count = pixels.shape[1] if isinstance(pixels, np.ndarray) and pixels.ndim == 2 else 0
        check_array(self._guard, "the sample", pixels, np.float32, (len(bands), count), where)
        self._guard.require(count <= max_pixels, f"the sample has {count} pixels, not {max_pixels} at most", where)
        self._guard.require(bool(np.isfinite(pixels).all()), "the sample is not finite", where)
        return pixels

    def row_areas(self) -> npt.NDArray[np.float64] | None:
        """See `SceneSource.row_areas`."""
        where = self.header.ref.shown
        with self._guard.calling("row_areas", where, private=self.header.ref.private):
            areas = self._source.row_areas()
        if areas is not None:
            check_array(self._guard, "row areas", areas, np.float64, (self.header.shape[2],), where)
            self._guard.require(bool(np.isfinite(areas).all() and (areas >= 0).all()), "row areas are no areas", where)
        return areas


class GuardedOverviewSource(GuardedSource):
    """An open scene that is kept to `contracts.OverviewSource`.

    Args:
        source: the plug-in's.
        plugin: its entry point name.
    """

    def __init__(self, source: OverviewSource, plugin: str) -> None:
        super().__init__(source, plugin)
        self._reduced = source

    def read_reduced(
        self, window: Window, bands: Sequence[int], size: tuple[int, int]
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
        """See `OverviewSource.read_reduced`."""
        where = f"{self.header.ref.shown}: {window}"
        with self._guard.calling("read_reduced", where, private=self.header.ref.private):
            result = self._reduced.read_reduced(window, tuple(bands), size)
        return check_pixels(self._guard, "read_reduced", result, (len(bands), *size), where)


def guard_reader(reader: Any, plugin: str) -> Reader:
    """Wrap a reader.

    Raises:
        PluginLoadError: it is no reader at all.
    """
    Guard(plugin, PluginLoadError).require(
        isinstance(reader, Reader), "it lacks methods of a Reader", type(reader).__qualname__
    )
    keeper = reader if isinstance(reader, LabelKeeper) else None
    return cast(Reader, GuardedReader(reader, plugin) if keeper is None else GuardedLabelKeeper(reader, keeper, plugin))
