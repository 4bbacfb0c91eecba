"""Finding series in any tree of files: headers only, read in parallel; what is left out is said and counted.

Paths of DICOM archives often carry names of patients, so nothing here repeats one: a file is named by a hash, which
`python -m hdm_dicom.original_paths FOLDER NAME` turns back into its path for whoever may read the folder.
"""

from __future__ import annotations

import glob
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from hdm_dicom.files.headers import scan
from hdm_dicom.files.instances import Frame, Instance, Rejected
from hdm_dicom.files.uids import digest
from hdm_dicom.options import READER, ReaderOptions
from hdm_dicom.series.grouping import volumes
from hdm_dicom.series.volume import Volume
from hdm_pipeline.contracts import OUTPUT_MARKER, SceneRef, Skipped
from hdm_pipeline.errors import ArchiveError, EmptyArchiveError

_SCANNERS = 4
"""Threads that read headers: one parses while the others wait for the disk or the network."""

_IMAGE_LIST = ".txt"
_STRANGERS = "input"
_CHUNK = 32

_NOT_VOLUMES = {
    "1.2.840.10008.5.1.4.1.1.66.4": "a segmentation, not an image",
    "1.2.840.10008.5.1.4.1.1.66.7": "a segmentation, not an image",
    "1.2.840.10008.5.1.4.1.1.481.1": "a radiotherapy image",
    "1.2.840.10008.5.1.4.1.1.481.2": "a radiotherapy dose, not an image",
    "1.2.840.10008.5.1.4.1.1.77.1.6": "a whole-slide image: not a volume",
    "1.2.840.10008.5.1.4.1.1.30": "a parametric map, not an image",
}
_LOCALIZER = frozenset({"LOCALIZER", "SCOUT"})
_PROJECTION = frozenset({"PROJECTION IMAGE", "MIP", "MINIP"})
_SCREENSHOT = frozenset({"SCREEN SAVE", "SCREENSHOT", "DOSE_INFO", "REFORMATTED SCREEN"})
_SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"


def file_name(path: str) -> str:
    """What a file is called in messages: a hash of its path."""
    return f"file-{digest(os.path.abspath(path))[:12]}"


def find(uri: str, options: ReaderOptions) -> tuple[list[Volume], list[Skipped]]:
    """All volumes behind a folder, file, glob or list file, by id, and what was left out.

    Raises:
        EmptyArchiveError: nothing is there, or no file is DICOM.
        ArchiveError: two volumes have one id.
    """
    paths = list_files(uri)
    if not paths:
        raise EmptyArchiveError(
            "the input names no file", where="input.uri", remedy="point it at a folder of DICOM files; check spelling"
        )
    frames, skipped = scan_all(paths, options)
    if not frames and [s.uri for s in skipped] == [_STRANGERS]:
        raise EmptyArchiveError(
            f"none of {len(paths)} files is DICOM", where="input.uri", remedy="point it at a folder of DICOM files"
        )
    found = volumes(frames, options.policy, options.tolerance)
    counts = Counter(volume.id for volume in found)
    twice = [name for name, count in counts.items() if count > 1]
    if twice:
        raise ArchiveError(f"two volumes have the id {twice[0]}", where="input.uri")
    # Notes of the whole series are said here: the members of one volume no longer show them.
    skipped += [Skipped(volume.id, note) for volume in found for note in volume.notes]
    return found, skipped


def list_files(uri: str) -> list[str]:
    """Paths behind a folder (recursively), a file, a glob, or a list file (``*.txt``, one path a line), sorted."""
    if os.path.isdir(uri):
        return sorted(_walk(uri))
    if os.path.isfile(uri):
        if not uri.endswith(_IMAGE_LIST):
            return [uri]
        with open(uri, encoding="utf-8-sig") as lines:  # editors on Windows begin a text with a byte order mark
            entries = [line.strip() for line in lines]
        base = os.path.dirname(uri)
        named = [os.path.join(base, e) for e in entries if e and not e.startswith("#")]
        return sorted({path for entry in named for path in list_files(entry)})
    matches = glob.glob(uri, recursive=True)
    return sorted({path for match in matches for path in (_walk(match) if os.path.isdir(match) else [match])})


def _walk(folder: str) -> Iterator[str]:
    for parent, folders, names in os.walk(folder):
        if OUTPUT_MARKER in folders and parent != folder:
            folders.clear()  # products of an earlier run
            continue
        folders[:] = sorted(f for f in folders if not f.startswith("."))
        yield from (os.path.join(parent, name) for name in names if not name.startswith("."))


def scan_all(paths: Iterable[str], options: ReaderOptions) -> tuple[list[Frame], list[Skipped]]:
    """Frames of all image files worth a volume, and why the other files are left out."""
    frames: list[Frame] = []
    skipped: list[Skipped] = []
    strangers = 0
    for path, result in scan_parallel(paths):
        if isinstance(result, Rejected):
            if result.reason:
                skipped.append(Skipped(file_name(path), result.reason))
            else:
                strangers += 1
            continue
        reason = left_out(result[0].instance, result[0].position is not None, options)
        if reason:
            skipped.append(Skipped(file_name(path), reason))
        else:
            frames += result
    if strangers:
        skipped.append(Skipped(_STRANGERS, f"{strangers} files are not DICOM"))
    return frames, skipped


def scan_parallel(paths: Iterable[str]) -> Iterator[tuple[str, list[Frame] | Rejected]]:
    """`scan` over many files, in the order given."""
    paths = list(paths)
    if len(paths) <= _CHUNK:
        yield from ((path, scan(path)) for path in paths)
        return
    chunks = [paths[start : start + _CHUNK] for start in range(0, len(paths), _CHUNK)]
    with ThreadPoolExecutor(_SCANNERS, thread_name_prefix="dicom-scan") as pool:
        for results in pool.map(_scan_chunk, chunks):
            yield from results


def _scan_chunk(paths: list[str]) -> list[tuple[str, list[Frame] | Rejected]]:
    return [(path, scan(path)) for path in paths]


def left_out(instance: Instance, located: bool, options: ReaderOptions) -> str:
    """Why an image is no part of a volume; empty if it is."""
    if instance.sop_class in _NOT_VOLUMES:
        return _NOT_VOLUMES[instance.sop_class]
    if options.include_derived:
        return ""
    kinds = frozenset(instance.image_type)
    if kinds & _LOCALIZER:
        return "a localizer"
    if kinds & _PROJECTION:
        return "a projection, not a slice"
    if kinds & _SCREENSHOT or (instance.sop_class.startswith(_SECONDARY_CAPTURE) and not located):
        return "a derived screenshot (secondary capture without a position)"
    return ""


def reference(volume: Volume, reader: str = READER) -> SceneRef:
    """The volume as the core knows it, opened by the plug-in `reader`.

    `uri` carries the hashed id, never the folder's name.
    """
    instances = {frame.instance.path: frame.instance for frame in volume.frames}
    members = tuple(instances)
    content = sorted(f"{i.sop_instance}:{i.stamp}" for i in instances.values())
    return SceneRef(
        id=volume.id,
        uri=f"{READER}:{volume.id}",
        reader=reader,
        identity=digest(*content),
        members=members,
        private=True,
    )


def reload(ref: SceneRef, options: ReaderOptions) -> Volume | None:
    """The volume of a reference, from the headers of its members; None if they hold it no more."""
    frames: list[Frame] = []
    for _, result in scan_parallel(ref.members):
        if not isinstance(result, Rejected):
            frames += result
    if not frames:
        return None
    found = volumes(frames, options.policy, options.tolerance)
    if len(found) == 1:
        # Members of a split series, taken by themselves, no longer show what they were split from.
        return replace(found[0], id=ref.id)
    return next((volume for volume in found if volume.id == ref.id), None)
