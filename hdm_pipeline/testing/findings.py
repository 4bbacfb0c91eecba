"""Collecting what a plug-in does wrong, so that its author sees everything at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from hdm_pipeline.errors import HdmError


class ConformanceError(AssertionError):
    """A plug-in does not keep to its contract.

    Attributes:
        findings: one line each, "check: what is wrong".
    """

    def __init__(self, plugin: str, findings: list[str]) -> None:
        lines = "\n".join(f"  - {finding}" for finding in findings)
        super().__init__(f"{plugin} does not conform:\n{lines}")
        self.findings = findings


class Findings:
    """Runs checks one after the other and collects what they find."""

    def __init__(self, plugin: str) -> None:
        self.plugin = plugin
        self._found: list[str] = []
        self._check = ""

    @contextmanager
    def check(self, name: str) -> Iterator[None]:
        """Run one check; an exception in it is a finding and ends only this check."""
        self._check = name
        try:
            yield
        except Exception as error:  # noqa: BLE001 (whatever a stranger's code may raise)
            self.add(f"{type(error).__name__}: {error}")

    def add(self, what: str) -> None:
        """Note a finding of the current check."""
        self._found.append(f"{self._check}: {what}")

    def require(self, holds: bool, what: str) -> None:
        """Note a finding unless something holds."""
        if not holds:
            self.add(what)

    def raises(self, kinds: tuple[type[HdmError], ...], call: Callable[[], object], what: str) -> None:
        """Note a finding unless a call raises one of these errors, with a remedy where the user could do something."""
        names = " or ".join(kind.__name__ for kind in kinds)
        try:
            call()
        except kinds as error:
            self.require(bool(error.what), f"{what}: the error says nothing")
        except Exception as error:  # noqa: BLE001 (whatever a stranger's code may raise)
            self.add(f"{what} raises {type(error).__name__}, not {names}: {error}")
        else:
            self.add(f"{what} raises nothing; expected {names}")

    def close(self) -> None:
        """Raise `ConformanceError` if anything was found."""
        if self._found:
            raise ConformanceError(self.plugin, self._found)
