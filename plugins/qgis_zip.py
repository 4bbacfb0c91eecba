"""Packs the QGIS plug-in as QGIS installs it: ``python plugins/qgis_zip.py dist/qgis_hdm.zip``."""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
PACKAGE = "qgis_hdm"
_TIME = (1980, 1, 1, 0, 0, 0)
_FILE = 0o100644 << 16
_SUFFIXES = (".py", ".txt")


def pack(target: Path) -> list[str]:
    """Write the zip file; the same bytes for the same sources, whoever packs them and when.

    Args:
        target: of the zip file; its folder is made.

    Returns:
        The names in it, sorted.
    """
    sources = {f"{PACKAGE}/{path.name}": path for path in (HERE / PACKAGE).iterdir() if path.suffix in _SUFFIXES}
    sources[f"{PACKAGE}/LICENSE"] = HERE.parent / "LICENSE"
    target.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:  # stored: zlib's versions differ
        for name in sorted(sources):
            entry = zipfile.ZipInfo(name, _TIME)
            entry.create_system, entry.external_attr = 3, _FILE
            archive.writestr(entry, sources[name].read_bytes())
    return sorted(sources)


if __name__ == "__main__":
    path = Path(sys.argv[1])
    print(f"{path}: {len(pack(path))} files")
