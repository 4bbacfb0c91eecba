"""What all routes work with: a person's session on one pipeline file, its runs, tries and suggestions."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from hdm_pipeline import Session
from hdm_pipeline.contracts import SceneHeader
from hdm_pipeline.errors import ConfigError, HdmError
from hdm_studio.images import Colors
from hdm_studio.runs import Runs
from hdm_studio.settling import Settling
from hdm_studio.suggestions import Suggestions
from hdm_studio.tries import Tries

_LOOKED_AT = 20
"""Scenes that are opened to see of what kind the archive is, where the first ones cannot be read."""


class Studio:
    """One pipeline at work. May be used by several threads.

    Attributes:
        file: the pipeline file, absolute.
        session: a person at work on it.
        runs: its runs.
        tries: windows that were tried.
        settling: the examples' choices, made anew when nobody draws.
        suggestions: what to label next.
        closing: set when the server ends; long answers end then, too.
    """

    def __init__(self, file: Path, session: Session) -> None:
        self.file = file.absolute()
        self.session = session
        self.runs = Runs(self.file, lambda skip: session.follow(skip=skip), session.interrupt_run)
        self.tries = Tries(
            lambda scene, window, uncertainty, stopped: session.try_window(scene, window, uncertainty, stopped=stopped)
        )
        self.settling = Settling(session.settle)
        self.suggestions = Suggestions(lambda heard: session.suggest(on_progress=heard))
        self.closing = threading.Event()
        self._first: SceneHeader | None = None

    @property
    def output(self) -> Path:
        """The output directory; it need not be there."""
        return Path(self.session.config.output.directory)

    @property
    def writable(self) -> bool:
        """Whether examples can be entered into the pipeline file, which is replaced by a new one beside it."""
        return os.access(self.file, os.W_OK) and os.access(self.file.parent, os.W_OK)

    @property
    def colors(self) -> Colors:
        """The classes' colors by label value."""
        return {one.value: one.color for one in self.session.classes}

    def first_header(self) -> SceneHeader:
        """Of the first scene that can be read: what the archive is like.

        Raises:
            HdmError: there is no scene, or none of the first ones can be read.
        """
        if self._first is None:
            self._first = self._look()
        return self._first

    @property
    def private(self) -> bool:
        """Whether paths of the archive may name a patient; so it is taken to be until a scene was seen."""
        return self._first is None or self._first.ref.private

    def _look(self) -> SceneHeader:
        trouble: HdmError | None = None
        for scene in self.session.scenes()[:_LOOKED_AT]:
            try:
                return self.session.header(scene.id)
            except HdmError as error:
                trouble = trouble or error
        raise trouble or ConfigError("the archive holds no scene", where="input.uri", remedy="add scenes to it")


@contextmanager
def open_studio(file: Path, labels: Path | None = None) -> Iterator[Studio]:
    """A studio on a pipeline file.

    Args:
        file: the pipeline file.
        labels: folder of the user's labels; beside the pipeline file without it.

    Raises:
        ConfigError: the pipeline file is wrong.
    """
    with Session(file, labels) as session:
        studio = Studio(file, session)
        threading.Thread(target=_warm_up, args=(session,), name="hdm-warm-up", daemon=True).start()
        try:
            yield studio
        finally:
            studio.closing.set()
            studio.settling.close()


def _warm_up(session: Session) -> None:
    """Load the network while the person looks around. What is wrong with it the first try tells."""
    with suppress(HdmError):
        session.warm_up()
