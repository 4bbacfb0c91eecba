"""What is wrong in a file, by key and line."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from pydantic import BaseModel, ValidationError

from hdm_pipeline.config.suggest import meant

Key = tuple[str | int, ...]

_SHOULD = "should be "

_KINDS = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "string": "a text",
    "list": "a list",
    "tuple": "a list",
    "dict": "a section with keys of its own",
    "model": "a section with keys of its own",
}
"""What a value should be, by how pydantic's types of errors begin: `int_parsing`, `int_from_float`, `dict_type`."""


@dataclass(frozen=True)
class Problem:
    """One thing wrong in a file.

    Attributes:
        key: dotted path of the value, e.g. ``support.classes.0.name``.
        line: one-based line in the file; None for a value given on the command line.
        what: what is wrong.
        remedy: what to do; empty where `what` says it.
    """

    key: str
    line: int | None
    what: str
    remedy: str


def from_pydantic(
    error: ValidationError, data: Any, lines: Mapping[Key, int], keys: str, model: type[BaseModel]
) -> Iterator[Problem]:
    """The problems that a model finds.

    Args:
        error: as the model raised it.
        data: what it was given.
        lines: line of each key.
        keys: where a user can look up the keys.
        model: of the whole file.
    """
    remedies = {
        "extra_forbidden": f"remove the key, or look up its name with {keys}",
        "missing": "add the key",
        "value_error": "",  # of our own validators, which say what to do
    }
    told: dict[Key, Problem] = {}
    for item in error.errors(include_url=False, include_context=False, include_input=False):
        key = _place(item["loc"], data)
        what = _what(item["type"], item["msg"])
        if item["type"] == "string_pattern_mismatch" and key == ("name",):
            what = "a name holds letters, digits, '.', '_' and '-', 64 at most, and begins with a letter or a digit"
        remedy = remedies.get(item["type"], f"give a value of that kind; {keys} lists them")
        if item["type"] == "missing" and key == ("input", "uri"):
            what, remedy = "the pipeline names no archive", "add the key, or a section `listen` for `listen` to work by"
        if item["type"] == "extra_forbidden":
            what = "no such key"
            remedy = f"write {name}" if (name := meant(model, key)) else remedy
        if key in told and what.startswith(_SHOULD) and told[key].what.startswith(_SHOULD):  # branches of a union
            more = what.removeprefix(_SHOULD)
            known = told[key].what
            told[key] = replace(told[key], what=known if more in known else f"{known}, or {more}")
        else:  # one more thing that is wrong at the same place stays one of its own
            told[key if key not in told else (*key, len(told))] = Problem(
                dotted(key), line_of(lines, key), what, remedy
            )
    yield from told.values()


def _what(kind: str, message: str) -> str:
    """What pydantic says, in plain words."""
    begin, _, end = kind.partition("_")
    if begin in _KINDS and end in ("type", "parsing", "from_float"):
        return _SHOULD + _KINDS[begin]
    return message.removeprefix("Value error, ").replace("Input should be ", _SHOULD)


def _place(location: Key, data: Any) -> Key:
    """A location of pydantic's without the branches of unions that it names: the file holds no such keys."""
    key: list[str | int] = []
    node = data
    for part in location:
        # A branch told by a tag (`kind: folder`) is called as the tag's value.
        tagged = isinstance(node, dict) and part not in node and part in node.values()
        if tagged or _is_union_branch(part):
            continue
        key.append(part)
        if isinstance(node, dict):
            node = node.get(part)
        elif isinstance(node, list) and isinstance(part, int) and part < len(node):
            node = node[part]
    return tuple(key)


def _is_union_branch(part: str | int) -> bool:
    """Branches without a tag are called as their type (`list[str]`, `literal[...]`, `AdaptSteps`)."""
    return isinstance(part, str) and (
        "[" in part
        or part in {"str", "int", "float", "bool", "AdaptSteps", "Features", "constrained-int", "constrained-float"}
    )


def line_of(lines: Mapping[Key, int], key: Key) -> int | None:
    """Line of the key, or of the nearest section around it."""
    while key and key not in lines:
        key = key[:-1]
    return lines.get(key)


def dotted(key: Key) -> str:
    """A key as messages name it: ``support.classes.0.name``."""
    return ".".join(str(part) for part in key)
