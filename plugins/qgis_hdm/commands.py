"""Finding the command line of hdm_pipeline, and the environment to start it in."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

NAME = "hdm-pipeline"

_OF_QGIS = (
    "PYTHONHOME",
    "PYTHONPATH",
    "PYTHONSTARTUP",
    "PYTHONEXECUTABLE",
    "GDAL_DATA",
    "GDAL_DRIVER_PATH",
    "GEOTIFF_CSV",
    "PROJ_DATA",
    "PROJ_LIB",
    "QGIS_PREFIX_PATH",
    "QT_PLUGIN_PATH",
)
"""What QGIS sets for its own Python, GDAL and PROJ; other versions of these would break on it."""


class CommandMissingError(Exception):
    """The command line of hdm_pipeline is not where it was looked for. The text says where, and what to do."""


def find_command(setting: str, path: str | None = None) -> list[str]:
    """The command that starts hdm_pipeline.

    Args:
        setting: what the user gave: the program, a Python that has the package, or the folder of a virtual environment
            or of a clone; empty to look for the program in `path`.
        path: folders to search, as in PATH; None for PATH itself.

    Raises:
        CommandMissingError: it is not there.
    """
    if not setting.strip():
        found = shutil.which(NAME, path=path)
        if found is None:
            raise CommandMissingError(_missing(f"no {NAME} is on the PATH that QGIS sees"))
        return [found]
    given = Path(setting.strip()).expanduser()
    candidates = [given / "bin" / NAME, given / ".venv" / "bin" / NAME] if given.is_dir() else [given]
    for candidate in candidates:
        if candidate.is_file() and os.access(candidate, os.X_OK):
            is_python = candidate.name.lower().startswith("python")
            return [str(candidate), "-m", "hdm_pipeline"] if is_python else [str(candidate)]
    if given.is_file():
        raise CommandMissingError(_missing(f"{given} is no program that may be run"))
    raise CommandMissingError(_missing(f"there is no {' and no '.join(map(str, candidates))}"))


def _missing(what: str) -> str:
    return (
        f"hdm_pipeline was not found: {what}.\n"
        "Install it: in a clone by `make setup`, or into a virtual environment by `pip install hdm-pipeline`. Then "
        "open Settings > Options > Processing > Providers > Few-shot segmentation, and set the path of the clone, of "
        "the environment, or of hdm-pipeline in its bin folder."
    )


def clean_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment without what QGIS set for itself; output comes at once, and without colors."""
    kept = {name: value for name, value in environment.items() if name not in _OF_QGIS}
    return {**kept, "PYTHONUNBUFFERED": "1", "PYTHONIOENCODING": "utf-8", "NO_COLOR": "1"}


def run_command(command: list[str], pipeline: str, output: str = "", *, strict: bool, retry: bool) -> list[str]:
    """The command that runs a pipeline file and tells its events.

    Args:
        command: see `find_command`.
        pipeline: the pipeline file.
        output: output directory in place of the file's; empty for the file's.
        strict: quarantine scenes whose result may be nonsense.
        retry: try quarantined scenes again.
    """
    more = ["--output", output] if output else []
    more += ["--strict"] if strict else []
    more += ["--retry-quarantined"] if retry else []
    return [*command, "run", pipeline, "--events", *more]
