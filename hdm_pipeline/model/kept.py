"""What is made of a support bank once, and kept for as long as the bank lives."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Generic, TypeVar
from weakref import WeakKeyDictionary

from hdm_pipeline.model.support import SupportBank

T = TypeVar("T")


class Kept(Generic[T]):
    """Things made of banks, by bank and key."""

    def __init__(self) -> None:
        self._known: WeakKeyDictionary[SupportBank, dict[Hashable, T]] = WeakKeyDictionary()

    def get(self, bank: SupportBank, key: Hashable, make: Callable[[], T]) -> T:
        """What was made of a bank under a key; made now where it was not yet."""
        known = self._known.setdefault(bank, {})
        if key not in known:
            known[key] = make()
        return known[key]
