"""The public API of a person at work on a pipeline.

from hdm_pipeline import Session

with Session("pipelines/flood_extent.yaml") as session:
    session.draw(scene, Stroke(z=0, tool="brush", value=1, points=((120.0, 80.0),), radius=12))
    found = session.try_window(scene, window)
    session.save()
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from hdm_pipeline.config.file import read_pipeline_file
from hdm_pipeline.config.palette import default_colors
from hdm_pipeline.config.schema import ClassConfig, PipelineConfig, Range
from hdm_pipeline.contracts import ClassInfo, SceneHeader
from hdm_pipeline.errors import ConfigError
from hdm_pipeline.grid import Window
from hdm_pipeline.output.layout import Workspace
from hdm_pipeline.output.lock import interrupt_holder
from hdm_pipeline.pipeline import Pipeline
from hdm_pipeline.planning.validation import class_infos
from hdm_pipeline.plugin.registry import archive_reader
from hdm_pipeline.reporting.follow import RunFollower
from hdm_pipeline.session.labels import SessionLabels
from hdm_pipeline.session.opened import OpenScenes
from hdm_pipeline.session.pictures import Pictures
from hdm_pipeline.session.scenes import Scenes
from hdm_pipeline.session.strokes import Stroke
from hdm_pipeline.session.values import SceneState

MOST_CLASSES = 254


class Session:
    """A person at work on a pipeline: looks at scenes, labels, tries, corrects. May be used by several threads.

    Use it as a context manager. What is drawn is saved at once, as files of the user's.

    Args:
        pipeline: a pipeline file, or a pipeline that was read from one.
        labels: folder of the user's labels; ``labels/`` beside the pipeline file without it.

    Attributes:
        file: the pipeline file.
        config: the pipeline, with absolute paths.

    Raises:
        ConfigError: the pipeline file, its reader or the folder of labels cannot be used.
    """

    def __init__(self, pipeline: str | Path | Pipeline, labels: str | Path | None = None) -> None:
        read = pipeline.file if isinstance(pipeline, Pipeline) else read_pipeline_file(Path(pipeline))
        self.file = read.path
        self.config: PipelineConfig = read.absolute()
        self._reader = archive_reader(self.config)
        self._scenes = Scenes(self.config, Workspace(Path(self.config.output.directory)), self._reader)
        self._opened = OpenScenes(self._scenes)
        self._pictures = Pictures(self._scenes, self._opened)
        self._lock = threading.RLock()
        self._more: list[ClassConfig] = []
        folder = Path(labels).absolute() if labels is not None else self.file.parent / "labels"
        self._labels = SessionLabels(folder, self._reader, self._scenes, lambda: self.classes)
        for name, color in self._labels.read_classes():
            self._know(name, color)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close what is open, and try once more to save what could not be saved.

        Raises:
            OutputError: there are strokes that cannot be saved; they are lost with this session.
        """
        self._opened.close()
        self._scenes.close()
        self._labels.save()

    # ------------------------------------------------------------------ scenes

    def scenes(self) -> list[SceneState]:
        """Every scene of the archive as it is now, by id; raises as `Scenes.states`."""
        return self._scenes.states(self._labels.labeled())

    def scene(self, scene: str) -> SceneState:
        """One scene; raises `NoSuchSceneError` if there is none of that id."""
        return self._scenes.state(scene, self._labels.labeled())

    def header(self, scene: str) -> SceneHeader:
        """What a scene's header says; raises as `Scenes.header`."""
        return self._scenes.header(scene)

    def bands(self, scene: str) -> list[str]:
        """What the network sees of a scene, as `input.bands` names it."""
        return [str(band) for band in self._opened.look(scene).bands.bands]

    def ranges(self, scene: str) -> tuple[Range, ...]:
        """(low, high) of each of these bands that become 0 and 1."""
        return self._opened.look(scene).ranges

    def refresh(self) -> None:
        """Look through the archive again; raises as `Scenes.refresh`."""
        self._scenes.refresh()

    # ------------------------------------------------------------------ pictures

    def picture(
        self, scene: str, window: Window, size: tuple[int, int], ranges: Sequence[Range] | None = None
    ) -> npt.NDArray[np.uint8]:
        """[*size, 4] uint8 colors of a window; see `Pictures.picture`."""
        return self._pictures.picture(scene, window, size, ranges)

    def thumbnail(self, scene: str, side: int = 256) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8] | None]:
        """A whole slice in colors, and the last run's mask of it; see `Pictures.thumbnail`."""
        return self._pictures.thumbnail(scene, side)

    def result(self, scene: str, window: Window, size: tuple[int, int]) -> npt.NDArray[np.uint8] | None:
        """[*size] uint8 mask of the last run; None without; see `Pictures.result`."""
        return self._pictures.result(scene, window, size)

    # ------------------------------------------------------------------ the run, whoever started it

    def follow(self, *, skip: bool = False) -> RunFollower:
        """Whatever run works on the output directory, as its event log tells; see `RunFollower`.

        Args:
            skip: pass over what the last run has logged: the next one is waited for.
        """
        return RunFollower(self._scenes.workspace, skip=skip)

    def interrupt_run(self) -> bool:
        """Ask the run to stop, as Ctrl-C does: once, after the blocks being worked on; twice, at once.

        Returns:
            Whether there was one.

        Raises:
            OutputError: it runs on another host, or belongs to another user.
        """
        return bool(interrupt_holder(self._scenes.workspace.lock))

    # ------------------------------------------------------------------ classes and labels

    @property
    def classes(self) -> tuple[ClassInfo, ...]:
        """The classes by ascending value: those of the pipeline file, then those that were added here."""
        with self._lock:
            known = class_infos(self.config)
            return known + tuple(
                ClassInfo(value, one.name, one.rgb) for value, one in enumerate(self._more, start=len(known) + 1)
            )

    def add_class(self, name: str, color: str | None = None) -> ClassInfo:
        """A new class; it gets into the pipeline file with its first labels, by `save`.

        Args:
            name: 1 to 64 characters, other than those of the classes there are.
            color: ``#rrggbb``; by default the next of a palette that color-blind people can read.

        Raises:
            ConfigError: the name is taken or not fit, there are too many classes, or the color is none.
            OutputError: the list of classes cannot be saved; the class is not added.
        """
        with self._lock:
            if any(one.name == name for one in self.classes):
                raise ConfigError(f"there is a class {name!r} already", where="class", remedy="choose another name")
            if len(self.classes) >= MOST_CLASSES:
                raise ConfigError(f"there are {MOST_CLASSES} classes already", where="class")
            self._know(name, color)
            try:
                self._labels.write_classes(self.classes)
            except BaseException:
                self._more.pop()
                raise
            self._labels.revision += 1
            return self.classes[-1]

    @property
    def revision(self) -> int:
        """Rises with every change of labels or classes."""
        return self._labels.revision

    def draw(self, scene: str, stroke: Stroke) -> Window | None:
        """Draw, and save at once; the window that changed, or None if nothing did.

        Raises:
            ConfigError: it cannot be drawn, or the reader of the archive keeps no labels. Nothing is drawn.
            OutputError: it is drawn, but cannot be saved: the next stroke on any scene tries again.
            SupportError: the files of this scene's labels were changed by another program and no longer fit it.
        """
        return self._labels.draw(scene, stroke)

    def undo(self, scene: str) -> Window | None:
        """Take the last stroke on a scene back; as `draw`."""
        return self._labels.undo(scene)

    def redo(self, scene: str) -> Window | None:
        """Draw again what was taken back; as `draw`."""
        return self._labels.redo(scene)

    def can_undo(self, scene: str) -> bool:
        """Whether there is a stroke of this session on a scene to take back."""
        return self._labels.scene(scene).drawing.can_undo

    def can_redo(self, scene: str) -> bool:
        """Whether a stroke on a scene was taken back."""
        return self._labels.scene(scene).drawing.can_redo

    def labels(self, scene: str, window: Window, size: tuple[int, int] | None = None) -> npt.NDArray[np.uint8]:
        """Labels of a window, [height, width] or thinned out to (rows, columns) `size`: 0 background, 255 unknown."""
        return self._labels.read(scene, window, size)

    def drawn(self, scene: str) -> dict[int, dict[int, int]]:
        """Labelled pixels of a scene by slice and label value."""
        with self._labels.at_rest():
            return self._labels.scene(scene).drawing.counts()

    def add_example(self, scene: str, window: Window, values: npt.NDArray[Any]) -> Window | None:
        """Draw an array [height, width] of label values at once, where it is not 255; as `draw`.

        Args:
            scene: id.
            window: within one slice of the scene.
            values: whole numbers: 0 background, 1.. the classes, 255 leaves what is there.
        """
        return self._labels.paste(scene, window, values)

    def remove_example(self, scene: str, class_name: str) -> Window | None:
        """Take the session's labels of a class off a scene; as `draw`.

        Raises:
            ConfigError: there is no such class.
        """
        for one in self.classes:
            if one.name == class_name:
                return self._labels.erase(scene, one.value)
        raise ConfigError(f"there is no class {class_name!r}", where="class", remedy="choose one of the classes")

    def _know(self, name: str, color: str | None) -> None:
        """Add a class, unless there is one of that name."""
        if any(one.name == name for one in self.classes):
            return
        taken = {"#{:02x}{:02x}{:02x}".format(*one.color) for one in self.classes}
        free = next(color for color in default_colors() if color not in taken)
        try:
            self._more.append(ClassConfig(name=name, color=color or free, examples=[]))
        except ValueError as error:
            remedy = "give a name of 1 to 64 characters, and a color as #rrggbb"
            raise ConfigError(f"no class can be called {name!r}", where="class", remedy=remedy) from error
