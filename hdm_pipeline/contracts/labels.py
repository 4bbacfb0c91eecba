"""Labels that a person draws on a scene, on their way to files that belong to that person, and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from hdm_pipeline.contracts.scene import SceneRef
from hdm_pipeline.grid import Window


@dataclass(frozen=True, eq=False)
class LabelPatch:
    """Labels of a part of one slice.

    Attributes:
        window: where in the scene.
        values: [height, width] uint8: 0 background, 1..C the classes, 255 unknown.
    """

    window: Window
    values: npt.NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class SceneLabels:
    """What is drawn on a scene. Where no patch lies everything is unknown; patches do not lie on each other.

    Attributes:
        scene: the scene.
        classes: names of the classes by value, 1..254, in ascending order.
        colors: (red, green, blue) of the classes by value.
        patches: in order of slice, row and column.
        codes: coded terms of the classes by value, as in `ClassInfo.codes`.
    """

    scene: SceneRef
    classes: Mapping[int, str]
    colors: Mapping[int, tuple[int, int, int]]
    patches: tuple[LabelPatch, ...]
    codes: Mapping[int, Mapping[str, str]] = field(default_factory=dict)


@dataclass(frozen=True)
class SavedLabels:
    """Labels that lie on disk.

    Attributes:
        files: everything that was written, absolute.
        examples: by class name, what stands in a pipeline file under `examples` to use them: ``{"image": ...,
            "labels": ..., "where": ..., "background": ...}``, paths absolute. Every class of `SceneLabels.classes` is
            there, if anything is drawn: where a class is not, what is drawn is background of it. Empty where nothing
            is drawn, or where a pipeline file has no name for the scene (a mosaic, an item of a search).
    """

    files: tuple[str, ...]
    examples: Mapping[str, Mapping[str, Any]]
