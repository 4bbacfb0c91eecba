"""De-identifying a folder: which files, under which names, and the report of it.

Names in OUT are keyed hashes of UIDs, so that they name no patient and are the same in every run. A file appears there
whole, by renaming, or not at all; one that is there already is not written again.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from pydicom.uid import UID

from hdm_dicom.files.attributes import READ_ERRORS, text
from hdm_dicom.files.headers import NotDicomError, quiet
from hdm_dicom.privacy.copying import (
    BrokenPixelsError,
    HiddenOverlayError,
    Original,
    new_header,
    pixel_pieces,
    read_original,
    same_file,
)
from hdm_dicom.privacy.deidentify import edition, keyed
from hdm_dicom.privacy.judging import refused, warned
from hdm_dicom.privacy.tally import Tally
from hdm_pipeline.errors import ConfigError, EmptyArchiveError, OutputError

REPORT = "deidentification.json"
_LOCK = ".lock"
"""In OUT from the start; it holds a hash by which a key is known again, and which says nothing of it."""
_DIRECTORY = "1.2.840.10008.1.3.10"
_NOT_DICOM, _MEDIA, _LINK = "files that are not DICOM", "DICOMDIR files", "links to folders"
_HARMLESS = frozenset({_NOT_DICOM, _MEDIA, _LINK})
_NAME = 16


@dataclass
class Deidentified:
    """What was done.

    Attributes:
        report: path of the report.
        files: de-identified files in OUT.
        before: those of them that were there already.
        copies: files that were the same as another one.
        left_out: reasons, and how many files.
        warnings: what to look at, and how many files.
    """

    report: Path
    files: int = 0
    before: int = 0
    copies: int = 0
    left_out: Counter[str] = field(default_factory=Counter)
    warnings: Counter[str] = field(default_factory=Counter)

    @property
    def refused(self) -> int:
        """Files of patients that were left out."""
        return sum(count for reason, count in self.left_out.items() if reason not in _HARMLESS)


def deidentify_folder(
    source: Path, target: Path, key: bytes, *, keep_burned_in: bool = False, paths_left_out: Path | None = None
) -> Deidentified:
    """De-identify all DICOM files of a folder, or one file.

    Args:
        source: folder or file.
        target: folder for the files; made if it is not there.
        key: of the keyed hashes.
        keep_burned_in: take images that may show a name, too.
        paths_left_out: a file to write the paths to that were left out, with their reasons; may name patients.

    Raises:
        ConfigError: one of the two folders lies in the other, or OUT holds files of another key.
        EmptyArchiveError: nothing is there, or no DICOM.
        OutputError: OUT cannot be written.
    """
    quiet()
    _check(source, target)
    work = _Work(target, key, keep_burned_in)
    try:
        target.mkdir(parents=True, exist_ok=True)
        with _alone(target):
            _keep_to_one_key(target, work.mark)
            for path in _files(source, work.leave_out):
                work.take(path)
            if work.any_dicom:
                _write_report(work)
        if paths_left_out is not None:
            lines = [f"{path}\t{reason}\n" for path, reason in work.paths]
            paths_left_out.write_text("".join(lines), encoding="utf-8", errors="surrogateescape")
    except OSError as error:
        raise OutputError(
            f"the output cannot be written: {os.strerror(error.errno or 0)}",
            where=str(target),
            remedy="free space or rights, and run again: it goes on from there",
        ) from None
    if not work.any_dicom:
        raise EmptyArchiveError(
            "no DICOM file is there",
            where="IN",
            remedy="give a folder or file of DICOM; --left-out FILE lists what is there instead",
        )
    return work.done


def _keep_to_one_key(target: Path, mark: str) -> None:
    """Refuse a folder that holds files of another key: each image would be there under two names.

    Raises:
        ConfigError: it does.
    """
    known, report = target / _LOCK, target / REPORT
    there = known.read_text(encoding="utf-8", errors="replace") if known.exists() else ""
    if not there and report.exists():
        with suppress(ValueError, AttributeError):  # no report of ours
            there = str(json.loads(report.read_bytes()).get("key", ""))
    if there and there != mark:
        raise ConfigError(
            "OUT holds files that were de-identified by another key",
            where="--key-file",
            remedy="give the key of the earlier run, or another OUT: one folder has one key",
        )
    if there != mark or not known.stat().st_size:
        known.write_text(mark, encoding="utf-8")


@contextmanager
def _alone(target: Path) -> Iterator[None]:
    """Keep a second run off the same folder; the lock goes with the process."""
    with (target / _LOCK).open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise OutputError(
                "another de-identification writes to the folder", where=str(target), remedy="wait until it has ended"
            ) from None
        yield


def _files(source: Path, leave_out: Callable[[str, str], None]) -> Iterator[str]:
    """All files, in one order on every machine; links to folders are counted, not followed."""
    if source.is_file():
        yield str(source)
        return
    for parent, folders, names in os.walk(source):
        folders.sort()
        for name in folders:
            if os.path.islink(os.path.join(parent, name)):
                leave_out(os.path.join(parent, name), _LINK)
        for name in sorted(names):
            path = os.path.join(parent, name)
            if os.path.isfile(path):
                yield path
            else:
                leave_out(path, _NOT_DICOM)  # a pipe would be waited for


def _check(source: Path, target: Path) -> None:
    if not source.exists():
        raise EmptyArchiveError("the input does not exist", where="IN", remedy="check its spelling")
    inside, outside = target.resolve(), source.resolve()
    if inside == outside or outside in inside.parents or inside in outside.parents:
        raise ConfigError(
            "one of IN and OUT lies in the other", where="OUT", remedy="give OUT a place of its own, outside of IN"
        )


class _Work:
    """One run over a folder."""

    def __init__(self, target: Path, key: bytes, keep_burned_in: bool) -> None:
        self.done = Deidentified(target / REPORT)
        self.tally = Tally()
        self.classes: Counter[str] = Counter()
        self.hashes: list[tuple[str, str]] = []
        self.paths: list[tuple[str, str]] = []
        self.key = key
        self._target, self._keep = target, keep_burned_in
        self._taken: set[str] = set()
        self.mark = keyed(key, "which key")[:_NAME]

    @property
    def any_dicom(self) -> bool:
        """Whether any file of a patient was found, taken or not."""
        return bool(self.done.files or self.done.copies or self.done.refused)

    def leave_out(self, path: str, reason: str) -> None:
        """Count a file that is left out."""
        self.done.left_out[reason] += 1
        self.paths.append((path, reason))
        if reason not in _HARMLESS:
            self.hashes.append((f"file-{keyed(self.key, 'path', path)[:12]}", reason))

    def take(self, path: str) -> None:
        """De-identify one file, or leave it out."""
        try:
            original = read_original(path)
        except NotDicomError:
            self.leave_out(path, _NOT_DICOM)
        except HiddenOverlayError:
            self.leave_out(path, "compressed images with an overlay in their pixels")
        except READ_ERRORS:
            self.leave_out(path, "files that cannot be read")
        else:
            header = original.header
            meta_class = text(getattr(header, "file_meta", header), "MediaStorageSOPClassUID")
            media = _DIRECTORY in (text(header, "SOPClassUID"), meta_class)
            reason = _MEDIA if media else refused(header, keep_burned_in=self._keep)
            if reason:
                self.leave_out(path, reason)
            else:
                self._take(original)

    def _take(self, original: Original) -> None:
        header, tally = original.header, Tally()
        levels = (text(header, each) for each in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"))
        name = "/".join(keyed(self.key, "file", level)[:_NAME] for level in levels)
        warnings, kind = warned(header), UID(text(header, "SOPClassUID")).name
        try:
            new = new_header(original, self.key, tally)
        except READ_ERRORS:
            self.leave_out(original.path, "files whose header cannot be written again")
            return
        try:
            added = self._place(name, original, new)
        except BrokenPixelsError:
            self.leave_out(original.path, "files whose pixel data are truncated or damaged")
            return
        if added:
            self.done.files += 1
            self.done.warnings.update(warnings)
            self.tally.update(tally)
            self.classes[kind] += 1
        else:
            self.done.copies += 1

    def _place(self, name: str, original: Original, header: bytes) -> bool:
        """Put a file into OUT, if it is not there; False for a copy of another one of this run."""
        path = self._target / f"{name}.dcm"
        if name not in self._taken and same_file(str(path), original, header):
            self._taken.add(name)
            self.done.before += 1
            return True
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f".part-{path.name}")
        try:
            content = _write(part, original, header)
            if name in self._taken:
                if content == _content(path):
                    return False
                # Two images of one UID: neither is lost, and whoever reads them is told.
                name = f"{name}-{content[:_NAME]}"
                if name in self._taken:
                    return False
                self.done.warnings["files that share a SOP instance UID with another one"] += 1
            os.replace(part, self._target / f"{name}.dcm")
        finally:
            part.unlink(missing_ok=True)
        self._taken.add(name)
        return True


def _write(part: Path, original: Original, header: bytes) -> str:
    """Write a file; the SHA-256 (hex) of it."""
    content = hashlib.sha256(header)
    with part.open("wb") as out:
        out.write(header)
        for piece in pixel_pieces(original):
            content.update(piece)
            out.write(piece)
    return content.hexdigest()


def _content(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _write_report(work: _Work) -> None:
    done = work.done
    report = {
        "profile": f"Basic Application Confidentiality Profile, {edition()}",
        # Equal in the reports of folders whose references match; says nothing of the key.
        "key": work.mark,
        "files": done.files,
        "copies": done.copies,
        "storage_classes": dict(sorted(work.classes.items())),
        "actions": work.tally.as_dict(),
        "left_out": dict(sorted(done.left_out.items())),
        "warnings": dict(sorted(done.warnings.items())),
        "left_out_files": [{"file": name, "reason": reason} for name, reason in sorted(work.hashes)],
    }
    part = done.report.with_name(f".part-{REPORT}")
    part.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    os.replace(part, done.report)
