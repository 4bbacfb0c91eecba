"""Where the judges lie that npm installs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.azure_server import AzureServer, azure_server
from tests.judges.conftest import missing

PACKAGES = (
    "dcmjs @cornerstonejs/core @cornerstonejs/tools @cornerstonejs/adapters @babel/runtime events url esbuild azurite"
)
"""All of them. Those after the adapters are what these ask for without bringing it, and the bundler."""

_MODULES = "/usr/local/lib/hdm-viewer/node_modules:/usr/local/lib/node_modules:/usr/lib/node_modules"


def node_path() -> str:
    """Folders of packages, as node's NODE_PATH."""
    return os.environ.get("NODE_PATH", _MODULES)


def folder_with(package: str) -> Path:
    """The folder of packages that holds `package`; skips the test where none does."""
    for folder in map(Path, node_path().split(os.pathsep)):
        if (folder / package).is_dir():
            return folder
    missing(f"{package} (install: npm install --prefix /usr/local/lib/hdm-viewer {PACKAGES})")


@pytest.fixture(scope="session")
def azurite() -> Iterator[AzureServer]:
    """Azurite's part for blobs, with a container `out`."""
    with azure_server([str(folder_with("azurite") / ".bin" / "azurite-blob")]) as running:
        running.make_container("out")
        yield running
