"""Copies of images: files under one SOP instance UID, of one place and with the same pixels.

A UID names one image in the world, but not every program that wrote files knew. What differs in its place, its
rescaling or its pixels is another image, whatever its UID, and is kept.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from hashlib import sha256

from hdm_dicom.files.instances import Frame, Instance
from hdm_dicom.files.same_pixels import decoded_digest, stored_pixels

_FEW = 8
"""Different images of one UID and place whose pixels are held at once; of more, hashes are."""


@dataclass(frozen=True)
class Unique:
    """The images of a series, each once.

    Attributes:
        frames: of all files that are kept, in the order of their paths.
        copies: images that were left out.
        shared: what the pixels of files are that share their SOP instance UID with another image, by path.
    """

    frames: list[Frame]
    copies: int
    shared: dict[str, str] = field(default_factory=dict)


def without_copies(frames: Iterable[Frame]) -> Unique:
    """Each image once. Pixels are read only of files that agree in UID and place."""
    files: dict[str, list[Frame]] = defaultdict(list)
    for frame in sorted(frames, key=lambda f: (f.instance.path, f.index)):
        files[frame.instance.path].append(frame)
    by_uid: dict[str, list[list[Frame]]] = defaultdict(list)
    for members in files.values():
        by_uid[members[0].instance.sop_instance].append(members)
    kept: dict[str, list[Frame]] = {}
    shared: dict[str, str] = {}
    for same in by_uid.values():
        different = _different(same) if len(same) > 1 else same
        kept |= {members[0].instance.path: members for members in different}
        if len(different) > 1:
            shared |= {m[0].instance.path: _mark(m[0].instance) for m in different}
    found = [frame for path in files if path in kept for frame in kept[path]]
    return Unique(found, sum(map(len, files.values())) - len(found), shared)


def _different(files: Sequence[list[Frame]]) -> list[list[Frame]]:
    """Those of several files under one UID that are no copy of an earlier one."""
    by_header: dict[object, list[list[Frame]]] = defaultdict(list)
    for members in files:
        by_header[tuple(map(_header, members))].append(members)
    return [kept for alike in by_header.values() for kept in _by_pixels(alike)]


def _header(frame: Frame) -> tuple[object, ...]:
    """What makes the values and the place of an image, and whose it is."""
    i = frame.instance
    size = (i.rows, i.columns, i.samples, i.signed, i.bits_stored, i.photometric.startswith("MONO") and i.photometric)
    whose = (i.patient, i.study, i.frame_of_reference, i.modality, i.padding, i.fault)
    values = (frame.slope, frame.intercept, frame.lut, frame.unit)
    return frame.index, frame.position, frame.orientation, frame.spacing, *values, *size, *whose


def _by_pixels(files: Sequence[list[Frame]]) -> list[list[Frame]]:
    if len(files) == 1:
        return list(files)
    kept: list[tuple[bytes, list[Frame]]] = []
    for members in files:
        stored = stored_pixels(members[0].instance)
        if len(kept) >= _FEW:
            stored = _hashed(stored)
        if stored and any(stored == known for known, _ in kept):
            continue
        kept.append((stored, members))
        if len(kept) == _FEW:
            kept = [(_hashed(known), members) for known, members in kept]
    different = [members for _, members in kept]
    if len(different) == 1 or not _may_decode_alike([members[0].instance for members in different]):
        return different
    decoded: dict[str, list[Frame]] = {}
    for members in different:
        decoded.setdefault(decoded_digest(members[0].instance) or members[0].instance.path, members)
    return list(decoded.values())


def _hashed(stored: bytes) -> bytes:
    return sha256(stored).digest() if stored else stored


def _may_decode_alike(instances: Sequence[Instance]) -> bool:
    """Other bytes may hold the same pixels: compressed, deflated, or in the other order of bytes."""
    compressed = any(i.span is None or i.span.length is None or i.deflated for i in instances)
    return compressed or len({i.syntax for i in instances}) > 1


def _mark(instance: Instance) -> str:
    return sha256(stored_pixels(instance)).hexdigest()
