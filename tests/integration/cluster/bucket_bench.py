"""The small archive of the integration tests, in a bucket."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.integration.conftest import Workbench
from tests.s3_server import ROOT, S3Server


def from_bucket(bench: Workbench, name: str, directory: str, **execution: Any) -> Path:
    """Write a pipeline file from ``s3://archive/scenes/`` on Ray; all else is beside it, or shipped.

    Args:
        bench: where it is written.
        name: of the file.
        directory: of the output.
        execution: its section.
    """
    return bench.pipeline(
        name,
        input={"uri": "s3://archive/scenes/", "options": {"allow_network": True}},
        # Beside the file: nodes have it at paths of their own.
        model={"weights": bench.weights.name},
        execution={"executor": "ray", "actors": 2, "threads": 1, "step_timeout": 120, **execution},
        output={"directory": directory},
    )


def in_bucket(bench: Workbench, name: str, **execution: Any) -> Path:
    """The same, to ``s3://out/NAME``; skipped where outputs cannot lie in a bucket yet."""
    if not (ROOT / "docs" / "cluster.md").exists():
        pytest.skip("outputs go to file systems only")
    return from_bucket(bench, name, f"s3://out/{name}", **execution)


def fill(server: S3Server, bench: Workbench) -> None:
    """Make the buckets, and put the archive into the first."""
    server.make_bucket("archive")
    server.make_bucket("out")
    server.put_folder(bench.scenes, "archive", "scenes/")


def published_in(server: S3Server, name: str) -> dict[str, bytes]:
    """Every published object's bytes, by key below the output's prefix; as `published` has them of a folder."""
    found = server.objects("out", f"{name}/")
    keys = {key.removeprefix(f"{name}/"): content for key, content in found.items()}
    return {
        key: content
        for key, content in keys.items()
        if Path(key).suffix in (".tif", ".xml", ".qml") and ".hdm" not in Path(key).parts
    }
