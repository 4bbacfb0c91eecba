"""Labelled examples on another machine: fetched first, so that everything else sees files."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

from hdm_pipeline.config.example import Example
from hdm_pipeline.config.schema import PipelineConfig
from hdm_pipeline.contracts import Reader, RemoteReader
from hdm_pipeline.errors import HdmError, SupportError
from hdm_pipeline.hashing import stable_hash
from hdm_pipeline.output.files import output_errors


@contextmanager
def borrowed_examples(config: PipelineConfig, reader: Reader) -> Iterator[PipelineConfig]:
    """As `local_examples`, in a temporary folder: for who looks at a pipeline and leaves nothing behind."""
    if not _any_remote(config, reader):
        yield config
        return
    with tempfile.TemporaryDirectory(prefix="hdm-examples-") as folder:
        yield local_examples(config, reader, Path(folder))


def local_examples(config: PipelineConfig, reader: Reader, folder: Path) -> PipelineConfig:
    """The pipeline with every remote image and mask replaced by what was fetched of it.

    Args:
        config: the pipeline.
        reader: of the archive; one that is no `RemoteReader` leaves the pipeline as it is.
        folder: what is fetched is kept here; what is there from an earlier run is not fetched again.

    Raises:
        SupportError: an object is not there, or is not one.
        PeerError: the other machine cannot be reached, or refuses.
    """
    if not _any_remote(config, reader):
        return config
    remote = cast(RemoteReader, reader)

    def here(uri: str | None, class_name: str) -> str | None:
        if uri is None or not remote.is_remote(uri):
            return uri
        place = folder / stable_hash(uri)[:16]  # the address itself may name a patient
        with output_errors(place):
            place.mkdir(parents=True, exist_ok=True)
            os.chmod(folder, 0o700)
        try:
            return remote.fetch_example(uri, place)
        except HdmError as error:
            if error.scope == "run":
                raise
            raise SupportError(error.what, where=f"class {class_name!r}: {error.where}", remedy=error.remedy) from None

    def example(given: Example, class_name: str) -> Example:
        image, mask = here(given.image, class_name), here(given.mask, class_name)
        return given.model_copy(update={"image": image, "mask": mask})

    classes = [
        one.model_copy(update={"examples": [example(each, one.name) for each in one.examples]})
        for one in config.support.classes
    ]
    return config.model_copy(update={"support": config.support.model_copy(update={"classes": classes})})


def _any_remote(config: PipelineConfig, reader: Reader) -> bool:
    named = [uri for one in config.support.classes for each in one.examples for uri in (each.image, each.mask)]
    return isinstance(reader, RemoteReader) and any(uri is not None and reader.is_remote(uri) for uri in named)
