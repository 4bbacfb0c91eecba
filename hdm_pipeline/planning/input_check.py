"""What is wrong with the reader, its options and the addresses of a pipeline: each mistake once, and all of them."""

from __future__ import annotations

import copy
import re
from collections.abc import Container, Mapping
from typing import Any

from hdm_pipeline.config.problems import Key
from hdm_pipeline.config.schema import PipelineConfig
from hdm_pipeline.errors import HdmError
from hdm_pipeline.plugin.registry import make_reader

_OPTION = re.compile(r"(?:reader option |input\.(?:options\b\.?)?)([\w.]+)?")
"""How readers name their option, or the key of `input`, that is wrong."""
_QUOTED = re.compile(r"'(\w+)'")


def input_mistakes(config: PipelineConfig, lines: Container[Key]) -> list[tuple[Key, HdmError]]:
    """(key of the pipeline file, error). An option that is wrong is left out to look for the next one.

    What is told after the first mistake names an option: all else might come of what was left out.

    Args:
        config: to check.
        lines: the keys that the file has: some options may stand under `input` itself.
    """
    given = copy.deepcopy(config.input.reader_options())
    found: list[tuple[Key, HdmError]] = []
    while (told := _first(config, given)) is not None:
        error, key = told
        option = _option(error, given, config)
        if option or not found:
            found.append((_key(option, config, lines) if option else key, error))
        if not option:
            break
        _drop(given, option)
    return found


def _first(config: PipelineConfig, given: Mapping[str, Any]) -> tuple[HdmError, Key] | None:
    """The first error of the reader, constructed with these options, or of an address that it could never take."""
    key: Key = ("input", "reader")
    try:
        reader = make_reader(config.input.reader, given, config.input.bands)
        key = ("input", "uri")
        for uri in config.input.uris:
            reader.check_input(uri)  # type: ignore[attr-defined]  # every reader is guarded
    except HdmError as error:
        return error, key
    return None


def _option(error: HdmError, given: Mapping[str, Any], config: PipelineConfig) -> Key:
    """Where in the reader's options the mistake is, as near as the error tells; empty if it does not."""
    if config.input.aoi is not None and error.where == config.input.aoi:
        return ("aoi",) if "aoi" in given else ()
    named = _OPTION.search(error.where)
    if named is None:
        return ()
    place: list[str] = []
    node: Any = given
    for part in [part for part in (named[1] or "").split(".") if part]:
        if not isinstance(node, Mapping) or part not in node:
            break
        place.append(part)
        node = node[part]
    if named[1] and not place:
        return ()
    # Of a name that is not known, `where` is what it stands under.
    quoted = [name for name in _QUOTED.findall(error.what) if isinstance(node, Mapping) and name in node]
    return (*place, *quoted[:1])


def _key(option: Key, config: PipelineConfig, lines: Container[Key]) -> Key:
    if ("input", option[0]) in lines:
        return ("input", *option)
    if option[0] in config.input.options:
        return ("input", "options", *option)
    return ("input", "network") if option[0] == "allow_network" else ("input", *option)


def _drop(given: dict[str, Any], option: Key) -> None:
    node: Any = given
    for part in option[:-1]:
        node = node[part]
    del node[option[-1]]
