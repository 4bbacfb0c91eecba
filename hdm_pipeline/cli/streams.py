"""Standard output and standard error where nobody reads: a closed pipe or terminal, a full disk. The work goes on."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO, cast

_LEFT = (errno.EPIPE, errno.EIO)
"""Errors of a stream whose reader is gone; nobody is there to miss what is not printed."""


class Stream:
    """A stream that writes nothing more once it cannot; all else is as of the one that it wraps."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.error: OSError | None = None
        """What was wrong; None as long as everything could be written."""

    def write(self, text: str) -> int:
        """Write text, or pass it over."""
        with self._given_up():
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Write what is buffered, or pass it over."""
        with self._given_up():
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    @contextmanager
    def _given_up(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if self.error is not None:
                raise  # not even into the void
            self.error = error
            # What is buffered, and what libraries print past Python, goes the same way.
            void = os.open(os.devnull, os.O_WRONLY)
            os.dup2(void, self._stream.fileno())
            os.close(void)


@contextmanager
def patient_streams() -> Iterator[Stream]:
    """Within: what cannot be printed ends nothing. Yields the standard output, to ask whether all was printed."""
    _fill_closed()
    with contextlib.ExitStack() as stack:
        out, err = Stream(sys.stdout), Stream(sys.stderr)
        stack.enter_context(contextlib.redirect_stdout(cast("TextIO", out)))
        stack.enter_context(contextlib.redirect_stderr(cast("TextIO", err)))
        yield out


def unread(stream: Stream) -> str:
    """Why somebody who waits for what was printed does not have it; empty if all was printed, or nobody waits."""
    with contextlib.suppress(OSError, ValueError):
        stream.flush()
    error = stream.error
    return "" if error is None or error.errno in _LEFT else error.strerror or str(error)


def _fill_closed() -> None:
    """Let streams that the caller closed lead nowhere.

    Else the next file that is opened has the number of one, and what a library prints goes into it.
    """
    while (number := os.open(os.devnull, os.O_RDWR)) < 3:
        os.set_inheritable(number, True)
    os.close(number)
    for name, number in (("stdout", 1), ("stderr", 2)):
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, "w", encoding="utf-8", closefd=False))  # noqa: SIM115 (till the end)
