"""The examples of a session: those that the pipeline file names, and what is drawn on scenes.

What is drawn does not take the way through files. It becomes examples as the readers make them of the files that it is
saved in: a scene of up to 4 Mpx as a whole, of a larger one the parts around what is drawn, of a volume whole slices.
Each drawn scene is an example of each class that is shown anywhere: where nothing of it is drawn, of its background.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from hdm_pipeline.config.schema import ClassConfig, PipelineConfig
from hdm_pipeline.contracts import IGNORE, ClassInfo, Pixels, Reader, Validity
from hdm_pipeline.errors import HdmError, SceneError
from hdm_pipeline.grid import Window
from hdm_pipeline.output.layout import Workspace
from hdm_pipeline.pixels.sanity import Look, look_at
from hdm_pipeline.pixels.sanity import pixel_size as side_of
from hdm_pipeline.pixels.scaling import scale_pixels
from hdm_pipeline.session.drawing import Drawing
from hdm_pipeline.session.entering import is_own, taught
from hdm_pipeline.session.labels import SceneDrawing, SessionLabels
from hdm_pipeline.session.opened import OpenScenes
from hdm_pipeline.session.strokes import CELL
from hdm_pipeline.session.values import ExampleState
from hdm_pipeline.support.examples import SupportExample, load_example, requests
from hdm_pipeline.support.remote import borrowed_examples

WHOLE = 4 << 20
"""Pixels up to which a raster scene is an example as a whole."""

SIDE = 1024
"""Longest side of the parts of a larger one, without their margin."""

MOST = 8
"""Most parts of a scene that are examples of a class."""

MOST_SLICES = 12
"""Most slices of a volume that are: each costs about a tenth of a second of CPU after every stroke."""

_RECENT = 6
"""Of these slices, and half as many of these parts, those that were drawn on last: who corrects wants to see it."""

_MARGIN = 128
"""Pixels around what is drawn: what lies beside it tells the network something, too."""

_KEPT_BYTES = 256 << 20
"""Pixels of windows that are kept."""

_LOOK_PIXELS = 1 << 14


@dataclass(frozen=True, eq=False)
class Shown:
    """One example of a class.

    Attributes:
        class_name: its class.
        example: as the network takes it; None where it cannot be used.
        scene: id of the scene that it was drawn on; empty for an example that the pipeline file names.
        note: what is wrong with it; empty if nothing is.
    """

    class_name: str
    example: SupportExample | None
    scene: str = ""
    note: str = ""

    def state(self, ious: Mapping[str, float | None], lacking: HdmError | None) -> ExampleState:
        """What is told of it.

        Args:
            ious: by name how well the others find each example of the class.
            lacking: what the examples of its class lack together.
        """
        if self.example is None:
            return ExampleState(self.class_name, self.scene, self.scene, note=self.note)
        target, background = (int((self.example.label == label).sum()) for label in (1, 0))
        note = self.note or ("" if lacking is None else f"{lacking.what}: {lacking.remedy}")
        name = self.example.name
        return ExampleState(self.class_name, name, self.scene, target, background, ious.get(name), note)


def by_class(shown: Sequence[Shown], classes: Sequence[ClassInfo]) -> dict[str, list[SupportExample]]:
    """The examples that can be used, of every class."""
    return {
        one.name: [each.example for each in shown if each.class_name == one.name and each.example is not None]
        for one in classes
    }


class SessionExamples:
    """May be used by several threads.

    Args:
        reader: of the archive.
        workspace: output directory; examples that a run has fetched are taken from there.
        opened: the scenes.
        labels: what is drawn.
    """

    def __init__(self, reader: Reader, workspace: Workspace, opened: OpenScenes, labels: SessionLabels) -> None:
        self._reader, self._workspace, self._opened, self._labels = reader, workspace, opened, labels
        self._lock = threading.RLock()
        self._of_file: tuple[object, list[Shown]] | None = None
        self._drawn: dict[tuple[str, str], tuple[object, list[Shown]]] = {}
        self._windows: OrderedDict[object, tuple[Pixels, Validity, Look]] = OrderedDict()

    def all(self, config: PipelineConfig, classes: Sequence[ClassInfo]) -> list[Shown]:
        """Every example: of the pipeline file in its order, then those drawn, by scene and class."""
        with self._lock:
            found = list(self._named(config))
            with self._labels.at_rest():
                drawings = [replace(one, drawing=one.drawing.still()) for one in self._labels.all()]
                shown = taught(config, classes, self._labels)
                problems = sorted(self._labels.problems.items())
            known = {}
            for drawing in drawings:
                for one in self._on_scene(config, drawing, [one for one in classes if one.name in shown]):
                    known[drawing.scene, one[0]] = self._drawn[drawing.scene, one[0]]
                    found += one[1]
            self._drawn = known
            for scene, error in problems:
                found.append(Shown("", None, scene, f"{error.what}: {error.remedy}" if error.remedy else error.what))
            return found

    # ------------------------------------------------------------------ of the pipeline file

    def _named(self, config: PipelineConfig) -> list[Shown]:
        """Examples of the pipeline file, but for those that are the session's own; read once a pipeline file."""
        key = repr((config.support.classes, config.input))
        if self._of_file is None or self._of_file[0] != key:
            found: list[Shown] = []
            with borrowed_examples(config, self._reader, self._workspace.examples) as local:
                for class_config in local.support.classes:
                    found += self._read(local, class_config)
            self._of_file = key, found
        return self._of_file[1]

    def _read(self, config: PipelineConfig, class_config: ClassConfig) -> Iterator[Shown]:
        others = [one for one in class_config.examples if not is_own(one, self._labels.folder)]
        for one in others:
            try:
                for request in requests(class_config.model_copy(update={"examples": [one]})):
                    for example in load_example(config, request, self._reader, class_config.name):
                        yield Shown(class_config.name, example)
            except HdmError as error:
                yield Shown(class_config.name, None, note=_sentence(error))

    # ------------------------------------------------------------------ drawn

    def _on_scene(
        self, config: PipelineConfig, drawn: SceneDrawing, classes: Sequence[ClassInfo]
    ) -> Iterator[tuple[str, list[Shown]]]:
        """By class what is drawn of it, or of its background, on a scene; made anew only when it was drawn on."""
        for one in classes:
            key = drawn.version, one.value, repr(config.input)
            known = self._drawn.get((drawn.scene, one.name))
            if known is None or known[0] != key:
                known = key, list(self._made(drawn, one))
                self._drawn[drawn.scene, one.name] = known
            yield one.name, known[1]

    def _made(self, drawn: SceneDrawing, one: ClassInfo) -> Iterator[Shown]:
        found = False
        _, shown = self._drawn.get((drawn.scene, one.name), (None, []))
        before = {each.example.name: each.example for each in shown if each.example is not None}
        for window, inner in windows_of(drawn.drawing, one.value):
            try:
                pixels, valid, look = self._pixels(drawn.scene, window)
            except SceneError as error:
                yield Shown(one.name, None, drawn.scene, _sentence(error))
                return
            label = np.full(valid.shape, IGNORE, dtype=np.uint8)
            part = inner.rows_columns(window)
            label[part] = _label(drawn.drawing.read(inner), one.value)
            label[~valid] = IGNORE
            if not (label != IGNORE).any():
                continue
            found = True
            name = _name(drawn, window)
            same = before.get(name)  # then nothing is made of it anew
            if same is not None and same.pixels is pixels and np.array_equal(same.label, label):
                yield Shown(one.name, same, drawn.scene)
                continue
            yield Shown(one.name, SupportExample(name, pixels, label, replace(look, name=name)), drawn.scene)
        if not found:
            note = "everything that is drawn lies where the scene holds no data: draw elsewhere"
            yield Shown(one.name, None, drawn.scene, note)

    def _pixels(self, scene: str, window: Window) -> tuple[Pixels, Validity, Look]:
        """A window as the network takes it: [bands, y, x] in 0..1 and NaN where not valid; validity; its look."""
        look = self._opened.look(scene)
        key = look.header.ref, repr((look.bands, look.ranges)), window
        if key in self._windows:
            self._windows.move_to_end(key)
            return self._windows[key]
        with self._opened.source(scene) as source:
            read, valid = source.read(window, look.bands.indices)
            size = side_of(source.row_areas())
        sample = read[:, valid][:, :: max(1, int(valid.sum()) // _LOOK_PIXELS)]
        looks = look_at(scene, look.bands, look.header.bands, sample, look.ranges, size)
        pixels, valid = look.bands.apply(read, valid)
        pixels = scale_pixels(np.where(valid, pixels, np.float32(0)), look.ranges)
        pixels[:, ~valid] = np.nan
        self._windows[key] = pixels, valid, looks
        while len(self._windows) > 1 and sum(one[0].nbytes for one in self._windows.values()) > _KEPT_BYTES:
            self._windows.popitem(last=False)
        return self._windows[key]


def windows_of(drawing: Drawing, value: int) -> list[tuple[Window, Window]]:
    """The windows of a scene that are examples of a class, and the part of each whose labels count.

    There are at most `MOST` parts, or `MOST_SLICES` slices of a volume: some of them those that were drawn on last.

    Args:
        drawing: what is drawn.
        value: label of the class.
    """
    depth, height, width = drawing.size
    if depth > 1:
        counts = {z: of_slice for z, of_slice in drawing.counts().items() if of_slice}  # some may have been erased
        recent = [z for z in dict.fromkeys(cell[0] for cell in reversed(drawing.cells)) if z in counts]
        chosen, rest = recent[:_RECENT], sorted(recent[_RECENT:])
        chosen += _even([z for z in rest if value in counts[z]], MOST_SLICES - len(chosen))
        chosen += _even([z for z in rest if value not in counts[z]], MOST_SLICES - len(chosen))
        return [(window, window) for window in (Window.whole(z, (height, width)) for z in sorted(chosen))]
    if height * width <= WHOLE:
        return [(Window.whole(0, (height, width)),) * 2] if drawing.cells else []
    parts = list(_parts(drawing))
    if len(parts) > MOST:
        last = parts[-_RECENT // 2 :]
        others = sorted(parts[: -_RECENT // 2], key=lambda pair: -_worth(drawing.read(pair[1]), value))
        parts = last + others[: MOST - len(last)]
    return sorted(parts)


def _even(numbers: list[int], most: int) -> list[int]:
    """Some of these, evenly spread."""
    if len(numbers) <= most:
        return numbers
    return [numbers[index * len(numbers) // most] for index in range(most)]


def _parts(drawing: Drawing) -> Iterator[tuple[Window, Window]]:
    """Parts of a lattice that starts at the scene's origin, trimmed to the cells that are drawn on, with a margin; that
    which was drawn on last comes last."""
    _, height, width = drawing.size
    side = SIDE // CELL
    groups: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for _, row, column in drawing.cells:
        part = row // side, column // side
        groups[part] = [*groups.pop(part, []), (row, column)]
    for cells in groups.values():
        (top, left), (bottom, right) = (tuple(f(axis) for axis in zip(*cells, strict=True)) for f in (min, max))
        y, x = top * CELL, left * CELL
        bottom, right = min(height, bottom * CELL + CELL), min(width, right * CELL + CELL)
        inner = Window(z=0, y=y, x=x, height=bottom - y, width=right - x)
        y, x = max(0, y - _MARGIN), max(0, x - _MARGIN)
        bottom, right = min(height, bottom + _MARGIN), min(width, right + _MARGIN)
        yield Window(z=0, y=y, x=x, height=bottom - y, width=right - x), inner


def _worth(values: npt.NDArray[np.uint8], value: int) -> float:
    """How much a part tells: the class first, and then both in good shares."""
    target, other = float(np.mean(values == value)), float(np.mean((values != value) & (values != IGNORE)))
    return (10.0 if target else 0.0) + min(target, 0.25) + min(other, 0.25)


def _label(values: npt.NDArray[np.uint8], value: int) -> npt.NDArray[np.uint8]:
    """1 the class, 0 background and other classes, 255 unknown."""
    found: npt.NDArray[np.uint8] = np.where(values == IGNORE, np.uint8(IGNORE), (values == value).astype(np.uint8))
    return found


def _name(drawn: SceneDrawing, window: Window) -> str:
    depth, height, width = drawn.drawing.size
    if depth > 1:
        return f"{drawn.scene} slice {window.z}"
    whole = (window.height, window.width) == (height, width)
    return drawn.scene if whole else f"{drawn.scene} at {window.x}, {window.y}"


def _sentence(error: HdmError) -> str:
    return "; ".join(part for part in (error.what, error.where, error.remedy) if part)
