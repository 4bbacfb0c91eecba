"""Checks of a pipeline file beyond its types: files, plug-ins, bands, supports. Loads no network.

No image is opened, but where the data are to be checked, too (`data_check`). Files of drawn labels are.
"""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from hdm_pipeline.config.example import Example, Features
from hdm_pipeline.config.file import PipelineFile, PipelineFileError
from hdm_pipeline.config.problems import Key, Problem
from hdm_pipeline.config.schema import ClassConfig, PipelineConfig
from hdm_pipeline.config.send import Send
from hdm_pipeline.contracts import ClassInfo
from hdm_pipeline.errors import ConfigError, HdmError, SupportError, broken_link
from hdm_pipeline.extras import install
from hdm_pipeline.model.weights_file import weights_fingerprint
from hdm_pipeline.pixels.bands import parse
from hdm_pipeline.planning import products, uncertainty
from hdm_pipeline.planning.data_check import check_data
from hdm_pipeline.planning.input_check import input_mistakes
from hdm_pipeline.planning.routes import make_route
from hdm_pipeline.planning.workspace import check_backbone, check_output, check_work
from hdm_pipeline.plugin.product_order import require_products_before
from hdm_pipeline.plugin.registry import archive_reader, check_receiver, make_writer
from hdm_pipeline.support.examples import check_vector_files, expand, requests

_QUOTED = re.compile(r"`(\w+)`")
_ATTRIBUTE = re.compile(r"no attribute '([^']+)'")
_FILES = ("image", "mask", "labels")


def class_infos(config: PipelineConfig) -> tuple[ClassInfo, ...]:
    """The classes as writers see them; mask values count from 1 in the order of the file."""
    return tuple(
        ClassInfo(value, c.name, c.rgb, {str(role): term for role, term in c.codes.items()})
        for value, c in enumerate(config.support.classes, start=1)
    )


def validate(file: PipelineFile, *, data: bool = False) -> list[str]:
    """Check everything that can be checked without pixels.

    Args:
        file: the pipeline file.
        data: also open the examples and the headers of a sample of scenes.

    Returns:
        Warnings.

    Raises:
        PipelineFileError: with every problem found.
    """
    config = file.absolute()
    warnings: list[str] = []
    data = data and bool(config.input.uris)  # a pipeline that only listens has no archive to look at
    found = input_mistakes(config, file.lines)
    for key, check in _checks(config, warnings):
        if (error := _error_of(check)) is not None:
            found.append((_key_of(error, key, config), error))
    problems = [
        file.problem(key, f"{error.what} ({error.where})".removesuffix(" ()"), error.remedy) for key, error in found
    ]
    problems += _missing_inputs(file, config)
    if data and not problems:
        of_data, told = check_data(config, archive_reader(config))
        problems = [file.problem(key, f"{error.what} ({error.where})", error.remedy) for key, error in of_data]
        warnings += told
    if problems:
        raise PipelineFileError(str(file.path), problems)
    return warnings


def _checks(config: PipelineConfig, warnings: list[str]) -> Iterator[tuple[Key, Callable[[], object]]]:
    """(key, what raises if the value there is wrong)."""
    for index, band in enumerate(config.input.bands):
        yield ("input", "bands", index), lambda band=band: parse(band)  # type: ignore[misc]
    for index, class_config in enumerate(config.support.classes):
        key = ("support", "classes", index, "examples")
        for number, example in enumerate(class_config.examples):
            yield (*key, number), lambda e=example, c=class_config: _check_example(e, c, config)  # type: ignore[misc]
        yield key, lambda c=class_config: _check_any_example(c)  # type: ignore[misc]
    yield ("model", "weights"), lambda: weights_fingerprint(config)
    for name, given in config.listen.receive.items() if config.listen else ():
        yield (
            ("listen", "receive", name),
            lambda n=name, o=given: warnings.extend(check_receiver(n, o)),  # type: ignore[misc]
        )
    yield ("listen", "folder"), lambda: _check_watched(config)
    yield ("output", "directory"), lambda: check_output(config)
    yield ("model", "backbone", "path"), lambda: check_backbone(config)
    yield ("execution", "work"), lambda: check_work(config)
    classes = class_infos(config)
    for index, (name, options) in enumerate(config.output.product_options().items()):
        yield (
            ("output", "products", index),
            lambda n=name, o=options: warnings.extend(_check_product(config, n, o, classes)),  # type: ignore[misc]
        )
    for index, peer in enumerate(config.output.send):
        yield ("output", "send", index), lambda p=peer: warnings.extend(_check_peer(config, p))  # type: ignore[misc]


def _check_product(
    config: PipelineConfig, name: str, options: Mapping[str, Any], classes: tuple[ClassInfo, ...]
) -> Sequence[str]:
    """One product, whatever is wrong with the others: its name, its options, and what it needs."""
    writer = make_writer(name, options)
    told = writer.check(classes)
    require_products_before(name, writer, config.output.product_options())
    told = [*told, *writer.check_beside(config.output.product_options())]
    uncertainty.require(config, name)
    if _error_of(lambda: archive_reader(config)) is None:  # else it is told under the reader
        products.require(config, name)
    return told


def _check_peer(config: PipelineConfig, peer: Send) -> Sequence[str]:
    """One peer that gets products; what is wrong with the products themselves is told there."""
    try:
        for name, options in config.output.product_options().items():
            make_writer(name, options)
    except HdmError:
        return []
    return make_route(config, peer)[1]


def _check_watched(config: PipelineConfig) -> None:
    """The folder that a listener watches is there."""
    folder = None if config.listen is None else config.listen.folder
    if folder is not None and not Path(folder).is_dir():
        raise ConfigError("no such folder", where=folder, remedy="make it, or correct the path")


def _check_example(example: Example, class_config: ClassConfig, config: PipelineConfig) -> None:
    """The files of an example are there, and those with drawn labels hold what is asked for."""
    files = list(expand(example, class_config.name))
    if not example.vector:
        return
    try:
        reader = archive_reader(config)
    except HdmError:
        return  # told under input
    check_vector_files(files, reader)


def _check_any_example(class_config: ClassConfig) -> None:
    """The globs of a class match something; one of several may match nothing."""
    try:
        for example in class_config.examples:
            list(expand(example, class_config.name))
    except SupportError:
        return  # told under the example
    requests(class_config)


def _key_of(error: HdmError, key: Key, config: PipelineConfig) -> Key:
    """Where the value stands that is wrong, as near as the error tells."""
    match key:
        case ("support", "classes", int(index), "examples", int(number)):
            return (*key, *_part_of(error, config.support.classes[index].examples[number]))
    return key


def _part_of(error: HdmError, example: Example) -> Key:
    """The key of an example that an error speaks of; none where it does not say."""
    told = set(_QUOTED.findall(error.what))
    attribute = _ATTRIBUTE.search(error.what)
    for name in sorted(example.model_fields_set):
        value = getattr(example, name)
        if name in told or (name in _FILES and error.where.endswith(f": {value}")):
            return (name,)
        texts: tuple[str | None, ...] = (value,) if name in ("where", "layer") else ()
        if isinstance(value, Features):
            texts = (value.where, value.layer)
        for text in texts:
            if text and (repr(text) in error.what or (attribute is not None and attribute[1] in text)):
                return (name,)
    return ()


def _error_of(check: Callable[[], object]) -> HdmError | None:
    try:
        check()
    except HdmError as error:
        return error
    return None


def _missing_inputs(file: PipelineFile, config: PipelineConfig) -> Iterator[Problem]:
    local = [uri for uri in config.input.uris if "://" not in uri and not uri.startswith("/vsi")]
    if local and local == config.input.uris and not any(_exists(uri) for uri in local):
        told = [f"{uri} ({link})" if (link := broken_link(uri)) else uri for uri in local]
        yield file.problem(
            ("input", "uri"), f"nothing is there: {', '.join(told)}", "paths are relative to the pipeline file"
        )
    if config.input.aoi is not None and not Path(config.input.aoi).is_file():
        what = f"it is {link}" if (link := broken_link(config.input.aoi)) else "no such file"
        yield file.problem(("input", "aoi"), f"{what}: {config.input.aoi}", "give a GeoJSON file")
    if config.model.runtime == "openvino" and find_spec("openvino") is None:
        yield file.problem(("model", "runtime"), "OpenVINO is not installed", f"{install('openvino')}, or use torch")


def _exists(uri: str) -> bool:
    return os.path.exists(uri) or (glob.has_magic(uri) and next(glob.iglob(uri, recursive=True), None) is not None)
