"""Judges are other people's programs. Without one its tests are skipped; with HDM_REQUIRE_JUDGES=1 they fail."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest

RequireJudge = Callable[..., str]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.judge)


def missing(what: str) -> NoReturn:
    """Skip the test, or fail it where judges are required."""
    if os.environ.get("HDM_REQUIRE_JUDGES") == "1":
        pytest.fail(f"judge missing: {what}")
    pytest.skip(f"judge missing: {what}")


@pytest.fixture(scope="session")
def require_judge() -> RequireJudge:
    """`require_judge(program, install=...)`: the program's path; looked for on PATH, next to Python, in /usr/sbin."""

    def find(program: str, install: str = "") -> str:
        places = os.pathsep.join([os.environ.get("PATH", ""), str(Path(sys.executable).parent), "/usr/sbin"])
        path = shutil.which(program, path=places)
        if path is None:
            missing(f"{program} (install: {install or program})")
        return path

    return find
