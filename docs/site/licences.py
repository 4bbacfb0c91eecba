"""What is installed with the package, and under which licences: `python docs/site/licences.py > docs/licences.md`.

The packages are those that core, `geo` and `dicom` require, with all that these require, as they are installed here;
what their metadata say is shown as it is.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from importlib.metadata import Distribution, PackageNotFoundError, distribution

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PACKAGE = "hdm-pipeline"
WORLDS = ("", "geo", "dicom")
"""What a user installs: the core, and an extra for each world."""

COPYLEFT = re.compile(r"\b(A?GPL|Affero|GNU General Public)", re.IGNORECASE)
_LESSER = re.compile(r"\b(LGPL|Lesser|Library General|linking exception)", re.IGNORECASE)

INTRODUCTION = """# Licences of what is installed

hdm_pipeline is Apache-2.0. This page lists the core (`pip install hdm-pipeline`) and the extras `geo` and `dicom` with
all that they require, as tested together (`constraints.txt`) on Linux with Python 3.11; names and licences are what the
packages say of themselves. Made by `make licences`; a test holds it against the installed packages, and fails where one
of them is GPL or AGPL.

**No package here is GPL or AGPL by its own word.** For that reason `pylibjpeg-libjpeg` (GPL-3.0) is not required:
some lossless and 12-bit JPEGs of old scanners are then decoded by GDCM (BSD), and what it cannot decode is an error
that says so; you may install it yourself. Wheels bundle libraries, which this page does not look into: those of
rasterio, pyogrio and pyproj GDAL (MIT), PROJ (MIT), GEOS (LGPL-2.1, linked dynamically); those of numpy and scipy
GCC's Fortran runtime (GPL-3.0 with the runtime exception, which leaves programs that use it free) and libquadmath
(LGPL-2.1); others as their projects list. PyTorch for GPUs brings NVIDIA's libraries, which have licences of their
own; the CPU build does not. The pretrained weights are named in `NOTICE`.

| package | version | licence | comes with |
|---|---|---|---|
"""


def packages() -> dict[str, tuple[Distribution, str]]:
    """(distribution, world that brings it) by canonical name, of all that is required."""
    found: dict[str, tuple[Distribution, str]] = {}
    missing: set[str] = set()
    for world in WORLDS:
        waiting = [Requirement(f"{PACKAGE}[{world}]" if world else PACKAGE)]
        seen: set[tuple[str, frozenset[str]]] = set()
        while waiting:
            asked = waiting.pop()
            name = canonicalize_name(asked.name)
            if (name, frozenset(asked.extras)) in seen:
                continue
            seen.add((name, frozenset(asked.extras)))
            try:
                one = distribution(asked.name)
            except PackageNotFoundError:
                missing.add(name)
                continue
            if name != PACKAGE:
                found.setdefault(name, (one, world or "core"))
            waiting += _required(one, asked.extras)
    if missing:
        raise SystemExit(f"required, and not installed: {', '.join(sorted(missing))}")
    return found


def _required(one: Distribution, extras: set[str]) -> Iterator[Requirement]:
    for line in one.requires or ():
        requirement = Requirement(line)
        environments: list[dict[str, str]] = [{"extra": extra} for extra in extras] or [{"extra": ""}]
        if requirement.marker is None or any(requirement.marker.evaluate(each) for each in environments):
            yield requirement


def licence_of(one: Distribution) -> str:
    """What a distribution says of its licence: the SPDX expression, else classifiers, else its first line."""
    meta = one.metadata
    if expression := meta.get("License-Expression"):
        return str(expression)
    classifiers = [c.rpartition(" :: ")[2] for c in meta.get_all("Classifier") or () if c.startswith("License ::")]
    told = [c for c in classifiers if c != "OSI Approved"]
    if told:
        return ", ".join(told)
    lines = [line.strip() for line in str(meta.get("License") or "").splitlines() if line.strip()]
    return lines[0][:60] if lines else "not stated"


def is_copyleft(licence: str) -> bool:
    """Whether a licence is GPL or AGPL, and not the lesser one or an alternative to a free choice."""
    return all(
        any(COPYLEFT.search(part) and not _LESSER.search(part) for part in re.split(r"\s+AND\s+|,\s*", one))
        for one in re.split(r"\s+OR\s+", licence)
    )


def page() -> str:
    """The page."""
    rows = [
        f"| {one.metadata['Name']} | {one.version.partition('+')[0]} | {licence_of(one)} | {world} |"
        for _, (one, world) in sorted(packages().items())
    ]
    return INTRODUCTION + "\n".join(rows) + "\n"


if __name__ == "__main__":
    sys.stdout.write(page())
