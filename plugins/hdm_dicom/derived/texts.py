"""Texts as one value of DICOM holds them: without what would part it in two, and no longer than its type allows."""

from __future__ import annotations

LONG_STRING = 64
"""Most characters of a long string (LO)."""

SHORT_STRING = 16
"""Most characters of a short string (SH)."""


def one_value(text: str, most: int = LONG_STRING) -> str:
    """The text as a single value: a backslash begins a second one, and control characters are forbidden (PS3.5 6.2)."""
    plain = "".join(one if one.isprintable() and one != "\\" else " " for one in text)
    return plain.strip()[:most].strip()


def class_name(name: str, most: int = LONG_STRING) -> str:
    """The name of a class as a single value; never empty, as types forbid."""
    return one_value(name, most) or "class"


def few_shot(classes: int) -> str:
    """What a product is, for its content description: 2 -> ``2 classes, few-shot``."""
    return f"{classes} {'class' if classes == 1 else 'classes'}, few-shot"
