"""What a session tells of scenes, examples and tries."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from hdm_pipeline.contracts import SceneWarning
from hdm_pipeline.errors import HdmError
from hdm_pipeline.grid import Window

State = Literal["new", "unreadable", "running", "done", "quarantined"]
"""`unreadable` is a new scene that could not be read when somebody looked at it; a run tries it all the same."""


@dataclass(frozen=True)
class SceneState:
    """A scene of the archive, and what the last run made of it.

    Attributes:
        id: its id, by which it is asked for.
        state: ``done`` only while its products are those of the present pipeline file, input and examples.
        error: why it is quarantined or cannot be read: what, where, remedy; empty otherwise.
        warnings: what the run noticed.
        date: when it was taken, ISO 8601; empty if unknown.
        measures: by class: ``pixels``, and ``area_m2`` or ``volume_ml`` where known; empty before a run.
        uncertainty: mean uncertainty of the class areas, 0..1; None where no run measured it.
        outputs: published files, relative to the output directory.
        labeled: this session's labels lie on it.
        name: the file's own name where the id could not take all of it (``Müller.tif``); empty otherwise.
    """

    id: str
    state: State
    error: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[SceneWarning, ...] = ()
    date: str = ""
    measures: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    uncertainty: float | None = None
    outputs: tuple[str, ...] = ()
    labeled: bool = False
    name: str = ""


@dataclass(frozen=True)
class ExampleState:
    """One example of a class.

    Attributes:
        class_name: its class.
        name: as messages call it; carries no patient data.
        scene: id of the scene that the session's labels lie on; empty for an example that the pipeline file names.
        target: labelled pixels of the class.
        background: labelled pixels that are not.
        iou: how well the others find it; None without others, or while that is not known.
        note: one sentence if something is wrong with it; empty otherwise.
    """

    class_name: str
    name: str
    scene: str = ""
    target: int = 0
    background: int = 0
    iou: float | None = None
    note: str = ""


@dataclass(frozen=True, eq=False)
class Try:
    """What the network finds in a window with the examples as they are now.

    Attributes:
        scene: id of the scene.
        window: what was computed, within the scene.
        scores: [classes, height, width] uint8, 255 = probability 1, in the order of the pipeline's classes.
        mask: [height, width] uint8: 0 background, 1..C, 255 nodata, at the pipeline's threshold.
        uncertainty: [height, width] uint8, 255 = 1; None where the network tells none, or none was asked for.
        pixels: pixels of each class by name.
        seconds: by step: ``examples``, ``window``.
        revision: of the labels that it was made with.
    """

    scene: str
    window: Window
    scores: npt.NDArray[np.uint8]
    mask: npt.NDArray[np.uint8]
    uncertainty: npt.NDArray[np.uint8] | None
    pixels: Mapping[str, int]
    seconds: Mapping[str, float]
    revision: int


class TryEndedError(HdmError):
    """A try was ended because nobody waits for it any more."""


@dataclass(frozen=True)
class Suggestion:
    """A window that is worth labelling next.

    Attributes:
        scene: id of the scene.
        window: where to look.
        worth: 0..1, for the order.
        reason: one sentence: what is unlike the examples, or uncertain, there.
        measures: what the sentence was made of: ``unlikeness``, ``uncertainty``, 0..1 each where known.
    """

    scene: str
    window: Window
    worth: float
    reason: str
    measures: Mapping[str, Any] = field(default_factory=dict)
