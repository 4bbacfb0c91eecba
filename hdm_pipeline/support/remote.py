"""Labelled examples on another machine: fetched first, so that everything else sees files."""

from __future__ import annotations

import json
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
from hdm_pipeline.output.files import output_errors, write_json


@contextmanager
def borrowed_examples(config: PipelineConfig, reader: Reader, kept: Path | None = None) -> Iterator[PipelineConfig]:
    """As `local_examples`, in a temporary folder: for who looks at a pipeline and leaves nothing behind.

    What a run has fetched to `kept` is taken from there.
    """
    if not any_remote(config, reader):
        yield config
        return
    with tempfile.TemporaryDirectory(prefix="hdm-examples-") as folder:
        yield local_examples(config, reader, Path(folder), kept)


def local_examples(config: PipelineConfig, reader: Reader, folder: Path, kept: Path | None = None) -> PipelineConfig:
    """The pipeline with every remote image and mask replaced by what was fetched of it.

    Args:
        config: the pipeline.
        reader: of the archive; one that is no `RemoteReader` leaves the pipeline as it is.
        folder: what is fetched is kept here. What is there, complete, from an earlier run is not asked for again.
        kept: a second folder of that kind, only read.

    Raises:
        SupportError: an object is not there, or is not one.
        PeerError: the other machine cannot be reached, or refuses.
    """
    if not any_remote(config, reader):
        return config
    remote = cast(RemoteReader, reader)

    def here(uri: str | None, key: str) -> str | None:
        if uri is None or not remote.is_remote(uri):
            return uri
        place = folder / stable_hash(uri)[:16]  # the address itself may name a patient
        for known in (place, *([kept / place.name] if kept else [])):
            if found := _complete(known):
                return found
        with output_errors(place):
            place.mkdir(parents=True, exist_ok=True)
            os.chmod(folder, 0o700)
        try:
            found = remote.fetch_example(uri, place)
        except HdmError as error:
            kind = type(error) if error.scope == "run" else SupportError
            raise kind(error.what, where=f"{key}: {error.where}", remedy=error.remedy) from None
        _note_complete(place, Path(found))
        return found

    def example(given: Example, key: str) -> Example:
        image, mask = here(given.image, f"{key}.image"), here(given.mask, f"{key}.mask")
        return given.model_copy(update={"image": image, "mask": mask})

    classes = []
    for number, one in enumerate(config.support.classes):
        at = f"support.classes.{number}.examples"
        examples = [example(each, f"{at}.{index}") for index, each in enumerate(one.examples)]
        classes.append(one.model_copy(update={"examples": examples}))
    return config.model_copy(update={"support": config.support.model_copy(update={"classes": classes})})


def _note_complete(place: Path, found: Path) -> None:
    """Say beside a folder what it holds, now that all of it is there."""
    if found.is_relative_to(place):
        write_json(_note_of(place), {"path": found.relative_to(place).as_posix(), "files": _sizes(place)})


def _complete(place: Path) -> str:
    """Where the example of a folder lies, if the folder holds what was noted; else an empty text."""
    try:
        note = json.loads(_note_of(place).read_text(encoding="utf-8"))
        whole = note["files"] == _sizes(place) and bool(note["files"])
        return str(place / note["path"]) if whole else ""
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def _note_of(place: Path) -> Path:
    return place.with_name(place.name + ".json")


def _sizes(place: Path) -> dict[str, int]:
    return {path.relative_to(place).as_posix(): path.stat().st_size for path in place.rglob("*") if path.is_file()}


def any_remote(config: PipelineConfig, reader: Reader) -> bool:
    """Whether an example of the pipeline is fetched from another machine."""
    named = [uri for one in config.support.classes for each in one.examples for uri in (each.image, each.mask)]
    return isinstance(reader, RemoteReader) and any(uri is not None and reader.is_remote(uri) for uri in named)
