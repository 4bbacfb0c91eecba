"""Which segment of the file a label is: by number and by name, alike when labels are written and when they are read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from hdm_dicom.derived import codes
from hdm_dicom.derived.texts import LONG_STRING, class_name
from hdm_pipeline.contracts import BACKGROUND, ClassInfo, SceneLabels, SceneRef
from hdm_pipeline.errors import ConfigError

_GRAY = (128, 128, 128)
_ANYTHING = {"category": "SCT:85756007:Tissue", "type": "SCT:85756007:Tissue"}
"""What a class is to other programs where the pipeline file names no codes."""

_NOTHING = {"category": "DCM:125040:Background", "type": "DCM:125040:Background"}


def file_of(ref: SceneRef, folder: Path) -> Path:
    """The file of a scene's labels, absolute; its name tells nothing but the scene's id."""
    return folder.absolute() / f"{ref.id}_labels.dcm"


def segment_numbers(classes: Mapping[int, str]) -> dict[int, int]:
    """Segment numbers by label value, background first: that of a class is the same whatever else is drawn."""
    return {value: number for number, value in enumerate([BACKGROUND, *sorted(classes)], 1)}


def segment_names(classes: Mapping[int, str]) -> dict[int, str]:
    """Segment names by label value: names of the classes as DICOM can hold them, no two alike but for case."""
    found: dict[int, str] = {}
    taken: set[str] = set()
    for value in sorted(classes):
        name = class_name(classes[value])
        while name.casefold() in taken:
            name = f"{name[: LONG_STRING - 4].strip()} {value}"
        taken.add(name.casefold())
        found[value] = name
    background = "background"
    while background in taken:
        background = f"no {background}"
    return {BACKGROUND: background, **found}


def full_names(classes: Mapping[int, str]) -> dict[int, str]:
    """What stands in SegmentDescription, by segment number: names as they are (in JSON); of background, null."""
    numbers = segment_numbers(classes)
    return {number: json.dumps(classes.get(value), ensure_ascii=False) for value, number in numbers.items()}


def described(labels: SceneLabels) -> tuple[ClassInfo, ...]:
    """The segments, as the writer of segmentations takes them: `ClassInfo.value` is the number of the segment."""
    names, numbers = segment_names(labels.classes), segment_numbers(labels.classes)
    found = [ClassInfo(numbers[BACKGROUND], names[BACKGROUND], _GRAY, _NOTHING)]
    for value in sorted(labels.classes):
        color, given = labels.colors.get(value, _GRAY), labels.codes.get(value, {})
        found.append(ClassInfo(numbers[value], names[value], color, _codes(given)))
    return tuple(found)


def _codes(given: Mapping[str, str]) -> dict[str, str]:
    """Codes of a class; what no file could hold gives way to those of anything: nobody's drawing is lost for a code."""
    found = dict(_ANYTHING)
    for role in codes.ROLES:
        try:
            codes.parse(given.get(role, ""), role)
        except ConfigError:
            continue
        found[role] = given[role]
    return found
