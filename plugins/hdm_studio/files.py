"""Files that the server gives out: the built page, and what a run published."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from hdm_pipeline.errors import ConfigError
from hdm_studio.errors import NotThereError

PAGE = Path(__file__).parent / "page"
"""Where `make studio` puts the page."""

TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".webp": "image/webp",
    ".ico": "image/x-icon",
    ".json": "application/json",
    ".map": "application/json",
    ".txt": "text/plain; charset=utf-8",
    ".woff2": "font/woff2",
}
"""What a browser shows; anything else is saved to disk."""

_REPORT = re.compile(r"report[A-Za-z0-9_-]*\.html|report~pages/[A-Za-z0-9_./-]+|run\.json")
"""What a run publishes beside the products of scenes."""


def page_files(folder: Path = PAGE) -> dict[str, Path]:
    """The page's files by name; the folder is read once, so that no name of a request is ever a path.

    Raises:
        ConfigError: the page was not built.
    """
    found = {file.name: file for file in sorted(folder.glob("*")) if file.is_file() and file.suffix in TYPES}
    if "index.html" not in found:
        raise ConfigError(
            "the page of the studio has not been built",
            where=str(folder),
            remedy="build it by `make studio` (needs npm), or install a wheel, which brings it",
        )
    return found


def published(root: Path, path: str, outputs: Iterable[str]) -> Path:
    """A file of the output directory that a run published.

    Args:
        root: the output directory.
        path: as the request names it.
        outputs: what was published of the scene that the path begins with, relative to `root`.

    Raises:
        NotThereError: it is none, is not there, or is a link that leads elsewhere.
    """
    file = root / path
    parts = path.split("/")
    plain = all(part and not part.startswith(".") for part in parts)
    if plain and (path in set(outputs) or _REPORT.fullmatch(path)):
        resolved = file.resolve()
        if resolved.is_file() and resolved.is_relative_to(root.resolve()):
            return resolved
    raise NotThereError("no such file was published", where=path, remedy="look at a scene's outputs")
