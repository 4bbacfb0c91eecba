"""`doctor`: what works on this machine, with a remedy for what does not."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer


def doctor(
    pipeline: Annotated[
        Path | None, typer.Argument(help="Also look at what this pipeline file needs; peers are not contacted.")
    ] = None,
    folder: Annotated[
        list[Path] | None,
        typer.Option("--folder", help="Also try this folder: room, speed, locks. May be given often."),
    ] = None,
    start: Annotated[
        bool, typer.Option("--start", help="Really start a local Ray, and end it (some seconds).")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON for programs instead of text for people.")
    ] = False,
) -> None:
    """Say what works here, and what to do about what does not: libraries, GPU, codecs, weights, memory, disks.

    What it prints may be pasted into an issue: it holds no names of hosts or users, no patients, and no path but
    those given with --folder. Nothing is installed, changed, left behind or asked of other machines. The exit code is
    1 if there is a problem; warnings leave it 0.
    """
    from hdm_pipeline.diagnosis.doctor import diagnose
    from hdm_pipeline.diagnosis.finding import worst

    found = []
    for finding in diagnose(pipeline, folder or [], start=start):
        found.append(finding)
        if not as_json:
            typer.echo(f"{finding.state:8} {finding.subject:17} {finding.what}")
            if finding.remedy:
                typer.echo(f"{'':26} remedy: {finding.remedy}")
    verdict = worst(found)
    if as_json:
        typer.echo(json.dumps({"state": verdict, "findings": [asdict(one) for one in found]}, indent=1))
    raise typer.Exit(int(verdict == "problem"))
