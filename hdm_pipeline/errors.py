"""One tree of errors. Each says what is wrong, in which input, and what to do about it.

`HdmError` carries three texts: `what` went wrong, `where` (the file, key, scene or tile concerned) and `remedy`
(what the user can do). Messages never hold patient data or secrets: `where` names hashed identifiers for DICOM.

Each class says what becomes of a run in which a step raises it (`scope`):

* ``scene``: this scene is quarantined, the others go on, and the run ends with exit code 3.
* ``run``: the next scene would meet the same fault, so the run ends. What is finished is kept, and the next run goes
  on from there. The exit code is 1, or 2 where the user must correct the configuration (`ConfigError`).

| class | scope | why |
|---|---|---|
| `ConfigError` and all below it | run | the pipeline file, supports and weights are the same for every scene |
| `PluginError` | scene | seen while a plug-in works on one scene; others may be what the plug-in expects |
| `PluginLoadError` | run | the plug-in cannot be used at all |
| `ModelInputError`, `BankMismatchError` | run | tiles have one size and one kind in a run, and one set of banks |
| `PixelOverflowError` | scene | about the values of this scene's pixels; others may hold none of that kind |
| `OptimizationError`, `TrainingError` | run | about the network, not about a scene |
| `SceneError` and all below it | scene | about this scene's file, pixels or products |
| `FetchError` | scene | the files of this scene do not arrive; others may |
| `NoAnswerError` | scene | the same, and the other machine says nothing: after some in a row the rest is put aside |
| `PeerError`, `PeerRefusedError` | run | about a machine, not about a scene: the next one would meet it, too |
| `StoreError` | scene | the scene's work is done once more first; quarantined if that fails, too |
| `OutputError` and all below it, `LedgerError`, `ExecutionError` | run | disk, ledger and cluster serve all scenes |
"""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from typing import Any, ClassVar, Literal

Scope = Literal["scene", "run"]
"""What an error ends: the work on one scene, or the run."""


class HdmError(Exception):
    """Base of every error that a user can act on.

    Attributes:
        scope: whether a run quarantines the scene over which this is raised, or ends.
        exit_code: of the command that this ends.
        what: what is wrong.
        where: the file, key, scene or tile concerned; may be empty.
        remedy: what the user can do; may be empty.
    """

    scope: ClassVar[Scope] = "run"
    exit_code: ClassVar[int] = 1

    def __init__(self, what: str, *, where: str = "", remedy: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.remedy = remedy

    def __str__(self) -> str:
        parts = [self.what]
        if self.where:
            parts.append(f"  where:  {self.where}")
        if self.remedy:
            parts.append(f"  remedy: {self.remedy}")
        return "\n".join(parts)

    def __reduce__(self) -> tuple[Any, ...]:
        # Exceptions cross process borders (Ray); the default would lose the keyword arguments.
        return _rebuild, (type(self), self.what, self.where, self.remedy)

    def as_dict(self) -> dict[str, str]:
        """The error as `run.json` and JSON logs carry it."""
        return {"type": type(self).__name__, "what": self.what, "where": self.where, "remedy": self.remedy}


def _rebuild(kind: type[HdmError], what: str, where: str, remedy: str) -> HdmError:
    return kind(what, where=where, remedy=remedy)


def counted(number: int, thing: str) -> str:
    """A number of things, for messages: 1, "scene" -> 1 scene; 2, "scene" -> 2 scenes."""
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def listed_values(values: Sequence[float], most: int) -> str:
    """Numbers for messages, the first of many: 0, 1, 255, ..."""
    return ", ".join(f"{value:g}" for value in values[:most]) + (", ..." if len(values) > most else "")


def broken_link(path: str | os.PathLike[str]) -> str:
    """What is wrong with symbolic links on the way to a path at which nothing is found; empty where none is to blame.

    Args:
        path: of a file or folder that is not there.
    """
    try:
        os.stat(path)
    except OSError as error:
        if error.errno == errno.ELOOP:
            return "a symbolic link that leads round in a circle"
        if error.errno == errno.ENOENT and os.path.islink(path):
            return f"a symbolic link to what is not there: {os.readlink(path)}"
    except ValueError:  # a character that no path holds
        pass
    return ""


class ConfigError(HdmError):
    """The pipeline file, an override or a command line argument is wrong."""

    exit_code = 2


class ArchiveError(ConfigError):
    """The input names no scene, or two scenes of one name."""


class EmptyArchiveError(ArchiveError):
    """Nothing at all is behind one of the inputs; the others may still hold scenes."""


class QuietArchiveError(EmptyArchiveError):
    """Another machine answers a valid question with nothing: there may be scenes tomorrow. It fails no run."""


class SupportError(ConfigError):
    """A support example cannot be used (size, labels, no foreground, unreadable)."""


class PluginError(HdmError):
    """A plug-in failed, or broke its contract, while it worked on a scene."""

    scope: ClassVar[Scope] = "scene"


class MissingExtraError(ConfigError):
    """What is asked for needs libraries that are not installed; the remedy names the extra that brings them."""


class PluginLoadError(PluginError):
    """A plug-in cannot be used for any scene: it cannot be imported or constructed, or is not of the kind it says."""

    scope: ClassVar[Scope] = "run"


class WeightsError(ConfigError):
    """A weights file is missing, damaged, of another architecture, or of another hash than pinned."""


class ModelInputError(HdmError):
    """Tiles or supports have a shape, type or size that the network cannot take, or for which memory is too small."""


class BankMismatchError(ModelInputError):
    """The support bank was made by other weights or another architecture."""


class PixelOverflowError(ModelInputError):
    """Pixels of a tile are so large that the network overflows, or it gives no number for them."""

    scope: ClassVar[Scope] = "scene"


class OptimizationError(HdmError):
    """A faster inference mode disagrees with fp32 by more than the stated tolerance."""


class TrainingError(HdmError):
    """Training, evaluation or adaptation cannot go on."""


class SceneError(HdmError):
    """One scene cannot be processed: it is quarantined and the rest goes on."""

    scope: ClassVar[Scope] = "scene"


class ReadError(SceneError):
    """The scene's file is corrupt, truncated or not readable."""


class UnsupportedSceneError(SceneError):
    """The scene can be read, but holds something that is not supported (complex pixels, mosaics, bombs, ...)."""


class BandError(SceneError):
    """The scene lacks a band that the pipeline asks for."""


class SuspectSceneError(SceneError):
    """The scene has warnings that its result may be nonsense, and the run is strict (`execution.strict`)."""


class TileError(SceneError):
    """A tile failed every time it was tried."""


class StoreError(SceneError):
    """Staged pixels or scores of a scene are missing or damaged on disk: what its receipts say must be redone."""


class FetchError(SceneError):
    """The files of a scene that lies on another machine cannot be fetched, or arrive incomplete or wrong."""


class NoAnswerError(FetchError):
    """The files of a scene cannot be fetched because the other machine does not answer, nor perhaps for others."""


class WriteError(SceneError):
    """The product of a scene could not be written."""


class PeerError(HdmError):
    """Another machine (a PACS) cannot be reached, breaks off, is too slow, or answers what it must not."""


class PeerRefusedError(PeerError):
    """Another machine refuses us, or we do not trust it: trying again would not help."""


class PeerSilentError(PeerError):
    """Another machine cannot be reached, breaks off, or does not answer in time."""


class OutputError(HdmError):
    """The output directory is not writable, full, locked by another run, or a path would leave it."""


class LostLockError(OutputError):
    """The output is no longer this run's, which writes there no more: another one took it over, or it was removed."""


class DiskFullError(OutputError):
    """There is no room to write: on the disk, or in what the user may take of it."""


class ObjectStoreError(OutputError):
    """An object store cannot be reached, refuses, or is not addressed rightly."""


class ObjectStoreSilentError(ObjectStoreError):
    """An object store cannot be reached, or gives no answer in time: whether a write was done is not known."""


class InboxFullError(OutputError):
    """The inbox of a listener holds as much as it may, or its disk is full: who sends keeps the file."""


class NoSuchSceneError(OutputError, KeyError):
    """An output directory holds no finished scene of that id."""


class LedgerError(HdmError):
    """The ledger is damaged or of a version that this release does not know."""


class ExecutionError(HdmError):
    """A worker, an actor or the cluster failed, and retries did not help."""


_MEMORY_IS_OUT = ("can't allocate memory", "out of memory", "failed to map segment", "cannot allocate memory")
"""What torch, CUDA, the loader of libraries and the system say, in small letters."""


def out_of_memory(error: BaseException, where: str = "") -> ExecutionError | None:
    """The error to tell in place of one that memory is out; None if `error` is of something else.

    Args:
        error: any exception of Python or of a library.
        where: the step concerned.
    """
    if isinstance(error, HdmError):
        return None
    said = str(error).lower()
    known = isinstance(error, MemoryError) or getattr(error, "errno", None) == errno.ENOMEM
    if not known and not (
        isinstance(error, RuntimeError | ImportError | OSError) and any(text in said for text in _MEMORY_IS_OUT)
    ):
        return None
    return ExecutionError(
        "this process ran out of memory",
        where=where,
        remedy="lower tiling.size, tiling.block, execution.batch_size or execution.actors, or allow it more memory: "
        "`python -m hdm_pipeline doctor` tells how much that is, `plan` how much is needed",
    )
