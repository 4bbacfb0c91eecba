"""A DICOM SEG back to the labels of a scene, also where another program has changed it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from highdicom.color import CIELabColor
from pydicom.dataset import Dataset

from hdm_dicom.drawn_labels.segments import file_of, segment_names
from hdm_dicom.examples.segments import Segments, SegValues
from hdm_dicom.examples.support import SEG, ViewLabels
from hdm_dicom.files.attributes import READ_ERRORS, datasets, numbers, text
from hdm_dicom.files.headers import read_header
from hdm_dicom.options import ReaderOptions
from hdm_dicom.volumes.volume_io import OpenVolume, open_volume
from hdm_pipeline.contracts import BACKGROUND, IGNORE, LabelPatch, SceneLabels, SceneRef
from hdm_pipeline.errors import SupportError
from hdm_pipeline.grid import Window

_REMEDY = "move the file away, or bring back the one that was saved here"


def load(ref: SceneRef, classes: Mapping[int, str], folder: Path, options: ReaderOptions) -> SceneLabels | None:
    """Labels that were saved; see `LabelKeeper.load_labels`. Where segments lie on each other the highest class counts.

    Raises:
        SupportError: the file is no segmentation of this series.
        SceneError: the series cannot be read.
    """
    path = file_of(ref, folder)
    if not path.exists():
        return None
    opened = open_volume(ref, options)
    try:
        header = _header(path, opened)
        segments = Segments(str(path), opened.volume)
        values = _values(header, segments.named, classes)
        segments.place(set(segments.named))
        off, of = segments.off(set(segments.named))
        if off:  # the next stroke would write the file without them
            raise SupportError(f"{off} of its {of} frames lie on no slice of the series", remedy=_REMEDY)
    except SupportError as error:
        what = f"saved labels no longer fit the series: {error.what}"
        raise SupportError(what, where=str(path), remedy=_REMEDY) from None
    instance = opened.volume.first.instance
    source = SegValues(segments, values, (instance.rows, instance.columns))
    patches = tuple(_patches(ViewLabels(source, opened), opened))
    shown = _colors(header)
    colors = {value: shown[number] for number, value in values.items() if number in shown and value != BACKGROUND}
    return SceneLabels(ref, dict(sorted(classes.items())), colors, patches) if patches else None


def _header(path: Path, opened: OpenVolume) -> Dataset:
    try:
        header = read_header(str(path))
    except READ_ERRORS as error:
        raise SupportError(f"it cannot be read ({type(error).__name__})", remedy=_REMEDY) from None
    if text(header, "SOPClassUID") not in SEG:
        raise SupportError("it is no DICOM segmentation", remedy=_REMEDY)
    if opened.stack.depths is not None:
        what = "the series is resampled (input.options.policy), and they were drawn on its stored images"
        raise SupportError(what, remedy=_REMEDY)
    return header


def _colors(header: Dataset) -> dict[int, tuple[int, int, int]]:
    """(red, green, blue) by segment number."""
    found = {}
    for item in datasets(header, "SegmentSequence"):
        number, lab = numbers(item, "SegmentNumber", 1), numbers(item, "RecommendedDisplayCIELabValue", 3)
        if number is not None and lab is not None and all(0 <= part <= 0xFFFF for part in lab):
            red, green, blue = CIELabColor.from_dicom_value([int(part) for part in lab]).to_rgb(clip=True)
            found[int(number[0])] = int(red), int(green), int(blue)
    return found


def _values(header: Dataset, named: Mapping[int, str], classes: Mapping[int, str]) -> dict[int, int]:
    """Label values by segment number, in ascending order of values; a segment that nothing is called as is unknown."""
    now: dict[str | None, int] = {None: BACKGROUND} | {name: value for value, name in classes.items()}
    in_full = _full_names(header)
    found = {number: now[name] for number, name in in_full.items() if number in named and name in now}
    numbers = {name.strip().casefold(): number for number, name in named.items() if number not in in_full}
    names = segment_names(classes)
    for value, name in names.items():  # segments of another program
        if value not in found.values() and name.casefold() in numbers:
            found[numbers[name.casefold()]] = value
    return dict(sorted(found.items(), key=lambda one: one[1]))


def _full_names(header: Dataset) -> dict[int, str | None]:
    """What `segments.full_names` has written, by segment number; another program may have dropped it."""
    found: dict[int, str | None] = {}
    for item in datasets(header, "SegmentSequence"):
        number = numbers(item, "SegmentNumber", 1)
        try:
            name = json.loads(text(item, "SegmentDescription"))
        except (TypeError, ValueError):
            continue
        if number is not None and (name is None or isinstance(name, str)):
            found[int(number[0])] = name
    return found


def _patches(labels: ViewLabels, opened: OpenVolume) -> Iterator[LabelPatch]:
    """One patch a slice, as large as what is drawn there."""
    for z in range(opened.size[2]):
        values = labels.view(z)
        known = values != IGNORE
        if not known.any():
            continue
        rows, columns = np.flatnonzero(known.any(axis=1)), np.flatnonzero(known.any(axis=0))
        y, x = int(rows[0]), int(columns[0])
        window = Window(z=z, y=y, x=x, height=int(rows[-1]) + 1 - y, width=int(columns[-1]) + 1 - x)
        yield LabelPatch(window, np.ascontiguousarray(values[window.y : window.bottom, window.x : window.right]))
