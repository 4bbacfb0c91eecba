"""Files behind an address: folders to any depth, links and zip archives followed, each real file once.

Paths of DICOM archives often carry names of patients, so nothing here repeats one: a file is named by a hash, which
`python -m hdm_dicom.original_paths FOLDER NAME` turns back into its path for whoever may read the folder.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable

from hdm_dicom.files.uids import digest
from hdm_dicom.files.zipped import ZipRefusedError, is_zip, member_paths
from hdm_pipeline.contracts import OUTPUT_MARKER, Skipped

_IMAGE_LIST = ".txt"
_PACKED = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".7z", ".rar")


def file_name(path: str) -> str:
    """What a file is called in messages: a hash of its path."""
    return f"file-{digest(os.path.abspath(path))[:12]}"


def list_files(uri: str) -> list[str]:
    """Paths behind a folder (recursively), a file, a zip archive, a glob, or a list file (``*.txt``, a path a line)."""
    return listed(uri)[0]


def listed(uri: str) -> tuple[list[str], list[Skipped]]:
    """The paths of `list_files`, sorted, and what was left out on the way."""
    walk = _Walk()
    walk.take(uri)
    return sorted(set(walk.paths)), walk.skipped


class _Walk:
    """One listing; remembers which folders and files it has seen, by what they really are.

    Attributes:
        paths: of files, in the order met; files in zip archives as `hdm_dicom.files.zipped` calls them.
        skipped: links that lead nowhere or back, folders and archives that cannot be read.
    """

    def __init__(self) -> None:
        self.paths: list[str] = []
        self.skipped: list[Skipped] = []
        self._folders: set[str] = set()
        self._lists: set[str] = set()
        self._linked_folders: list[str] = []
        self._linked_files: list[str] = []

    def take(self, uri: str) -> None:
        """Add what an address means, and then what links within it lead to."""
        self._add(uri)
        while self._linked_folders:
            self._enter_link(self._linked_folders.pop(0))
        # Real files come first, whatever the order of the names: they are known once all folders are walked.
        known = {os.path.realpath(path) for path in self.paths} if self._linked_files else set()
        for link in sorted(self._linked_files):
            real = os.path.realpath(link)
            if not os.path.exists(link):
                self._leave(link, "a link that leads nowhere")
            elif real not in known:
                known.add(real)
                self._file(link)
        self._linked_files.clear()

    def _add(self, uri: str, *, listed: bool = False) -> None:
        if os.path.isdir(uri):
            self._folder(uri)
        elif os.path.isfile(uri):
            if uri.endswith(_IMAGE_LIST):
                self._list(uri)
            else:
                self._file(uri)
        else:
            matches = sorted(glob.glob(uri, recursive=True))
            for match in matches:
                self._folder(match) if os.path.isdir(match) else self._file(match)
            if listed and not matches:
                self._leave(uri, "named in a list, and nothing is there")

    def _list(self, path: str) -> None:
        real = os.path.realpath(path)
        if real in self._lists:
            return  # it names itself, or another list does
        self._lists.add(real)
        with open(path, encoding="utf-8-sig") as lines:  # editors on Windows begin a text with a byte order mark
            entries = [line.strip() for line in lines]
        base = os.path.dirname(path)
        for entry in entries:
            if entry and not entry.startswith("#"):
                self._add(os.path.join(base, entry), listed=True)

    def _file(self, path: str) -> None:
        if path.lower().endswith(_PACKED):
            self._leave(path, "an archive that is not read in place: unpack it, or make a zip archive of it")
            return
        if not is_zip(path):
            self.paths.append(path)
            return
        try:
            self.paths += member_paths(path)
        except ZipRefusedError as error:
            self._leave(path, str(error))

    def _folder(self, folder: str, *, linked: bool = False) -> None:
        for parent, folders, names in os.walk(folder, onerror=self._unreadable):
            if OUTPUT_MARKER in folders and (parent != folder or linked):
                folders.clear()  # products of an earlier run
                continue
            real = os.path.realpath(parent)
            if real in self._folders:
                folders.clear()
                continue
            self._folders.add(real)
            visible = sorted(f for f in folders if not f.startswith("."))
            folders[:] = [f for f in visible if not os.path.islink(os.path.join(parent, f))]
            self._linked_folders += [os.path.join(parent, f) for f in visible if f not in folders]
            self._files(parent, names)

    def _files(self, parent: str, names: Iterable[str]) -> None:
        for name in names:
            if name.startswith("."):
                continue
            path = os.path.join(parent, name)
            if os.path.islink(path):
                self._linked_files.append(path)
            else:
                self._file(path)

    def _enter_link(self, link: str) -> None:
        if _within(os.path.realpath(os.path.dirname(link)), os.path.realpath(link)):
            self._leave(link, "a link to a folder that it lies in: it would lead in a circle")
        else:
            self._folder(link, linked=True)

    def _unreadable(self, error: OSError) -> None:
        self._leave(str(error.filename), f"a folder that cannot be read ({type(error).__name__})")

    def _leave(self, path: str, reason: str) -> None:
        self.skipped.append(Skipped(file_name(path), reason))


def _within(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip(os.sep) + os.sep)
