"""Notebooks are run when the site is built, and shown with what they printed and drew."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import nbformat
from nbclient import NotebookClient

_COLORS = re.compile(r"\x1b\[[0-9;]*m")


@dataclass(frozen=True)
class ShownNotebook:
    """A notebook as a page: its text, and its pictures by name."""

    markdown: str
    pictures: Mapping[str, bytes]


def run_notebook(path: Path, timeout: int = 300) -> nbformat.NotebookNode:
    """A notebook with its outputs, run in an empty folder that goes again.

    Raises:
        nbclient.exceptions.CellExecutionError: a cell failed.
    """
    notebook = nbformat.read(path, as_version=4)
    with TemporaryDirectory() as folder:
        where = {"metadata": {"path": folder}}
        client = NotebookClient(
            notebook, timeout=timeout, startup_timeout=timeout, kernel_name="python3", resources=where
        )
        client.execute()
    return notebook


def shown(notebook: nbformat.NotebookNode, name: str) -> ShownNotebook:
    """A notebook as Markdown.

    Args:
        notebook: that was run.
        name: begins the names of its pictures.
    """
    parts: list[str] = []
    pictures: dict[str, bytes] = {}
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            parts.append(cell.source)
            continue
        parts.append(f"```python\n{cell.source}\n```")
        parts += [_output(output, name, pictures) for output in cell.outputs]
    return ShownNotebook("\n\n".join(part for part in parts if part) + "\n", pictures)


def _output(output: Any, name: str, pictures: dict[str, bytes]) -> str:
    if output.output_type == "stream":
        return _text(output.text) if output.name == "stdout" else ""
    data = output.get("data", {})
    if "image/png" in data:
        file = f"{name}_{len(pictures) + 1}.png"
        pictures[file] = base64.b64decode(data["image/png"])
        return f"![What the cell above draws]({file})"
    if "text/markdown" in data:
        return str(data["text/markdown"])
    if "text/html" in data and "<table" in data["text/html"]:
        html = re.sub(r"<style.*?</style>", "", data["text/html"], flags=re.DOTALL)
        return re.sub(r"^\s+", "", html, flags=re.MULTILINE).replace(' border="1"', "")
    return _text(data.get("text/plain", ""))


def _text(text: str) -> str:
    text = _COLORS.sub("", text).rstrip()
    return f"```text\n{text}\n```" if text else ""
