"""Labels that a person draws on scenes, as files of that person: `hdm_pipeline.contracts.LabelKeeper`.

``SCENE_labels.tif`` holds them pixel by pixel. For a scene with a CRS and a place, ``SCENE_labels.gpkg`` holds their
outlines, and examples name these: a large scene is then cut around what is drawn, and who opens them in a GIS may go on
drawing there. For a picture without, examples name the GeoTIFF.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from pyproj import CRS

from hdm_geotiff.examples.edited_labels import patches_of
from hdm_geotiff.examples.example_image import image_of
from hdm_geotiff.examples.label_raster import SavedRaster, write_label_raster
from hdm_geotiff.examples.tracing import traced
from hdm_geotiff.examples.vector_file import EXPECTED, VectorFile
from hdm_geotiff.files.environment import GDAL_ERRORS
from hdm_geotiff.files.failures import labels_error, what_stops_writing
from hdm_geotiff.options import ReaderOptions
from hdm_geotiff.polygons.vector_files import VECTOR_ERRORS, GeoPackage
from hdm_geotiff.products.styles import attribute_table
from hdm_geotiff.scenes.opening import open_source
from hdm_geotiff.scenes.raster_grid import Grid
from hdm_pipeline.contracts import (
    BACKGROUND,
    IGNORE,
    ClassInfo,
    LabelPatch,
    SavedLabels,
    SceneHeader,
    SceneLabels,
    SceneRef,
    Selection,
)
from hdm_pipeline.errors import OutputError, SupportError

_ATTRIBUTE = "class"
_RASTER, _TABLE, _OUTLINES = "new.tif", "new.tif.aux.xml", "new.gpkg"
_MOST_KEPT = 64
"""Scenes whose header is remembered: labels are saved after every stroke."""


class KeptLabels:
    """What `GeoTiffReader` does for labels that are drawn; see `LabelKeeper`.

    Args:
        options: of the reader.
    """

    def __init__(self, options: ReaderOptions) -> None:
        self._options = options
        self._scenes: dict[SceneRef, tuple[SceneHeader, Grid, str | None]] = {}

    def save(self, labels: SceneLabels, folder: Path) -> SavedLabels:
        """See `LabelKeeper.save_labels`."""
        files = _Files.of(labels.scene, folder)
        files.check_free()
        known = tuple(patch for patch in labels.patches if (patch.values != IGNORE).any())
        if not known:
            files.remove()
            return SavedLabels((), {})
        header, grid, image = self._scene(labels.scene)
        try:
            with tempfile.TemporaryDirectory(prefix=".labels-", dir=folder) as made:
                try:
                    outlined = _write(Path(made), labels, known, header, grid)
                    files.take(Path(made), outlined)
                except (*GDAL_ERRORS, *VECTOR_ERRORS) as error:
                    needed = sum(patch.values.size for patch in known)  # without compression
                    raise labels_error(error, folder, what_stops_writing(Path(made), needed)) from error
        except OSError as error:
            raise labels_error(error, folder, error) from error
        written = [files.raster, files.table, *([files.outlines] if outlined else [])]
        examples = {} if image is None else _examples(labels, known, files, image, outlined)
        return SavedLabels(tuple(map(str, written)), examples)

    def load(self, ref: SceneRef, classes: Mapping[int, str], folder: Path) -> SceneLabels | None:
        """See `LabelKeeper.load_labels`."""
        files = _Files.of(ref, folder)
        if not files.raster.exists() and not files.outlines.exists():
            return None
        _, grid, _ = self._scene(ref)
        saved = _saved(files.raster, grid) if files.raster.exists() else None
        if files.outlines.exists() and (saved is None or files.state() != saved.twin):
            patches = _edited(files, saved, classes, grid)
        else:
            assert saved is not None
            patches = saved.patches(_renumbered(saved.classes, classes))
        then = {} if saved is None else saved.colors
        numbers = _renumbered(None if saved is None else saved.classes, classes)
        colors = {numbers[value]: color for value, color in then.items() if value in numbers}
        return SceneLabels(ref, dict(sorted(classes.items())), colors, patches) if patches else None

    def _scene(self, ref: SceneRef) -> tuple[SceneHeader, Grid, str | None]:
        """A scene's header and grid, and what names it in examples."""
        if ref not in self._scenes:
            with open_source(ref, self._options, None) as source:
                found = source.header, source.grid, image_of(ref, self._options)
            if len(self._scenes) == _MOST_KEPT:
                self._scenes.pop(next(iter(self._scenes)))
            self._scenes[ref] = found
        return self._scenes[ref]


class _Files:
    """The files of a scene's labels.

    Args:
        raster: ``SCENE_labels.tif``.
    """

    def __init__(self, raster: Path) -> None:
        self.raster = raster
        self.table = raster.with_name(f"{raster.name}.aux.xml")
        self.outlines = raster.with_suffix(".gpkg")

    @classmethod
    def of(cls, ref: SceneRef, folder: Path) -> _Files:
        """Those of a scene in a folder."""
        return cls(Path(os.path.abspath(folder)) / f"{ref.id}_labels.tif")

    def state(self) -> str:
        """What changes with the outlines; what a program has not yet brought into their file is a change, too."""
        log = self._beside("-wal")
        pending = log.exists() and log.stat().st_size > 0
        return "pending" if pending else hashlib.sha256(self.outlines.read_bytes()).hexdigest()

    def check_free(self) -> None:
        """Raise `OutputError` while another program has changes of the outlines that are not yet in their file."""
        log = self._beside("-wal")
        if log.exists() and log.stat().st_size > 0:
            remedy = "save your edits and close it there; labels that were drawn here are then saved, too"
            what = "labels are not saved: another program (QGIS?) is changing their outlines"
            raise OutputError(what, where=str(self.outlines), remedy=remedy)

    def remove(self) -> None:
        """Remove them all."""
        try:
            for path in (self.outlines, self.raster, self.table, self._beside("-wal"), self._beside("-shm")):
                path.unlink(missing_ok=True)
        except OSError as error:
            raise labels_error(error, self.raster.parent, error) from error

    def take(self, made: Path, outlined: bool) -> None:
        """Put finished files into place: outlines first, for where they are not those of the GeoTIFF they count."""
        names = {**({self.outlines: _OUTLINES} if outlined else {}), self.table: _TABLE, self.raster: _RASTER}
        for name in names.values():
            with (made / name).open("rb") as file:
                os.fsync(file.fileno())
        if outlined:
            for end in ("-wal", "-shm"):  # of a program that shows the file that goes: it would take them for its own
                self._beside(end).unlink(missing_ok=True)
        for path, name in names.items():
            os.replace(made / name, path)
        if not outlined:
            self.outlines.unlink(missing_ok=True)

    def _beside(self, end: str) -> Path:
        return self.outlines.with_name(self.outlines.name + end)


def _write(folder: Path, labels: SceneLabels, known: tuple[LabelPatch, ...], header: SceneHeader, grid: Grid) -> bool:
    """Write all files into a folder; whether outlines are among them."""
    outlines = folder / _OUTLINES
    outlined = grid.placed_in_crs and _write_outlines(outlines, labels, known, grid)
    twin = hashlib.sha256(outlines.read_bytes()).hexdigest() if outlined else ""
    drawn = SceneLabels(labels.scene, labels.classes, labels.colors, known)
    write_label_raster(folder / _RASTER, drawn, header, twin)
    colors = labels.colors
    named = [ClassInfo(value, name, colors.get(value, (0, 0, 0))) for value, name in labels.classes.items()]
    (folder / _TABLE).write_text(attribute_table(named), encoding="utf-8", newline="\n")
    return outlined


def _write_outlines(path: Path, labels: SceneLabels, known: tuple[LabelPatch, ...], grid: Grid) -> bool:
    """Write the outlines of everything that is known; False where a GeoPackage cannot say where they lie."""
    assert grid.crs is not None
    shapes, values = traced(known)
    a, b, c, d, e, f = tuple(grid.transform)[:6]
    placed = shapely.transform(shapes, lambda xy: np.column_stack([xy @ (a, b) + c, xy @ (d, e) + f]))
    names = {BACKGROUND: background_of(labels.classes), **labels.classes}
    column = np.array([names[int(value)] for value in values], dtype=object)
    facts = {EXPECTED: json.dumps([_filter(name) for name in labels.classes.values()])}
    file = GeoPackage(path, grid.crs.to_wkt(), facts, layer="labels")
    file.write(shapely.to_wkb(placed), {_ATTRIBUTE: column})
    file.close()
    try:
        written = VectorFile(str(path))
        crs, _ = written.crs(written.layer(Selection()), None)
        if len(written.features(Selection())) != len(shapes):
            raise OSError("the outlines came out wrong")
    except SupportError:
        crs = None  # it knows no such CRS
    same = crs is not None and crs.equals(CRS.from_wkt(grid.crs.to_wkt()), ignore_axis_order=True)
    if not same:
        path.unlink()
    return same


def background_of(classes: Mapping[int, str]) -> str:
    """What outlines call background: no class is called so."""
    name = "background"
    while name in classes.values():
        name = f"no {name}"
    return name


def _examples(
    labels: SceneLabels, known: tuple[LabelPatch, ...], files: _Files, image: str, outlined: bool
) -> dict[str, dict[str, Any]]:
    """What stands in a pipeline file, by class; other classes are background of a class, also where it is not drawn."""
    drawn = sorted({int(value) for patch in known for value in np.unique(patch.values)} - {IGNORE})
    found: dict[str, dict[str, Any]] = {}
    for value, name in labels.classes.items():
        others = [one for one in drawn if one != value]
        if outlined:
            found[name] = {"image": image, "labels": str(files.outlines), "where": _filter(name)}
            if others:
                found[name]["background"] = _filter(name, "<>")
        else:
            background = sorted({BACKGROUND, *others})
            found[name] = {"image": image, "mask": str(files.raster), "value": value, "background": background}
    return found


def _filter(name: str, compared: str = "=") -> str:
    """The features of a class, or by ``<>`` all others."""
    quoted = name.replace("'", "''")
    return f"{_ATTRIBUTE} {compared} '{quoted}'"


def _saved(path: Path, grid: Grid) -> SavedRaster:
    """The GeoTIFF of a scene's labels.

    Raises:
        SupportError: it cannot be read, or lies otherwise than the scene.
    """
    remedy = "move it away if another program changed it, or bring it back to the scene's size and place"
    try:
        found = SavedRaster(path)
    except (*GDAL_ERRORS, ValueError) as error:
        raise SupportError(f"saved labels cannot be read: {error}", where=str(path), remedy=remedy) from error
    if found.grid.shape != grid.shape:
        sizes = f"{found.grid.height} x {found.grid.width} pixels, but the scene {grid.height} x {grid.width}"
        raise SupportError(f"saved labels no longer fit the scene: they have {sizes}", where=str(path), remedy=remedy)
    if grid.placed and not found.grid.transform.almost_equals(grid.transform, 1e-3 * grid.pixel):
        raise SupportError("saved labels no longer lie where the scene lies", where=str(path), remedy=remedy)
    return found


def _renumbered(named: Mapping[int, str] | None, classes: Mapping[int, str]) -> dict[int, int]:
    """Values now by values then: classes are told by their names."""
    if named is None:
        return {value: value for value in classes}
    now = {name: value for value, name in classes.items()}
    return {value: now[name] for value, name in named.items() if name in now}


def _edited(files: _Files, saved: SavedRaster | None, classes: Mapping[int, str], grid: Grid) -> tuple[LabelPatch, ...]:
    """What another program made of the outlines; a class that was known when they were written may be gone since."""
    then = dict(saved.classes or {}) if saved is not None else {}
    values = dict.fromkeys(then.values(), IGNORE) | {name: value for value, name in classes.items()}
    values[background_of(then or classes)] = BACKGROUND
    if not grid.placed_in_crs:
        remedy = "remove the file, or give the scene its CRS and place again"
        raise SupportError("outlines of labels need a scene with coordinates", where=str(files.outlines), remedy=remedy)
    return patches_of(str(files.outlines), _ATTRIBUTE, values, grid)
