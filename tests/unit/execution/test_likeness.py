"""Counting what is unlike the examples: over tiles, blocks and runs."""

from __future__ import annotations

import numpy as np

from hdm_pipeline.execution import likeness


def test_far_pixels_are_counted_by_class_and_known_ones_only() -> None:
    distances = np.zeros((2, 2, 4, 4), np.uint8)
    distances[0, 0, :2] = 128
    distances[1, 0, 0] = 127
    valid = np.ones((2, 4, 4), bool)
    valid[1, 3] = False
    assert likeness.tally(distances, valid, [True, False]) == ((8, 28), None)


def test_blocks_add_up_and_an_unknown_block_makes_the_class_unknown() -> None:
    assert likeness.summed([((1, 4), (0, 4)), ((2, 6), None)]) == ((3, 10), None)


def test_shares_and_warnings() -> None:
    found = likeness.shares(((5, 10), (4, 10), None, (0, 0)), ["a", "b", "c", "d"])
    assert found == {"a": 0.5, "b": 0.4, "c": None, "d": None}
    (warning,) = likeness.warnings(found)
    assert "50% of it is farther from the examples of 'a'" in warning.what
    assert "add an example" in warning.remedy
    assert warning.suspect


def test_receipts_of_older_releases_say_nothing() -> None:
    details = [{"tiles": 1, "unlike": [[1, 2], None]}, {"tiles": 3}]
    assert likeness.from_receipts(details, 2) == [((1, 2), None), (None, None)]
