"""What a receiver plug-in implements, and the inbox that it files into.

A receiver takes in what others send (`hdm_pipeline.receivers` by entry point; the name is the key under
`listen.receive`). It knows its protocol; the inbox knows how a file gets onto the disk so that it is never lost and
never half.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, ClassVar, Protocol, runtime_checkable


class Arrival(Protocol):
    """One file that is being received. Nobody else sees it before `file`; a killed process leaves nothing of it."""

    def write(self, data: bytes) -> None:
        """Append bytes.

        Raises:
            InboxFullError: the inbox holds as much as it may, or the disk is full. What was written is dropped.
            OutputError: the disk fails otherwise.
        """
        ...

    def close(self) -> Path:
        """End writing.

        Returns:
            Where the bytes lie until `file` or `discard`, to look at them.
        """
        ...

    def file(self, delivery: str, part: str, item: str) -> bool:
        """Put the file in its place. On return it is on the disk, whatever happens to process or machine.

        Args:
            delivery: what belongs together and is worked on as one, such as a study's UID.
            part: group within the delivery that has results of its own, such as a series' UID.
            item: identity of the file within its part. Another file of that identity is replaced.

        Names are hashed before they reach the disk: they may hold anything, and may identify a patient.

        Returns:
            False if the very same content was there already: nothing has changed.

        Raises:
            InboxFullError: as `write`.
            OutputError: as `write`.
        """
        ...

    def discard(self) -> None:
        """Drop the file; does nothing after `file`."""
        ...


class Inbox(Protocol):
    """Where received files go. Used by many threads at once."""

    def arrival(self, source: object) -> Arrival:
        """Begin a file.

        Args:
            source: whatever brings files one after another, such as a connection. A delivery is not complete while a
                source that brought some of it is not `closed`.
        """
        ...

    def closed(self, source: object) -> None:
        """A source brings nothing more."""
        ...

    def complete(self, delivery: str) -> bool:
        """Somebody who knows says that a delivery is complete: it need not be quiet for `listen.quiet` first.

        Returns:
            False if nothing of it is in the inbox.
        """
        ...

    def refused(self, reason: str) -> None:
        """Count something that was not taken.

        Args:
            reason: a few fixed words, never anything a sender wrote.
        """
        ...


@runtime_checkable
class Receiver(Protocol):
    """Takes in files. Constructed with its options of the YAML (ConfigError if unknown or wrong).

    It may have a method `check() -> Sequence[str]`, which raises `ConfigError` where a file, a variable or a library is
    missing that it needs, and returns warnings: `validate` calls it. It opens no port.
    """

    name: ClassVar[str]

    def __init__(self, options: Mapping[str, Any] | None = None) -> None: ...

    def receive(self, inbox: Inbox) -> AbstractContextManager[str]:
        """Listen, in threads of its own, while the context lasts; it yields where, in words for a log.

        Raises:
            OutputError: the address is taken or not allowed.
            ConfigError: a file that the options name cannot be used.
        """
        ...
