"""What changed between the masks of two runs, pixel by pixel, where their scenes lie on each other.

Each mask of the earlier run is compared on its own grid. The later mask of the same grid is its counterpart; where
there is none, all later masks that reach into it are warped onto its grid (nearest), and a notice says so. Pixels
without data on either side count for nothing. Classes are told apart by their names, whatever their values.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import rasterio
from rasterio.crs import CRS
from rasterio.enums import Resampling
from rasterio.io import DatasetReader
from rasterio.vrt import WarpedVRT
from rasterio.windows import Window as RasterWindow

from hdm_geotiff.files.environment import reading
from hdm_geotiff.files.failures import write_error
from hdm_geotiff.products.class_raster import ClassRaster, open_class_raster
from hdm_geotiff.products.cog import windows
from hdm_geotiff.products.mask_files import MaskFile, masks_of, read_mask_file
from hdm_geotiff.scenes.pixel_areas import row_areas
from hdm_geotiff.scenes.raster_grid import raster_window
from hdm_pipeline.contracts import NODATA, ClassInfo, RunCatalog
from hdm_pipeline.errors import ConfigError
from hdm_pipeline.grid import Window

KINDS = (
    ClassInfo(1, "stable", (120, 120, 120)),
    ClassInfo(2, "gained", (30, 90, 220)),
    ClassInfo(3, "lost", (220, 90, 30)),
)
"""Values of a raster of changes; 0 is neither before nor after, 255 unknown."""

_BLOCK = (1024, 1024)


@dataclass(frozen=True, eq=False)
class _Pair:
    """A mask of the earlier run, and what lies on it of the later one.

    Attributes:
        before: the earlier mask.
        after: the later ones; the first that has data counts.
        same_grid: whether there is one, and it lies pixel on pixel.
    """

    before: MaskFile
    after: tuple[MaskFile, ...]
    same_grid: bool


@dataclass
class _Counts:
    """Pixels and square metres by class and kind."""

    pixels: Counter[tuple[str, str]] = field(default_factory=Counter)
    areas: defaultdict[tuple[str, str], float] = field(default_factory=lambda: defaultdict(float))
    measured: bool = True

    def add(self, other: _Counts) -> None:
        self.pixels.update(other.pixels)
        for key, area in other.areas.items():
            self.areas[key] += area
        self.measured = self.measured and other.measured

    def as_dict(self, classes: Sequence[str]) -> dict[str, Any]:
        return {
            name: {
                kind.name: {
                    "pixels": int(self.pixels[name, kind.name]),
                    "area_m2": float(self.areas[name, kind.name]) if self.measured else None,
                }
                for kind in KINDS
            }
            for name in classes
        }


def compare_masks(before: RunCatalog, after: RunCatalog, folder: Path | None) -> dict[str, Any]:
    """Compare the masks of two runs; see `contracts.ArchiveWriter.compare`.

    With a folder, ``<scene>/change_<value>_<class>.tif`` is written there for each class: a COG, 1 stable, 2 gained,
    3 lost, 0 neither, 255 unknown on either side. The value is that of the class in the earlier mask.

    Raises:
        ConfigError: nothing lies on each other, or no class has the same name.
        ReadError: a mask cannot be read.
        OutputError: the folder is not writable, or the disk is full.
    """
    earlier, later = ([read_mask_file(*one) for one in masks_of(run).items()] for run in (before, after))
    where = f"{before.root} and {after.root}"
    names = _common(earlier, later, where)
    notices = _class_notices(earlier, later, names)
    pairs = list(_pairs(earlier, later, notices))
    if not pairs:
        remedy = "compare runs over the same place; scenes without coordinates are matched by id and size"
        raise ConfigError("no scene of one run lies on a scene of the other", where=where, remedy=remedy)
    total, files = _Counts(), list[str]()
    every = {one.name: one.value for mask in reversed(earlier) for one in mask.classes}
    values = {name: every[name] for name in names}  # of the first mask that has the class
    scenes: dict[str, dict[str, Any]] = {}
    for pair in pairs:
        counts = _compare(pair, values, folder, files)
        total.add(counts)
        scenes[pair.before.scene] = {"with": [mask.scene for mask in pair.after], "same_grid": pair.same_grid}
        scenes[pair.before.scene]["classes"] = counts.as_dict(names)
    notices += _overlap_notices([pair.before for pair in pairs])
    matched = {mask.scene for pair in pairs for mask in pair.after}
    return {
        "classes": total.as_dict(names),
        "scenes": scenes,
        "unmatched": {
            "before": [mask.scene for mask in earlier if mask.scene not in scenes],
            "after": [mask.scene for mask in later if mask.scene not in matched],
        },
        "notices": notices,
        "files": files,
    }


def _common(earlier: Sequence[MaskFile], later: Sequence[MaskFile], where: str) -> list[str]:
    """Names of the classes that both runs have."""
    first, second = (
        list(dict.fromkeys(one.name for mask in masks for one in mask.classes)) for masks in (earlier, later)
    )
    if not earlier or not later:
        what = "there are no masks in " + ("the earlier run" if not earlier else "the later run")
        raise ConfigError(what, where=where, remedy="run both pipelines with the product mask")
    names = [name for name in first if name in second]
    if not names:
        remedy = f"give the classes the same names: {', '.join(first)} before, {', '.join(second)} after"
        raise ConfigError("the two runs have no class in common", where=where, remedy=remedy)
    return names


def _class_notices(earlier: Sequence[MaskFile], later: Sequence[MaskFile], names: Sequence[str]) -> list[str]:
    every = dict.fromkeys(one.name for mask in (*earlier, *later) for one in mask.classes)
    alone = [name for name in every if name not in names]
    return [f"only one of the runs has the class {name}: it is not compared" for name in alone]


def _pairs(earlier: Sequence[MaskFile], later: Sequence[MaskFile], notices: list[str]) -> Iterator[_Pair]:
    by_grid: dict[tuple[object, ...], list[MaskFile]] = {}
    for one in later:
        by_grid.setdefault(one.grid, []).append(one)
    boxes, told_apart = _Boxes(later), set[str | None]()
    for mask in earlier:
        same = by_grid.get(mask.grid, [])
        if mask.crs_wkt is None:  # pixels of two scenes without coordinates may show different places
            same = [one for one in same if one.scene == mask.scene]
        if same:
            chosen = next((one for one in same if one.scene == mask.scene), same[0])
            if len(same) > 1:
                others = ", ".join(one.scene for one in same if one is not chosen)
                notices.append(f"{mask.scene}: compared with {chosen.scene}; {others} lie there, too, and are not used")
            yield _Pair(mask, (chosen,), same_grid=True)
            continue
        if (apart := boxes.apart(mask)) and mask.crs_wkt not in told_apart:
            told_apart.add(mask.crs_wkt)
            others = ", ".join(one.scene for one in apart[:4]) + (", ..." if len(apart) > 4 else "")
            notices.append(f"{mask.scene}: nothing leads from its coordinate reference system to that of {others}")
        if reaching := boxes.reaching(mask):
            told = ", ".join(one.scene for one in reaching)
            notices.append(f"{mask.scene}: on another grid than {told}, which was warped onto its own (nearest)")
            yield _Pair(mask, reaching, same_grid=False)


class _Boxes:
    """Where masks lie, in any CRS that is asked for.

    Args:
        masks: those without coordinates lie nowhere.
    """

    def __init__(self, masks: Sequence[MaskFile]) -> None:
        self._masks = [mask for mask in masks if mask.crs_wkt is not None]
        self._known: dict[str, npt.NDArray[np.float64]] = {}

    def reaching(self, mask: MaskFile) -> tuple[MaskFile, ...]:
        """The masks whose boxes overlap that of a mask by half a pixel of it at least."""
        boxes = self._in(mask.crs_wkt)
        left, bottom, right, top = mask.bounds
        least = float(np.sqrt(abs(mask.affine.determinant))) / 2
        across = np.minimum(boxes[:, 2], right) - np.maximum(boxes[:, 0], left)
        down = np.minimum(boxes[:, 3], top) - np.maximum(boxes[:, 1], bottom)
        return tuple(self._masks[index] for index in np.flatnonzero((across > least) & (down > least)))

    def apart(self, mask: MaskFile) -> tuple[MaskFile, ...]:
        """The masks that lie nowhere in the CRS of a mask."""
        return tuple(self._masks[index] for index in np.flatnonzero(np.isnan(self._in(mask.crs_wkt)).all(axis=1)))

    def _in(self, crs_wkt: str | None) -> npt.NDArray[np.float64]:
        """[masks, 4] boxes in a CRS, NaN where there is none; no masks without a CRS."""
        if crs_wkt is None or not self._masks:
            return np.empty((0, 4))
        if crs_wkt not in self._known:
            boxes = [one.bounds_in(crs_wkt) or (np.nan,) * 4 for one in self._masks]
            self._known[crs_wkt] = np.array(boxes)
        return self._known[crs_wkt]


def _overlap_notices(masks: Sequence[MaskFile]) -> list[str]:
    """Where scenes of the earlier run lie on each other, their common pixels count twice."""
    boxes = _Boxes(masks)
    for mask in masks:
        for other in boxes.reaching(mask):
            if other is not mask:
                names = f"{mask.scene} and {other.scene}"
                return [f"scenes of the earlier run overlap ({names}, ...): totals count that twice"]
    return []


def _compare(pair: _Pair, classes: Mapping[str, int], folder: Path | None, files: list[str]) -> _Counts:
    """Count a pair, and write its rasters; each block of the masks is read once for all classes."""
    mask, counts = pair.before, _Counts()
    with ExitStack() as stack:
        stack.enter_context(reading(str(mask.path), "compare the masks", instead="run the pipeline again"))
        crs = CRS.from_wkt(mask.crs_wkt) if mask.crs_wkt else None
        areas = row_areas(crs, mask.affine, mask.height, mask.width)
        counts.measured = areas is not None
        sources = _Sources(pair, stack)
        rasters = {} if folder is None else _rasters(mask, classes, folder, stack)
        for window in windows(mask.header(mask.scene), _BLOCK):
            for name, found in sources.changes(window, classes):
                rows = np.stack([(found == kind.value).sum(axis=1) for kind in KINDS])
                for kind, row in zip(KINDS, rows, strict=True):
                    counts.pixels[name, kind.name] += int(row.sum())
                    if areas is not None:
                        square_metres = areas.square_metres[window.y : window.bottom]
                        counts.areas[name, kind.name] += float(row @ square_metres)
                if rasters:
                    rasters[name][1].write(window, found)
    files += [path.relative_to(folder).as_posix() for path, _ in rasters.values() if folder is not None]
    return counts


def _rasters(
    mask: MaskFile, classes: Mapping[str, int], folder: Path, stack: ExitStack
) -> dict[str, tuple[Path, ClassRaster]]:
    """A raster of changes for each class, open until the stack ends."""
    made = {}
    own = _values(mask.classes)
    for name, value in classes.items():
        safe = re.sub(r"[^A-Za-z0-9._+=@-]", "_", name)
        path = folder / mask.scene / f"change_{own.get(name, value)}_{safe}.tif"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise write_error(error, path, error) from error
        told = f"{name}: " + ", ".join(f"{kind.value} {kind.name}" for kind in KINDS)
        tags = {"CLASS": name, **{f"CLASS_{kind.value}": kind.name for kind in KINDS}}
        made[name] = path, stack.enter_context(open_class_raster(path, mask.header(mask.scene), KINDS, told, tags))
    return made


class _Sources:
    """The open masks of a pair.

    Args:
        pair: the masks.
        stack: closes them.
    """

    def __init__(self, pair: _Pair, stack: ExitStack) -> None:
        self._masks = (pair.before, *pair.after)
        self._before = stack.enter_context(rasterio.open(pair.before.path, sharing=False))
        self._after: list[DatasetReader] = []
        self._values = [_values(mask.classes) for mask in self._masks]
        for mask in pair.after:
            opened = stack.enter_context(rasterio.open(mask.path, sharing=False))
            if not pair.same_grid:
                grid = {"crs": CRS.from_wkt(str(pair.before.crs_wkt)), "transform": pair.before.affine}
                size = {"width": pair.before.width, "height": pair.before.height}
                warped = WarpedVRT(
                    opened, **grid, **size, resampling=Resampling.nearest, src_nodata=NODATA, nodata=NODATA
                )
                opened = stack.enter_context(warped)
            self._after.append(opened)

    def changes(self, window: Window, names: Iterable[str]) -> Iterator[tuple[str, npt.NDArray[np.uint8]]]:
        """[height, width] kinds of each class; see `KINDS`."""
        place = raster_window(window)
        before, *after = [self._read(number, place) for number in range(1 + len(self._after))]
        for name in names:
            known = _states(before, self._values[0].get(name))
            later = np.full(known.shape, NODATA, dtype=np.uint8)
            for pixels, values in zip(after, self._values[1:], strict=True):
                found = _states(pixels, values.get(name))
                np.copyto(later, found, where=(later == NODATA) & (found != NODATA))
            kinds = np.array([[0, 2], [3, 1]], dtype=np.uint8)[known & 1, later & 1]
            yield name, np.where((known == NODATA) | (later == NODATA), np.uint8(NODATA), kinds)

    def _read(self, number: int, place: RasterWindow) -> npt.NDArray[np.uint8]:
        """A window of a mask; a failure names that mask, and does not count as one of writing."""
        source = (self._before, *self._after)[number]
        with reading(str(self._masks[number].path), "compare the masks", instead="run the pipeline again"):
            return np.asarray(source.read(1, window=place), dtype=np.uint8)


def _values(classes: Sequence[ClassInfo]) -> Mapping[str, int]:
    return {one.name: one.value for one in classes}


def _states(pixels: npt.NDArray[np.uint8], value: int | None) -> npt.NDArray[np.uint8]:
    """[height, width]: 1 the class, 0 not, 255 nodata; all nodata where the mask does not know the class."""
    known = (pixels != NODATA) & (value is not None)
    return np.where(known, pixels == value, NODATA).astype(np.uint8)
