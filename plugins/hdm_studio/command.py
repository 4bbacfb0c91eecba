"""The command `studio`. FastAPI and all else are loaded when it runs."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path
from typing import Annotated

import typer

from hdm_pipeline.errors import ConfigError

_LIBRARIES = ("fastapi", "uvicorn")

_PIPELINE = (re.compile(r"^input:", re.M), re.compile(r"^support:", re.M))
"""What only a pipeline file holds."""


def studio(
    pipeline: Annotated[
        Path | None, typer.Argument(help="Pipeline file; without it, the only one in this folder.")
    ] = None,
    labels: Annotated[
        Path | None,
        typer.Option(help="Folder of the labels that you draw; labels/ beside the pipeline file without it."),
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen on. Others than 127.0.0.1 let other machines in.")] = (
        "127.0.0.1"
    ),
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Port: 8765, or a free one if it is taken.")
    ] = None,
) -> None:
    """Open a local web page on a pipeline: look at scenes, label, try, correct, run.

    It prints an address to open in a browser. Only who has that address is let in, and only this machine is listened
    to. Runs that are started on the page go on when the studio ends.
    """
    _require_libraries()
    from hdm_studio.server import listen, serve
    from hdm_studio.studio import open_studio

    file = _only_pipeline(Path.cwd()) if pipeline is None else pipeline
    with open_studio(file, labels) as opened, listen(host, port) as sock:
        serve(opened, sock, host, typer.echo)


def _require_libraries() -> None:
    for name in _LIBRARIES:
        try:
            import_module(name)
        except ImportError as error:
            raise ConfigError(
                f"the studio needs {name}, which is not installed",
                where="studio",
                remedy="pip install 'hdm-pipeline[studio]'",
            ) from error


def _only_pipeline(folder: Path) -> Path:
    """The pipeline file of a folder.

    Raises:
        ConfigError: there is none, or more than one.
    """
    found = [file for file in sorted([*folder.glob("*.yaml"), *folder.glob("*.yml")]) if _is_pipeline(file)]
    if len(found) == 1:
        return found[0]
    if found:
        names = ", ".join(file.name for file in found)
        raise ConfigError(
            f"there are {len(found)} pipeline files here: {names}",
            where=str(folder),
            remedy=f"say which: python -m hdm_pipeline studio {found[0].name}",
        )
    raise ConfigError(
        "there is no pipeline file here",
        where=str(folder),
        remedy="make one by `python -m hdm_pipeline init`, or name one: python -m hdm_pipeline studio PIPELINE.yaml",
    )


def _is_pipeline(file: Path) -> bool:
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, ValueError):
        return False
    return all(key.search(text) for key in _PIPELINE)
