"""Checks that open files: every example, and the headers of a sample of scenes. Loads no network."""

from __future__ import annotations

from collections.abc import Sequence

from hdm_pipeline.config.problems import Key
from hdm_pipeline.config.schema import PipelineConfig
from hdm_pipeline.contracts import Reader, SceneHeader, SceneRef
from hdm_pipeline.errors import BandError, HdmError, PeerError, SupportError
from hdm_pipeline.pixels.bands import resolve
from hdm_pipeline.planning.archive import discover
from hdm_pipeline.plugin.registry import make_writer
from hdm_pipeline.support.examples import (
    SupportExample,
    example_warnings,
    expand,
    load_example,
    support_files,
    support_fingerprint,
)
from hdm_pipeline.support.remote import borrowed_examples
from hdm_pipeline.support.shown import require_both

SCENES = 16
"""Headers of scenes that are opened, evenly spread over the archive."""

Found = list[tuple[Key, HdmError]]
"""What is wrong, and under which key of the pipeline file."""


def check_data(config: PipelineConfig, reader: Reader) -> tuple[Found, list[str]]:
    """Open examples and headers of scenes.

    Args:
        config: the pipeline, sound in itself.
        reader: of the archive.

    Returns:
        What is wrong by key of the pipeline file, and warnings.
    """
    try:
        with borrowed_examples(config, reader) as local:
            found, warnings = check_supports(local, reader)
            if not found:
                found = _check_files(local, reader)
    except PeerError as error:
        return [(("support", "classes"), error)], []
    try:
        scenes = [scene for scene in discover(config, reader).scenes if not scene.remote]
    except HdmError as error:
        return [*found, (("input", "uri"), error)], warnings
    wrong, told = _check_scenes(config, reader, scenes)
    return found + wrong, warnings + told


def _check_files(config: PipelineConfig, reader: Reader) -> Found:
    """What a run looks at before it reads any example: one scene that is named twice, say."""
    found: Found = []
    for index, of_class in enumerate(support_files(config)):
        try:
            support_fingerprint((of_class,), reader)
        except SupportError as error:
            found.append((("support", "classes", index, "examples"), error))
    return found


def check_supports(config: PipelineConfig, reader: Reader) -> tuple[Found, list[str]]:
    """Read every example; see `check_data`."""
    found: Found = []
    classes = []
    for index, (class_config, requests) in enumerate(zip(config.support.classes, support_files(config), strict=True)):
        read: list[SupportExample] = []
        key: Key = ("support", "classes", index, "examples")
        unread = len(found)
        written = {r: n for n, e in enumerate(class_config.examples) for r in expand(e, class_config.name)}
        for request in requests:
            try:
                read += load_example(config, request, reader, class_config.name)
            except HdmError as error:
                found.append(((*key, written[request]) if request in written else key, error))
        if len(found) == unread:  # one that cannot be read may be the one that labels background
            try:
                require_both(class_config, requests, [example.label for example in read], reader)
            except SupportError as error:
                found.append((key, error))
        classes.append(read)
    try:
        strange = example_warnings(config, classes)
    except HdmError as error:
        return [*found, (("support", "classes"), error)], []
    warnings = [
        f"example {name}: {warning.what}"
        for by_name in strange
        for name, of_one in by_name.items()
        for warning in of_one
    ]
    return found, warnings


def _check_scenes(config: PipelineConfig, reader: Reader, scenes: Sequence[SceneRef]) -> tuple[Found, list[str]]:
    step = max(1, -(-len(scenes) // SCENES))
    sample = scenes[::step]
    found: Found = []
    told: list[str] = []
    lacking: dict[int, list[BandError]] = {}
    unusable: list[HdmError] = []
    headers: list[SceneHeader] = []
    for ref in sample:
        try:
            header = reader.header(ref)
        except HdmError as error:
            unusable.append(error)
            told.append(f"scene {ref.id} cannot be used: {error.what}")
            continue
        headers.append(header)
        for index, band in enumerate(config.input.bands):
            try:
                resolve([band], header.bands)
            except BandError as error:
                lacking.setdefault(index, []).append(BandError(error.what, where=ref.shown, remedy=error.remedy))
    read = len(headers)
    if unusable and not read:  # a slip in the pipeline file, not a scene that is odd
        return [_none_is_usable(unusable)], told
    for index, errors in sorted(lacking.items()):
        if len(errors) == read:
            found.append((("input", "bands", index), errors[0]))
        else:
            told.append(f"{len(errors)} of {read} scenes lack band {config.input.bands[index]}: {errors[0].what}")
    impossible, partly = _check_products(config, headers)
    return found + impossible, told + partly


def _check_products(config: PipelineConfig, headers: Sequence[SceneHeader]) -> tuple[Found, list[str]]:
    """Products that cannot be made of any of the scenes, and warnings of those that cannot be made of some."""
    found: Found = []
    told: list[str] = []
    for index, (name, options) in enumerate(config.output.product_options().items()):
        writer = make_writer(name, options)
        errors = []
        for header in headers:
            try:
                writer.check_scene(header)
            except HdmError as error:
                errors.append(error)
        if errors and len(errors) == len(headers):
            found.append((("output", "products", index), errors[0]))
        elif errors:
            first = f"{errors[0].what} ({errors[0].where})"
            told.append(f"{len(errors)} of {len(headers)} scenes cannot have the product {name}: {first}")
    return found, told


def _none_is_usable(errors: Sequence[HdmError]) -> tuple[Key, HdmError]:
    """What to say where no scene that was opened can be used, and under which key."""
    first = errors[0]
    several = f"none of the {len(errors)} scenes that were opened can be used; the first: "
    what = (several if len(errors) > 1 else "the scene cannot be used: ") + first.what
    key: Key = ("input", "bands") if isinstance(first, BandError) else ("input",)
    return key, type(first)(what, where=first.where, remedy=first.remedy)
