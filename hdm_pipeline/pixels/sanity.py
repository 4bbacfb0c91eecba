"""Whether a scene can mean anything under the pipeline: its values against the scale, its look against the examples.

Nothing here is an error: wrong data runs through as well as right data does, and gives a mask of nonsense. What is
found is a list of `SceneWarning`s, to which readers add theirs (``no_crs``, ``outside_aoi``). Kinds made here:

``scale_low``, ``scale_high``  far more pixels at an end of the scale than among the examples, or nearly all of them
``scale_narrow``               all pixels within a small part of the scale
``constant``                   a band has one value everywhere
``alpha``                      a band that is used is marked as alpha: where it is 0, nothing is valid
``no_data``                    no pixel is valid
``bands``, ``units``           a band is described otherwise, or has another unit, than that of an example
``resolution``                 pixels are larger or smaller than those of every example
``empty``, ``one_class``       the result holds no pixel of any class, or nothing but one class
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hdm_pipeline.config.schema import Range, Scale
from hdm_pipeline.contracts import Band, Pixels, SceneHeader, SceneWarning
from hdm_pipeline.errors import BandError
from hdm_pipeline.pixels.bands import BandPlan

SAMPLE_PIXELS = 1 << 15
"""Pixels of a scene from which it is told how its values lie in the scale, where no percentiles are asked for."""

_END = 0.005
"""What counts as an end of the scale, as a share of its width."""

_NEARLY_ALL = 0.95
_MANY = 0.10
_NARROW = 0.05
_TIMES = 3.0
_RESOLUTION = 1.5
_ONE_CLASS = 0.99


@dataclass(frozen=True)
class Values:
    """How the valid pixels of one band lie in its scale.

    Attributes:
        scale: (low, high) that become 0 and 1.
        low: share (0..1) of pixels at or below the low end.
        high: share of pixels at or above the high end.
        between: (1st, 99th percentile) of the pixels, in their own unit.
    """

    scale: Range
    low: float
    high: float
    between: Range

    @property
    def spread(self) -> float:
        """Width of `between` as a share of the scale's."""
        return (self.between[1] - self.between[0]) / (self.scale[1] - self.scale[0])


@dataclass(frozen=True)
class Look:
    """What a scene or an example looks like, as far as both must be alike.

    Attributes:
        name: of the scene or the example.
        sources: the band behind each name that `input.bands` mentions.
        described: descriptions of all bands of the file, in lower case; empty texts where there are none.
        values: one entry a band that the network sees; empty where no pixel is valid.
        pixel_size: side of a pixel in metres; None where it is unknown.
    """

    name: str
    sources: Mapping[str, Band]
    described: tuple[str, ...]
    values: tuple[Values, ...]
    pixel_size: float | None


def look_at(
    name: str,
    plan: BandPlan,
    bands: Sequence[Band],
    sample: Pixels,
    ranges: Sequence[Range],
    pixel_size: float | None,
) -> Look:
    """Describe a scene or an example.

    Args:
        name: for messages.
        plan: the bands read and computed.
        bands: all bands of the file.
        sample: [bands read, n] valid pixels.
        ranges: (low, high) of each computed band.
        pixel_size: side of a pixel in metres; None where it is unknown.
    """
    described = tuple(band.name.casefold() for band in bands)
    pixels, valid = plan.apply(sample[:, None, :], np.ones((1, sample.shape[1]), dtype=np.bool_))
    pixels = pixels[:, 0, valid[0]]
    values = tuple(_values(row, scale) for row, scale in zip(pixels, ranges, strict=True)) if pixels.size else ()
    return Look(name, plan.sources(bands), described, values, pixel_size)


def _values(pixels: Pixels, scale: Range) -> Values:
    low, high = scale
    edge = _END * (high - low)
    first, last = np.percentile(pixels, (1, 99))
    return Values(
        scale,
        float(np.mean(pixels <= low + edge)),
        float(np.mean(pixels >= high - edge)),
        (float(first), float(last)),
    )


def pixel_size(row_areas: Any) -> float | None:
    """Side in metres of a pixel of mean area; None without areas."""
    mean = float(np.mean(row_areas)) if row_areas is not None and len(row_areas) else 0.0
    return math.sqrt(mean) if mean > 0 else None


def noted(warnings: Iterable[str | SceneWarning]) -> tuple[SceneWarning, ...]:
    """A reader's warnings; plain texts become notes."""
    return tuple(one if isinstance(one, SceneWarning) else SceneWarning("note", one, suspect=False) for one in warnings)


def scale_warnings(look: Look, scale: Scale, examples: Sequence[Look] = ()) -> list[SceneWarning]:
    """Compare values with the scale, and with how those of the examples lie in theirs; and say what hides pixels."""
    found = [_of_alpha(name) for name, band in look.sources.items() if band.role == "alpha"]
    if not look.values:
        return [
            *found,
            SceneWarning("no_data", "no valid pixel was found in it", "check its nodata value and its mask"),
        ]
    for index, values in enumerate(look.values):
        band = f"band {index + 1}"
        others = [other.values[index] for other in examples if len(other.values) > index]
        if values.between[0] == values.between[1]:
            what = f"{band} has the value {values.between[0]:g} nearly everywhere"
            found.append(SceneWarning("constant", what, "check the file, and the order of its bands"))
        elif scale.percentiles is None:
            found.extend(_against_scale(band, values, others))
    return found


def _of_alpha(name: str) -> SceneWarning:
    """Many programs mark the fourth band of a file as alpha, whatever it is."""
    what = f"band {name} is marked as alpha (how opaque the others are): pixels where it is 0 are taken for no data"
    remedy = "if it is measured, as near infrared is, mark it so (gdal_edit.py -colorinterp_N undefined FILE, N its "
    return SceneWarning("alpha", what, f"{remedy}number); else leave it out of input.bands")


def _against_scale(band: str, values: Values, others: Sequence[Values]) -> Iterator[SceneWarning]:
    scale = f"the scale [{values.scale[0]:g}, {values.scale[1]:g}]"
    remedy = "check its unit (reflectance, digital numbers, 8 bits, dB), its nodata value, and input.scale"
    example = f"; those of the examples go from {_ends(others)}" if others else ""
    here = f"{values.between[0]:.4g} to {values.between[1]:.4g}"
    for end, share, beyond, seen in (
        ("low", values.low, "below", [o.low for o in others]),
        ("high", values.high, "above", [o.high for o in others]),
    ):
        most = max(seen, default=0.0)
        many = bool(seen) and share >= _MANY and values.spread >= _NARROW
        if max(share, most) >= _NEARLY_ALL > most or (many and share > _TIMES * most + _NARROW):
            what = f"{share:.1%} of the pixels of {band} lie at the {end} end of {scale} or {beyond} it"
            yield SceneWarning(f"scale_{end}", f"{what}: its values go from {here}{example}", remedy)
            return
    if values.spread < _NARROW and all(values.spread * _TIMES < other.spread for other in others):
        what = f"the pixels of {band} fill {values.spread:.1%} of {scale}: they go from {here}{example}"
        yield SceneWarning("scale_narrow", what, remedy)


def _ends(values: Sequence[Values]) -> str:
    return f"{min(v.between[0] for v in values):.4g} to {max(v.between[1] for v in values):.4g}"


def unlike_warnings(look: Look, examples: Sequence[Look]) -> list[SceneWarning]:
    """Compare bands, units and resolution with the examples'.

    Raises:
        BandError: `input.bands` counts bands, and an example describes them in another order.
    """
    told: dict[tuple[str, str, str], SceneWarning] = {}
    for example in examples:
        for band, of, warning in _other_bands(look, example):
            # Told of the first example: forty slices of one series have one name for their band.
            told.setdefault((warning.kind, band, of), warning)
    found = list(told.values())
    sizes = [example.pixel_size for example in examples if example.pixel_size is not None]
    if look.pixel_size is not None and sizes:
        nearest = min(sizes, key=lambda size: abs(math.log(size / look.pixel_size)))  # type: ignore[operator]
        if max(nearest, look.pixel_size) / min(nearest, look.pixel_size) >= _RESOLUTION - 1e-6:
            what = f"its pixels are {_metres(look.pixel_size)} wide, those of the examples {_metres(nearest)}"
            found.append(SceneWarning("resolution", what, "cut examples of the same resolution, or resample the scene"))
    return list(dict.fromkeys(found))


def _other_bands(look: Look, example: Look) -> Iterator[tuple[str, str, SceneWarning]]:
    """Band, what it is called or measured in there, and the warning."""
    for name, band in look.sources.items():
        other = example.sources.get(name)
        if other is None:
            continue
        if band.name and other.name and band.name.casefold() != other.name.casefold():
            what = f"band {name} is called {band.name!r} here and {other.name!r} in example {example.name}"
            if other.name.casefold() in look.described and band.name.casefold() in example.described:
                remedy = f"name bands by description: input.bands: [{other.name}, ...]"
                raise BandError(f"bands are in another order than in the examples: {what}", where=name, remedy=remedy)
            remedy = "check that both show the same, or name bands by description"
            yield name, other.name, SceneWarning("bands", what, remedy)
        if band.unit and other.unit and band.unit.casefold() != other.unit.casefold():
            what = f"band {name} is in {band.unit!r} here and in {other.unit!r} in example {example.name}"
            yield name, other.unit, SceneWarning("units", what, "convert one of the two")


def _metres(size: float) -> str:
    return f"{size:.3g} m" if size >= 0.1 else f"{size * 1000:.3g} mm"


def result_warnings(header: SceneHeader, measures: Mapping[str, Any]) -> tuple[SceneWarning, ...]:
    """What is strange about a mask, from its measures (see `hdm_pipeline.execution.measures`).

    That no class was found is told, but suspect it is not: most scenes of an archive may be dry.
    """
    valid = measures["valid"] * math.prod(header.shape[1:])
    pixels: Mapping[str, int] = measures["pixels"]
    if valid == 0:
        remedy = "check its nodata value, its mask and the area of interest"
        return (SceneWarning("no_data", "the mask is nodata everywhere", remedy),)
    name, most = max(pixels.items(), key=lambda item: item[1])
    if most == 0:
        return (SceneWarning("empty", "no pixel of any class was found", suspect=False),)
    if most >= _ONE_CLASS * valid:
        what = f"{most / valid:.1%} of the valid pixels became {name!r}"
        return (SceneWarning("one_class", what, "look at the mask, and check the scale and the order of bands"),)
    return ()
