"""What is wrong in a file, by key and line."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pydantic import BaseModel, ValidationError

from hdm_pipeline.config.suggest import meant

Key = tuple[str | int, ...]


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
    """The problems that a model finds; what may be of several kinds is told once.

    Args:
        error: as the model raised it.
        data: what it was given.
        lines: line of each key.
        keys: where a user can look up the keys.
        model: of the whole file.
    """
    found = _once([_Found.of(item, data) for item in error.errors(**_PLAIN)])
    unknown = {one.key: meant(model, one.key) for one in found if one.kind == "extra_forbidden"}
    written_otherwise = {(*key[:-1], name) for key, name in unknown.items() if name}
    for one in found:
        if one.kind == "missing" and one.key in written_otherwise:
            continue  # the key that stands there in its place says so
        what, remedy = one.what, _REMEDIES.get(one.kind, "give a value of that kind; {keys} lists them")
        if one.kind == "string_pattern_mismatch" and one.key == ("name",):
            what = "a name holds letters, digits, '.', '_' and '-', 64 at most, and begins with a letter or a digit"
        elif one.kind == "missing" and one.key == ("input", "uri"):
            what, remedy = "the pipeline names no archive", "add the key, or a section `listen` for `listen` to work by"
        elif one.kind == "missing" and isinstance(one.key[-1], int):
            what, remedy = "a value of the list is missing", "add it"
        elif one.kind == "missing":
            what = "is missing"
        elif one.kind == "invalid_key":
            what = "a key should be a text"
        elif one.kind == "extra_forbidden":
            what = "no such key"
            remedy = f"write {name}" if (name := unknown[one.key]) else remedy
        yield Problem(dotted(one.key), line_of(lines, one.key), what, remedy.format(keys=keys))


def first_problem(error: Exception) -> str:
    """The first thing that a section of the schema, made by hand, finds wrong; of another error its text."""
    if not isinstance(error, ValidationError):
        return str(error)
    found = _once([_Found.of(item, {}) for item in error.errors(**_PLAIN)])[0]
    what = {"extra_forbidden": "no such key", "missing": "is missing"}.get(found.kind, found.what)
    return f"{dotted(found.key)}: {what}" if found.key else what


_PLAIN: Any = {"include_url": False, "include_context": False, "include_input": False}
_REMEDIES = {
    "extra_forbidden": "remove the key, or look up its name with {keys}",
    "missing": "add the key",
    "value_error": "",  # of our own validators, which say what to do
}
_SHOULD_BE = "should be "
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

_CLASS = re.compile(r" or instance of \w+")


@dataclass(frozen=True)
class _Found:
    """What pydantic finds at a key.

    Attributes:
        key: where.
        kind: pydantic's type of the error.
        what: what is wrong.
        union: key of the value that may be of several kinds and holds this, or is it; None where none does.
        branch: as which of these kinds the value was tried.
    """

    key: Key
    kind: str
    what: str
    union: Key | None
    branch: str

    @classmethod
    def of(cls, item: Mapping[str, Any], data: Any) -> _Found:
        """From an error of pydantic."""
        key, union, branch = _place(item["loc"], data)
        what = _in_plain_words(str(item["type"]), str(item["msg"]))
        return cls(key, str(item["type"]), what, union, branch)

    @property
    def of_another_kind(self) -> bool:
        """Whether the value is not of the kind at all."""
        return self.kind.endswith(("_type", "_parsing", "_from_float")) or self.kind == "literal_error"


def _in_plain_words(kind: str, message: str) -> str:
    """What pydantic says of a value."""
    begin, _, end = kind.partition("_")
    if begin in _KINDS and end in ("type", "parsing", "from_float"):
        return _SHOULD_BE + _KINDS[begin]
    return _CLASS.sub("", message.removeprefix("Value error, ").replace("Input should be ", _SHOULD_BE))


def _once(found: Sequence[_Found]) -> list[_Found]:
    """Of a value that fits none of several kinds: what is wrong with it as the kind that was most likely meant."""
    unions: dict[Key, dict[str, list[_Found]]] = {}
    for one in found:
        if one.union is not None:
            unions.setdefault(one.union, {}).setdefault(one.branch, []).append(one)
    told: list[_Found] = []
    for one in found:
        if one.union is None:
            told.append(one)
        else:
            told += _likeliest(unions.pop(one.union, {}))
    return told


def _likeliest(branches: Mapping[str, Sequence[_Found]]) -> list[_Found]:
    """What to tell of one value, by the kinds that it was tried as."""
    # The further into the value a kind fits, the likelier it is meant.
    ranks = {
        name: (max(len(one.key) for one in tried), -sum(one.of_another_kind for one in tried))
        for name, tried in branches.items()
    }
    best = max(ranks.values(), default=(0, 0))
    told: dict[Key, list[_Found]] = {}
    for name, tried in branches.items():
        for one in tried:
            if ranks[name] == best or (one.key == one.union and best[0] == len(one.key)):  # all that it may be
                told.setdefault(one.key, []).append(one)
    return [_as_one(alike) for alike in told.values()]


def _as_one(alike: Sequence[_Found]) -> _Found:
    texts = dict.fromkeys(one.what.removeprefix(_SHOULD_BE) for one in alike)
    return replace(alike[0], what=_SHOULD_BE + ", or ".join(texts)) if len(texts) > 1 else alike[0]


def _place(location: Key, data: Any) -> tuple[Key, Key | None, str]:
    """A location of pydantic's without the branches of unions that it names: the file holds no such keys.

    Returns:
        The key, and the key of the first union on the way with its branch; None and empty where there is none.
    """
    key: list[str | int] = []
    union: Key | None = None
    branch = ""
    node = data
    for part in location:
        # A branch told by a tag (`kind: folder`) is called as the tag's value.
        if isinstance(node, dict) and part not in node and part in node.values():
            continue
        if _is_union_branch(part):
            if union is None:
                union, branch = tuple(key), str(part)
            continue
        key.append(part)
        if isinstance(node, dict):
            node = node.get(part)
        elif isinstance(node, list) and isinstance(part, int) and part < len(node):
            node = node[part]
    return tuple(key), union, branch


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
