"""The public API of a person at work on a pipeline.

from hdm_pipeline import Session

with Session("pipelines/flood_extent.yaml") as session:
    session.draw(scene, Stroke(z=0, tool="brush", value=1, points=((120.0, 80.0),), radius=12))
    found = session.try_window(scene, window)
    session.save()
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from hdm_pipeline.arguments import path_argument
from hdm_pipeline.config.edit import edited_text, enter_examples
from hdm_pipeline.config.file import PipelineFile, read_pipeline_file
from hdm_pipeline.config.schema import PipelineConfig, Range
from hdm_pipeline.contracts import ClassInfo, SceneHeader
from hdm_pipeline.errors import ConfigError
from hdm_pipeline.grid import Window
from hdm_pipeline.hashing import file_hash
from hdm_pipeline.output.lock import interrupt_holder
from hdm_pipeline.pipeline import Pipeline
from hdm_pipeline.planning.workspace import workspace_of
from hdm_pipeline.plugin.registry import archive_reader
from hdm_pipeline.reporting.follow import RunFollower
from hdm_pipeline.session.classes import SessionClasses
from hdm_pipeline.session.entering import entered, found_entries, left_out, to_enter
from hdm_pipeline.session.examples import SessionExamples, by_class
from hdm_pipeline.session.labels import SessionLabels
from hdm_pipeline.session.looks import Looks
from hdm_pipeline.session.network import SessionNetwork, usable
from hdm_pipeline.session.opened import OpenScenes
from hdm_pipeline.session.pictures import Pictures
from hdm_pipeline.session.same_archive import require_same_archive
from hdm_pipeline.session.scenes import Scenes
from hdm_pipeline.session.strokes import Stroke
from hdm_pipeline.session.suggest import suggest
from hdm_pipeline.session.tries import Tries, as_try
from hdm_pipeline.session.values import ExampleState, SceneState, Suggestion, Try
from hdm_pipeline.support.examples import SupportExample


class Session:
    """A person at work on a pipeline: looks at scenes, labels, tries, corrects. May be used by several threads.

    Use it as a context manager. What is drawn is saved at once, as files of the user's.

    Args:
        pipeline: a pipeline file, or a pipeline that was read from one, with its overrides.
        labels: folder of the user's labels; ``labels/`` beside the pipeline file without it.

    Attributes:
        file: the pipeline file.
        config: the pipeline, with absolute paths.

    Raises:
        ConfigError: the pipeline file, its reader or the folder of labels cannot be used.
    """

    def __init__(self, pipeline: str | Path | Pipeline, labels: str | Path | None = None) -> None:
        given = pipeline.file if isinstance(pipeline, Pipeline) else read_pipeline_file(pipeline)
        self.file, self._overrides = given.path, given.overrides
        read, self._hash = self._read()
        self.config: PipelineConfig = read.absolute()
        self._reader = archive_reader(self.config)
        workspace = workspace_of(self.config)
        if workspace.bucket is not None:
            raise ConfigError(
                "labels are drawn and tried over an output on a disk, not in a bucket",
                where=f"output.directory: {workspace.shown}",
                remedy="for the session, add --set output.directory=FOLDER; run into the bucket afterwards",
            )
        self._scenes = Scenes(self.config, workspace, self._reader)
        self._opened = OpenScenes(self._scenes)
        self._pictures = Pictures(self._scenes, self._opened)
        self._lock = threading.RLock()
        self._classes = SessionClasses(self.config)
        folder = self.file.parent / "labels"
        if labels is not None:
            folder = path_argument(labels, "the folder of labels", "Session").absolute()
        self._labels = SessionLabels(folder, self._reader, self._scenes, lambda: self.classes)
        self._examples = SessionExamples(self._reader, self._scenes.workspace, self._opened, self._labels)
        self._network = SessionNetwork(self.config)
        self._tries = Tries(self._opened)
        self._looks = Looks(self._opened)
        self._closed = threading.Event()
        for name, color in self._labels.read_classes():
            self._classes.know(name, color)

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
        self._closed.set()
        self._network.close()
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
        """What the network sees of a scene: names of its bands or, of those without one, what `input.bands` says."""
        found = self._opened.look(scene).bands.bands
        return [band.name or str(asked) for band, asked in zip(found, self.config.input.bands, strict=True)]

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
        return bool(interrupt_holder(self._scenes.workspace.lock_place))

    # ------------------------------------------------------------------ classes and labels

    @property
    def classes(self) -> tuple[ClassInfo, ...]:
        """The classes by ascending value: those of the pipeline file, then those that were added here."""
        return self._classes.all

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
            added = self._classes.new(name, color)
            self._labels.remember([(added.name, str(added.color))])
            self._classes.take(added)
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
        return self._labels.erase(scene, self._classes.named(class_name).value)

    # ------------------------------------------------------------------ examples

    def examples(self) -> list[ExampleState]:
        """All examples: of the pipeline file, and drawn here. How well the others find one is known after `settle`."""
        classes = self.classes
        ious = {name: fit.ious for name, fit in self._network.fits.items()}
        shown = self._examples.all(self.config, classes)
        _, lacking = usable(by_class(shown, classes))
        return [one.state(ious.get(one.class_name, {}), lacking.get(one.class_name)) for one in shown]

    @property
    def saved(self) -> bool:
        """Whether the pipeline file names all labels that are drawn, and no others."""
        return to_enter(self.config, self.classes, self._labels) == entered(self.config, self._labels)

    def save(self) -> list[dict[str, str]]:
        """Enter the session's labels into the pipeline file; all else in it stays byte for byte.

        Returns:
            The examples that the file now names of this session: ``class`` and ``scene``. Where nothing of a class is
            drawn, labels are an example of its background. `left_out` tells of others.

        Raises:
            OutputError: the file is read-only, or another program changes it at this very moment.
            PipelineFileError: somebody has changed it, and it is wrong now; `ConfigError` as `reload`.
            ConfigError: a class would be left without an example, or without background, or the file cannot be changed
                in place.
        """
        with self._lock:
            if self._hash_now() != self._hash:
                self.reload()  # what somebody changed in the file meanwhile stays
            found, pairs = found_entries(self.config, self.classes, self._labels)
            enter_examples(self.file, found, self._labels.folder, since=self._hash)
            self.reload()
            return [{"class": name, "scene": scene} for scene, name in sorted((s, n) for n, s in pairs)]

    def left_out(self) -> list[dict[str, str]]:
        """Scenes whose labels the last `save` could not enter into the pipeline file: ``scene``, and ``why``."""
        return left_out(self._labels)

    def text(self) -> str:
        """The pipeline file as `save` would write it, for who must enter it by hand; raises `ConfigError` as `save`."""
        with self._lock:
            found, _ = found_entries(self.config, self.classes, self._labels)
            return edited_text(self.file, found, self._labels.folder)

    def reload(self) -> None:
        """Read the pipeline file again, after another program has changed it.

        Raises:
            PipelineFileError: it is wrong.
            ConfigError: it names another archive or output directory now, or the list of classes in the folder of
                labels is wrong.
            OutputError: there are strokes that cannot be saved. Whatever is raised, all is as it was.
        """
        with self._lock:
            read, read_hash = self._read()
            config = read.absolute()
            require_same_archive(self.config, config)
            with self._labels.at_rest():  # nobody draws by numbers of which half the session knows the new meaning
                self._labels.save()  # what is not saved yet means the classes as they are
                before = self.classes
                self._classes.use(config, self._labels.read_classes())
                self.config, self._hash = config, read_hash
                if [one.name for one in before] != [one.name for one in self.classes]:
                    self._labels.forget()
            self._scenes.use(config)
            self._scenes.supports_changed()
            self._network.use(config)

    # ------------------------------------------------------------------ trying

    def try_window(
        self,
        scene: str,
        window: Window,
        uncertainty: bool = False,
        *,
        stopped: Callable[[], bool] = lambda: False,
    ) -> Try:
        """What a run without adaptation would find in a window, with the examples as they are now.

        What `settle` chose last is kept. Before it was called, the network sees examples and tiles at its usual
        reduction, and scores are not calibrated.

        Args:
            scene: id.
            window: within one slice of the scene; of one that needs more than 20 tiles the middle is tried.
            uncertainty: also where the network is not sure.
            stopped: asked before each tile: True ends the try, as nobody waits for it any more.

        Raises:
            SupportError: no class has an example with background yet.
            TryEndedError: `stopped` said so.
            HdmError: the scene cannot be read, or the weights cannot be used.
        """
        begun = time.perf_counter()
        revision, classes = self.revision, self.classes
        found = self._usable(classes)

        def work() -> Try:
            fits = self._network.fit(found, stopped)
            encoded = time.perf_counter()
            made = self._tries.make(self.config, classes, fits, scene, window, uncertainty=uncertainty, stopped=stopped)
            return as_try(scene, classes, made, (begun, encoded, time.perf_counter()), revision)

        return self._network.run(work)

    def warm_up(self) -> None:
        """Load the network now, so that the first try need not wait for it; raises `WeightsError` as that would."""
        self._network.warm_up()

    def settle(self) -> bool:
        """Let the examples choose everything anew (reduction, weighing, calibration), and judge each by the others.

        Takes seconds to a minute; to be called when nobody draws, from a thread of its own.

        Returns:
            Whether it came to its end; a try ends it, and it is to be called again.

        Raises:
            SupportError: no class has an example with background yet.
        """
        return self._network.settle(self._usable(self.classes))

    def suggest(self, count: int = 20, on_progress: Callable[[float], None] | None = None) -> list[Suggestion]:
        """Windows that are worth labelling next, best first; see `hdm_pipeline.session.suggest.suggest`."""
        classes = self.classes
        known = by_class(self._examples.all(self.config, classes), classes)
        examples = [of_class for of_class in known.values() if of_class]
        segmenter = self._network.separate()
        return suggest(
            self._scenes,
            self._looks,
            segmenter,
            examples,
            count,
            labeled=self._labels.labeled(),
            on_progress=on_progress,
            stopped=self._closed.is_set,
        )

    def _usable(self, classes: Sequence[ClassInfo]) -> dict[str, Sequence[SupportExample]]:
        found, lacking = usable(by_class(self._examples.all(self.config, classes), classes))
        if not found:
            drawn = {one.class_name for one in self._examples.all(self.config, classes)}
            raise next((error for name, error in lacking.items() if name in drawn), next(iter(lacking.values())))
        return found

    def _read(self) -> tuple[PipelineFile, str]:
        """The pipeline file as it is now, and its hash, or that of just before: a change in between is found then."""
        known = self._hash_now()
        return read_pipeline_file(self.file, self._overrides), known

    def _hash_now(self) -> str:
        try:
            return file_hash(self.file)
        except OSError:
            return ""  # reading tells why
