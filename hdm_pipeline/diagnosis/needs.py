"""What one pipeline file needs: plug-ins that load, weights, a runtime. No scene is opened, and no peer is asked."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from hdm_pipeline.config.file import FileError, read_pipeline_file
from hdm_pipeline.diagnosis.disk import folder_findings
from hdm_pipeline.diagnosis.finding import Finding, ok, problem, reason
from hdm_pipeline.errors import HdmError
from hdm_pipeline.extras import install, lacking
from hdm_pipeline.model.weights_file import checked_source
from hdm_pipeline.output.layout import place_of
from hdm_pipeline.plugin.registry import READERS, RECEIVERS, SENDERS, WRITERS, load

if TYPE_CHECKING:
    from hdm_pipeline.config.schema import PipelineConfig


def pipeline_findings(file: Path) -> Iterator[Finding]:
    """What the pipeline file needs of this machine.

    Args:
        file: the pipeline file. Its paths are not told: they may be called after patients.
    """
    try:
        config = read_pipeline_file(file).absolute()
    except FileError as error:
        number = len(error.problems)
        told = f"{number} problem{'s' if number != 1 else ''} in the file"
        yield problem("pipeline file", told, "`python -m hdm_pipeline validate FILE` names them")
        return
    except (HdmError, OSError) as error:
        yield problem("pipeline file", f"cannot be read: {reason(error)}", "check its path and its permissions")
        return
    yield ok("pipeline file", "is valid")
    yield from _plugins(config)
    yield from _model(config)
    yield from _output(config)


def _plugins(config: PipelineConfig) -> Iterator[Finding]:
    """Those that the file names, loaded but not made."""
    wanted = [(READERS, "input.reader", config.input.reader)]
    wanted += [(WRITERS, "output.products", name) for name in config.output.product_options()]
    schemes = sorted({str(peer.to).partition("://")[0] for peer in config.output.send})
    wanted += [(SENDERS, "output.send", scheme) for scheme in schemes]
    if config.listen is not None:
        wanted += [(RECEIVERS, "listen.receive", name) for name in config.listen.receive]
    for group, key, name in wanted:
        try:
            load(group, name)
        except HdmError as error:
            cause = error.__cause__ or error
            yield problem(key, f"{name!r} cannot be used: {reason(cause)}", error.remedy)
        except Exception as error:  # noqa: BLE001 - a stranger's module may raise anything while it is imported
            yield problem(key, f"{name!r} cannot be loaded: {reason(error)}", "reinstall its distribution")
        else:
            yield ok(key, f"{name} loads")


def _output(config: PipelineConfig) -> Iterator[Finding]:
    """A folder is tried; of an object store only its client is looked for."""
    try:
        place = place_of(config.output.directory)
    except HdmError as error:
        yield problem("output.directory", error.what, error.remedy)
        return
    if isinstance(place, Path):
        yield from folder_findings("output.directory", place)
    elif lacking("cloud"):
        yield problem("output.directory", "an object store, whose client is not installed", install("cloud"))
    else:
        yield ok("output.directory", "an object store, which is not contacted")


def _model(config: PipelineConfig) -> Iterator[Finding]:
    try:
        checked_source(config.model.source)
    except HdmError as error:
        yield problem("model.weights", error.what, error.remedy)
    needs = {"openvino": config.model.runtime == "openvino", "transformers": config.model.backbone is not None}
    needs["ray"] = config.execution.executor == "ray"
    for library, needed in needs.items():
        if needed and importlib.util.find_spec(library) is None:
            extra = "foundation" if library == "transformers" else library
            remedy = "use execution.executor: inline" if library == "ray" else install(extra)
            yield problem("model" if library != "ray" else "execution.executor", f"{library} is not installed", remedy)
