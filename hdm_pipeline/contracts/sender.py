"""What a sender plug-in implements: products of finished scenes go to another system, an archive of images say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol, runtime_checkable

Outcome = Literal["stored", "refused", "unavailable"]


@dataclass(frozen=True)
class SendAnswer:
    """What became of one file.

    Attributes:
        outcome: ``stored``: the peer says that it holds the file, whether since now or since earlier; ``refused``: it
            does not take this file, and may take others; ``unavailable``: it cannot be reached, or lets nobody in, so
            that no other file would fare better.
        what: one sentence for people and for the receipt: the peer's answer. Carries no patient data, no secret.
        remedy: what the user can do; may be empty.
        again: trying again within seconds may help.
    """

    outcome: Outcome
    what: str
    remedy: str = ""
    again: bool = False


@runtime_checkable
class Sender(Protocol):
    """Sends files to one address. Used by one thread at a time; constructed anew in each process.

    The entry point's name is the scheme of the addresses that it serves, e.g. ``dicomweb``. It is constructed with
    the address and the options of `output.send` (ConfigError for an address or an option that it does not know).
    Secrets come from the environment or from files, never from either.

    A class may say `takes_unknown = False`: products that do not say their media type are then refused before a run.
    Where it says nothing, their files are looked at when they are sent (`fits`).

    Attributes:
        name: the scheme.
        takes: media types of the products that it can send, as `Writer` classes say theirs (`media_type`).
    """

    name: ClassVar[str]
    takes: ClassVar[tuple[str, ...]]

    def __init__(self, address: str, options: Mapping[str, Any] | None = None) -> None: ...

    def check(self) -> Sequence[str]:
        """Check before a run, without the network, what sending needs: files, variables, libraries; returns warnings.

        Raises:
            ConfigError: something is missing.
        """
        ...

    def fits(self, path: Path) -> bool:
        """Whether this file is of a kind that can be sent; asked of products that do not say their media type."""
        ...

    def send(self, files: Sequence[Path]) -> Sequence[SendAnswer]:
        """Send the files of one scene; returns when the peer has answered for each, or the time for it is over.

        A file that the peer holds already, from an earlier call say, is ``stored``. A file may be larger than memory.

        Returns:
            One answer for each file, in their order. Nothing that a peer does is raised.
        """
        ...
