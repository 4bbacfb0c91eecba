"""Checks of a pipeline file beyond its types: files, plug-ins, bands, supports. Loads no network.

No image is opened, but where the data are to be checked, too (`data_check`). Files of drawn labels are.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from hdm_pipeline.config.file import Key, PipelineFile, PipelineFileError, Problem
from hdm_pipeline.config.schema import ClassConfig, PipelineConfig
from hdm_pipeline.contracts import ClassInfo
from hdm_pipeline.errors import HdmError
from hdm_pipeline.model.weights_file import weights_fingerprint
from hdm_pipeline.pixels.bands import parse
from hdm_pipeline.planning import uncertainty
from hdm_pipeline.planning.data_check import check_data
from hdm_pipeline.plugin.registry import archive_reader, make_writer
from hdm_pipeline.support.examples import check_vector_files, requests


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
    problems = [
        file.problem(_key_of(error, key, config), f"{error.what} ({error.where})".removesuffix(" ()"), error.remedy)
        for key, check in _checks(config, warnings)
        if (error := _error_of(check)) is not None
    ]
    problems += _missing_inputs(file, config)
    if data and not problems:
        found, told = check_data(config, archive_reader(config))
        problems = [file.problem(key, f"{error.what} ({error.where})", error.remedy) for key, error in found]
        warnings += told
    if problems:
        raise PipelineFileError(str(file.path), problems)
    return warnings


def _checks(config: PipelineConfig, warnings: list[str]) -> Iterator[tuple[Key, Callable[[], object]]]:
    """(key, what raises if the value there is wrong)."""
    yield ("input", "reader"), lambda: archive_reader(config)
    for index, band in enumerate(config.input.bands):
        yield ("input", "bands", index), lambda band=band: parse(band)  # type: ignore[misc]
    for index, class_config in enumerate(config.support.classes):
        yield ("support", "classes", index, "examples"), lambda c=class_config: _check_examples(c, config)  # type: ignore[misc]
    yield ("model", "weights"), lambda: weights_fingerprint(config)
    classes = class_infos(config)
    for index, (name, options) in enumerate(config.output.product_options().items()):
        yield (
            ("output", "products", index),
            lambda n=name, o=options: warnings.extend(_check_product(config, n, o, classes)),  # type: ignore[misc]
        )


def _check_product(
    config: PipelineConfig, name: str, options: Mapping[str, Any], classes: tuple[ClassInfo, ...]
) -> Sequence[str]:
    """One product, whatever is wrong with the others: its name, its options, and what it needs."""
    told = make_writer(name, options).check(classes)
    uncertainty.require(config, name)
    return told


def _check_examples(class_config: ClassConfig, config: PipelineConfig) -> None:
    """The files of a class's examples are there, and those with drawn labels hold what is asked for."""
    if not any(request.vector is not None for request in requests(class_config)):
        return
    try:
        reader = archive_reader(config)
    except HdmError:
        return  # told under input.reader
    check_vector_files(class_config, reader)


def _key_of(error: HdmError, key: Key, config: PipelineConfig) -> Key:
    """Where the value stands that is wrong: a reader that is constructed may find fault with the area of interest."""
    return ("input", "aoi") if config.input.aoi is not None and error.where == config.input.aoi else key


def _error_of(check: Callable[[], object]) -> HdmError | None:
    try:
        check()
    except HdmError as error:
        return error
    return None


def _missing_inputs(file: PipelineFile, config: PipelineConfig) -> Iterator[Problem]:
    local = [uri for uri in config.input.uris if "://" not in uri and not uri.startswith("/vsi")]
    if local == config.input.uris and not any(_exists(uri) for uri in local):
        yield file.problem(
            ("input", "uri"), f"nothing is there: {', '.join(local)}", "paths are relative to the pipeline file"
        )
    if config.input.aoi is not None and not Path(config.input.aoi).is_file():
        yield file.problem(("input", "aoi"), f"no such file: {config.input.aoi}", "give a GeoJSON file")
    if config.model.runtime == "openvino" and find_spec("openvino") is None:
        yield file.problem(
            ("model", "runtime"), "OpenVINO is not installed", "pip install 'hdm-pipeline[openvino]', or use torch"
        )


def _exists(uri: str) -> bool:
    return os.path.exists(uri) or (glob.has_magic(uri) and next(glob.iglob(uri, recursive=True), None) is not None)
