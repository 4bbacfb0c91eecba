"""A pipeline file from what the user chose in a dialog; QGIS's Python may have no YAML library."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

BACKGROUND = "background"
"""Class value of features that are drawn as background, unless the user says otherwise."""

CLASS_FIELD = "class"
"""Attribute of the written labels that holds the class."""

_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_WORDS_OF_YAML = {"y", "n", "yes", "no", "on", "off", "true", "false", "null", "none"}
_LONGEST_NAME = 64


@dataclass(frozen=True)
class Training:
    """What the user chose.

    Attributes:
        name: of the pipeline.
        image: raster on which the features are drawn.
        scenes: what to segment: files, a folder or a pattern.
        bands: numbers from 1.
        ranges: (low, high) a band, which become 0 and 1.
        labels: vector file with the features; their class is the attribute `CLASS_FIELD`.
        classes: names of the classes, without the background.
        background: whether features of the class `BACKGROUND` are drawn.
        complete: what is not drawn is background; otherwise it is unknown.
        output: output directory.
        products: what to publish.
    """

    name: str
    image: str
    scenes: tuple[str, ...]
    bands: tuple[int, ...]
    ranges: tuple[tuple[float, float], ...]
    labels: str
    classes: tuple[str, ...]
    background: bool
    complete: bool
    output: str
    products: tuple[str, ...] = ("mask", "polygons")


def safe_name(text: str) -> str:
    """A text as the name of a pipeline: letters, digits, ``._-``, at most 64."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "_", text).strip("._-")[:64]
    return name or "training"


def unusable(training: Training) -> str | None:
    """Why nothing can be learned from this, with a remedy; None if it can."""
    if not training.classes:
        return "No feature has a class.\nChoose a field that names the class, or draw at least one polygon of it."
    if long := [name for name in training.classes if len(name) > _LONGEST_NAME]:
        return f'The class "{long[0]}" has more than {_LONGEST_NAME} letters.\nChoose another field, or shorten it.'
    if len(training.classes) == 1 and not training.background and not training.complete:
        return (
            f'Everything drawn is "{training.classes[0]}", and what is not drawn is unknown: nothing says what is not '
            f'the class.\nDraw some polygons of background and give them the class "{BACKGROUND}", or tick '
            '"What is not drawn is background" if you have drawn every object.'
        )
    return None


def pipeline_text(training: Training) -> str:
    """The pipeline file as YAML.

    Features of other classes are background for a class; so are those of the class `BACKGROUND`.
    """
    content: dict[str, Any] = {
        "name": training.name,
        "input": {
            "uri": list(training.scenes),
            "bands": list(training.bands),
            "scale": {"fixed": [list(pair) for pair in training.ranges]},
        },
        "support": {"classes": [_class(training, name) for name in training.classes]},
        "execution": {"executor": "inline"},
        "output": {"directory": training.output, "products": list(training.products)},
    }
    head = (
        "# Written by the QGIS plug-in of hdm_pipeline. Change it as you like: docs/configuration.md has every key.\n"
    )
    return head + "\n".join(_block(content, 0)) + "\n"


def _class(training: Training, name: str) -> dict[str, Any]:
    example: dict[str, Any] = {
        "image": training.image,
        "labels": training.labels,
        "where": f"{CLASS_FIELD} = {_sql(name)}",
    }
    if training.background or len(training.classes) > 1:
        example["background"] = f"{CLASS_FIELD} <> {_sql(name)}"
    if training.complete:
        example["complete"] = True
    return {"name": name, "examples": [example]}


def _sql(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _block(value: Any, depth: int) -> list[str]:
    """A mapping as lines of YAML; what lies deeper than its mappings is written in one line, as JSON."""
    pad = "  " * depth
    lines = []
    for key, inner in value.items():
        if isinstance(inner, dict):
            lines += [f"{pad}{key}:", *_block(inner, depth + 1)]
        elif isinstance(inner, list) and inner and isinstance(inner[0], dict):
            lines.append(f"{pad}{key}:")
            for one in inner:
                first, *rest = _block(one, depth + 2)
                lines += [f"{pad}  - {first.strip()}", *rest]
        else:
            lines.append(f"{pad}{key}: {_scalar(inner)}")
    return lines


def _scalar(value: Any) -> str:
    """A value as JSON, which is YAML; plain words stand without quotes."""
    if isinstance(value, str) and _PLAIN.fullmatch(value) and value.lower() not in _WORDS_OF_YAML:
        return value
    if isinstance(value, list):
        return f"[{', '.join(map(_scalar, value))}]"
    if isinstance(value, float):
        text = f"{value:.7g}"  # YAML 1.1 takes a number with an exponent for a text, unless it has a point
        return text.replace("e", ".0e", 1) if "e" in text and "." not in text else text
    return json.dumps(value, ensure_ascii=False)
