"""Checks of readers that keep labels which a person draws (`contracts.LabelKeeper`)."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from hdm_pipeline.config.schema import ClassConfig
from hdm_pipeline.contracts import (
    BACKGROUND,
    IGNORE,
    LabelKeeper,
    LabelPatch,
    Reader,
    SavedLabels,
    SceneHeader,
    SceneLabels,
)
from hdm_pipeline.errors import OutputError, SupportError
from hdm_pipeline.grid import Window
from hdm_pipeline.support.examples import requests
from hdm_pipeline.testing.findings import Findings

_SIDE = 48
"""Rows and columns that are drawn on, at most."""

_PIXELS = 1 << 22
"""Pixels of a slice that is looked at as an example, at most."""

_CLASSES = {1: "first", 2: "second class", 3: "d'été"}
_COLORS = {1: (230, 159, 0), 2: (86, 180, 233), 3: (0, 158, 115)}

Drawn = dict[int, npt.NDArray[np.uint8]]
"""Labels [rows, columns] by slice."""


def check_labels(findings: Findings, reader: Reader, header: SceneHeader, folder: Path) -> None:
    """Have labels of a scene kept, given back, used as examples, replaced, damaged and removed.

    Args:
        findings: where to note what is wrong.
        reader: guarded, and a `LabelKeeper`: files and values are looked at there.
        header: of the scene.
        folder: empty, and for this alone.
    """
    assert isinstance(reader, LabelKeeper)
    labels = _drawn(header)
    drawn = _by_slice(labels, header)
    try:
        saved = reader.save_labels(labels, folder)
    except OutputError as error:
        findings.require(bool(error.remedy), "labels cannot be kept, and no remedy is named")
        return
    _check_files(findings, saved, folder)
    _check_same(findings, reader, header, folder, drawn, _CLASSES, "labels")
    reader.save_labels(labels, folder)
    _check_same(findings, reader, header, folder, drawn, _CLASSES, "labels that are saved twice")
    kept = {3: "another", 1: _CLASSES[1]}
    known = {z: np.where(np.isin(values, [BACKGROUND, 1]), values, IGNORE) for z, values in drawn.items()}
    _check_same(findings, reader, header, folder, known, kept, "labels of classes that are no longer named")
    if header.shape[2] * header.shape[3] <= _PIXELS:
        _check_examples(findings, reader, header, saved, drawn)
    if header.shape[2] * header.shape[3] <= _PIXELS:
        beside = replace(labels, patches=tuple(_as_background(patch) for patch in labels.patches))
        _check_examples(findings, reader, header, reader.save_labels(beside, folder), _by_slice(beside, header))
    fewer = replace(labels, patches=labels.patches[:1])
    _check_files(findings, reader.save_labels(fewer, folder), folder)
    _check_same(findings, reader, header, folder, _by_slice(fewer, header), _CLASSES, "labels that replace others")
    for file in saved.files:
        if os.path.exists(file):
            os.truncate(file, os.path.getsize(file) // 3)
    findings.raises(
        (SupportError,), lambda: reader.load_labels(header.ref, _CLASSES, folder), "loading labels that are cut short"
    )
    nothing = reader.save_labels(replace(labels, patches=()), folder)
    findings.require(nothing == SavedLabels((), {}), "saving nothing gives files or examples")
    _check_files(findings, nothing, folder)
    empty = reader.load_labels(header.ref, _CLASSES, folder)
    findings.require(empty is None, "labels are loaded although nothing is drawn")
    missing = folder / "no such folder"
    findings.raises((OutputError,), lambda: reader.save_labels(labels, missing), "a folder of labels that is not there")


def _drawn(header: SceneHeader) -> SceneLabels:
    """Noise in the middle of the first and of the last slice, and single pixels in corners; no patch on another."""
    _, depth, height, width = header.shape
    rng = np.random.default_rng(0)
    patches = []
    for z in sorted({0, depth - 1}):
        rows, columns = min(_SIDE, max(1, height - 2)), min(_SIDE, max(1, width - 2))
        y, x = (height - rows) // 2, (width - columns) // 2
        values = rng.choice(np.array([0, 1, 2, 255], np.uint8), (rows, columns))
        values[0, 0] = 1
        middle = LabelPatch(Window(z=z, y=y, x=x, height=rows, width=columns), values)
        if y > 0 and x > 0:
            patches.append(_pixel(z, 0, 0, 1))
        patches.append(middle)
        if y + rows < height and x + columns < width:
            patches.append(_pixel(z, height - 1, width - 1, 3))
    return SceneLabels(header.ref, _CLASSES, _COLORS, tuple(patches))


def _pixel(z: int, y: int, x: int, value: int) -> LabelPatch:
    return LabelPatch(Window(z=z, y=y, x=x, height=1, width=1), np.array([[value]], np.uint8))


def _as_background(patch: LabelPatch) -> LabelPatch:
    return replace(patch, values=np.where(patch.values == IGNORE, np.uint8(IGNORE), np.uint8(BACKGROUND)))


def _by_slice(labels: SceneLabels, header: SceneHeader) -> Drawn:
    found: Drawn = {}
    for patch in labels.patches:
        at = patch.window
        values = found.setdefault(at.z, np.full(header.shape[2:], IGNORE, np.uint8))
        values[at.y : at.bottom, at.x : at.right] = patch.values
    return found


def _check_files(findings: Findings, saved: SavedLabels, folder: Path) -> None:
    there = {str(path) for path in folder.absolute().iterdir()}
    findings.require(there == set(saved.files), f"{len(there)} files lie in the folder, {len(saved.files)} are named")


def _check_same(
    findings: Findings,
    reader: LabelKeeper,
    header: SceneHeader,
    folder: Path,
    drawn: Mapping[int, npt.NDArray[np.uint8]],
    classes: Mapping[int, str],
    what: str,
) -> None:
    found = reader.load_labels(header.ref, classes, folder)
    if found is None:
        findings.add(f"{what} are not given back")
        return
    back = _by_slice(found, header)
    for z in drawn.keys() | back.keys():
        nothing = np.full(header.shape[2:], IGNORE, np.uint8)
        same = np.array_equal(back.get(z, nothing), drawn.get(z, nothing))
        findings.require(same, f"{what} come back changed in slice {z}")


def _check_examples(findings: Findings, reader: Reader, header: SceneHeader, saved: SavedLabels, drawn: Drawn) -> None:
    """What a pipeline file is to say of the labels must give these labels, and nothing else."""
    with reader.open(header.ref) as source:
        valid = {z: source.read(Window.whole(z, header.shape[2:]), range(header.shape[0]))[1] for z in drawn}
    for value, name in _CLASSES.items():
        if name not in saved.examples:  # a scene that no path names, within an archive say
            findings.require(not saved.examples, f"class {name!r} has no example")
            continue
        wanted = {z: label for z, label in _labels_of(value, drawn, valid) if (label != IGNORE).any()}
        if not any((label == 0).any() for label in wanted.values()):
            continue  # of no use by itself, and a pipeline file may refuse it: nothing says what is not the class
        (request,) = requests(ClassConfig.model_validate({"name": name, "examples": [dict(saved.examples[name])]}))
        found = [image.label for image in reader.read_support(request)]
        whole = [label for label in found if label.shape == header.shape[2:]]
        if len(whole) == len(found) == len(wanted):
            same = all(any(np.array_equal(label, one) for one in wanted.values()) for label in whole)
        else:  # windows of the scene, which leave out nothing that is drawn of the class
            counts = [[sum(int((x == v).sum()) for x in labels) for v in (0, 1)] for labels in (found, wanted.values())]
            same = counts[0][1] == counts[1][1] and (counts[0][1] > 0 or counts[0][0] > 0)
        findings.require(same, f"the example of class {name!r} holds other labels than were drawn")


def _labels_of(
    value: int, drawn: Drawn, valid: Mapping[int, npt.NDArray[np.bool_]]
) -> Iterator[tuple[int, npt.NDArray[np.uint8]]]:
    """Labels of a class by slice: 1 the class, 0 background and other classes, 255 what is not drawn."""
    for z, values in drawn.items():
        label = np.where(values == value, 1, 0).astype(np.uint8)
        label[(values == IGNORE) | ~valid[z]] = IGNORE
        yield z, label
