"""What a run left in its output directory, by its `run.json`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

Kind = Literal["mask", "score", "polygons"]

_VECTORS = (".gpkg", ".fgb", ".parquet")


class NoResultsError(Exception):
    """A folder holds no results. The text says which, and what to do."""


@dataclass(frozen=True)
class Result:
    """A file to show.

    Attributes:
        scene: id of its scene.
        kind: what it is.
        path: of the file.
    """

    scene: str
    kind: Kind
    path: Path

    @property
    def title(self) -> str:
        """Name of its layer."""
        return f"{self.scene} {self.kind}"


def read_report(folder: Path) -> dict[str, Any]:
    """The `run.json` of an output directory.

    Raises:
        NoResultsError: there is none, or it cannot be read.
    """
    report = folder / "run.json"
    try:
        found = json.loads(report.read_text(encoding="utf-8"))
        found["scenes"].items()
    except FileNotFoundError as error:
        what = f"{folder} holds no run.json: it is no output directory of hdm_pipeline, or nothing was run yet."
        raise NoResultsError(f"{what}\nChoose the folder that output.directory names in the pipeline file.") from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise NoResultsError(f"{report} cannot be read: {error}\nRun the pipeline again.") from error
    return dict(found)


def find_results(folder: Path) -> Iterator[Result]:
    """Masks, scores and polygons of the scenes that are done and whose files are there, by scene.

    Raises:
        NoResultsError: see `read_report`.
    """
    for scene, entry in sorted(read_report(folder)["scenes"].items()):
        if entry.get("status") != "done":
            continue
        for output in entry.get("outputs", ()):
            path = folder / output
            kind = _kind(path)
            if kind is not None and path.is_file():
                yield Result(scene, kind, path)


def _kind(path: Path) -> Kind | None:
    if path.suffix in _VECTORS:
        return "polygons"
    return {"mask.tif": "mask", "score.tif": "score"}.get(path.name)  # type: ignore[return-value]
