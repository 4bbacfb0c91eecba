"""YAML of strangers: read with the safe loader only, bounded in size, nesting and aliases; no value names code."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import yaml

from hdm_pipeline.config.problems import Key, dotted

MAX_ALIASES = 64
MAX_DEPTH = 32
MAX_NODES = 50_000


class RefusedTextError(Exception):
    """A text that is not taken.

    Attributes:
        what: what is wrong.
        remedy: what to do.
        line: one-based; None where it is about the whole text.
    """

    def __init__(self, what: str, remedy: str, line: int | None = None) -> None:
        super().__init__(what)
        self.what, self.remedy, self.line = what, remedy, line


class _Loader(yaml.SafeLoader):
    """The safe loader, with an error of its own for what only looks like a number or a date."""

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except (ValueError, AttributeError) as error:  # 2024-13-45, !!int x, !!timestamp x
            shown, kind = str(node.value)[:40], node.tag.rpartition(":")[2]
            what, remedy = f"{shown!r} is written as {_KINDS.get(kind, kind)} and is none", "quote it, if it is a text"
            raise RefusedTextError(what, remedy, node.start_mark.line + 1) from error


_KINDS = {"timestamp": "a date", "int": "a whole number", "float": "a number", "bool": "true or false"}


def load_bounded(text: str) -> tuple[Any, dict[Key, int]]:
    """The value of a text, and the line of each key.

    Args:
        text: YAML.

    Raises:
        RefusedTextError: no YAML, too deep, too many values or aliases, or a key stands twice.
    """
    try:
        aliases = sum(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, Loader=_Loader))
        if aliases > MAX_ALIASES:
            raise RefusedTextError(f"more than {MAX_ALIASES} YAML aliases", "write the values out")
        lines: dict[Key, int] = {}
        for count, (key, line) in enumerate(_walk(yaml.compose(text, Loader=_Loader), (), 0)):
            if count > MAX_NODES:
                remedy = "shorten the file; aliases count each time they are used"
                raise RefusedTextError(f"more than {MAX_NODES} values", remedy)
            if key in lines:
                raise RefusedTextError(
                    f"{dotted(key)}: given twice, first in line {lines[key]}", "keep one of the two", line
                )
            lines[key] = line
        return yaml.load(text, Loader=_Loader), lines
    except RecursionError as error:
        raise RefusedTextError(f"nested more than {MAX_DEPTH} deep", "write it with fewer levels") from error
    except yaml.MarkedYAMLError as error:
        at = error.problem_mark.line + 1 if error.problem_mark else None
        raise RefusedTextError(f"not valid YAML: {error.problem}", "correct the syntax at that line", at) from error
    except yaml.YAMLError as error:
        raise RefusedTextError(f"not valid YAML: {error}", "save the file as UTF-8 YAML") from error


def _walk(node: yaml.Node | None, key: Key, depth: int) -> Iterator[tuple[Key, int]]:
    """All keys below a node with their lines."""
    if depth > MAX_DEPTH:
        raise RefusedTextError(f"nested more than {MAX_DEPTH} deep", "write it with fewer levels")
    if isinstance(node, yaml.MappingNode):
        for name, value in node.value:
            child: Key = (*key, str(name.value))
            yield child, name.start_mark.line + 1
            yield from _walk(value, child, depth + 1)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            yield (*key, index), value.start_mark.line + 1
            yield from _walk(value, (*key, index), depth + 1)
