"""Keeps plug-ins to their contract at run time: a plug-in that lies is named, before its pixels go anywhere.

Every reader and writer that `registry` makes is wrapped here. Checked is what the core relies on and what costs next
to nothing; `hdm_pipeline.testing` checks a plug-in thoroughly, before it is shipped. Errors of our tree pass through;
anything else that a plug-in raises becomes a `PluginError` with its type and place but without its text, which may
name a patient or hold a secret. The whole story is in the exception it was raised from, which a log shows, too: of a
private scene it is dropped.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hdm_pipeline.errors import HdmError, PluginError, PluginLoadError
from hdm_pipeline.extras import of_import

REMEDY = "this is a bug in the plug-in: tell its author, who can run hdm_pipeline.testing against it"
END = object()
"""Of an iterator that is at its end."""


class Guard:
    """What all guards share: the plug-in's name, and how its errors are told.

    Args:
        plugin: entry point name.
        error: what to raise: `PluginLoadError` where no scene could be worked on.
    """

    def __init__(self, plugin: str, error: type[PluginError] = PluginError) -> None:
        self.plugin = plugin
        self._error = error

    def require(self, holds: bool, what: str, where: str) -> None:
        """Raise `PluginError` unless the plug-in kept to its contract."""
        if not holds:
            raise self._error(f"plug-in {self.plugin!r} broke its contract: {what}", where=where, remedy=REMEDY)

    @contextmanager
    def calling(self, method: str, where: str, *, private: bool = False) -> Iterator[None]:
        """Run a method of the plug-in; what it raises beyond our errors becomes a `PluginError`.

        Raises:
            MissingExtraError: it needs a library of an extra that is not installed.
        """
        try:
            yield
        except (HdmError, MemoryError):
            raise
        except ImportError as error:
            missing = of_import(error, f"the plug-in {self.plugin!r}", where=where)
            if missing is None:
                raise self._failure(error, method, where) from (None if private else error)
            raise missing from error
        except (Exception, SystemExit) as error:  # noqa: BLE001 (whatever a stranger's code may raise)
            raise self._failure(error, method, where) from (None if private else error)

    def _failure(self, error: BaseException, method: str, where: str) -> PluginError:
        """That the plug-in raised what it should not."""
        frames = traceback.extract_tb(error.__traceback__)
        place = f"{Path(frames[-1].filename).name}:{frames[-1].lineno}"
        what = f"plug-in {self.plugin!r} failed in {method}: {type(error).__name__} at {place}"
        return self._error(what, where=where, remedy=REMEDY)


def construct(kind: Any, plugin: str, options: Mapping[str, Any]) -> Any:
    """Call a plug-in's class with its options (a copy).

    Raises:
        HdmError: as the plug-in raises it; `PluginLoadError` for anything else.
    """
    with Guard(plugin, PluginLoadError).calling(
        "its constructor", f"options {', '.join(map(str, options)) or '(none)'}"
    ):
        return kind(dict(options))


def check_array(guard: Guard, what: str, array: Any, dtype: Any, shape: tuple[int, ...], where: str) -> None:
    """Require an array of a type and a shape."""
    guard.require(isinstance(array, np.ndarray), f"{what} are no array but a {type(array).__name__}", where)
    fits = array.dtype == dtype and array.shape == shape
    guard.require(fits, f"{what}: {array.dtype} {array.shape}, not {np.dtype(dtype)} {shape}", where)


def finite(pixels: npt.NDArray[np.float32], valid: npt.NDArray[np.bool_]) -> bool:
    """Whether all valid pixels are finite. A sum is infinite or NaN as soon as one of its parts is, and fast."""
    with np.errstate(over="ignore", invalid="ignore"):
        if np.isfinite(pixels.sum(dtype=np.float32)):
            return True
    return bool((np.isfinite(pixels) | ~valid).all())
