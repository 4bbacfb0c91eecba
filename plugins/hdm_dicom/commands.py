"""Commands that this plug-in adds to the command line. pydicom is loaded when one of them runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hdm_pipeline.errors import ConfigError, counted

_BURNED_IN = ("leave-out", "keep")


def deidentify(
    source: Annotated[Path, typer.Argument(metavar="IN", help="Folder (to any depth) or file of DICOM.")],
    target: Annotated[Path, typer.Argument(metavar="OUT", help="Folder for the de-identified files.")],
    key_file: Annotated[Path, typer.Option(help="Secret of the hashes; make one by `openssl rand -hex 32 > FILE`.")],
    burned_in: Annotated[
        str, typer.Option(help="Images that may show a name (BurnedInAnnotation, captures): leave-out or keep.")
    ] = "leave-out",
    left_out: Annotated[
        Path | None, typer.Option(help="Write the paths of files that were left out here, for your own eyes.")
    ] = None,
) -> None:
    """De-identify images, segmentations, reports and structure sets by the Basic Profile of DICOM PS3.15.

    References hold among files that were de-identified with one key. Running again goes on where it stopped.
    OUT/deidentification.json says what was done, without a value of a patient. The exit code is 3 if DICOM files were
    left out.
    """
    if burned_in not in _BURNED_IN:
        raise ConfigError(f"{burned_in!r} is not possible", where="--burned-in", remedy="write leave-out or keep")
    from hdm_dicom.privacy.deidentify import read_key
    from hdm_dicom.privacy.folder import deidentify_folder

    key = read_key(str(key_file), "--key-file")
    done = deidentify_folder(source, target, key, keep_burned_in=burned_in == "keep", paths_left_out=left_out)
    typer.echo(
        f"{counted(done.files, 'file')} de-identified, {done.before} of them by an earlier run; {done.copies} copies"
    )
    for reason, count in sorted(done.left_out.items()):
        typer.echo(f"left out: {count} {reason}", err=True)
    for warning, count in sorted(done.warnings.items()):
        typer.echo(f"warning: {count} {warning}", err=True)
    typer.echo(f"report: {done.report}")
    if done.refused:
        raise typer.Exit(3)
