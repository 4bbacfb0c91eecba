"""What a de-identification did, counted by action and attribute; never a value."""

from __future__ import annotations

from collections import Counter, defaultdict

from pydicom.datadict import keyword_for_tag


class Tally:
    """Counts of actions.

    Attributes:
        actions: by action (removed, emptied, dummy, hashed, cleaned), by keyword or kind of attribute: how often.
    """

    def __init__(self) -> None:
        self.actions: dict[str, Counter[str]] = defaultdict(Counter)

    def add(self, action: str, what: int | str) -> None:
        """Count one action on an attribute, by its tag or by the name of its kind."""
        name = what if isinstance(what, str) else keyword_for_tag(what) or f"({what >> 16:04X},{what & 0xFFFF:04X})"
        self.actions[action][name] += 1

    def update(self, other: Tally) -> None:
        """Add what another one has counted."""
        for action, counts in other.actions.items():
            self.actions[action].update(counts)

    def as_dict(self) -> dict[str, dict[str, int]]:
        """The counts, sorted."""
        return {action: dict(sorted(counts.items())) for action, counts in sorted(self.actions.items())}
