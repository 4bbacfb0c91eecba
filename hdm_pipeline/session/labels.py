"""The labels of all scenes, drawn by a person and kept as files of that person: each stroke is saved at once.

Another program, or another session, may draw on the same scenes. Before anything is written, files that have changed
are read again, and of each pixel that was changed here and there the one of this session stays. What cannot be saved
(a full disk) stays in memory, and every later stroke tries again.
"""

from __future__ import annotations

import fcntl
import itertools
import json
import os
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from hdm_pipeline.contracts import ClassInfo, LabelKeeper, Reader, SavedLabels, SceneLabels
from hdm_pipeline.errors import ConfigError, HdmError, counted
from hdm_pipeline.grid import Window
from hdm_pipeline.output.files import output_errors, write_json
from hdm_pipeline.session.classes import hex_color
from hdm_pipeline.session.drawing import Cell, Drawing, Labels, Packed
from hdm_pipeline.session.scenes import Scenes
from hdm_pipeline.session.strokes import Stroke, check_stroke, check_value, covered

_CLASSES = "classes.json"
_LOCK = ".lock"

Files = dict[str, tuple[int, int, int]]
"""Files of a scene by name: time, size and number, which change when a file does."""


@dataclass(eq=False)
class SceneDrawing:
    """What is drawn on one scene, and what lies on disk of it.

    Attributes:
        scene: id.
        drawing: as it is now.
        saved: its cells as they were when files and memory last agreed.
        files: as they were then.
        kept: what the reader said of them; None as long as this session has written none.
        version: rises with every change; also that of a scene that is read again is higher than it ever was.
        unsaved: there are strokes that lie in memory only.
    """

    scene: str
    drawing: Drawing
    saved: dict[Cell, Packed] = field(default_factory=dict)
    files: Files = field(default_factory=dict)
    kept: SavedLabels | None = None
    version: int = 0
    unsaved: bool = False


class SessionLabels:
    """Labels of the scenes of an archive. May be used by several threads.

    Args:
        folder: of the labels; made with the first stroke.
        reader: of the archive; it keeps the labels.
        scenes: the archive.
        classes: what labels mean now, by ascending value.

    Attributes:
        revision: rises with every change.
        problems: scenes whose labels `all` could not read, and why.
    """

    def __init__(
        self, folder: Path, reader: Reader, scenes: Scenes, classes: Callable[[], Sequence[ClassInfo]]
    ) -> None:
        self.folder = folder
        self.revision = 0
        self.problems: dict[str, HdmError] = {}
        self._reader, self._scenes, self._classes = reader, scenes, classes
        self._lock = threading.RLock()
        self._known: dict[str, SceneDrawing] = {}
        self._versions = itertools.count(1)

    # ------------------------------------------------------------------ looking

    def labeled(self) -> set[str]:
        """Ids of the scenes on which something is drawn, as far as their files tell."""
        with self._lock:
            return self._labeled(self._files_by_scene())

    def _labeled(self, files: Mapping[str, Files]) -> set[str]:
        found = set(files) | set(self._known)
        return {scene for scene in found if scene not in self._known or self._known[scene].drawing.cells}

    def read(self, scene: str, window: Window, size: tuple[int, int] | None = None) -> Labels:
        """[height, width] labels of a window, or thinned out to (rows, columns) `size`.

        Raises:
            ConfigError: the window does not lie within the scene.
            HdmError: as `scene`.
        """
        with self._lock:
            drawing = self.scene(scene).drawing
            _check_window(window, drawing)
            if size is None or size == (window.height, window.width):
                return drawing.read(window)
            return drawing.thinned(window, (min(size[0], window.height), min(size[1], window.width)))

    def scene(self, scene: str) -> SceneDrawing:
        """What is drawn on a scene; read from its files when it is first asked for.

        Raises:
            NoSuchSceneError: there is no scene of that id.
            SupportError: the files were changed by another program and no longer fit the scene.
            ReadError: the scene cannot be read.
        """
        with self._lock:
            return self._known[scene] if scene in self._known else self._first(scene, self._files_of(scene))

    def _first(self, scene: str, files: Files) -> SceneDrawing:
        _, depth, height, width = self._scenes.header(scene).shape
        found = SceneDrawing(scene, Drawing((depth, height, width)))
        self._take_over(found, files)
        found.version = next(self._versions)
        self._known[scene] = found
        return found

    def all(self) -> list[SceneDrawing]:
        """Everything that is drawn, by scene, with what others have drawn by now.

        Scenes that cannot be read, or whose files cannot, are left out: `problems` has them.
        """
        with self._lock:
            found = []
            self.problems.clear()
            files = self._files_by_scene()  # once: of an archive with many labels it takes a while
            for scene in sorted(self._labeled(files)):
                there = files.get(scene, {})
                try:
                    one = self._known[scene] if scene in self._known else self._first(scene, there)
                    self._look_for_others(one, there)
                except HdmError as error:
                    self.problems[scene] = error
                    continue
                found.append(one)
            return [one for one in found if one.drawing.cells]

    def drawn_values(self) -> dict[str, set[int]]:
        """By scene the labels that are drawn on it."""
        with self._lock:
            return {one.scene: {v for counts in one.drawing.counts().values() for v in counts} for one in self.all()}

    def nameless(self) -> list[str]:
        """Scenes with labels that no pipeline file can use, as far as they were saved here: no path names the scene."""
        with self._lock:
            return sorted(s for s, one in self._known.items() if one.kept and one.kept.files and not one.kept.examples)

    def forget(self) -> None:
        """Read all labels again when they are next asked for: what their values mean has changed."""
        with self._lock:
            self._known.clear()
            self.revision += 1

    @contextmanager
    def at_rest(self) -> Iterator[None]:
        """Within: nobody draws."""
        with self._lock:
            yield

    # ------------------------------------------------------------------ drawing

    def draw(self, scene: str, stroke: Stroke) -> Window | None:
        """Draw, and save; the window that changed, or None if nothing did.

        Raises:
            ConfigError: it cannot be drawn, or the reader of the archive keeps no labels. Nothing is drawn.
            OutputError: it is drawn, but cannot be saved: the next stroke on any scene tries again.
            HdmError: as `scene`.
        """
        with self._lock:
            found = self._to_draw_on(scene)
            check_stroke(stroke, found.drawing.size, len(self._classes()))
            covers = covered(stroke, found.drawing.size)
            return self._changed(found, found.drawing.paint(stroke.z, covers, stroke.label))

    def paste(self, scene: str, window: Window, values: Labels) -> Window | None:
        """Draw an array [height, width] of labels, 255 leaving what is there; as `draw`."""
        with self._lock:
            found = self._to_draw_on(scene)
            _check_window(window, found.drawing)
            array = np.asarray(values)
            if array.shape != (window.height, window.width) or not np.can_cast(array.dtype, np.int64):
                what = f"labels are {array.dtype} {array.shape}"
                remedy = f"give whole numbers [{window.height}, {window.width}], as large as the window"
                raise ConfigError(what, where="add_example", remedy=remedy)
            for value in np.unique(array):
                check_value(int(value), len(self._classes()))
            return self._changed(found, found.drawing.paste(window, array.astype(np.uint8)))

    def erase(self, scene: str, value: int) -> Window | None:
        """Make all pixels of a label unknown; as `draw`."""
        with self._lock:
            found = self._to_draw_on(scene)
            return self._changed(found, found.drawing.replace(value, 255))

    def undo(self, scene: str) -> Window | None:
        """Take the last stroke on a scene back; as `draw`."""
        with self._lock:
            found = self._to_draw_on(scene)
            return self._changed(found, found.drawing.undo())

    def redo(self, scene: str) -> Window | None:
        """Draw again what was taken back; as `draw`."""
        with self._lock:
            found = self._to_draw_on(scene)
            return self._changed(found, found.drawing.redo())

    # ------------------------------------------------------------------ files

    def save(self) -> None:
        """Write what could not be written before: all that can be, also where another scene's labels cannot.

        Raises:
            HdmError: labels of a scene still cannot be written; the first of them.
        """
        with self._lock:
            errors = [error for found in self._known.values() if (error := self._tried(found)) is not None]
        if errors:
            raise errors[0]

    def kept(self) -> dict[str, SavedLabels]:
        """By scene what pipeline files need to use the labels; files that others wrote are written anew.

        Raises:
            OutputError: they cannot be written.
        """
        with self._lock:
            drawn = self.all()
            for found in drawn:
                if found.kept is None or found.unsaved:
                    self._write(found)
            return {found.scene: found.kept for found in drawn if found.kept is not None}

    def owner(self, file: str) -> str | None:
        """The scene that a file of this folder belongs to: that with the longest id that its name starts with."""
        return _owner(file, {ref.id for ref in self._scenes.refs()})

    def read_classes(self) -> list[tuple[str, str]]:
        """Names and colors of the classes that were ever drawn with: one may have left the pipeline file since.

        Raises:
            ConfigError: the file is no list of classes.
        """
        path = self.folder / _CLASSES
        try:
            found: Any = json.loads(path.read_text(encoding="utf-8"))
            return [(str(one["name"]), str(one["color"])) for one in found["classes"]]
        except (FileNotFoundError, NotADirectoryError):
            return []
        except (OSError, ValueError, KeyError, TypeError) as error:
            remedy = "correct it, or remove it: classes that only it names are lost then"
            raise ConfigError("the list of classes cannot be read", where=str(path), remedy=remedy) from error

    def remember(self, classes: Iterable[tuple[str, str]]) -> None:
        """Keep names and colors of classes: `read_classes` gives them; raises `ConfigError` as that, `OutputError`."""
        with self._lock, self._writing():
            self._remember(classes)

    def _remember(self, classes: Iterable[tuple[str, str]]) -> None:
        known = self.read_classes()
        names = {name for name, _ in known}
        more = [(name, color) for name, color in classes if name not in names]
        if more:
            listed = [{"name": name, "color": color} for name, color in [*known, *more]]
            write_json(self.folder / _CLASSES, {"classes": listed})

    def _to_draw_on(self, scene: str) -> SceneDrawing:
        if not isinstance(self._reader, LabelKeeper):
            raise ConfigError(
                "the reader of this archive cannot keep labels",
                where="input.reader",
                remedy="label with another program, and name its files under `examples`",
            )
        found = self.scene(scene)
        self._look_for_others(found, self._files_of(scene))
        return found

    def _changed(self, found: SceneDrawing, window: Window | None) -> Window | None:
        if window is not None:
            self._note(found)
            found.unsaved = True
        error = self._tried(found)
        with suppress(HdmError):  # whoever drew on another scene was told, and tries again
            self.save()
        if error is not None:
            raise error
        return window

    def _tried(self, found: SceneDrawing) -> HdmError | None:
        """Write what is not written of a scene; why that cannot be done."""
        try:
            if found.unsaved:
                self._write(found)
        except HdmError as error:
            return error
        return None

    def _note(self, found: SceneDrawing) -> None:
        found.version = next(self._versions)
        self.revision += 1

    def _look_for_others(self, found: SceneDrawing, files: Files) -> None:
        """Take over what another program has written since."""
        if files != found.files and self._take_over(found, files):
            self._note(found)

    def _take_over(self, found: SceneDrawing, files: Files) -> bool:
        """Read files of a scene into what is drawn; whether that changed it."""
        cells: dict[Cell, Packed] = {}
        if files and isinstance(self._reader, LabelKeeper):
            names = {one.value: one.name for one in self._classes()}
            read = self._reader.load_labels(self._scenes.ref(found.scene), names, self.folder)
            cells = {} if read is None else Drawing.of(found.drawing.size, read.patches).cells
        changed = found.drawing.merge(found.saved, cells)
        found.saved, found.files, found.kept = cells, files, None
        self._scenes.supports_changed([self.folder / name for name in files])
        return changed

    def _write(self, found: SceneDrawing) -> None:
        if not isinstance(self._reader, LabelKeeper):
            return
        with self._writing():
            self._look_for_others(found, self._files_of(found.scene))  # nobody else writes now
            classes = self._classes()
            labels = SceneLabels(
                self._scenes.ref(found.scene),
                {one.value: one.name for one in classes},
                {one.value: one.color for one in classes},
                tuple(found.drawing.patches()),
                {one.value: one.codes for one in classes if one.codes},
            )
            drawn = {value for counts in found.drawing.counts().values() for value in counts}
            self._remember((one.name, hex_color(one)) for one in classes if one.value in drawn)
            found.kept = self._reader.save_labels(labels, self.folder)
            found.files = self._files_of(found.scene)
            found.saved = dict(found.drawing.cells)
            found.unsaved = False
        self._scenes.supports_changed([self.folder / name for name in found.files])

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Within: no other session writes into the folder."""
        with output_errors(self.folder, setting="folder of labels"):
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = os.open(self.folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            with output_errors(self.folder, setting="folder of labels"):
                fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)

    def _files_of(self, scene: str) -> Files:
        return self._files_by_scene(scene).get(scene, {})

    def _files_by_scene(self, start: str = "") -> dict[str, Files]:
        """The files that lie in the folder, by the scene that they belong to.

        Args:
            start: of the names of files that are looked at.
        """
        found: dict[str, Files] = {}
        try:
            entries = [one for one in os.scandir(self.folder) if one.name.startswith(start) and one.name[0] != "."]
        except (FileNotFoundError, NotADirectoryError):  # who writes is told
            return {}
        except OSError as error:
            remedy = "check its permissions, or choose another folder"
            what = f"the folder of labels cannot be read: {error.strerror}"
            raise ConfigError(what, where=str(self.folder), remedy=remedy) from error
        ids = {ref.id for ref in self._scenes.refs()} if entries else set()
        for entry in entries:
            if (scene := _owner(entry.name, ids)) is None:
                continue
            try:
                stat = entry.stat()
            except OSError:  # being replaced at this moment
                continue
            found.setdefault(scene, {})[entry.name] = stat.st_mtime_ns, stat.st_size, stat.st_ino
        return found


def _owner(file: str, ids: Collection[str]) -> str | None:
    return next((file[:end] for end in range(len(file), 0, -1) if file[:end] in ids), None)


def _check_window(window: Window, drawing: Drawing) -> None:
    depth, height, width = drawing.size
    inside = 0 <= window.z < depth and min(window.y, window.x) >= 0 and min(window.height, window.width) >= 1
    if not inside or window.bottom > height or window.right > width:
        raise ConfigError(
            "the window does not lie within the scene",
            where=str(window),
            remedy=f"the scene has {counted(depth, 'slice')} of {height} rows and {width} columns",
        )
