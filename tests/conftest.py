"""Fixtures that every test shares."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

_DEFAULT_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def test_data() -> Path:
    """The folder of real test data; skips without it, fails in CI where it must be there."""
    folder = Path(os.environ.get("HDM_TEST_DATA", _DEFAULT_DATA))
    if folder.is_dir():
        return folder
    message = f"real test data not found at {folder}; set HDM_TEST_DATA"
    if os.environ.get("CI") == "true":
        pytest.fail(message)
    pytest.skip(message)
