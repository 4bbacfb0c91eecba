"""The command `init`: asks what is missing, looks at the data, and writes a commented pipeline file."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hdm_pipeline.errors import ConfigError, HdmError

if TYPE_CHECKING:
    from hdm_pipeline.contracts import LabelChoice
    from hdm_pipeline.drafting.labels import Wired
    from hdm_pipeline.drafting.look import Look

_STRANGE = re.compile(r"[^A-Za-z0-9_-]+")
_LISTED = 40
_TOLD = 10


@dataclass(frozen=True)
class _Person:
    """Who may be asked: somebody at a terminal, or nobody."""

    there: bool

    def asked(self, question: str, option: str, default: str | None = None) -> str:
        """An answer.

        Raises:
            ConfigError: nobody is there to ask.
        """
        if not self.there:
            missing = "are" if " and " in option else "is"
            raise ConfigError(
                f"{option} {missing} missing, and no terminal is there to ask at", where="init", remedy=f"give {option}"
            )
        return str(typer.prompt(question, default=default, show_default=bool(default))).strip().strip("'\"")

    def chosen(self, question: str, choices: Sequence[LabelChoice]) -> LabelChoice:
        """One of some things, by its number."""
        for number, choice in enumerate(choices[:_LISTED], start=1):
            typer.echo(f"  {number:2}  {choice.name}  ({choice.group}, {choice.count})")
        shown = min(len(choices), _LISTED)
        while not 1 <= (number := int(typer.prompt(question, type=int))) <= shown:
            typer.echo(f"give a number from 1 to {shown}")
        return choices[number - 1]


def init(
    archive: Annotated[
        str | None, typer.Argument(help="Folder or pattern of scenes: GeoTIFF files, DICOM files.")
    ] = None,
    labels: Annotated[
        str | None,
        typer.Option(help="Labels: GeoPackage, GeoJSON, ...; masks (folder or pattern); DICOM SEG, RTSTRUCT, NIfTI."),
    ] = None,
    class_: Annotated[str | None, typer.Option("--class", help="What you look for, such as flood.")] = None,
    value: Annotated[
        str | None, typer.Option(help="What the class is called in the labels, if not as --class: a value, a segment.")
    ] = None,
    image: Annotated[
        str | None, typer.Option(help="The labelled image, or a pattern; found by itself if left out.")
    ] = None,
    reader: Annotated[str | None, typer.Option(help="Reader of the scenes; found by what the files are.")] = None,
    output: Annotated[Path | None, typer.Option(help="Pipeline file to write; CLASS.yaml by default.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Ask nothing: what is not given is left to the program.")] = False,
) -> None:
    """Draft a pipeline file: looks at your scenes and labels, and writes what fits them, with comments.

    Asks at a terminal for what is not given. Without labels the draft is a file that `studio` starts from.
    """
    from hdm_pipeline.drafting.look import look
    from hdm_pipeline.drafting.scaling import choose
    from hdm_pipeline.drafting.text import pipeline_text
    from hdm_pipeline.output.files import write_bytes

    person = _Person(not yes and sys.stdin.isatty() and sys.stdout.isatty())
    alone = archive is None and class_ is None and labels is None
    archive = archive or person.asked(
        "Folder (or pattern) of your scenes", "ARCHIVE and --class" if alone else "ARCHIVE"
    )
    known = output or (None if class_ is None else Path(f"{_slug(class_)}.yaml"))
    if known is not None:  # before the archive is looked at, which may take long
        _require_free(known, force=force)
    seen = look(archive, reader)
    _tell(seen)
    if labels is None and person.there:
        labels = person.asked("File, folder or pattern of labels (empty: draw them later)", "--labels", "") or None
    class_name = class_ or _class_name(seen, labels, value, person)
    file = output or Path(f"{_slug(class_name)}.yaml")
    _require_free(file, force=force)
    wired = None if labels is None else _wired(seen, labels, class_name, value, image, person)
    text = pipeline_text(
        seen, choose(seen, class_name), wired, name=_slug(class_name), class_name=class_name, file=file
    )
    write_bytes(file, text.encode(), setting="--output")
    typer.echo(f"written: {file}")
    _check(file, labelled=wired is not None)
    _next(file, labelled=wired is not None)


def _tell(seen: Look) -> None:
    """What was found, for the person; descriptions of series are shown here and written nowhere."""
    from hdm_pipeline.drafting.text import seen_lines

    scenes = f"{len(seen.scenes)} scene{'s' * (len(seen.scenes) != 1)}"
    typer.echo(f"{scenes}, read by {seen.reader}")
    for line in seen_lines(seen):
        typer.echo(f"  {line}")
    if len(seen.told) > 1:
        typer.echo("  they are called (input.select chooses among them; see docs/dicom.md):")
        for text, count in seen.told.most_common(_TOLD):
            typer.echo(f"  {count:5}  {text}")


def _class_name(seen: Look, labels: str | None, value: str | None, person: _Person) -> str:
    """What the class is called: as in the labels where there is one thing only, else as the person says."""
    if person.there:
        return person.asked("What do you look for (name of the class)", "--class")
    if value is not None and not value.lstrip("-").isdigit():
        return value
    if labels is not None:
        from hdm_pipeline.drafting.labels import choices_of, label_files

        named = [c for c in choices_of(seen, label_files(labels)[0]) if c.group == "segments"]
        if len(named) == 1:
            return named[0].name
    return person.asked("", "--class")


def _wired(seen: Look, labels: str, class_name: str, value: str | None, image: str | None, person: _Person) -> Wired:
    """The examples of the labels."""
    from hdm_pipeline.drafting.labels import ask_for_choice, choices_of, label_files, matching, wire

    files = label_files(labels)
    choices = choices_of(seen, files[0])
    found = matching(choices, class_name, value)
    if found:
        chosen = found[0]
    elif person.there:
        typer.echo(f"{files[0]} holds:")
        chosen = person.chosen(f"Which of them is {class_name}", choices)
    else:
        raise ask_for_choice(choices, files[0])
    typer.echo(f"{class_name} is {chosen.name} ({chosen.group}) of {files[0]}")
    return wire(seen, files, choices, chosen, image)


def _require_free(file: Path, *, force: bool) -> None:
    if file.exists() and not force:
        raise ConfigError("the file is there already", where=str(file), remedy="give --output FILE, or --force")
    if not file.absolute().parent.is_dir():
        raise ConfigError("the folder of the file is not there", where=str(file), remedy="make it, or correct --output")


def _check(file: Path, *, labelled: bool) -> None:
    """Say what `validate --data` says; a draft that is not valid stays, for it says at which line to go on.

    Raises:
        Exit: it is not valid, with the exit code of its error.
    """
    from hdm_pipeline.pipeline import Pipeline

    try:
        pipeline = Pipeline.from_yaml(file)
        for warning in pipeline.validate(data=True) if labelled else ():
            typer.echo(f"warning: {warning}")
    except HdmError as error:
        typer.echo(f"error: {error}\nthe draft is not valid yet: correct what is named, then validate it", err=True)
        raise typer.Exit(error.exit_code) from None
    typer.echo("checked: valid" if labelled else "checked: valid but for the examples, which are still to be labelled")


def _next(file: Path, *, labelled: bool) -> None:
    command = "python -m hdm_pipeline"
    steps: list[tuple[str, str]] = [] if labelled else [("studio", "draw some labels, and save them")]
    steps += [
        ("validate --data", f"after {'every change' if labelled else 'labels are saved'}"),
        ("plan", "scenes, time, memory"),
        ("run", "everything"),
    ]
    typer.echo("next:")
    for step, why in steps:
        name, *options = step.split()
        typer.echo(f"  {' '.join([command, name, str(file), *options]):60}  {why}")


def _slug(name: str) -> str:
    """A name that a file can have."""
    return _STRANGE.sub("_", name).strip("_") or "pipeline"
