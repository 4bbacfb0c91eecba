"""The conformance suite for readers."""

from __future__ import annotations

import os
import pickle
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hdm_pipeline.contracts import (
    LabelKeeper,
    OverviewSource,
    Reader,
    SceneHeader,
    SceneRef,
    SceneSource,
    SupportRequest,
)
from hdm_pipeline.errors import ArchiveError, ConfigError, SceneError, SupportError
from hdm_pipeline.grid import Window
from hdm_pipeline.plugin.guarded_reader import guard_reader
from hdm_pipeline.testing.findings import Findings
from hdm_pipeline.testing.labels import check_labels
from hdm_pipeline.testing.overviews import check_overviews

_SCENES = 8
"""Scenes of the archive that are opened."""

_PIXELS = 1 << 22
"""Pixels of a scene that are read at once, at most."""


def check_reader(
    kind: type[Reader],
    uri: str,
    *,
    name: str | None = None,
    options: Mapping[str, Any] | None = None,
    damaged: Sequence[str] = (),
    support: SupportRequest | None = None,
    unusable_support: Sequence[SupportRequest] = (),
) -> None:
    """Run every check of the contract of readers.

    Args:
        kind: the reader's class.
        uri: an archive with one scene at least, of local files; the more kinds of scenes, the better.
        name: its entry point name; the class's `name` by default.
        options: what to construct it with.
        damaged: archives of files that are found and cannot be read, wholly or in part.
        support: a labelled example that can be read.
        unusable_support: examples that must be refused.

    Raises:
        ConformanceError: with everything found.
    """
    findings = Findings(kind.__qualname__)
    plugin = name or kind.name
    with findings.check("construction"):
        findings.require(isinstance(kind.name, str) and bool(kind.name), "the class has no name")
        kind(dict(options or {}))
        unknown = {**(options or {}), "no such option": 1}
        findings.raises((ConfigError,), lambda: kind(unknown), "an unknown option")
    refs: list[SceneRef] = []
    before = _files(uri)
    with findings.check("discovery"):
        refs = _check_discovery(findings, kind, plugin, uri, dict(options or {}))
    for ref in refs[:: max(1, len(refs) // _SCENES)]:
        reader = guard_reader(kind(dict(options or {})), plugin)
        _check_scene(findings, reader, ref)
    for ref in dict.fromkeys([*refs[:1], *refs[-1:]]):
        reader = guard_reader(kind(dict(options or {})), plugin)
        if isinstance(reader, LabelKeeper):
            with findings.check(f"labels of {ref.id}"), tempfile.TemporaryDirectory() as folder:
                check_labels(findings, reader, reader.header(ref), Path(folder))
    for archive in damaged:
        with findings.check(f"damaged {Path(archive).name}"):
            _check_damaged(findings, guard_reader(kind(dict(options or {})), plugin), archive)
    with findings.check("support"):
        _check_support(findings, guard_reader(kind(dict(options or {})), plugin), support, unusable_support)
    with findings.check("side effects"):
        findings.require(_files(uri) == before, "files of the archive were changed, added or removed")
    findings.close()


def _check_scene(findings: Findings, reader: Reader, ref: SceneRef) -> None:
    """One scene: what it says of itself, and what it reads."""
    with findings.check(f"header of {ref.id}"):
        _check_header(findings, reader, ref)
    with findings.check(f"pixels of {ref.id}"), reader.open(ref) as source:
        _check_pixels(findings, source)
        _check_two_at_once(findings, reader, ref, source)
    with findings.check(f"statistics of {ref.id}"), reader.open(ref) as source:
        _check_statistics(findings, source)
    with findings.check(f"overviews of {ref.id}"), reader.open(ref) as source:
        if isinstance(source, OverviewSource):
            check_overviews(findings, source)


def _files(uri: str) -> dict[str, tuple[int, int]]:
    root = Path(uri)
    paths = [root] if root.is_file() else sorted(root.rglob("*"))
    return {str(path): (path.stat().st_size, path.stat().st_mtime_ns) for path in paths if path.is_file()}


def _check_discovery(
    findings: Findings, kind: type[Reader], plugin: str, uri: str, options: dict[str, Any]
) -> list[SceneRef]:
    first, again = (list(guard_reader(kind(dict(options)), plugin).discover(uri)) for _ in range(2))
    refs = [found for found in first if isinstance(found, SceneRef)]
    ids = [ref.id for ref in refs]
    findings.require(bool(refs), "no scene is found")
    findings.require(first == again, "a second look finds something else")
    findings.require(ids == sorted(ids), "scenes are not sorted by id")
    findings.require(len(set(ids)) == len(ids), "two scenes have one id")
    findings.require(pickle.loads(pickle.dumps(refs)) == refs, "references do not survive pickling")
    missing = str(Path(uri).parent / "no-such-archive-anywhere")
    findings.raises(
        (ArchiveError,), lambda: list(kind(dict(options)).discover(missing)), "an archive that is not there"
    )
    return refs


def _check_header(findings: Findings, reader: Reader, ref: SceneRef) -> None:
    header = reader.header(ref)
    findings.require(reader.header(ref) == header, "a second look at the header differs")
    findings.require(pickle.loads(pickle.dumps(header)) == header, "the header does not survive pickling")
    np.dtype(header.dtype)
    with reader.open(ref) as source:
        findings.require(source.header == header, "the open scene has another header")


def _windows(header: SceneHeader) -> list[Window]:
    """Windows that readers get wrong: corners, single pixels, whole rows and columns, across the file's own tiles."""
    _, depth, height, width = header.shape
    tall, wide = min(height, max(1, _PIXELS // width)), min(width, max(1, _PIXELS // height))
    chunk_y, chunk_x = min(header.chunk[0], height), min(header.chunk[1], width)
    y, x = max(0, chunk_y - 3), max(0, chunk_x - 3)
    return [
        Window(z=z, y=top, x=left, height=rows, width=columns)
        for z in sorted({0, depth // 2, depth - 1})
        for top, left, rows, columns in (
            (0, 0, min(tall, chunk_y), min(wide, chunk_x)),
            (0, 0, 1, 1),
            (height - 1, width - 1, 1, 1),
            (height // 2, 0, min(tall, height - height // 2), width),
            (0, width // 2, height, min(wide, width - width // 2)),
            (y, x, min(7, height - y), min(5, width - x)),
        )
    ]


def _check_pixels(findings: Findings, source: SceneSource) -> None:
    bands = tuple(range(source.header.shape[0]))
    for window in _windows(source.header):
        pixels, valid = source.read(window, bands)
        kept = pixels.copy(), valid.copy()
        _compare_part(findings, source, window, pixels, valid)
        other, other_valid = source.read(window, bands[::-1])
        findings.require(_same(other[::-1], pixels, valid & other_valid), f"the order of bands is ignored at {window}")
        findings.require(_same(pixels, kept[0], None) and _same(valid, kept[1], None), "a read changes an earlier one")
        pixels.fill(-1)
        valid.fill(False)
        again, again_valid = source.read(window, bands)
        findings.require(_same(again, *kept) and _same(again_valid, kept[1], None), f"two reads differ at {window}")
        single, single_valid = source.read(window, bands[-1:])
        findings.require(
            _same(single, kept[0][-1:], kept[1] & single_valid),
            f"a band read by itself differs from the same band read with others at {window}",
        )
        findings.require(bool((single_valid | ~kept[1]).all()), f"a pixel valid in all bands is not in one at {window}")


def _compare_part(
    findings: Findings, source: SceneSource, window: Window, pixels: npt.NDArray[Any], valid: npt.NDArray[np.bool_]
) -> None:
    """A part of a window, read by itself, must be what it is within the window."""
    bands = tuple(range(source.header.shape[0]))
    y, x = window.height // 3, window.width // 3
    height, width = max(1, window.height // 2), max(1, window.width // 2)
    part, part_valid = source.read(
        Window(z=window.z, y=window.y + y, x=window.x + x, height=height, width=width), bands
    )
    rows, columns = slice(y, y + height), slice(x, x + width)
    same = _same(part_valid, valid[rows, columns], None) and _same(part, pixels[:, rows, columns], part_valid)
    findings.require(same, f"a part of {window} read by itself differs")


def _same(one: npt.NDArray[Any], other: npt.NDArray[Any], valid: npt.NDArray[np.bool_] | None) -> bool:
    if valid is None:
        return np.array_equal(one, other, equal_nan=one.dtype.kind == "f")
    return np.array_equal(one[:, valid], other[:, valid])


def _check_two_at_once(findings: Findings, reader: Reader, ref: SceneRef, source: SceneSource) -> None:
    """Two readers of one scene, each in a thread of its own."""
    window = _windows(source.header)[0]
    expected, valid = source.read(window, (0,))

    def read_alone() -> npt.NDArray[np.float32]:
        with reader.open(ref) as other:
            return other.read(window, (0,))[0]

    with ThreadPoolExecutor(2) as pool:
        for found in [future.result() for future in [pool.submit(read_alone) for _ in range(4)]]:
            findings.require(
                _same(found, expected, valid), "scenes opened at once in several threads disturb each other"
            )


def _check_statistics(findings: Findings, source: SceneSource) -> None:
    bands = tuple(range(source.header.shape[0]))
    sample = source.sample(bands, 1000)
    findings.require(_same(source.sample(bands, 1000), sample, None), "two samples differ")
    findings.require(source.sample(bands, 7).shape[1] <= 7, "a sample is larger than allowed")
    _, depth, height, width = source.header.shape
    if depth * height * width <= _PIXELS:
        read = [source.read(Window(z=z, y=0, x=0, height=height, width=width), bands) for z in range(depth)]
        pixels = np.concatenate([pixels[:, valid] for pixels, valid in read], axis=1)
        findings.require(bool(pixels.size) == bool(sample.size), "a sample is empty although pixels are valid, or not")
        if pixels.size and sample.size:
            low, high = pixels.min(axis=1), pixels.max(axis=1)
            inside = (sample.min(axis=1) >= low).all() and (sample.max(axis=1) <= high).all()
            findings.require(bool(inside), "a sample holds values that the scene does not")
    source.row_areas()


def _check_damaged(findings: Findings, reader: Reader, archive: str) -> None:
    """A damaged file may be left out by discovery; whatever fails later must be a `SceneError`."""

    def read_everything(ref: SceneRef) -> None:
        header = reader.header(ref)
        with reader.open(ref) as source:
            _, depth, height, width = header.shape
            step = max(1, _PIXELS // width)
            for z in range(depth):
                for y in range(0, height, step):
                    source.read(Window(z=z, y=y, x=0, height=min(step, height - y), width=width), (0,))

    try:
        refs = [found for found in reader.discover(archive) if isinstance(found, SceneRef)]
    except ArchiveError:
        return
    for ref in refs:
        findings.raises((SceneError,), lambda ref=ref: read_everything(ref), f"reading {ref.id}")  # type: ignore[misc]


def _check_support(
    findings: Findings, reader: Reader, support: SupportRequest | None, unusable: Sequence[SupportRequest]
) -> None:
    if support is not None:
        images = reader.read_support(support)
        findings.require(any((image.label == 1).any() for image in images), "the support example holds no target")
        again = reader.read_support(support)
        same = len(images) == len(again) and all(
            _same(a.pixels, b.pixels, None) and _same(a.label, b.label, None)
            for a, b in zip(images, again, strict=False)
        )
        findings.require(same, "a second look at the support example differs")
        named = replace(support, background=(252,))
        findings.require(
            not any((image.label == 0).any() for image in reader.read_support(named)),
            "a value is background although `background` names others",
        )
        missing = SupportRequest(os.devnull + "-no-such-image", support.mask, support.values)
        findings.raises((SupportError,), lambda: reader.read_support(missing), "a support image that is not there")
        values = SupportRequest(support.image, support.mask, (251,), support.ignore, support.slices)
        findings.raises((SupportError,), lambda: reader.read_support(values), "a support mask without the class")
    for request in unusable:
        where = f"the support example {Path(request.image).name}"
        findings.raises((SupportError,), lambda request=request: reader.read_support(request), where)  # type: ignore[misc]
