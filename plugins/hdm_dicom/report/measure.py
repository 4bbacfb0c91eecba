"""What is measured of a scene: its classes, and the connected regions of each, in one pass over the slices.

Everything is measured in the grid of the mask: that of the stored slices, or the even one that ``resample`` makes.
Memory is a few slices, and a few kilobytes for each region that the last slice cuts.
"""

from __future__ import annotations

import weakref
from dataclasses import dataclass, field

import numpy as np

from hdm_dicom.derived.layers import Layers
from hdm_dicom.derived.scenes import opened_series, read_options
from hdm_dicom.report.regions import Region, RegionFinder, Spread
from hdm_dicom.report.rules import Rules
from hdm_dicom.series.volume import Volume
from hdm_dicom.volumes.extent import measured
from hdm_dicom.volumes.volume_io import SliceReader
from hdm_pipeline.contracts import ClassInfo, PixelSource, Product, VolumeGeometry
from hdm_pipeline.errors import WriteError
from hdm_pipeline.grid import Window

_DIGITS = 6
"""Decimals of what is told: more than any scanner measures, and the same text on every machine."""


@dataclass(frozen=True)
class Measures:
    """What is measured of a class or a region.

    Attributes:
        voxels: their number.
        volume_ml: millilitres; None where the voxels have no known size.
        mean: of the values, in the unit of the scene; None where there are none (nothing found, colour, padding).
        deviation: standard deviation of the values (divided by their number); likewise.
        diameter_mm: the largest distance in space between the centres of two voxels of one region; None as `volume_ml`.
        in_plane_mm: the same within a connected part of the region in one slice of the plane that was read.
        first: (z, y, x) of the first voxel; None if nothing was found.
        low: (x, y, z) of the least column, row and slice; likewise.
        high: (x, y, z) of the largest; likewise.
    """

    voxels: int
    volume_ml: float | None
    mean: float | None
    deviation: float | None
    diameter_mm: float | None
    in_plane_mm: float | None
    first: tuple[int, int, int] | None = None
    low: tuple[int, int, int] | None = None
    high: tuple[int, int, int] | None = None


@dataclass(frozen=True)
class ClassMeasures:
    """A class and its regions.

    Attributes:
        info: the class.
        whole: all of it; its diameters are those of its largest region in that respect.
        regions: number of its connected regions.
        lesions: the largest of them, by descending volume.
        small: number of regions that are left out as they are smaller than the rules ask for.
        further: number of regions that are left out as there are more than the rules allow.
    """

    info: ClassInfo
    whole: Measures
    regions: int
    lesions: tuple[Measures, ...] = ()
    small: int = 0
    further: int = 0


@dataclass(frozen=True, eq=False)
class _Last:
    """The last scene that was measured: its report and its table say the same.

    Attributes:
        key: what was asked.
        pixels: the mask and the scores, which must still be the very same objects.
        found: what was measured.
    """

    key: tuple[object, ...]
    pixels: tuple[weakref.ref[PixelSource], weakref.ref[PixelSource]]
    found: list[ClassMeasures]


_last: list[_Last] = []
"""One at most."""


def sized(volume: Volume) -> bool:
    """Whether the voxels of a volume have a known size: placed in the patient, with pixel spacing and thickness."""
    return measured(volume) and volume.first.spacing is not None


def measure(product: Product, rules: Rules, *, overlapping: bool = False) -> list[ClassMeasures]:
    """Measure the classes of a scene; at once if they are those that were measured last, by the same rules.

    Args:
        product: of the scene.
        rules: which regions are told one by one.
        overlapping: measure each class where its own score says so (`hdm_dicom.derived.layers`), not the mask.

    Raises:
        ReadError: a slice of the source cannot be decoded any more.
        WriteError: the series has changed since it was segmented.
    """
    options = str(product.scene.attributes.get("options"))
    key = (product.scene.ref, product.scene.geometry, options, product.classes, product.provenance, rules, overlapping)
    for last in _last:
        if last.key == key and last.pixels[0]() is product.mask and last.pixels[1]() is product.score:
            return last.found
    found = _measure(product, rules, overlapping=overlapping)
    _last[:] = [_Last(key, (weakref.ref(product.mask), weakref.ref(product.score)), found)]
    return found


def _measure(product: Product, rules: Rules, *, overlapping: bool) -> list[ClassMeasures]:
    opened = opened_series(product.scene)
    geometry = product.scene.geometry
    x, y, z = opened.size
    if product.mask.shape[1:] != (z, y, x) or not isinstance(geometry, VolumeGeometry):
        raise WriteError(
            f"the mask has shape {product.mask.shape[1:]}, the series {(z, y, x)}",
            where=opened.volume.id,
            remedy="the series has changed since it was segmented; run again",
        )
    scale = _Scale.of(geometry, known=sized(opened.volume))
    slices = SliceReader(product.scene.ref, read_options(product.scene)) if opened.bands == 1 else None
    tallies = [_Tally(info, scale, rules) for info in product.classes]
    source = Layers(product) if overlapping else product.mask
    for index in range(z):
        window = Window(z=index, y=0, x=0, height=y, width=x)
        layers = source.read(window)
        insides = list(layers > 0) if overlapping else [layers[0] == info.value for info in product.classes]
        some = any(bool(inside.any()) for inside in insides)
        values = slices.read(index)[0] if slices is not None and some else None
        for tally, inside in zip(tallies, insides, strict=True):
            if tally.going_on or inside.any():
                tally.take(tally.finder.feed(inside, values))
            else:
                tally.finder.skip()
    return [tally.total() for tally in tallies]


@dataclass(frozen=True, eq=False)
class _Scale:
    """From voxels to millimetres.

    Attributes:
        axes: [3, 3] in columns the way from one voxel to the next along x, y and z, mm.
        voxel_ml: volume of a voxel.
        known: both are known; if not, they are of no use to anybody.
    """

    axes: np.ndarray[tuple[int, int], np.dtype[np.float64]]
    voxel_ml: float
    known: bool

    @classmethod
    def of(cls, geometry: VolumeGeometry, *, known: bool) -> _Scale:
        axes = np.array(geometry.affine, dtype=np.float64).reshape(4, 4)[:3, :3]
        return cls(axes, geometry.voxel_volume_ml, known)


@dataclass(eq=False)
class _Tally:
    """What is known of a class so far."""

    info: ClassInfo
    scale: _Scale
    rules: Rules
    finder: RegionFinder = field(init=False)
    values: Spread = field(default_factory=Spread)
    voxels: int = 0
    regions: int = 0
    small: int = 0
    told: list[Region] = field(default_factory=list)
    largest: tuple[float, float] = (0.0, 0.0)
    first: tuple[int, int, int] | None = None
    low: tuple[int, int, int] = (1 << 30, 1 << 30, 1 << 30)
    high: tuple[int, int, int] = (0, 0, 0)

    def __post_init__(self) -> None:
        self.finder = RegionFinder(self.scale.axes)

    @property
    def going_on(self) -> bool:
        """The last slice has some of the class."""
        return self.finder.going_on

    def take(self, regions: list[Region]) -> None:
        """Count regions that are finished, and keep the largest of them."""
        for region in regions:
            self.regions += 1
            self.voxels += region.voxels
            self.values.add(region.values.count, region.values.mean, region.values.squares)
            self.largest = max(self.largest[0], region.diameter), max(self.largest[1], region.in_plane)
            self.first = region.first if self.first is None else min(self.first, region.first)
            low, high = (*region.low, region.first[0]), (*region.high, region.last_slice)
            self.low = tuple(map(min, self.low, low))  # type: ignore[assignment]
            self.high = tuple(map(max, self.high, high))  # type: ignore[assignment]
            if not self.rules.lesions:
                continue
            if self.scale.known and region.voxels * self.scale.voxel_ml < self.rules.min_volume_ml:
                self.small += 1
            else:
                self.told.append(region)
        if len(self.told) > 2 * self.rules.max_lesions:
            self.told = self._foremost()

    def _foremost(self) -> list[Region]:
        return sorted(self.told, key=lambda region: (-region.voxels, region.first))[: self.rules.max_lesions]

    def total(self) -> ClassMeasures:
        """All that is known, once every slice was taken."""
        self.take(self.finder.finish())
        bounds = (self.first, self.low, self.high) if self.first is not None else (None, None, None)
        whole = self._measures(self.voxels, self.values, *self.largest, *bounds)
        told = self._foremost()
        lesions = tuple(
            self._measures(
                region.voxels,
                region.values,
                region.diameter,
                region.in_plane,
                region.first,
                (*region.low, region.first[0]),
                (*region.high, region.last_slice),
            )
            for region in told
        )
        further = self.regions - self.small - len(told) if self.rules.lesions else 0
        return ClassMeasures(self.info, whole, self.regions, lesions, self.small, further)

    def _measures(
        self,
        voxels: int,
        values: Spread,
        diameter: float,
        in_plane: float,
        first: tuple[int, int, int] | None,
        low: tuple[int, int, int] | None,
        high: tuple[int, int, int] | None,
    ) -> Measures:
        known = self.scale.known
        return Measures(
            voxels,
            round(voxels * self.scale.voxel_ml, _DIGITS) if known else None,
            round(values.mean, _DIGITS) if values.count else None,
            round(values.deviation, _DIGITS) if values.count else None,
            round(diameter, _DIGITS) if known and voxels else None,
            round(in_plane, _DIGITS) if known and voxels else None,
            first,
            low,
            high,
        )
