"""Pages of the site that no file under docs/ holds: the repository's own, and those that are made of the code."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import typer

ROOT = Path(__file__).resolve().parents[2]

MOVED = {"README.md": "index.md", "CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md"}
"""Pages of the repository's top, and where they lie in the site."""

API = {
    "python": (
        "Pipeline, segment, Session",
        {
            "hdm_pipeline.pipeline": ["Pipeline"],
            "hdm_pipeline.options": ["RunOptions", "RunSummary"],
            "hdm_pipeline.notebook.call": ["segment"],
            "hdm_pipeline.notebook.result": ["Segmentation"],
            "hdm_pipeline.model.segmenter": ["FewShotSegmenter"],
            "hdm_pipeline.xarrays.run_output": ["open_output"],
            "hdm_pipeline.session.session": ["Session"],
        },
    ),
    "events": ("Events of a run", {"hdm_pipeline.reporting.events": []}),
    "errors": ("Errors", {"hdm_pipeline.errors": []}),
    "contracts": (
        "Contracts of plug-ins",
        {
            f"hdm_pipeline.contracts.{name}": []
            for name in ("reader", "scene", "support", "labels", "drafting", "writer", "product", "sender", "receiver")
        },
    ),
    "grid": ("Windows, tiles and blocks", {"hdm_pipeline.grid": []}),
    "testing": (
        "Conformance suites",
        {f"hdm_pipeline.testing.{name}": [] for name in ("reader", "writer", "sender", "labels", "overviews")},
    ),
}
"""Pages of the API reference: title, and of each module the names that are shown, or all of them."""


_INHERITED = "    options:\n      inherited_members: true\n"
"""Of a class all that it can do is shown, also what it has of others."""


def api_page(name: str) -> str:
    """A page of the API reference, for mkdocstrings, which reads the source and imports nothing."""
    title, modules = API[name]
    parts = [f"# {title}\n"]
    for module, names in modules.items():
        parts += [f"::: {module}.{one}\n{_INHERITED}" for one in names] or [f"::: {module}\n"]
    return "\n".join(parts)


def decisions_page() -> str:
    """The list of decisions, by their headings."""
    lines = ["# Decisions\n", "Why things are as they are, with the measurements.\n"]
    for page in sorted((ROOT / "docs" / "decisions").glob("*.md")):
        title = page.read_text(encoding="utf-8").splitlines()[0].removeprefix("# ")
        lines.append(f"* [{title}]({page.name})")
    return "\n".join(lines) + "\n"


def commands_page() -> str:
    """Every command with its arguments and options, as typer knows them."""
    from hdm_pipeline.cli.main import EXIT_CODES, app

    top = typer.main.get_command(app)
    lines = [
        "# Command line\n",
        "`hdm-pipeline` and `python -m hdm_pipeline` are the same. This page is made of the program itself.\n",
        f"{EXIT_CODES}\n",
    ]
    for words, command in _commands((), top):
        lines += [f"## {' '.join(words)}\n", *_described(words, command)]
    return "\n".join(lines)


def _commands(words: tuple[str, ...], command: Any) -> list[tuple[tuple[str, ...], Any]]:
    """Commands that do something, groups taken apart."""
    if not hasattr(command, "list_commands"):
        return [(words, command)]
    context = typer.Context(command)
    found = []
    for name in command.list_commands(context):
        found += _commands((*words, name), command.get_command(context, name))
    return found


def _described(words: tuple[str, ...], command: Any) -> list[str]:
    context = typer.Context(command, info_name=" ".join(["hdm-pipeline", *words]))
    usage = " ".join(command.get_usage(context).removeprefix("Usage:").split())
    records = [one.get_help_record(context) for one in command.params]
    rows = [f"| `{names}` | {_cell(told)} |" for names, told in filter(None, records)]
    table = ["| | |", "|---|---|", *rows, ""] if rows else []
    return [f"{_flowing(command.help or '')}\n", f"```text\n{usage}\n```\n", *table]


def _cell(text: str) -> str:
    return re.sub(r"\s+", " ", text).replace("|", "\\|").replace("<", "&lt;").replace("*", "\\*")


def _flowing(text: str) -> str:
    """Help with its paragraphs, and with angle brackets and asterisks that Markdown leaves alone."""
    return re.sub(r"(?<!\n)\n(?!\n)", " ", text.replace("\f", "").strip()).replace("<", "&lt;").replace("*", "\\*")
