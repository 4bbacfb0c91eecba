"""What is found of one subject: whether it works, and a remedy where it does not."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Literal

State = Literal["ok", "warning", "problem"]
"""``warning``: something is slow, small or left out; ``problem``: something that is needed does not work."""


@dataclass(frozen=True)
class Finding:
    """One line of `doctor`.

    Attributes:
        subject: what was looked at, such as ``ray``.
        state: whether it works.
        what: what was found. Names no host, user or patient, and no path that the user did not give.
        remedy: what to do, in one line; empty where nothing is to be done.
    """

    subject: str
    state: State
    what: str
    remedy: str = ""

    def as_line(self) -> str:
        """The finding as one line of JSON, as a child process hands it over."""
        return json.dumps(asdict(self))


def ok(subject: str, what: str) -> Finding:
    """Something works."""
    return Finding(subject, "ok", what)


def warning(subject: str, what: str, remedy: str) -> Finding:
    """Something is slow, small or left out."""
    return Finding(subject, "warning", what, remedy)


def problem(subject: str, what: str, remedy: str) -> Finding:
    """Something that is needed does not work."""
    return Finding(subject, "problem", what, remedy)


def reason(error: BaseException) -> str:
    """Why something failed, without the error's text, which may name paths and users."""
    if isinstance(error, ModuleNotFoundError) and error.name:
        return f"no module {error.name!r}"
    if isinstance(error, OSError) and error.strerror and not isinstance(error, ImportError):
        return error.strerror
    return type(error).__name__


def worst(findings: Iterable[Finding]) -> State:
    """The worst state of all; ``ok`` of none."""
    order: tuple[State, ...] = ("ok", "warning", "problem")
    return max((one.state for one in findings), key=order.index, default="ok")
