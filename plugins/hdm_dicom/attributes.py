"""Attributes of data sets that may be broken: absent, empty and unparsable read alike."""

from __future__ import annotations

from pydicom.dataset import Dataset


def values(dataset: Dataset, name: str) -> list[object]:
    """The values of an attribute as a list; empty if it is absent, empty or cannot be parsed."""
    try:
        value = dataset.get(name)
    except (ValueError, TypeError, KeyError, NotImplementedError, AttributeError):
        return []
    if value is None or value == "":
        return []
    if isinstance(value, (str, bytes)) or not hasattr(value, "__iter__"):
        return [value]
    return list(value)


def text(dataset: Dataset, name: str) -> str:
    """The values of an attribute as text, joined by a backslash."""
    return "\\".join(str(value).strip() for value in values(dataset, name))


def numbers(dataset: Dataset, name: str, count: int) -> tuple[float, ...] | None:
    """The first `count` values of an attribute as finite floats, or None if they are not there."""
    found = values(dataset, name)
    if len(found) < count:
        return None
    try:
        parsed = tuple(float(str(value)) for value in found[:count])
    except ValueError:
        return None
    return parsed if all(abs(value) < float("inf") for value in parsed) else None


def datasets(dataset: Dataset, name: str) -> list[Dataset]:
    """Items of a sequence."""
    return [item for item in values(dataset, name) if isinstance(item, Dataset)]
