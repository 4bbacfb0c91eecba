"""The support set as files: which examples there are, what they hash to, and their pixels in 0..1. No torch."""

from __future__ import annotations

import glob
import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from hdm_pipeline.config.schema import ClassConfig, Example, PipelineConfig
from hdm_pipeline.contracts import IGNORE, LabeledImage, Reader, SceneWarning, SupportRequest
from hdm_pipeline.errors import BandError, HdmError, SupportError
from hdm_pipeline.hashing import file_hash, stable_hash, stat_identity
from hdm_pipeline.pixels.bands import resolve
from hdm_pipeline.pixels.sanity import Look, look_at, scale_warnings, unlike_warnings
from hdm_pipeline.pixels.scaling import scale_pixels, scene_ranges

_HASHED_WHOLE = 256 << 20
"""Files up to this size are hashed by content, larger ones (a whole volume in one file) by size and time."""


@dataclass(frozen=True, eq=False)
class SupportExample:
    """One labelled example as the network takes it.

    Attributes:
        name: for messages.
        pixels: [bands, y, x] float32 in 0..1; NaN where invalid.
        label: [y, x] uint8: 1 the class, 0 background, 255 ignored.
        look: its bands, resolution, and how its values lie in the scale.
    """

    name: str
    pixels: npt.NDArray[np.float32]
    label: npt.NDArray[np.uint8]
    look: Look


def requests(class_config: ClassConfig) -> list[SupportRequest]:
    """The examples of a class with their globs expanded.

    Raises:
        SupportError: a plain path does not exist, a glob pairs unequal numbers of files, or nothing matched at all.
    """
    found = [request for example in class_config.examples for request in _expand(example, class_config.name)]
    if not found:
        raise SupportError(
            "no support example was found: every glob matched nothing",
            where=f"class {class_config.name!r}",
            remedy="check the paths under support.classes; they are relative to the pipeline file",
        )
    return found


def _expand(example: Example, class_name: str) -> Iterator[SupportRequest]:
    images, masks = _matches(example.image, class_name), _matches(example.mask, class_name)
    if len(images) != len(masks):
        raise SupportError(
            f"{len(images)} images but {len(masks)} masks match",
            where=f"class {class_name!r}: {example.image} and {example.mask}",
            remedy="make the two globs match one mask for each image; they are paired in sorted order",
        )
    for image, mask in zip(images, masks, strict=True):
        yield SupportRequest(
            image,
            mask,
            tuple(example.value),
            tuple(example.ignore),
            tuple(example.slices),
            example.segment,
            tuple(example.background),
        )


def _matches(pattern: str, class_name: str) -> list[str]:
    if os.path.exists(pattern) or not glob.has_magic(pattern):  # a file may be called "chip [1].tif"
        if "://" not in pattern and not os.path.exists(pattern):
            raise SupportError(
                "support file does not exist",
                where=f"class {class_name!r}: {pattern}",
                remedy="paths are relative to the pipeline file",
            )
        return [pattern]
    return sorted(glob.glob(pattern))


SupportFiles = tuple[tuple[SupportRequest, ...], ...]
"""The examples of every class, in the order of the pipeline file."""


def support_files(config: PipelineConfig) -> SupportFiles:
    """The examples of every class, looked for once a run: what is hashed is what is read.

    Raises:
        SupportError: as `requests`.
    """
    return tuple(tuple(requests(class_config)) for class_config in config.support.classes)


def support_fingerprint(files: SupportFiles) -> str:
    """Hash of everything about the supports that affects pixels; reads bytes, decodes nothing.

    Raises:
        SupportError: a file cannot be read.
    """
    return stable_hash([[_request_fingerprint(request) for request in of_class] for of_class in files])


def _request_fingerprint(request: SupportRequest) -> list[object]:
    return [
        _content_hash(request.image),
        _content_hash(request.mask),
        *(_sidecars(path) for path in (request.image, request.mask) if _sidecars(path)),
        request.values,
        request.ignore,
        request.slices,
        request.segment,
        # Not named where it is not used, so that what was done before it existed is not done again.
        *([request.background] if request.background else []),
    ]


def _sidecars(path: str) -> list[str]:
    """Hashes of the files that are called as one is: ``chip.tif.aux.xml`` and ``chip.tfw`` change what is read."""
    folder, name = os.path.split(path)
    if not os.path.isfile(path):
        return []
    starts = (f"{name}.", f"{os.path.splitext(name)[0]}.")
    beside = sorted(other for other in os.listdir(folder or ".") if other.startswith(starts) and other != name)
    files = [os.path.join(folder, other) for other in beside]
    return [f"{os.path.basename(file)}:{_content_hash(file)}" for file in files if os.path.isfile(file)]


def _content_hash(path: str) -> str:
    if "://" in path:
        return path
    try:
        if os.path.isdir(path):
            digest = hashlib.sha256()
            for folder, folders, names in os.walk(path):
                folders.sort()
                for name in sorted(names):
                    full = os.path.join(folder, name)
                    digest.update(f"{os.path.relpath(full, path)}:{stat_identity(full)}\n".encode())
            return digest.hexdigest()
        return stat_identity(path) if os.path.getsize(path) > _HASHED_WHOLE else file_hash(Path(path))
    except OSError as error:
        raise SupportError(
            f"support file cannot be read: {error.strerror}", where=path, remedy="check the path and its permissions"
        ) from error


def load_examples(config: PipelineConfig, files: SupportFiles, reader: Reader) -> list[list[SupportExample]]:
    """Read, compute bands of, and scale every example, by class.

    Raises:
        SupportError: an example cannot be used; the message names it.
    """
    return [
        [example for request in of_class for example in load_example(config, request, reader, class_config.name)]
        for class_config, of_class in zip(config.support.classes, files, strict=True)
    ]


def load_example(
    config: PipelineConfig, request: SupportRequest, reader: Reader, class_name: str
) -> list[SupportExample]:
    """One of the examples that `load_examples` reads; a labelled volume gives several.

    Raises:
        SupportError: it cannot be used.
    """
    return [_scaled(config, image) for image in _read(reader, request, class_name)]


def _read(reader: Reader, request: SupportRequest, class_name: str) -> Sequence[LabeledImage]:
    try:
        return reader.read_support(request)
    except SupportError:
        raise
    except HdmError as error:
        raise SupportError(error.what, where=f"class {class_name!r}: {error.where}", remedy=error.remedy) from error


def _scaled(config: PipelineConfig, image: LabeledImage) -> SupportExample:
    where = f"support {image.name}"
    try:
        plan = resolve(config.input.bands, image.bands)
    except HdmError as error:
        raise SupportError(error.what, where=f"{where}: {error.where}", remedy=error.remedy) from error
    chosen = image.pixels[list(plan.indices)]
    ranges = scene_ranges(config.input.scale, plan, chosen[:, image.valid], where)
    pixels, valid = plan.apply(chosen, image.valid)
    scaled = scale_pixels(np.where(valid, pixels, np.float32(0)), ranges)
    scaled[:, ~valid] = np.nan  # says what is invalid: no rule learns from it
    label = np.where(valid, image.label, np.uint8(IGNORE)).astype(np.uint8)
    if not (label == 1).any():
        raise SupportError(
            "the support example shows no valid pixel of its class",
            where=where,
            remedy="choose a chip that holds the class, and check `value` and `ignore`",
        )
    look = look_at(image.name, plan, image.bands, chosen[:, image.valid], ranges, image.pixel_size)
    return SupportExample(image.name, scaled, label, look)


def example_warnings(
    config: PipelineConfig, classes: Sequence[Sequence[SupportExample]]
) -> list[dict[str, list[SceneWarning]]]:
    """What is strange about examples, by class and by name; only those of which something is are named.

    Raises:
        SupportError: two examples have their bands in another order; or something is strange and the run is strict.
    """
    found: list[dict[str, list[SceneWarning]]] = []
    seen: list[Look] = []
    for of_class in classes:
        by_name: dict[str, list[SceneWarning]] = {}
        for example in of_class:
            warnings = scale_warnings(example.look, config.input.scale)
            try:
                warnings += unlike_warnings(example.look, seen)
            except BandError as error:
                raise SupportError(error.what, where=f"support {example.name}", remedy=error.remedy) from error
            seen.append(example.look)
            if warnings:
                by_name[example.name] = warnings
            if warnings and config.execution.strict:
                what = "; ".join(warning.what for warning in warnings)
                remedy = f"{warnings[0].remedy}; without execution.strict this is a warning"
                raise SupportError(what, where=f"support {example.name}", remedy=remedy)
        found.append(by_name)
    return found
