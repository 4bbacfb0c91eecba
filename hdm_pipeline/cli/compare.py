"""`compare`: what changed between two dates of one place."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer


def compare(
    before: Annotated[str, typer.Argument(help="Output directory of the earlier date, or its pipeline file.")],
    after: Annotated[str, typer.Argument(help="The same of the later date.")],
    to: Annotated[
        Path | None, typer.Option(help="Folder for rasters of what changed and change.json; else nothing is written.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON for programs instead of text for people.")
    ] = False,
) -> None:
    """Say what was gained, lost and stable between two runs over one place, by class."""
    from hdm_pipeline.comparison import REPORT, compare_outputs, comparison_text

    found = compare_outputs(before, after, to)
    typer.echo(json.dumps(found, indent=1) if as_json else comparison_text(found))
    if to is not None and not as_json:
        typer.echo(f"report: {to / REPORT}")
