"""The archive: what discovery finds behind all inputs of a pipeline."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from operator import attrgetter

from hdm_pipeline.config.schema import PipelineConfig
from hdm_pipeline.contracts import Reader, SceneRef, Skipped
from hdm_pipeline.errors import ArchiveError, EmptyArchiveError, QuietArchiveError
from hdm_pipeline.output.layout import Workspace
from hdm_pipeline.output.ledger import Ledger
from hdm_pipeline.plugin.guarded_reader import shown

CHOSEN = "input.select"
"""How reasons of what the user chose to leave out begin."""


@dataclass(frozen=True)
class Archive:
    """What is behind all inputs.

    Attributes:
        scenes: of a run, sorted by id.
        skipped: what was left out.
        quiet: inputs where another machine has nothing now, in words.
    """

    scenes: tuple[SceneRef, ...]
    skipped: tuple[Skipped, ...]
    quiet: tuple[str, ...] = ()


class Products:
    """Files published to an output directory: an archive that holds it finds them, and they are no scenes.

    Args:
        workspace: the output directory.
        ledger: knows what was published; it is asked only for files that lie there.
    """

    def __init__(self, workspace: Workspace, ledger: Ledger) -> None:
        self._root, self._ledger = f"{workspace.shown.rstrip('/')}/", ledger
        self._of: tuple[str, frozenset[str]] = ("", frozenset())

    def hold(self, path: str) -> bool:
        """Whether a path is one of them."""
        if not path.startswith("/") or "/." in path or "//" in path:  # else it is what `abspath` would make of it
            path = os.path.abspath(path)
        if not path.startswith(self._root):
            return False
        name = path[len(self._root) :]
        scene = name.partition("/")[0]
        if self._of[0] != scene:  # the files of a scene are found one after another
            record = self._ledger.scene(scene)
            self._of = (scene, frozenset(() if record is None else record.outputs))
        return name in self._of[1]


def discover(
    config: PipelineConfig, reader: Reader, products: Products | None = None, *, quiet: bool = False
) -> Archive:
    """Find the scenes of all inputs, without reading any header.

    An input that matches nothing is allowed while another one matches.

    Args:
        config: the pipeline.
        reader: finds scenes.
        products: that this program published; without, none are looked for.
        quiet: whether an archive without a scene is taken where machines that were asked have none now.

    Raises:
        EmptyArchiveError: no input holds a scene.
        ArchiveError: two scenes have one id.
    """
    scenes: list[SceneRef] = []
    exclude = config.input.exclude
    skipped: list[Skipped] = []
    empty: list[EmptyArchiveError] = []
    for uri in config.input.uris:
        try:
            for found in reader.discover(uri):
                if isinstance(found, Skipped):
                    skipped.append(found)
                elif products is not None and _any_is_product(products, found):
                    skipped.append(Skipped(found.shown, "a product of this pipeline, not a scene"))
                elif exclude and any(fnmatchcase(found.id, pattern) for pattern in exclude):
                    skipped.append(Skipped(found.shown, "excluded by input.exclude"))
                else:
                    scenes.append(found)
        except EmptyArchiveError as error:
            empty.append(_located(error, uri))
    if not scenes and not (quiet and empty and all(isinstance(error, QuietArchiveError) for error in empty)):
        raise _nothing_found(config, empty, skipped)
    silent = tuple(f"{error.what} ({error.where})" for error in empty if isinstance(error, QuietArchiveError))
    return Archive(tuple(_each_once(scenes)), tuple(skipped), silent)


def _any_is_product(products: Products, found: SceneRef) -> bool:
    return any(map(products.hold, found.members)) if found.members else products.hold(found.uri)


def _located(error: EmptyArchiveError, uri: str) -> EmptyArchiveError:
    """The error, with the address, where the reader names the key only."""
    where = f"{error.where}: {shown(uri)}" if error.where == "input.uri" else error.where
    return type(error)(error.what, where=where, remedy=error.remedy)


def _nothing_found(
    config: PipelineConfig, empty: Sequence[EmptyArchiveError], skipped: Sequence[Skipped]
) -> EmptyArchiveError:
    """Why there is no scene, in the words of the reader, which knows best."""
    if not config.input.uris:
        return EmptyArchiveError(
            "the pipeline names no archive", where="input.uri", remedy="add input.uri, or use `listen` instead of `run`"
        )
    if len(empty) == 1 and not skipped:
        return empty[0]
    reasons = [f"{error.what} ({error.where})" for error in empty]
    if skipped:
        chosen = [one for one in skipped if one.reason.startswith(CHOSEN)]  # scenes that somebody may have meant
        shown_one = (chosen or skipped)[0]
        by_choice = f", {len(chosen)} of them by input.select" if 0 < len(chosen) < len(skipped) else ""
        reasons.append(f"{len(skipped)} left out{by_choice}, e.g. {shown_one.uri}: {shown_one.reason}")
    return EmptyArchiveError(
        "no scene was found: " + "; ".join(reasons),
        where=", ".join(map(shown, config.input.uris)),
        remedy=empty[0].remedy if empty else _loosen(skipped),
    )


def _loosen(skipped: Sequence[Skipped]) -> str:
    """What to change where all that was found is left out."""
    chosen = sum(one.reason.startswith(CHOSEN) for one in skipped)
    if chosen == len(skipped):
        return "loosen input.select: the reasons name the key that decided"
    return "check input.uri (relative to the pipeline file) and input.exclude" + (", input.select" if chosen else "")


def _each_once(found: Iterable[SceneRef]) -> Iterator[SceneRef]:
    """Scenes sorted by id; of one that several inputs name, the first.

    Raises:
        ArchiveError: two scenes have one id.
    """
    known: SceneRef | None = None
    for one in sorted(found, key=attrgetter("id")):
        if known is None or known.id != one.id:
            known = one
            yield one
        elif known.uri != one.uri:
            raise ArchiveError(
                f"two scenes are called {one.id!r}",
                where=f"{known.shown} and {one.shown}",
                remedy="rename one, or run the two folders with different output directories",
            )
