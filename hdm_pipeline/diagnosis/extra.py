"""Extras of the package: which are installed, what each is for."""

from __future__ import annotations

import importlib.metadata
import re
from collections.abc import Iterator

from hdm_pipeline.diagnosis.finding import Finding, ok

_FOR_DEVELOPERS = {"dev", "judges", "bench", "fuzz", "docs"}
_REQUIREMENT = re.compile(r"([\w.-]+)(?:\[[\w, -]+\])?[^;]*;.*extra == ['\"]([\w-]+)['\"]")


def extra_findings() -> Iterator[Finding]:
    """One line an extra."""
    wanted: dict[str, list[str]] = {}
    for line in importlib.metadata.requires("hdm-pipeline") or []:
        if (found := _REQUIREMENT.match(line)) and found[2] not in _FOR_DEVELOPERS:
            wanted.setdefault(found[2], []).append(found[1])
    for extra, names in wanted.items():
        absent = [name for name in names if not _installed(name)]
        state = f"not installed ({', '.join(absent)})" if absent else "installed"
        yield ok(f"extra {extra}", state)


def _installed(distribution: str) -> bool:
    try:
        importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True
