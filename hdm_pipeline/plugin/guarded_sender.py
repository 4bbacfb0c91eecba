"""Senders kept to their contract; see `guard`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast, get_args

from hdm_pipeline.contracts import SendAnswer, Sender
from hdm_pipeline.contracts.sender import Outcome
from hdm_pipeline.errors import PluginLoadError
from hdm_pipeline.plugin.guard import Guard

_LONGEST = 500
"""Characters of an answer that are kept."""


class GuardedSender:
    """A sender that is kept to `contracts.Sender`.

    Args:
        kind: the plug-in's class.
        plugin: its entry point name.
        address: to send to; it holds no secret.
        options: of `output.send`.
    """

    def __init__(self, kind: Any, plugin: str, address: str, options: Mapping[str, Any]) -> None:
        self.name = plugin
        self._guard = Guard(plugin)
        self._address = address
        load = Guard(plugin, PluginLoadError)
        with load.calling("its constructor", f"options {', '.join(map(str, options)) or '(none)'}"):
            sender = kind(address, dict(options))
        load.require(isinstance(sender, Sender), "it lacks methods of a Sender", type(sender).__qualname__)
        self._sender: Sender = sender
        self.takes = tuple(sender.takes)
        self.takes_unknown = bool(getattr(sender, "takes_unknown", True))

    def check(self) -> Sequence[str]:
        """See `Sender.check`."""
        with self._guard.calling("check", self._address):
            return [str(warning) for warning in self._sender.check()]

    def fits(self, path: Path) -> bool:
        """See `Sender.fits`."""
        with self._guard.calling("fits", self._address, private=True):
            return bool(self._sender.fits(path))

    def send(self, files: Sequence[Path]) -> Sequence[SendAnswer]:
        """See `Sender.send`."""
        with self._guard.calling("send", self._address, private=True):
            answers = list(self._sender.send(tuple(files)))
        require = self._guard.require
        require(len(answers) == len(files), f"send gives {len(answers)} answers for {len(files)} files", self._address)
        for answer in answers:
            known = isinstance(answer, SendAnswer) and answer.outcome in get_args(Outcome)
            require(known, "an answer is no SendAnswer", self._address)
        return [
            SendAnswer(one.outcome, str(one.what)[:_LONGEST], str(one.remedy)[:_LONGEST], bool(one.again))
            for one in answers
        ]


def guarded_sender(kind: Any, plugin: str, address: str, options: Mapping[str, Any]) -> Sender:
    """Construct a sender and wrap it.

    Raises:
        HdmError: as the plug-in raises it; `PluginLoadError` for anything else, and where it is no sender at all.
    """
    return cast(Sender, GuardedSender(kind, plugin, address, options))
