"""The text of a drafted pipeline file: YAML that says what each choice rests on."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hdm_pipeline.config.schema import FILE_VERSION
from hdm_pipeline.contracts import VolumeGeometry
from hdm_pipeline.drafting.codes import codes_of
from hdm_pipeline.drafting.labels import Wired
from hdm_pipeline.drafting.look import Look
from hdm_pipeline.drafting.scaling import Scaling
from hdm_pipeline.errors import ConfigError

_PLAIN = re.compile(r"[A-Za-z_./][A-Za-z0-9_./-]*")
_WORDS = {"true", "false", "yes", "no", "on", "off", "null", "y", "n"}
_SMALL = 256
"""Longest side of scenes that are no larger than such a tile."""

_MOST_UP = 3
"""Folders that a relative path climbs; from there on the absolute path is easier to read."""

_MOST_TOLD = 8


def pipeline_text(look: Look, scaling: Scaling, wired: Wired | None, *, name: str, class_name: str, file: Path) -> str:
    """The whole file.

    Args:
        look: at the archive.
        scaling: bands and scale.
        wired: the examples; None where there are no labels yet.
        name: of the pipeline.
        class_name: what is looked for.
        file: where the text will lie; its paths are relative to there.

    Raises:
        ConfigError: a path cannot stand in a pipeline file.
    """
    folder = file.absolute().parent
    lines = [
        f"# {' '.join(class_name.split())}, drafted by `python -m hdm_pipeline init`. Paths are relative to this file.",
        "# docs/configuration.md explains every key; `validate FILE --data` checks what you change.",
        f"version: {FILE_VERSION}",
        f"name: {scalar(name)}",
        "",
        *_input(look, scaling, folder),
        "",
        *_support(look, wired, class_name, folder),
        "",
        *_rest(look, scaling, name),
    ]
    return "\n".join(lines) + "\n"


def _input(look: Look, scaling: Scaling, folder: Path) -> Iterator[str]:
    yield "input:"
    yield f"  uri: {scalar(_path(look.uri, folder))}   # {len(look.scenes)} scene{'s' * (len(look.scenes) != 1)}"
    yield f"  reader: {scalar(look.reader)}"
    yield from (f"  # {line}" for line in seen_lines(look))
    yield f"  bands: {_flow(scaling.bands)}"
    yield f"  scale: {_flow(scaling.scale)}   # {scaling.why}"
    if look.options:
        yield f"  options: {_flow(look.options)}"
    modalities = look.modalities
    if len(modalities) > 1:
        most = modalities.most_common(1)[0][0]
        yield f"  select: {{modality: {scalar(most)}}}   # there are {', '.join(sorted(modalities))}"
    elif modalities:
        yield f"  # select: {{modality: {next(iter(modalities))}, series_description: '*...*'}}   # some series only"


def seen_lines(look: Look) -> Iterator[str]:
    """What the choices rest on."""
    for index, band in enumerate(look.bands[:_MOST_TOLD]):
        called = f" {band.name}" if band.name and band.name.isprintable() else ""
        unit = f" {band.unit}" if band.unit else ""
        values = ""
        if look.usual:
            low, high = look.usual[index]
            values = f": mostly {low:.4g} to {high:.4g}{unit}"
        role = f", {band.role}: not measured" if band.role else ""
        nodata = f", nodata {band.nodata:g}" if band.nodata is not None else ""
        yield f"band {index + 1}{called}{values}{role}{nodata}"
    if len(look.bands) > _MOST_TOLD:
        yield f"... {len(look.bands) - _MOST_TOLD} more bands"
    yield f"stored as {', '.join(sorted({h.dtype for h in look.headers}))}; {_size(look)}"
    if look.odd and len(look.modalities) < 2:
        yield f"{len(look.odd)} of the scenes that were looked at have other bands, such as {look.odd[0]}"
    for scene, what in look.broken[:2]:
        yield " ".join(f"{scene} cannot be read: {what}".split())


def _size(look: Look) -> str:
    """Resolution, and where the scenes lie."""
    if look.volumes:
        spacings = {_spacing(h.geometry) for h in look.headers if isinstance(h.geometry, VolumeGeometry)}
        told = f"voxels of {' or '.join(sorted(spacings)[:3])} mm (x, y, z)"
        return f"{look.modalities.most_common(1)[0][0] if look.modalities else 'volumes'}, {told}"
    pixel = "pixels of unknown size"
    if look.pixel_metres is not None:
        low, high = look.pixel_metres
        pixel = f"pixels of {low:.3g} m" if high < 1.05 * low else f"pixels of {low:.3g} to {high:.3g} m"
    return pixel if look.located else f"{pixel}; some scenes have no coordinate reference system"


def _spacing(geometry: VolumeGeometry) -> str:
    columns = zip(*(geometry.affine[row : row + 3] for row in (0, 4, 8)), strict=True)
    return " x ".join(f"{sum(v * v for v in column) ** 0.5:.3g}" for column in columns)


def _support(look: Look, wired: Wired | None, class_name: str, folder: Path) -> Iterator[str]:
    yield "support:"
    yield "  adapt: auto   # train a copy of the network on the examples where that helps; off saves minutes"
    yield "  classes:"
    yield f"    - name: {scalar(class_name)}"
    if look.volumes:
        codes, own = codes_of(class_name)
        known = "what it is, for viewers" if own else "any tissue: say what it is, so that viewers know"
        yield f"      codes: {_flow(codes)}   # {known}: docs/dicom.md"
    if wired is None:
        yield "      examples: []   # label some scenes: python -m hdm_pipeline studio FILE"
        return
    yield "      examples:"
    yield from (f"        # {note}" for note in wired.notes)
    for example in wired.examples:
        placed = {k: _path(v, folder) if k in ("image", "mask", "labels") else v for k, v in example.items()}
        for number, (key, value) in enumerate(placed.items()):
            yield f"        {'- ' if number == 0 else '  '}{key}: {_flow(value)}"
    if look.volumes:
        yield "          # slices: [5, 12]   # only these; without it all slices that show the class teach"


def _rest(look: Look, scaling: Scaling, name: str) -> Iterator[str]:
    if scaling.radar:
        yield "model:"
        yield "  weights: builtin:pyramid-small   # for radar: its speckle is unlike the photographs behind the default"
        yield ""
    size, overlap = (256, 32) if look.largest <= _SMALL else (512, 128 if look.volumes else 64)
    yield f"tiling: {{size: {size}, overlap: {overlap}}}   # pixels; larger tiles see more of the surroundings"
    yield ""
    yield "output:"
    yield f"  directory: {scalar(f'out/{name}')}"
    if look.volumes:
        yield "  products: [segmentation]   # DICOM SEG; also rtstruct, nifti, report, preview: docs/dicom.md"
    elif look.located:
        yield "  products: [mask, polygons]   # GeoTIFF and GeoPackage; also score, stac: docs/geotiff.md"
    else:
        yield "  products: [mask]   # GeoTIFF; polygons need a coordinate reference system: docs/geotiff.md"


def scalar(text: str) -> str:
    """A text as YAML takes it, quoted where it must be."""
    return text if _PLAIN.fullmatch(text) and text.casefold() not in _WORDS else json.dumps(text, ensure_ascii=False)


def _flow(value: Any) -> str:
    """A value on one line."""
    if isinstance(value, str):
        return scalar(value)
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {_flow(item)}" for key, item in value.items()) + "}"
    if isinstance(value, Sequence):
        return "[" + ", ".join(map(_flow, value)) + "]"
    return json.dumps(int(value) if isinstance(value, float) and value.is_integer() else value)


def _path(path: str, folder: Path) -> str:
    """A path as it stands in a file of a folder."""
    if "${" in path:
        what = "a path with ${ in it would be taken for a variable"
        raise ConfigError(what, where=path, remedy="rename the folder, or give a path without it")
    absolute = os.path.abspath(path)
    relative = os.path.relpath(absolute, folder)
    return absolute if relative.split(os.sep)[:_MOST_UP].count("..") == _MOST_UP else relative
