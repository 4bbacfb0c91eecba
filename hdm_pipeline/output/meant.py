"""Which output directory a user means, and what to say where it is none."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from hdm_pipeline.arguments import path_argument
from hdm_pipeline.config.file import PipelineFileError, read_pipeline_file
from hdm_pipeline.contracts import OUTPUT_MARKER
from hdm_pipeline.errors import ConfigError, broken_link

_REMEDY = "give the output directory of a run (output.directory), or its pipeline file"
_PIPELINES = (".yaml", ".yml")


def output_directory(path: str | os.PathLike[str], overrides: Sequence[str] = ()) -> str:
    """The output directory that a user means: `path` itself or, if that is a pipeline file, what it says.

    Args:
        path: of a directory or a pipeline file, or an address.
        overrides: of the pipeline file, as in `read_pipeline_file`.

    Returns:
        An absolute path, or the address of an object store.

    Raises:
        PipelineFileError: it is a pipeline file, but no sound one.
        ConfigError: it is no path, or another file.
    """
    found = path_argument(path, "the output", "output directory")
    if "://" in (text := os.fspath(path)):
        return text
    if not found.is_file():
        return str(found.absolute())
    try:
        return read_pipeline_file(found, overrides).absolute().output.directory
    except PipelineFileError:
        if found.suffix.lower() in _PIPELINES:
            raise
    if own := _output_around(found):
        raise ConfigError("it is a file of an output, not its directory", where=text, remedy=f"give {own}")
    raise ConfigError("it is neither an output directory nor a pipeline file", where=text, remedy=_REMEDY)


def no_run(shown: str) -> ConfigError:
    """That no run has written to a directory, and what may be meant instead.

    Args:
        shown: the directory, as the user or the pipeline names it.
    """
    what = "no run has written here"
    folder = Path(shown)
    if "://" in shown or not shown:
        return ConfigError(what, where=shown, remedy=_REMEDY)
    if link := broken_link(folder):
        return ConfigError(f"{what}: it is {link}", where=shown, remedy=_REMEDY)
    if not folder.exists():
        return ConfigError(
            f"{what}: there is no such directory", where=shown, remedy=f"run the pipeline first, or {_REMEDY}"
        )
    if own := _output_around(folder):
        return ConfigError(f"{what}: it lies in an output directory", where=shown, remedy=f"give {own}")
    if below := _outputs_below(folder):
        return ConfigError(f"{what}, but below it", where=shown, remedy=f"give {below}")
    return ConfigError(what, where=shown, remedy=f"run the pipeline first, or {_REMEDY}")


def _output_around(path: Path) -> Path | None:
    """The output directory that a file or folder lies in."""
    return next((one for one in path.absolute().parents if (one / OUTPUT_MARKER).is_dir()), None)


def _outputs_below(folder: Path) -> str:
    """Output directories that a folder holds, the first few of them."""
    with suppress(OSError):
        with os.scandir(folder) as entries:
            found = sorted(one.path for one in entries if os.path.isdir(os.path.join(one.path, OUTPUT_MARKER)))
        return " or ".join(found[:3])
    return ""
