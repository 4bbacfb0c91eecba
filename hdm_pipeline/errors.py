"""One tree of errors. Each says what is wrong, in which input, and what to do about it.

`HdmError` carries three texts: `what` went wrong, `where` (the file, key, scene or tile concerned) and `remedy`
(what the user can do). Messages never hold patient data or secrets: `where` names hashed identifiers for DICOM.

The branch decides what the run does:

* `ConfigError`: nothing is started, exit code 2.
* `SceneError`: this scene is quarantined, the others go on, exit code 3.
* everything else: the run ends, exit code 1.
"""

from __future__ import annotations

from typing import Any


class HdmError(Exception):
    """Base of every error that a user can act on."""

    exit_code = 1

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


class ConfigError(HdmError):
    """The pipeline file, an override or a command line argument is wrong."""

    exit_code = 2


class ArchiveError(ConfigError):
    """The input names no scene, or two scenes of one name."""


class EmptyArchiveError(ArchiveError):
    """Nothing at all is behind one of the inputs; the others may still hold scenes."""


class SupportError(ConfigError):
    """A support example cannot be used (size, labels, no foreground, unreadable)."""


class PluginError(HdmError):
    """A plug-in is missing, or broke its contract."""


class WeightsError(ConfigError):
    """A weights file is missing, damaged, of another architecture, or of another hash than pinned."""


class ModelInputError(HdmError):
    """Tiles or supports handed to the network have a shape, type or size it cannot take."""


class BankMismatchError(ModelInputError):
    """The support bank was made by other weights or another architecture."""


class OptimizationError(HdmError):
    """A faster inference mode disagrees with fp32 by more than the stated tolerance."""


class TrainingError(HdmError):
    """Training, evaluation or adaptation cannot go on."""


class SceneError(HdmError):
    """One scene cannot be processed: it is quarantined and the rest goes on."""


class ReadError(SceneError):
    """The scene's file is corrupt, truncated or not readable."""


class UnsupportedSceneError(SceneError):
    """The scene can be read, but holds something that is not supported (complex pixels, mosaics, bombs, ...)."""


class BandError(SceneError):
    """The scene lacks a band that the pipeline asks for."""


class TileError(SceneError):
    """A tile failed every time it was tried."""


class StoreError(SceneError):
    """Staged pixels or scores of a scene are missing or damaged on disk: what its receipts say must be redone."""


class WriteError(SceneError):
    """The product of a scene could not be written."""


class OutputError(HdmError):
    """The output directory is not writable, full, locked by another run, or a path would leave it."""


class LedgerError(HdmError):
    """The ledger is damaged or of a version that this release does not know."""


class ExecutionError(HdmError):
    """A worker, an actor or the cluster failed beyond what retries can mend."""
