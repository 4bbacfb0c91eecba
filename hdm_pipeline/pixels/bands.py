"""Choosing bands: by number, by description, or by safe arithmetic such as ``(B8 - B4) / (B8 + B4)``.

The text is parsed by Python's own grammar and then rebuilt from an allow-list of a few node types, so nothing is ever
evaluated as code. What one may write:

========================  ============================================================
``1``                     the first band (a number by itself)
``VV``                    the band whose description is `VV`
``Band 1`` or             a description that is no identifier; the quotes are needed
``"Band 1"``              inside arithmetic
``b1``                    the first band, inside arithmetic too
``VV - VH``, ``-VV``      ``+ - * /`` and signs, numbers, parentheses
``log10(VV)``             ``abs``, ``log10``, ``sqrt``, ``min(a, b, ...)``, ``max(a, b, ...)``
========================  ============================================================

Descriptions other than bare digits go before ``bN``; they match exactly, else without regard to case where that is
unambiguous.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from hdm_pipeline.contracts import Band, Pixels, Validity
from hdm_pipeline.errors import BandError, ConfigError

MAX_LENGTH = 200
"""Longest expression, in characters."""

MAX_DEPTH = 20
"""Deepest nesting of an expression."""

_BINARY: dict[type[ast.operator], np.ufunc] = {
    ast.Add: np.add,
    ast.Sub: np.subtract,
    ast.Mult: np.multiply,
    ast.Div: np.divide,
}
_ONE_ARGUMENT: dict[str, np.ufunc] = {"abs": np.absolute, "log10": np.log10, "sqrt": np.sqrt}
_MANY_ARGUMENTS: dict[str, np.ufunc] = {"min": np.minimum, "max": np.maximum}

_LARGEST = float(np.finfo(np.float32).max)
_PLAIN_NAME = re.compile(r"[^\W\d][\w .:#]*")
_POSITION = re.compile(r"b([1-9]\d{0,4})")
_FILES = re.compile(r"\*.*|.*\.(tiff?|jp2|vrt)", re.IGNORECASE)
"""What looks like a file, or a pattern of files."""

_GRAMMAR = "write a band number, a band description, or arithmetic with + - * / abs log10 sqrt min max, e.g. VV - VH"


@dataclass(frozen=True)
class _Number:
    value: float


@dataclass(frozen=True)
class _Name:
    text: str
    column: int


@dataclass(frozen=True)
class _Call:
    """An operation of the allow-list, applied from left to right."""

    operation: np.ufunc
    arguments: tuple[_Node, ...]


_Node: TypeAlias = _Number | _Name | _Call


@dataclass(frozen=True)
class BandExpression:
    """One checked entry of the pipeline file's band list; not yet tied to a scene.

    Attributes:
        text: as the user wrote it.
        names: the bands it mentions, each once, in order of appearance (only digits for a band number).
        positions: for each name, the column (from 0) where it first appears in `text`.
    """

    text: str
    names: tuple[str, ...]
    positions: tuple[int, ...]
    _root: _Node


@dataclass(frozen=True)
class BandPlan:
    """What to read of a scene, and how to make the wanted bands of it. Picklable.

    Attributes:
        indices: zero-based bands to read, ascending, each once.
        bands: the bands that `apply` makes, one for each expression.
    """

    indices: tuple[int, ...]
    bands: tuple[Band, ...]
    _roots: tuple[_Node, ...]
    _slots: Mapping[str, int]

    def sources(self, bands: Sequence[Band]) -> dict[str, Band]:
        """The band of the scene behind each name that the expressions mention.

        Args:
            bands: all bands of the scene.
        """
        return {name: bands[self.indices[slot]] for name, slot in self._slots.items()}

    def apply(self, pixels: Pixels, valid: Validity) -> tuple[Pixels, Validity]:
        """Compute the wanted bands.

        Args:
            pixels: [len(indices), height, width] float32, bands in the order of `indices`.
            valid: [height, width] bool.

        Returns:
            Pixels [len(bands), height, width] float32 and validity: where a division by zero or a logarithm has no
            finite result, the pixel becomes invalid. Invalid pixels are 0 where anything was computed.
        """
        if all(isinstance(root, _Name) for root in self._roots):
            order = [self._slots[root.text] for root in self._roots if isinstance(root, _Name)]
            return (pixels if order == list(range(len(pixels))) else pixels[order]), valid
        out = np.empty((len(self._roots), *pixels.shape[1:]), dtype=np.float32)
        with np.errstate(all="ignore"):
            for target, root in zip(out, self._roots, strict=True):
                target[...] = _evaluate(root, pixels, self._slots)
        valid = valid & np.isfinite(out).all(axis=0)
        out[:, ~valid] = 0.0
        return out, valid


def parse(expression: str | int) -> BandExpression:
    """Check one entry of the band list.

    Args:
        expression: a 1-based band number, a description, or arithmetic.

    Raises:
        ConfigError: it is none of these.
    """
    text = str(expression).strip()
    if isinstance(expression, bool) or not text:
        raise ConfigError("not a band", where=repr(expression), remedy=_GRAMMAR)
    if len(text) > MAX_LENGTH:
        where = f"{text[:60]}... ({len(text)} characters)"
        raise ConfigError(f"a band expression is longer than {MAX_LENGTH} characters", where=where, remedy=_GRAMMAR)
    try:
        root = _parse_text(text)
    except ConfigError as error:
        if not _FILES.fullmatch(text):
            raise
        remedy = f'give each pattern a name: bands: {{red: "{text}"}}, and name every band so'
        raise ConfigError("a pattern of files is no band expression", where=text, remedy=remedy) from error
    names = {name.text: name.column for name in reversed(list(_walk(root)))}
    if not names:
        raise ConfigError("a band expression that names no band", where=text, remedy=_GRAMMAR)
    ordered = sorted(names.items(), key=lambda item: item[1])
    return BandExpression(text, tuple(name for name, _ in ordered), tuple(column for _, column in ordered), root)


def resolve(expressions: Sequence[str | int | BandExpression], bands: Sequence[Band]) -> BandPlan:
    """Tie band entries to a scene's bands.

    Args:
        expressions: entries of the pipeline file; none means every band of the scene.
        bands: the scene's bands.

    Raises:
        ConfigError: an entry cannot be parsed.
        BandError: the scene lacks a band, or has two of that description.
    """
    parsed = [e if isinstance(e, BandExpression) else parse(e) for e in expressions]
    if not parsed:
        parsed = [parse(number + 1) for number in range(len(bands))]
    roots: list[_Node] = []
    found: dict[str, int] = {}
    for entry in parsed:
        # A description may hold operators ("VV-VH"): an entry that is one, letter by letter, means that band.
        exact = any(band.name == entry.text for band in bands)
        root = _Name(entry.text, 0) if exact else entry._root
        roots.append(root)
        for name in _walk(root):
            if name.text not in found:
                found[name.text] = _find(name, entry.text, bands)
    indices = tuple(sorted(set(found.values())))
    slots = {name: indices.index(index) for name, index in found.items()}
    made = tuple(_made_band(entry, root, found, bands) for entry, root in zip(parsed, roots, strict=True))
    return BandPlan(indices, made, tuple(roots), slots)


def _parse_text(text: str) -> _Node:
    if text.isdecimal():
        if int(text) < 1:
            raise ConfigError("band numbers start at 1", where=text, remedy="the first band is 1")
        return _Name(str(int(text)), 0)
    try:
        tree = ast.parse(text, mode="eval").body
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        if _PLAIN_NAME.fullmatch(text):
            return _Name(text, 0)
        cause = error.msg if isinstance(error, SyntaxError) else str(error)
        raise ConfigError(f"a band expression cannot be parsed: {cause}", where=text, remedy=_GRAMMAR) from error
    return _build(tree, text, depth=0)


def _build(node: ast.AST, text: str, depth: int) -> _Node:
    """Rebuild a syntax tree from the allow-list."""
    if depth > MAX_DEPTH:
        raise ConfigError("a band expression is nested too deeply", where=text, remedy="split or simplify it")
    below = depth + 1
    match node:
        case ast.Constant(value=str(name)) if name.strip():
            return _Name(name, node.col_offset)
        case ast.Constant(value=int() | float() as value) if not isinstance(value, bool):
            return _number(value, text)
        case ast.Name(id=name):
            return _Name(name, node.col_offset)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return _Call(np.negative, (_build(operand, text, below),))
        case ast.UnaryOp(op=ast.UAdd(), operand=operand):
            return _build(operand, text, below)
        case ast.BinOp(left=left, op=operator, right=right) if type(operator) in _BINARY:
            return _Call(_BINARY[type(operator)], (_build(left, text, below), _build(right, text, below)))
        case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]):
            return _call(name, [_build(argument, text, below) for argument in arguments], text)
    part = ast.get_source_segment(text, node) if isinstance(node, ast.expr) else None
    raise ConfigError(f"{part or text!r} is not allowed in a band expression", where=text, remedy=_GRAMMAR)


def _number(value: float, text: str) -> _Number:
    if not abs(value) <= _LARGEST:
        raise ConfigError("a number in a band expression is too large", where=text, remedy="pixels are float32")
    return _Number(float(value))


def _call(name: str, arguments: list[_Node], text: str) -> _Node:
    if name in _ONE_ARGUMENT and len(arguments) == 1:
        return _Call(_ONE_ARGUMENT[name], tuple(arguments))
    if name in _MANY_ARGUMENTS and len(arguments) >= 2:
        return _Call(_MANY_ARGUMENTS[name], tuple(arguments))
    if name in _ONE_ARGUMENT or name in _MANY_ARGUMENTS:
        wanted = "one argument" if name in _ONE_ARGUMENT else "two arguments or more"
        raise ConfigError(f"{name} takes {wanted}, not {len(arguments)}", where=text, remedy=_GRAMMAR)
    raise ConfigError(f"there is no function {name!r} in band expressions", where=text, remedy=_GRAMMAR)


def _walk(node: _Node) -> Iterator[_Name]:
    """The names of an expression, from left to right."""
    if isinstance(node, _Name):
        yield node
    elif isinstance(node, _Call):
        for argument in node.arguments:
            yield from _walk(argument)


def _find(name: _Name, text: str, bands: Sequence[Band]) -> int:
    """Zero-based index of the band that a name means."""
    ways: list[Callable[[str], bool]] = [
        lambda description: description == name.text,
        lambda description: description.casefold() == name.text.casefold(),
    ]
    if name.text.isdecimal() and int(name.text) <= len(bands):
        return int(name.text) - 1
    position = _POSITION.fullmatch(name.text)
    for way in ways:
        matches = [index for index, band in enumerate(bands) if band.name and way(band.name)]
        if len(matches) > 1:
            numbers = ", ".join(str(index + 1) for index in matches)
            what = f"{name.text!r} means more than one band of the scene: {numbers}"
            raise BandError(what, where=text, remedy=f"name it by number, e.g. b{matches[0] + 1}")
        if matches:
            return matches[0]
        if position and int(position[1]) <= len(bands):
            return int(position[1]) - 1
    listing = ", ".join(f"{index} {band.name}".strip() for index, band in enumerate(bands, 1))
    what = f"the scene has no band {name.text!r}"
    raise BandError(what, where=text, remedy=f"choose among its bands: {listing} (b1 means the first)")


def _made_band(entry: BandExpression, root: _Node, found: Mapping[str, int], bands: Sequence[Band]) -> Band:
    """The description of a result: the band itself, or the expression as the user wrote it."""
    return bands[found[root.text]] if isinstance(root, _Name) else Band(name=entry.text)


def _evaluate(node: _Node, pixels: Pixels, slots: Mapping[str, int]) -> Any:
    """The value of an expression: [height, width] float32, or a number."""
    if isinstance(node, _Number):
        return np.float32(node.value)
    if isinstance(node, _Name):
        return pixels[slots[node.text]]
    values = [_evaluate(argument, pixels, slots) for argument in node.arguments]
    if len(values) == 1:
        return node.operation(values[0])
    result = values[0]
    for value in values[1:]:
        result = node.operation(result, value)
    return result
