"""Writers kept to their contract; see `guard`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hdm_pipeline.contracts import (
    SCENE_KINDS,
    ArchiveWriter,
    CatalogWriter,
    ClassInfo,
    NeighborCheckingWriter,
    PixelSource,
    Product,
    RunCatalog,
    SceneCheckingWriter,
    SceneHeader,
    SceneKind,
    SidecarWriter,
    VolumeGeometry,
    Writer,
)
from hdm_pipeline.errors import OutputError, PluginLoadError, WriteError
from hdm_pipeline.grid import Window
from hdm_pipeline.output.layout import checked_component
from hdm_pipeline.plugin.guard import Guard


class GuardedWriter:
    """A writer that is kept to `contracts.Writer`.

    Args:
        writer: the plug-in.
        plugin: its entry point name.
    """

    def __init__(self, writer: Writer, plugin: str) -> None:
        self.name = plugin
        self.needs_uncertainty = bool(getattr(writer, "needs_uncertainty", False))
        self.needs_picture = bool(getattr(writer, "needs_picture", False))
        self.media_type: str | None = getattr(writer, "media_type", None)
        self.scenes: SceneKind = getattr(writer, "scenes", "any")
        self._writer = writer
        self._guard = Guard(plugin)
        after = getattr(writer, "after", ())
        named = isinstance(after, tuple) and all(isinstance(name, str) for name in after)
        self._guard.require(named, "`after` is no tuple of product names", type(writer).__qualname__)
        self.after: tuple[str, ...] = after if named else ()

    def check(self, classes: Sequence[ClassInfo]) -> list[str]:
        """See `Writer.check`."""
        with self._guard.calling("check", "the classes"):
            return list(self._writer.check(tuple(classes)))

    def check_beside(self, products: Mapping[str, Mapping[str, Any]]) -> list[str]:
        """See `NeighborCheckingWriter.check_beside`; nothing where the writer is none."""
        if not isinstance(self._writer, NeighborCheckingWriter):
            return []
        with self._guard.calling("check_beside", f"products {', '.join(products)}"):
            return list(self._writer.check_beside({name: dict(options) for name, options in products.items()}))

    def filename(self, scene: SceneHeader) -> str:
        """See `Writer.filename`."""
        where = scene.ref.shown
        with self._guard.calling("filename", where, private=scene.ref.private):
            name = self._writer.filename(scene)
        return self._plain(name, f"the file name {name!r}", where)

    def check_scene(self, scene: SceneHeader) -> None:
        """See `SceneCheckingWriter.check_scene`; a scene of the wrong kind is refused for every writer.

        Raises:
            WriteError: the product cannot be made of this scene.
        """
        kind: SceneKind = "volumes" if isinstance(scene.geometry, VolumeGeometry) else "rasters"
        if self.scenes not in ("any", kind):
            raise WriteError(
                f"the product {self.name!r} can be made of {self.scenes} only",
                where=scene.ref.shown,
                remedy=f"leave it out of output.products, or choose one for {kind}",
            )
        if isinstance(self._writer, SceneCheckingWriter):
            with self._guard.calling("check_scene", scene.ref.shown, private=scene.ref.private):
                self._writer.check_scene(scene)

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
        picture = product.picture if self.needs_picture else None
        with self._guard.calling("write", where, private=product.scene.ref.private):
            self._writer.write(replace(product, mask=mask, score=score, uncertainty=doubt, picture=picture), path)
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
        files, left_out = made.get("files"), made.get("left_out", {})
        told = isinstance(files, list | tuple) and all(isinstance(name, str) for name in files)
        self._guard.require(told, "mosaic does not tell the names of its files", str(run.root))
        self._guard.require(isinstance(left_out, Mapping), "mosaic does not tell what is left out", str(run.root))
        about = isinstance(made.get("about", {}), Mapping)
        self._guard.require(about, "mosaic does not tell what its files show", str(run.root))
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
        self._guard = Guard(plugin)

    def read(self, window: Window) -> npt.NDArray[np.uint8]:
        """See `PixelSource.read`."""
        _, depth, height, width = self.shape
        inside = 0 <= window.z < depth and 0 <= window.y < window.bottom <= height
        inside = inside and 0 <= window.x < window.right <= width
        self._guard.require(inside, f"it reads outside of the scene ({depth} x {height} x {width})", str(window))
        return self._source.read(window)


def guard_writer(writer: Any, plugin: str) -> GuardedWriter:
    """Wrap a writer.

    Raises:
        PluginLoadError: it is no writer at all.
    """
    guard, where = Guard(plugin, PluginLoadError), type(writer).__qualname__
    guard.require(isinstance(writer, Writer), "it lacks methods of a Writer", where)
    kind = getattr(writer, "scenes", "any")
    guard.require(kind in SCENE_KINDS, f"its scenes are {kind!r}, none of {', '.join(SCENE_KINDS)}", where)
    return GuardedWriter(writer, plugin)
