"""What the page tells and no ledger remembers: settings of the last run, and its examples with pictures.

Kept below `.hdm/report`, so that a run without work, and one that fails, still show what was looked for.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hdm_pipeline.config.schema import PipelineConfig
from hdm_pipeline.output.files import output_errors, remove_tree, write_bytes, write_json
from hdm_pipeline.output.layout import Workspace
from hdm_pipeline.pictures.examples import ExamplePicture, example_panels
from hdm_pipeline.pictures.overlay import webp
from hdm_pipeline.plugin.guarded_reader import shown

MOST_EXAMPLES = 12
"""Examples of a class whose pictures are kept: a labelled volume has hundreds of slices."""

_VERSION = 1
"""Of what the two JSON files hold: what another version kept is not read."""

_SIDE = 224
_MOST_BYTES = 12_000

_PANELS = ("image", "label", "found")


def keep_settings(workspace: Workspace, config: PipelineConfig, *, private: bool, whole_archive: bool) -> None:
    """Keep what a run was asked to do. Where no pixels may be shown, pictures that earlier runs kept are removed.

    Args:
        workspace: of the run.
        config: the pipeline.
        private: a scene that the run sees is.
        whole_archive: the run sees all scenes. One that sees none, or one delivery, may have been preceded by a run
            that saw private ones.
    """
    private = private or (not whole_archive and bool(settings(workspace).get("private", True)))
    pixels = config.report.shows_pixels(private=private)
    found = {
        "version": _VERSION,
        "name": config.name,
        "html": config.report.html,
        "private": private,
        "pixels": pixels,
        "classes": [{"name": one.name, "color": one.color} for one in config.support.classes],
        "settings": _settings(config, private=private),
    }
    with output_errors(workspace.page_parts):
        workspace.page_parts.mkdir(parents=True, exist_ok=True)
        if not pixels:
            remove_tree(workspace.page_parts / "examples")
            remove_tree(workspace.quicklooks)
    write_json(workspace.page_parts / "settings.json", found)


def keep_examples(
    workspace: Workspace, pictures: Sequence[ExamplePicture], told: Mapping[str, Any], hashes: Mapping[str, str]
) -> None:
    """Keep what preparing the examples gave, with pictures of the worst of each class where pixels may be shown.

    Args:
        workspace: of the run, whose settings are kept.
        pictures: of all examples, in order of the classes.
        told: `Preparation.report`.
        hashes: of weights and supports.
    """
    folder = workspace.page_parts / "examples"
    entries: list[dict[str, Any]] = []
    asked = settings(workspace)
    with output_errors(folder):
        remove_tree(folder)
        for number, one in enumerate(_worst(pictures) if asked.get("html") and asked.get("pixels") else ()):
            folder.mkdir(parents=True, exist_ok=True)
            entries.append({"class": one.class_name, "name": one.name, "number": number})
            for panel, picture in zip(_PANELS, example_panels(one, _SIDE), strict=True):
                if panel != "found" or one.scores is not None:
                    write_bytes(folder / f"{number}-{panel}.webp", webp(picture, _MOST_BYTES))
    found = {"version": _VERSION, "classes": told, "pictures": entries, "hashes": dict(hashes)}
    write_json(workspace.page_parts / "examples.json", found)


def settings(workspace: Workspace) -> dict[str, Any]:
    """What `keep_settings` kept; empty where there is nothing, or nothing of this version that can be read."""
    return _read(workspace.page_parts / "settings.json")


def examples(workspace: Workspace) -> dict[str, Any]:
    """What `keep_examples` kept; empty as above."""
    return _read(workspace.page_parts / "examples.json")


def example_picture(workspace: Workspace, number: int, panel: str) -> bytes | None:
    """A kept picture (``image``, ``label`` or ``found``); None where there is none."""
    path = workspace.page_parts / "examples" / f"{number}-{panel}.webp"
    return path.read_bytes() if path.is_file() else None


def _worst(pictures: Sequence[ExamplePicture]) -> list[ExamplePicture]:
    """Of each class those that the others find worst, in the order in which they stand in the pipeline file."""
    names = dict.fromkeys(one.class_name for one in pictures)
    found = []
    for name in names:
        of_class = [one for one in pictures if one.class_name == name]
        ious = [2.0 if one.iou is None else one.iou for one in of_class]  # those that cannot be told come last
        worst = sorted(range(len(of_class)), key=ious.__getitem__)
        found += [of_class[index] for index in sorted(worst[:MOST_EXAMPLES])]
    return found


def _settings(config: PipelineConfig, *, private: bool) -> list[tuple[str, str]]:
    """(what, value) as people read them; of a private archive no paths."""
    scale = config.input.scale
    values = f"percentiles {scale.percentiles}" if scale.percentiles else f"fixed {scale.fixed}"
    uris = [shown(uri) for uri in config.input.uris]
    places = "not shown: the archive is private" if private else ", ".join(uris[:5]) + (" ..." if uris[5:] else "")
    return [
        ("archive", places),
        ("reader", config.input.reader),
        ("bands", ", ".join(str(band) for band in config.input.bands)),
        ("values that become 0 and 1", values),
        ("weights", config.model.source if config.model.source.startswith("builtin:") else "own weights"),
        ("adapted to the examples", str(config.support.adapt)),
        ("precision", config.model.precision),
        ("tile", f"{config.tiling.size} pixels, {config.tiling.overlap} shared"),
        ("threshold", f"{config.output.threshold:g}"),
        ("products", ", ".join(config.output.product_options())),
    ]


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) and found.get("version") == _VERSION else {}
