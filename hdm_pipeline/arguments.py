"""What callers of the Python API give: checked at the door, so that a slip is told in words and not by a traceback."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from numbers import Real
from pathlib import Path
from typing import Any

from hdm_pipeline.errors import ConfigError


def path_argument(value: Any, what: str, where: str) -> Path:
    """A path that a caller gives.

    Args:
        value: the path.
        what: what it is, for messages: "the pipeline file".
        where: the call, for messages.

    Raises:
        ConfigError: it is neither text nor a path, is empty, or holds a character that no path holds.
    """
    if not isinstance(value, str | os.PathLike) or not isinstance(text := os.fspath(value), str):
        remedy = "give a path, as text or as pathlib.Path"
        raise ConfigError(f"{what} is {_shown(value)}, which is no path", where=where, remedy=remedy)
    if not text or "\0" in text:
        raise ConfigError(f"{what} is {text!r}, which is no path", where=where, remedy="give the path of one")
    return Path(text)


def texts_argument(value: Any, what: str, where: str) -> tuple[str, ...]:
    """Several texts that a caller gives.

    Raises:
        ConfigError: they are one text, no texts, or not several of anything.
    """
    if not isinstance(value, Iterable) or isinstance(value, str | bytes | Mapping):
        raise ConfigError(f"{what} are {_shown(value)}", where=where, remedy="give a list of texts")
    found = tuple(value)
    if strange := [one for one in found if not isinstance(one, str)]:
        remedy = f"{_shown(strange[0])} is among them: give a list of texts"
        raise ConfigError(f"{what} are not all texts", where=where, remedy=remedy)
    return found


def kind_argument(value: Any, kind: Any, what: str, where: str, remedy: str) -> None:
    """Refuse what is of another kind than an argument must be; `kind` is as `isinstance` takes it.

    Raises:
        ConfigError: it is.
    """
    if not isinstance(value, kind):
        raise ConfigError(f"{what} is {_shown(value)}", where=where, remedy=remedy)


def choice_argument(value: Any, choices: Sequence[str], what: str, where: str) -> None:
    """Refuse what is none of a few words.

    Raises:
        ConfigError: it is not.
    """
    if not isinstance(value, str) or value not in choices:
        raise ConfigError(f"{what} is {_shown(value)}", where=where, remedy=f"give one of: {', '.join(choices)}")


def whole_argument(value: Any, least: int, what: str, where: str) -> None:
    """Refuse what is no whole number, or one that is too small.

    Raises:
        ConfigError: it is.
    """
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ConfigError(f"{what} is {_shown(value)}", where=where, remedy=f"give a whole number of {least} or more")


def is_number(value: Any) -> bool:
    """Whether a value is a real number, of Python or numpy."""
    return isinstance(value, Real)


def _shown(value: Any) -> str:
    """A value as messages show it: what is small as it is, anything else by its kind."""
    plain = value is None or isinstance(value, bool | int | float) or (isinstance(value, str) and len(value) < 80)
    return repr(value) if plain else f"a {type(value).__name__}"
