"""The support set as files: which examples there are, what they hash to, and their pixels in 0..1. No torch."""

from __future__ import annotations

import glob
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import cast

import numpy as np
import numpy.typing as npt

from hdm_pipeline.config.example import Example, Features
from hdm_pipeline.config.schema import ClassConfig, PipelineConfig, Scale
from hdm_pipeline.contracts import (
    IGNORE,
    ImageWindow,
    LabeledImage,
    Pixels,
    Reader,
    SceneWarning,
    Selection,
    SupportRequest,
    Validity,
    VectorLabelReader,
    VectorLabels,
)
from hdm_pipeline.errors import BandError, HdmError, SupportError, broken_link, counted
from hdm_pipeline.hashing import stable_hash
from hdm_pipeline.pixels.bands import resolve
from hdm_pipeline.pixels.sanity import Look, look_at, scale_warnings, unlike_warnings
from hdm_pipeline.pixels.scaling import scale_pixels, scene_ranges
from hdm_pipeline.support.file_hashes import content_hash, sidecars
from hdm_pipeline.support.shown import require_both


@dataclass(frozen=True, eq=False)
class SupportExample:
    """One labelled example as the network takes it.

    Attributes:
        name: for messages.
        pixels: [bands, y, x] float32 in 0..1; NaN where invalid.
        label: [y, x] uint8: 1 the class, 0 background, 255 ignored.
        look: its bands, resolution, and how its values lie in the scale.
        warnings: what its reader found strange about its labels.
    """

    name: str
    pixels: npt.NDArray[np.float32]
    label: npt.NDArray[np.uint8]
    look: Look
    warnings: tuple[SceneWarning, ...] = ()


def requests(class_config: ClassConfig) -> list[SupportRequest]:
    """The examples of a class with their globs expanded.

    Raises:
        SupportError: there is none yet, a plain path does not exist, a glob pairs unequal numbers of files, or nothing
            matched at all.
    """
    if not class_config.examples:
        raise SupportError(
            "the class has no example yet",
            where=f"class {class_config.name!r}",
            remedy="label one (python -m hdm_pipeline studio PIPELINE.yaml), or name one under `examples`",
        )
    found = [request for example in class_config.examples for request in expand(example, class_config.name)]
    if not found:
        raise SupportError(
            "no support example was found: every glob matched nothing",
            where=f"class {class_config.name!r}",
            remedy="check the paths under support.classes; they are relative to the pipeline file",
        )
    files = Counter(request.mask for request in found)
    return [replace(request, shared=files[request.mask] > 1) for request in found]


def expand(example: Example, class_name: str) -> Iterator[SupportRequest]:
    """One example with its globs expanded; none where they match nothing.

    Raises:
        SupportError: as `requests`, which wants one example at least.
    """
    named = example.mask if example.labels is None else example.labels
    assert named is not None  # the schema wants one of the two
    images, masks = _matches(example.image, class_name), _matches(named, class_name)
    optional = False
    if example.vector and len(masks) == 1 and len(images) != 1:
        # One file of labels for a whole folder of images: those in which nothing is drawn are no examples.
        masks, optional = masks * len(images), True
    if len(images) != len(masks):
        labels = "vector file" if example.vector else "mask"
        raise SupportError(
            f"{counted(len(images), 'image')} but {counted(len(masks), labels)} match",
            where=f"class {class_name!r}: {example.image} and {named}",
            remedy="make the two globs match one mask for each image; they are paired in sorted order",
        )
    vector = _vector_labels(example, optional) if example.vector else None
    for image, mask in zip(images, masks, strict=True):
        if vector is not None:
            yield SupportRequest(image, mask, vector=vector)
            continue
        yield SupportRequest(
            image,
            mask,
            tuple(example.value),
            _values(example.ignore),
            tuple(example.slices),
            example.segment,
            _values(example.background),
        )


def _values(given: list[int] | Features) -> tuple[int, ...]:
    return () if isinstance(given, Features) else tuple(given)


def _vector_labels(example: Example, optional: bool) -> VectorLabels:
    """What the features of the example's file mean; parts without a layer of their own are in that of the class."""

    def part(features: list[int] | Features | None) -> Selection | None:
        if not isinstance(features, Features):
            return None
        return Selection(features.layer or example.layer, features.where)

    width, unit = example.width_and_unit()
    window = example.window
    return VectorLabels(
        target=Selection(example.layer, example.where),
        background=part(example.background),
        ignore=part(example.ignore),
        extent=part(example.extent),
        complete=example.everything_is_drawn and example.extent is None,
        width=width,
        width_unit=unit,
        crs=example.crs,
        window=None if window is None else ImageWindow(window.pixels, window.bounds, window.crs),
        optional=optional,
    )


def _matches(pattern: str, class_name: str) -> list[str]:
    remote = "://" in pattern or pattern.startswith("/vsi")
    if remote or os.path.exists(pattern) or not glob.has_magic(pattern):  # a file may be called "chip [1].tif"
        if not remote and not os.path.exists(pattern):
            raise SupportError(
                f"support file is {link}" if (link := broken_link(pattern)) else "support file does not exist",
                where=f"class {class_name!r}: {pattern}",
                remedy="check the path; in a pipeline file, relative paths start at its folder",
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


def support_fingerprint(files: SupportFiles, reader: Reader) -> str:
    """Hash of everything about the supports that affects pixels; reads bytes, decodes no image.

    Of a vector file counts what is read of it: to open it in a GIS changes its bytes, but nothing here.

    Args:
        files: the examples.
        reader: of the archive; it knows what is read of vector files, and may tell of more files that an example is
            read from.

    Raises:
        SupportError: a file cannot be read, or one scene of several files is named twice.
    """
    tell = getattr(reader, "example_files", None)
    found = []
    for of_class in files:
        named: dict[object, SupportRequest] = {}
        for request in of_class:
            more = tuple(tell(request)) if tell else ()
            # A pattern that names each band of a scene would make as many equal examples of it. All images of one zip
            # are read from one file, so that alone says nothing.
            other = named.setdefault((replace(request, image=""), more) if len(more) > 1 else request, request)
            if other is not request and other.image != request.image:
                what = "two examples are one: both files are bands of one scene"
                remedy = "name each scene once: its folder, or by a pattern one of its files (scenes/*_B04.tif)"
                raise SupportError(what, where=f"{other.image} and {request.image}", remedy=remedy)
        # An image in which nothing is drawn is no example: a new one in the archive must not redo all others.
        found.append([hashed for request in of_class if (hashed := _request_fingerprint(request, reader))])
    return stable_hash(found)


def _request_fingerprint(request: SupportRequest, reader: Reader) -> list[object]:
    """What an example hashes to; nothing where nothing is drawn in its image."""
    tell = getattr(reader, "example_files", None)
    more = [f"{os.path.basename(path)}:{content_hash(path)}" for path in (tell(request) if tell else [])]
    if request.vector is not None:
        drawn = _vector_reader(reader).vector_identity(request)
        if not drawn:
            return []
        found = [content_hash(request.image), *sidecars(request.image, request.mask), "vector", drawn]
        return [*found, *([more] if more else [])]
    return [
        content_hash(request.image),
        content_hash(request.mask),
        *(sidecars(path) for path in (request.image, request.mask) if sidecars(path)),
        request.values,
        request.ignore,
        request.slices,
        request.segment,
        # Not named where it is not used, so that what was done before it existed is not done again.
        *([request.background] if request.background else []),
        *([more] if more else []),
    ]


def _vector_reader(reader: Reader) -> VectorLabelReader:
    # Readers are guarded, and the guard itself refuses requests that its plug-in does not know.
    return cast(VectorLabelReader, reader)


def check_vector_files(files: Sequence[SupportRequest], reader: Reader) -> None:
    """Check drawn labels without opening any image.

    Raises:
        SupportError: as `VectorLabelReader.check_vector`.
    """
    checked: set[tuple[str, VectorLabels | None]] = set()
    for request in files:
        if request.vector is not None and (request.mask, request.vector) not in checked:
            checked.add((request.mask, request.vector))
            _vector_reader(reader).check_vector(request)


def load_examples(
    config: PipelineConfig, files: SupportFiles, reader: Reader, on_read: Callable[[], None] | None = None
) -> list[list[SupportExample]]:
    """Read, compute bands of, and scale every example, by class; `on_read` is called after each file.

    Raises:
        SupportError: an example cannot be used; the message names it. Or all of a class together show no target, or no
            background.
    """
    found = []
    for class_config, of_class in zip(config.support.classes, files, strict=True):
        examples = []
        for request in of_class:
            examples += load_example(config, request, reader, class_config.name)
            if on_read is not None:
                on_read()
        require_both(class_config, of_class, [example.label for example in examples], reader)
        found.append(examples)
    return found


def load_example(
    config: PipelineConfig, request: SupportRequest, reader: Reader, class_name: str
) -> list[SupportExample]:
    """One of the examples that `load_examples` reads; a labelled volume, or a large image, gives several.

    Raises:
        SupportError: it cannot be used.
    """
    found = [_scaled(config, image) for image in _read(reader, request, class_name)]
    for example in found:
        # Labels that say what is background may show the class in one place, or example, and background in another.
        partly = request.vector is not None or (bool(request.background) and bool((example.label == 0).any()))
        if not partly and not (example.label == 1).any():
            raise SupportError(
                "the support example shows no valid pixel of its class",
                where=f"support {example.name}",
                remedy="choose a chip that holds the class, and check `value` and `ignore`",
            )
    return found


def _read(reader: Reader, request: SupportRequest, class_name: str) -> Sequence[LabeledImage]:
    try:
        return reader.read_support(request)
    except SupportError:
        raise
    except HdmError as error:
        raise SupportError(error.what, where=f"class {class_name!r}: {error.where}", remedy=error.remedy) from error


def scaled(bands: Sequence[int | str], scale: Scale | None, image: LabeledImage) -> tuple[Pixels, Validity, Look]:
    """The pixels of an example as the network takes them, and what they look like.

    Args:
        bands: `input.bands`; none means every band.
        scale: `input.scale`; None for pixels that are in 0..1 already.
        image: the example in the units of its file.

    Returns:
        Pixels [bands, y, x] in 0..1, NaN where invalid; validity [y, x]; and the look.

    Raises:
        SupportError: it lacks a band, or cannot be scaled.
    """
    where = f"support {image.name}"
    try:
        plan = resolve(bands, image.bands)
    except HdmError as error:
        raise SupportError(error.what, where=f"{where}: {error.where}", remedy=error.remedy) from error
    chosen = image.pixels[list(plan.indices)]
    sample = chosen[:, image.valid]
    known = sample if image.statistics is None else image.statistics[list(plan.indices)]
    ranges = ((0.0, 1.0),) * len(plan.bands) if scale is None else scene_ranges(scale, plan, known, where)
    pixels, valid = plan.apply(chosen, image.valid)
    pixels = np.where(valid, pixels, np.float32(0))
    if scale is not None:
        pixels = scale_pixels(pixels, ranges)
    pixels[:, ~valid] = (
        np.nan
    )  # says what is invalid: the network sees the mean color there, and no rule learns from it
    return pixels, valid, look_at(image.name, plan, image.bands, sample, ranges, image.pixel_size)


def _scaled(config: PipelineConfig, image: LabeledImage) -> SupportExample:
    pixels, valid, look = scaled(config.input.bands, config.input.scale, image)
    label = np.where(valid, image.label, np.uint8(IGNORE)).astype(np.uint8)
    return SupportExample(image.name, pixels, label, look, image.warnings)


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
            warnings = [*example.warnings, *scale_warnings(example.look, config.input.scale)]
            try:
                warnings += unlike_warnings(example.look, seen)
            except BandError as error:
                raise SupportError(error.what, where=f"support {example.name}", remedy=error.remedy) from error
            seen.append(example.look)
            if warnings:
                by_name[example.name] = warnings
            suspect = [warning for warning in warnings if warning.suspect]
            if suspect and config.execution.strict:
                what = "; ".join(warning.what for warning in suspect)
                remedy = f"{suspect[0].remedy}; without execution.strict this is a warning"
                raise SupportError(what, where=f"support {example.name}", remedy=remedy)
        found.append(by_name)
    return found
