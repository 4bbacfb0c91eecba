"""Links between pages as the repository has them, changed into links between pages of the site."""

from __future__ import annotations

import posixpath
import re
from pathlib import PurePosixPath

from pages import MOVED, ROOT

FILES = "files"
"""Folder of the site for files of the repository that a page links to and that are no pages."""

_LINK = re.compile(r"(\]\()([^()\s#:]+)((?:#[^()\s]*)?\))")
_CODE = re.compile(r"^```.*?^```$", flags=re.DOTALL | re.MULTILINE)
_BACK = {site: repository for repository, site in MOVED.items()}
_FOLDERS = {"docs/decisions": "decisions/index.md", "docs/example_plugin": "example_plugin/hdm_png.py"}


def in_site(path: str) -> str:
    """Where a file of the repository lies in the site's sources."""
    if path in MOVED:
        return MOVED[path]
    if path.rstrip("/") in _FOLDERS:
        return _FOLDERS[path.rstrip("/")]
    path = path.replace(".ipynb", ".md")
    return path.removeprefix("docs/") if path.startswith("docs/") else f"{FILES}/{path}"


def in_repository(source: str) -> str:
    """Where a page of the site lies in the repository."""
    return _BACK.get(source, f"docs/{source}")


def relinked(markdown: str, source: str) -> str:
    """A page whose links lead to pages and files of the site.

    Args:
        markdown: the page as the repository has it.
        source: its place in the site's sources.
    """
    here = posixpath.dirname(source)

    def link(found: re.Match[str]) -> str:
        target = in_site(_target(found[2], source))
        return f"{found[1]}{posixpath.relpath(target, here or '.')}{found[3]}"

    ends, parts = 0, []
    for code in _CODE.finditer(markdown):
        parts += [_LINK.sub(link, markdown[ends : code.start()]), code[0]]
        ends = code.end()
    return "".join([*parts, _LINK.sub(link, markdown[ends:])])


def linked_files(markdown: str, source: str) -> set[str]:
    """Files of the repository outside docs/ that a page links to, and that are no pages."""
    paths = {_target(found[2], source) for found in _LINK.finditer(_CODE.sub("", markdown))}
    return {path for path in paths if in_site(path).startswith(f"{FILES}/") and (ROOT / path).is_file()}


def _target(link: str, source: str) -> str:
    return posixpath.normpath(str(PurePosixPath(in_repository(source)).parent / link))
