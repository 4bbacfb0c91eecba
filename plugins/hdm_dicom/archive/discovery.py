"""Finding series in any tree of files: headers only, read in parallel; what is left out is said and counted.

Paths of DICOM archives often carry names of patients, so nothing here repeats one: a file is named by a hash, which
`python -m hdm_dicom.original_paths FOLDER NAME` turns back into its path for whoever may read the folder.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

from hdm_dicom.archive.addresses import check_input
from hdm_dicom.archive.choice import TAKEN, chosen
from hdm_dicom.archive.listing import file_name, listed
from hdm_dicom.files.headers import scan
from hdm_dicom.files.instances import Frame, Instance, Rejected
from hdm_dicom.files.screens import SCREENSHOTS, is_capture
from hdm_dicom.options import ReaderOptions
from hdm_dicom.series.grouping import volumes
from hdm_dicom.series.volume import Volume
from hdm_pipeline.contracts import Skipped
from hdm_pipeline.errors import ArchiveError, EmptyArchiveError, counted

_SCANNERS = 4
"""Threads that read headers: one parses while the others wait for the disk or the network."""

_STRANGERS = "input"
_CHUNK = 32

_PYRAMID = "a whole-slide image, tiles of a pyramid: export a level of it as TIFF for input.reader geotiff"

_NOT_VOLUMES = {
    "1.2.840.10008.5.1.4.1.1.66.4": "a segmentation, not an image",
    "1.2.840.10008.5.1.4.1.1.66.7": "a segmentation, not an image",
    "1.2.840.10008.5.1.4.1.1.481.1": "a radiotherapy image",
    "1.2.840.10008.5.1.4.1.1.481.2": "a radiotherapy dose, not an image",
    "1.2.840.10008.5.1.4.1.1.77.1.6": _PYRAMID,
    "1.2.840.10008.5.1.4.1.1.77.1.9": _PYRAMID,  # confocal microscopy
    "1.2.840.10008.5.1.4.1.1.30": "a parametric map, not an image",
}
_LOCALIZER = frozenset({"LOCALIZER", "SCOUT"})


def find(uri: str, options: ReaderOptions) -> tuple[list[Volume], list[Skipped]]:
    """All volumes behind a folder, file, zip archive, glob or list file, by id, and what was left out.

    Raises:
        EmptyArchiveError: nothing is there, or no file is DICOM.
        ArchiveError: two volumes have one id.
        ConfigError: the address is on a network.
    """
    check_input(uri)
    paths, skipped = listed(uri)
    if not paths and not skipped:
        raise EmptyArchiveError(
            "the input names no file", where="input.uri", remedy="point it at a folder of DICOM files; check spelling"
        )
    frames, left = scan_all(paths, options)
    skipped += left
    if not frames and [s.uri for s in skipped] == [_STRANGERS]:
        raise EmptyArchiveError(
            "the file is not DICOM" if len(paths) == 1 else f"none of {len(paths)} files is DICOM",
            where="input.uri",
            remedy="point it at a folder of DICOM files",
        )
    found = volumes(frames, options.policy, options.tolerance, options.assume.pixel_spacing)
    counts = Counter(volume.id for volume in found)
    twice = [name for name, count in counts.items() if count > 1]
    if twice:
        remedy = "give one of the two a SeriesInstanceUID of its own, or take it out of the archive"
        raise ArchiveError(f"two volumes have the id {twice[0]}", where="input.uri", remedy=remedy)
    taken, left = chosen(found, options)
    return taken, [*skipped, *left]


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
        skipped.append(
            Skipped(_STRANGERS, f"{counted(strangers, 'file')} {'is' if strangers == 1 else 'are'} not DICOM")
        )
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
        return f"a localizer{TAKEN}"
    if instance.projection:
        return f"a projection, not a slice{TAKEN}"
    if kinds & SCREENSHOTS or (is_capture(instance.sop_class) and not located):
        return f"a derived screenshot (secondary capture without a position){TAKEN}"
    return ""


def no_volume(sop_class: str) -> str:
    """Why no object of a SOP class is part of a volume; empty where it may be."""
    return _NOT_VOLUMES.get(sop_class, "")
