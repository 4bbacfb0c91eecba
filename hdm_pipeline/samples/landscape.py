"""A synthetic flooded landscape as a C-band radar sees it, computed window by window.

Every quantity depends only on the seed and the pixel's place, so windows of any size and order fit together and
memory stays that of one window (speckle is drawn for fixed cells of `CELL` pixels, at whose corners windows start).

The truth is plain: water stands where the ground lies below the flood. What makes it hard to see is what makes it hard
in Sentinel-1 scenes: speckle, wind that roughens open water, and dry land that is as dark as water (bare smooth fields,
roads, radar shadow behind hills).

Backscatter levels (sigma nought, dB, at mid-swath) are typical figures for Sentinel-1 IW; speckle is that of its ground
range products: intensity follows a gamma law of shape `LOOKS`, independent in both polarizations (C. Oliver and
S. Quegan, Understanding Synthetic Aperture Radar Images, section 4.2), above a noise floor of `NOISE_FLOOR_DB`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Floats: TypeAlias = npt.NDArray[np.float32]
Mask: TypeAlias = npt.NDArray[np.bool_]

CELL = 256
"""Side of the square cells for which speckle is drawn."""

LOOKS = 4.4
"""Equivalent number of looks of Sentinel-1 IW ground range products at high resolution."""

NOISE_FLOOR_DB = -27.0
"""Noise-equivalent sigma nought."""

_FIELDS_DB = np.array(  # VV, VH of what grows on a parcel; the last two are bare and smooth, nearly as dark as water
    [(-10.0, -16.5), (-11.5, -17.5), (-9.0, -15.5), (-12.5, -19.0), (-15.0, -22.5), (-17.0, -24.5)], dtype=np.float32
)
_FIELD_SHARES = np.array([0.28, 0.24, 0.2, 0.14, 0.09, 0.05])
_FOREST_DB = (-8.0, -13.5)
_TOWN_DB = (-4.0, -10.5)
_ROAD_DB = (-17.5, -25.0)
_SHADOW_DB = (-21.0, -27.0)
_CALM_WATER_DB = (-21.5, -28.0)
_WINDY_WATER_DB = (-14.5, -24.5)

_ROAD_HALF_WIDTH = 1.6
_DYKE_HEIGHT = 0.5
_SHADOW_SLOPE = -0.42
_RIVER_SPACING = 1200.0
_TABLE = 1 << 16


@dataclass(frozen=True, eq=False)
class View:
    """A window of the landscape.

    Attributes:
        backscatter: [2, h, w] float32, VV and VH in dB, with speckle.
        clean: [2, h, w] float32, the same without speckle and noise floor.
        water: [h, w] bool, the truth.
    """

    backscatter: Floats
    clean: Floats
    water: Mask


class Landscape:
    """An endless floodplain with rivers, lakes, fields, woods, towns, roads and hills; 10 m pixels."""

    def __init__(self, seed: Sequence[int], height: int, width: int, *, flood: float = 1.0) -> None:
        """Draw the landscape's random lattices: some bytes for every 100 pixels.

        Args:
            seed: whole numbers; the same ones give the same landscape.
            height: rows that will be asked for.
            width: columns that will be asked for.
            flood: water level above the river's bank in metres; about 0 for none, 2 for an inundated plain.
        """
        self._seed = tuple(seed)
        rng = np.random.default_rng([*seed, 0])
        size = (height, width)
        self._relief = _Noise(rng, size, (512, 256, 128, 64, 32, 16), 1.9, 0.65)
        self._meander = _Noise(rng, size, (512, 128), 90.0, 0.8)
        self._basins = _Noise(rng, size, (256, 128, 32), 1.0, 0.8)
        self._hills = _Noise(rng, size, (512, 256, 64, 16), 1.0, 0.9)
        self._woods = _Noise(rng, size, (256, 64, 16), 1.0, 0.8)
        self._towns = _Noise(rng, size, (256, 64), 1.0, 0.6)
        self._wind = _Noise(rng, size, (256, 96, 24), 1.0, 0.9)
        self._texture = _Noise(rng, size, (48, 8), 0.7, 1.0)
        self._flood = flood
        self._width = width
        self._river_angle = rng.uniform(-0.5, 0.5)
        rivers = max(1, round(height / _RIVER_SPACING))
        self._rivers = [
            ((n + rng.uniform(0.35, 0.65)) * height / rivers, rng.uniform(0, 2 * math.pi)) for n in range(rivers)
        ]
        self._river_half_width = rng.uniform(7, 14)
        self._parcel_angle = rng.uniform(0, math.pi / 2)
        self._parcel = (rng.uniform(28, 44), rng.uniform(50, 80))
        self._field_table = rng.choice(len(_FIELDS_DB), size=_TABLE, p=_FIELD_SHARES)
        self._shade_table = rng.normal(0, 0.8, size=_TABLE).astype(np.float32)

    def view(self, y: int, x: int, height: int, width: int) -> View:
        """Compute a window; `y` and `x` are multiples of `CELL`."""
        rows = np.arange(y, y + height, dtype=np.float32)[:, None]
        columns = np.arange(x, x + width, dtype=np.float32)[None, :]
        window = (y, x, height, width)
        parcel, edge, road = self._parcels(rows, columns)
        distance = self._river_distance(rows, columns, window)
        slope, hill = self._hill_slope(window, distance)
        basins = self._basins.window(*window)
        ground = 5.0 * (distance / 260.0) ** 0.9 + self._relief.window(*window) + 0.15 * hill
        ground += _DYKE_HEIGHT * (edge < 1.5) - 2.2 * np.maximum(0.0, -basins - 0.9)
        lake = (basins < -1.35) & (hill < 2.0)
        water = (ground < self._flood) | (distance < self._river_half_width) | lake
        clean = self._land(window, parcel, road, slope, hill)
        wind = np.clip(1.5 * self._wind.window(*window) - 0.7, 0.0, 1.0)
        for band in range(2):
            surface = _CALM_WATER_DB[band] + (_WINDY_WATER_DB[band] - _CALM_WATER_DB[band]) * wind
            np.copyto(clean[band], surface, where=water)
        clean += self._texture.window(*window)
        return View(self._speckled(clean, y, x), clean, water)

    def _river_distance(self, rows: Floats, columns: Floats, window: tuple[int, int, int, int]) -> Floats:
        """Distance to the middle of the nearest river in pixels: [h, w]."""
        sine, cosine = math.sin(self._river_angle), math.cos(self._river_angle)
        along = columns * cosine + rows * sine
        across = rows * cosine - (columns - 0.5 * self._width) * sine - self._meander.window(*window)
        nearest = np.full(across.shape, np.inf, dtype=np.float32)
        for middle, phase in self._rivers:
            bend = 70.0 * np.sin(along * (2 * math.pi / 900.0) + phase)
            np.minimum(nearest, np.abs(across - middle * cosine - bend), out=nearest)
        return nearest

    def _hill_slope(self, window: tuple[int, int, int, int], distance: Floats) -> tuple[Floats, Floats]:
        """Slope along the radar's line of sight, and the height of the hills in metres: [h, w] each."""
        y, x, height, width = window
        wide = 60.0 * np.maximum(0.0, self._hills.window(y, x, height, width + 1) - 0.75)
        fade = np.clip((distance - 150.0) / 150.0, 0.0, 1.0)
        hill = wide[:, :-1] * fade
        return np.asarray(np.diff(wide, axis=1) * fade / 2.5, dtype=np.float32), hill

    def _parcels(self, rows: Floats, columns: Floats) -> tuple[npt.NDArray[np.int64], Floats, Mask]:
        """Number of each pixel's parcel, its distance to the parcel's edge in pixels, and whether a road runs there."""
        sine, cosine = math.sin(self._parcel_angle), math.cos(self._parcel_angle)
        short, long = self._parcel
        u = (columns * cosine + rows * sine) / np.float32(short)
        v = (rows * cosine - columns * sine) / np.float32(long)
        i = np.floor(u)
        v = v + self._shade_table[i.astype(np.int64) % _TABLE]  # neighbouring strips are not aligned
        j = np.floor(v)
        to_u, to_v = np.minimum(u - i, 1 - u + i) * short, np.minimum(v - j, 1 - v + j) * long
        nearest = np.rint(u)
        road = (np.abs(u - nearest) * short < _ROAD_HALF_WIDTH) & (nearest.astype(np.int64) % 9 == 0)
        number = (i.astype(np.int64) * 7919 + j.astype(np.int64) * 104729) % _TABLE
        return number, np.asarray(np.minimum(to_u, to_v), dtype=np.float32), road

    def _land(
        self, window: tuple[int, int, int, int], parcel: npt.NDArray[np.int64], road: Mask, slope: Floats, hill: Floats
    ) -> Floats:
        """Backscatter of dry land in dB, without speckle: [2, h, w]."""
        kind = self._field_table[parcel]
        shade = self._shade_table[parcel]
        forest = (self._woods.window(*window) > 0.75) | (hill > 8.0)
        town = self._towns.window(*window) > 1.45
        shadow = slope < _SHADOW_SLOPE
        facing = np.clip(9.0 * slope, -5.0, 7.0)
        land = np.empty((2, *parcel.shape), dtype=np.float32)
        for band in range(2):
            land[band] = _FIELDS_DB[:, band][kind] + shade
            land[band][forest] = _FOREST_DB[band]
            blocks = _TOWN_DB[band] + 4.0 * shade
            np.copyto(land[band], blocks, where=town)
            land[band][road] = _ROAD_DB[band]
            land[band] += facing
            land[band][shadow] = _SHADOW_DB[band]
        return land

    def _speckled(self, clean: Floats, y: int, x: int) -> Floats:
        """Add the noise floor and speckle: [2, h, w] dB."""
        power = np.power(np.float32(10.0), clean / np.float32(10.0)) + np.float32(10 ** (NOISE_FLOOR_DB / 10))
        _, height, width = clean.shape
        for top in range(0, height, CELL):
            for left in range(0, width, CELL):
                rng = np.random.default_rng([*self._seed, 1, (y + top) // CELL, (x + left) // CELL])
                looks = rng.standard_gamma(LOOKS, size=(2, CELL, CELL), dtype=np.float32)
                part = power[:, top : top + CELL, left : left + CELL]
                part *= looks[:, : part.shape[1], : part.shape[2]] / np.float32(LOOKS)
        np.maximum(power, np.float32(1e-6), out=power)
        return np.asarray(10 * np.log10(power), dtype=np.float32)


class _Noise:
    """Smooth noise: octaves of random lattices, each interpolated by cubic B-splines."""

    def __init__(
        self, rng: np.random.Generator, size: tuple[int, int], spacings: Sequence[int], amplitude: float, falloff: float
    ) -> None:
        """Draw the lattices; values end up with a standard deviation of about `amplitude`.

        Args:
            rng: where the values come from.
            size: rows and columns that the noise covers.
            spacings: pixels between lattice points of each octave, coarsest first.
            amplitude: standard deviation of the sum.
            falloff: how fast octaves fade: amplitude ~ spacing ** falloff.
        """
        strengths = np.array([(spacing / spacings[0]) ** falloff for spacing in spacings])
        # A cubic B-spline of independent values keeps (151 / 315)² of their variance, on average over the plane.
        strengths *= amplitude / math.sqrt(float((strengths**2).sum())) * (315 / 151)
        self._octaves = [
            (spacing, (strength * rng.standard_normal([n // spacing + 5 for n in size])).astype(np.float32))
            for spacing, strength in zip(spacings, strengths, strict=True)
        ]

    def window(self, y: int, x: int, height: int, width: int) -> Floats:
        """Values of a window: [height, width]."""
        total = np.zeros((height, width), dtype=np.float32)
        for spacing, lattice in self._octaves:
            top, down = _spline(y, height, spacing)
            left, across = _spline(x, width, spacing)
            part = lattice[top : top + down.shape[1], left : left + across.shape[1]]
            total += (down @ part) @ across.T
        return total


def _spline(start: int, count: int, spacing: int) -> tuple[int, Floats]:
    """Cubic B-spline weights of lattice points for pixels start..start+count-1: first point, [count, points]."""
    position = (np.arange(start, start + count, dtype=np.float64) + 0.5) / spacing
    base = np.floor(position).astype(np.int64)
    t = position - base
    four = ((1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3)
    first = int(base[0])
    weights = np.zeros((count, int(base[-1]) - first + 4), dtype=np.float32)
    for offset, weight in enumerate(four):
        weights[np.arange(count), base - first + offset] = weight / 6
    return first, weights
