"""Extras of the package: which are installed, what each is for, and how to get those that are not."""

from __future__ import annotations

from collections.abc import Iterator

from hdm_pipeline.diagnosis.finding import Finding, ok
from hdm_pipeline.extras import EXTRAS, install, lacking


def extra_findings() -> Iterator[Finding]:
    """One line an extra. One that is not installed is no fault: whoever needs it finds it here."""
    for name, extra in EXTRAS.items():
        absent = lacking(name)
        state = f"no {', '.join(absent)}; {install(name)}" if absent else "installed"
        yield ok(f"extra {name}", f"({extra.purpose}) {state}")
