"""The archive: what discovery finds behind all inputs of a pipeline."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase

from hdm_pipeline.config.schema import PipelineConfig
from hdm_pipeline.contracts import Reader, SceneRef, Skipped
from hdm_pipeline.errors import ArchiveError, EmptyArchiveError


@dataclass(frozen=True)
class Archive:
    """The scenes of a run, sorted by id, and what was left out."""

    scenes: tuple[SceneRef, ...]
    skipped: tuple[Skipped, ...]


def discover(config: PipelineConfig, reader: Reader) -> Archive:
    """Find the scenes of all inputs, without reading any header.

    An input that matches nothing is allowed while another one matches.

    Raises:
        EmptyArchiveError: no input holds a scene.
        ArchiveError: two scenes have one id.
    """
    scenes: dict[str, SceneRef] = {}
    skipped: list[Skipped] = []
    empty: list[EmptyArchiveError] = []
    for uri in config.input.uris:
        try:
            for found in reader.discover(uri):
                if isinstance(found, Skipped):
                    skipped.append(found)
                elif any(fnmatchcase(found.id, pattern) for pattern in config.input.exclude):
                    skipped.append(Skipped(found.shown, "excluded by input.exclude"))
                else:
                    _add(scenes, found)
        except EmptyArchiveError as error:
            empty.append(error)
    if not scenes:
        raise EmptyArchiveError(
            "no scene was found",
            where="; ".join(error.where or error.what for error in empty) or ", ".join(config.input.uris),
            remedy="check input.uri (relative to the pipeline file) and input.exclude"
            + (f"; {len(skipped)} other files were left out: {skipped[0].reason}" if skipped else ""),
        )
    return Archive(tuple(scenes[name] for name in sorted(scenes)), tuple(skipped))


def _add(scenes: dict[str, SceneRef], found: SceneRef) -> None:
    known = scenes.setdefault(found.id, found)
    if known is not found and known.uri != found.uri:
        raise ArchiveError(
            f"two scenes are called {found.id!r}",
            where=f"{known.shown} and {found.shown}",
            remedy="rename one, or run the two folders with different output directories",
        )
