"""What a key that nobody knows was probably meant to be."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from pydantic import BaseModel


def meant(model: type[BaseModel], key: Sequence[str | int]) -> str:
    """The name of a field beside which an unknown key stands, and which is spelled much like it; empty without any.

    Args:
        model: of the whole file.
        key: the unknown key, from the top of the file.
    """
    schema = model.model_json_schema()
    nodes: list[Mapping[str, Any]] = [schema]
    for part in key[:-1]:
        nodes = [child for node in _opened(nodes, schema) for child in _below(node, part)]
    names = {name for node in _opened(nodes, schema) for name in node.get("properties", {})}
    found = get_close_matches(str(key[-1]), sorted(names), n=1)
    return found[0] if found else ""


def _opened(nodes: Sequence[Mapping[str, Any]], schema: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Nodes of a JSON schema, with references followed and unions taken apart."""
    for node in nodes:
        if "$ref" in node:
            yield from _opened([schema["$defs"][node["$ref"].rpartition("/")[2]]], schema)
        elif "anyOf" in node or "oneOf" in node:
            yield from _opened(node.get("anyOf") or node["oneOf"], schema)
        else:
            yield node


def _below(node: Mapping[str, Any], part: str | int) -> list[Mapping[str, Any]]:
    if isinstance(part, int):
        return [node["items"]] if isinstance(node.get("items"), dict) else []
    return [node["properties"][part]] if part in node.get("properties", {}) else []
