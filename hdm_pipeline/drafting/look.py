"""What an archive holds, by its headers and a sample of pixels: which reader opens it, its bands and their values."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from hdm_pipeline.contracts import Band, RasterGeometry, Reader, SceneHeader, SceneRef, Skipped, VolumeGeometry
from hdm_pipeline.errors import ConfigError, EmptyArchiveError, HdmError, MissingExtraError
from hdm_pipeline.pixels.sanity import pixel_size
from hdm_pipeline.plugin.registry import READERS, available, make_reader

SCENES = 16
"""Scenes whose headers are read, evenly spread over the archive."""

_SAMPLED = 6
"""Scenes of which pixels are read."""

_PIXELS = 1 << 16
"""Pixels of each of them."""

PERCENTILES = (1.0, 99.0)
"""Between which the usual values of a band lie."""

Range = tuple[float, float]


@dataclass(frozen=True, eq=False)
class Look:
    """What was seen of an archive.

    Attributes:
        uri: the archive as it was named.
        reader: entry point name of the reader that opens it.
        options: that the reader needs for it.
        opened: the reader.
        scenes: all scenes, by id.
        headers: of a sample of scenes; those with the bands of the most of them.
        odd: scenes of the sample with other bands, by id.
        broken: scenes of the sample that cannot be read, with the reason.
        usual: (low, high) of each band, `PERCENTILES` of pixels of a few scenes; empty where none could be read.
        extremes: least and greatest value of each band among these pixels.
        pixel_metres: side of a pixel in metres, (least, greatest) of the sample; None where it is unknown.
        modalities: DICOM's codes, where the reader gives them, with how many scenes of the sample have each.
        told: how many scenes are called what, for the person at the terminal; never written.
    """

    uri: str
    reader: str
    options: dict[str, Any]
    opened: Reader
    scenes: tuple[SceneRef, ...]
    headers: tuple[SceneHeader, ...]
    odd: tuple[str, ...] = ()
    broken: tuple[tuple[str, str], ...] = ()
    usual: tuple[Range, ...] = ()
    extremes: tuple[Range, ...] = ()
    pixel_metres: Range | None = None
    modalities: Counter[str] = field(default_factory=Counter)
    told: Counter[str] = field(default_factory=Counter)

    @property
    def bands(self) -> tuple[Band, ...]:
        """Of the first scene of the sample; the others have as many."""
        return self.headers[0].bands

    @property
    def volumes(self) -> bool:
        """Whether the scenes are volumes."""
        return isinstance(self.headers[0].geometry, VolumeGeometry)

    @property
    def located(self) -> bool:
        """Whether every raster of the sample has a coordinate reference system."""
        return all(isinstance(h.geometry, RasterGeometry) and h.geometry.crs_wkt for h in self.headers)

    @property
    def largest(self) -> int:
        """Longest side of a slice, in pixels."""
        return max(max(h.shape[2:]) for h in self.headers)


def look(uri: str, reader: str | None = None) -> Look:
    """Find the reader that opens an archive, and look at a sample of its scenes.

    Args:
        uri: a path or a pattern on this machine.
        reader: entry point name; None to find it by what the files are.

    Raises:
        ConfigError: the archive lies on another machine, or there is no such reader.
        EmptyArchiveError: no reader finds a scene in it.
        ReadError: no scene of the sample can be read.
    """
    if "://" in uri:
        remedy = "give a folder of this machine; for others start from a file in pipelines/ and docs/configuration.md"
        raise ConfigError("init looks at files of this machine only", where=uri, remedy=remedy)
    if reader is not None and reader not in available(READERS):
        remedy = f"use one of: {', '.join(available(READERS))}; or leave --reader out"
        raise ConfigError(f"there is no reader called {reader!r}", where="--reader", remedy=remedy)
    name, options, opened, scenes = _found(uri, [reader] if reader else list(available(READERS)))
    headers: list[SceneHeader] = []
    broken: list[tuple[str, HdmError]] = []
    for ref in scenes[:: max(1, -(-len(scenes) // SCENES))]:
        try:
            headers.append(opened.header(ref))
        except HdmError as error:
            broken.append((ref.id, error))
    if not headers:
        raise _unreadable(broken)
    kinds = Counter(_kind(header) for header in headers)
    usual = max(kinds, key=lambda kind: (kinds[kind], kind))
    alike = [header for header in headers if _kind(header) == usual]
    odd = tuple(header.ref.id for header in headers if _kind(header) != usual)
    values, sizes = _sampled(opened, alike, broken)
    return Look(
        uri,
        name,
        options,
        opened,
        tuple(scenes),
        tuple(alike),
        odd,
        tuple((scene, error.what) for scene, error in broken),
        tuple((float(low), float(high)) for low, high in np.percentile(values, PERCENTILES, axis=1).T)
        if values is not None
        else (),
        tuple((float(v.min()), float(v.max())) for v in values) if values is not None else (),
        (min(sizes), max(sizes)) if sizes else None,
        Counter(str(h.attributes["modality"]) for h in headers if h.attributes.get("modality")),
        Counter(text for ref in _some(scenes) if (text := _told(opened, ref))),
    )


def _unreadable(broken: Sequence[tuple[str, HdmError]]) -> HdmError:
    """That nothing in the archive can be read."""
    first = broken[0][1]
    if isinstance(first, MissingExtraError):
        return first  # no fault of the scenes
    what = f"none of the {len(broken)} scenes that were opened can be read; the first: {first.what}"
    return type(first)(what, where=first.where, remedy=first.remedy)


def _found(uri: str, readers: Sequence[str]) -> tuple[str, dict[str, Any], Reader, list[SceneRef]]:
    """The reader that finds the most scenes. Folders within the folder are looked into where it holds none itself."""
    best: tuple[str, dict[str, Any], Reader, list[SceneRef]] | None = None
    reasons: list[str] = []
    remedies: list[str] = []
    for name in readers:
        for options in ({}, {"recursive": True}) if os.path.isdir(uri) else ({},):
            try:
                reader = make_reader(name, options)
                scenes = [one for one in reader.discover(uri) if not isinstance(one, Skipped)]
            except HdmError as error:
                if not options:
                    reasons.append(f"{name}: {error.what}")
                    remedies += [error.remedy] if isinstance(error, MissingExtraError) else []
                continue
            if scenes and (best is None or len(scenes) > len(best[3])):
                best = name, dict(options), reader, scenes
            if scenes:
                break
    if best is None:
        what = "no scene was found" + (f" ({'; '.join(reasons)})" if reasons else "")
        remedies.append("name a folder or a pattern of GeoTIFF files, or a folder of DICOM files")
        raise EmptyArchiveError(what, where=uri, remedy="; or ".join(remedies))
    return best


def _kind(header: SceneHeader) -> tuple[int, tuple[str, ...], bool]:
    """What scenes must share to be read by one list of bands."""
    return len(header.bands), tuple(b.name for b in header.bands), isinstance(header.geometry, VolumeGeometry)


def _some(scenes: Sequence[SceneRef]) -> Sequence[SceneRef]:
    """Up to a few hundred scenes, evenly spread: each is opened to learn what it is called."""
    return scenes[:: max(1, -(-len(scenes) // 256))]


def _told(reader: Reader, ref: SceneRef) -> str:
    tell = getattr(reader, "told_of", None)
    return "" if tell is None else str(tell(ref))


def _sampled(
    reader: Reader, headers: Sequence[SceneHeader], broken: list[tuple[str, HdmError]]
) -> tuple[np.ndarray | None, list[float]]:
    """Pixels [bands, n] of a few scenes, and sides of pixels in metres; scenes that cannot be read join the broken.

    Raises:
        ReadError: none of them can be read.
    """
    found, sizes, failed, read = [], [], [], 0
    for header in headers[:: max(1, -(-len(headers) // _SAMPLED))]:
        try:
            with reader.open(header.ref) as source:
                pixels = source.sample(range(len(header.bands)), _PIXELS)
                size = pixel_size(source.row_areas())
        except HdmError as error:
            failed.append((header.ref.id, error))
            continue
        read += 1
        if pixels.shape[1]:
            found.append(pixels)
        if size is not None:
            sizes.append(size)
    if failed and not read:
        raise _unreadable(failed)
    broken += failed
    return (np.concatenate(found, axis=1) if found else None), sizes
