"""The command line: parses, calls, prints, sets the exit code."""

from __future__ import annotations

import json
import os
import shutil
import sys
import threading
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from hdm_pipeline import __version__
from hdm_pipeline.cli.compare import compare
from hdm_pipeline.cli.doctor import doctor
from hdm_pipeline.cli.evaluate import app as evaluate_app
from hdm_pipeline.cli.init import init
from hdm_pipeline.cli.listen import EXIT_CODES as LISTEN_EXIT_CODES
from hdm_pipeline.cli.listen import listen
from hdm_pipeline.cli.plugin_commands import CommandGroup
from hdm_pipeline.cli.streams import patient_streams, unread
from hdm_pipeline.cli.train import train
from hdm_pipeline.cli.typed_errors import typed
from hdm_pipeline.cli.weights import app as weights_app
from hdm_pipeline.errors import ConfigError, HdmError, OutputError, counted
from hdm_pipeline.options import PREPARING_THREAD
from hdm_pipeline.waiting import wait_asleep

EXIT_CODES = (
    "Exit codes: 0 done, or stopped when asked to (Ctrl-C, --limit, --time-budget: run again to go on), 1 failed, "
    "2 bad configuration or usage, 3 finished but some scenes were quarantined, "
    "4 finished but some products could not be sent (output.send; scenes may be quarantined, too)."
)

app = typer.Typer(
    name="hdm_pipeline",
    cls=CommandGroup,
    help="Segment whole archives of GeoTIFF scenes or DICOM series from one to five labelled examples.\n\n"
    "Start with: python -m hdm_pipeline init, which asks for your scenes and labels. "
    "Without any of your own: python -m hdm_pipeline samples samples, "
    "then init samples/scenes --labels samples/support/labels.gpkg --class water",
    epilog=EXIT_CODES,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

PipelineArgument = Annotated[Path, typer.Argument(help="Pipeline file, such as pipelines/flood_extent.yaml.")]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", help="Replace a value: --set tiling.size=512. May be given often.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for programs instead of text for people.")]


@app.command(epilog=EXIT_CODES)
def run(
    pipeline: PipelineArgument,
    set_: SetOption = None,
    executor: Annotated[str | None, typer.Option(help="Where to run: ray or inline (this process).")] = None,
    address: Annotated[str | None, typer.Option(help="Ray cluster to join, e.g. auto or ray://head:10001.")] = None,
    output: Annotated[
        str | None, typer.Option(help="Output directory instead of the file's; also s3://bucket/folder.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Work on at most N scenes.")] = None,
    time_budget: Annotated[str | None, typer.Option(help="Start no new work after this long: 90s, 30m, 6h.")] = None,
    retry_quarantined: Annotated[bool, typer.Option(help="Try quarantined scenes again.")] = False,
    wait: Annotated[bool, typer.Option(help="Wait for another run on this output to end.")] = False,
    rebuild_ledger: Annotated[bool, typer.Option(help="Rename a damaged ledger and do all scenes again.")] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="Quarantine scenes with warnings that their result may be nonsense.")
    ] = False,
    mosaic: Annotated[
        bool, typer.Option("--mosaic", help="At the end, also write one raster of all scenes for each class.")
    ] = False,
    as_json: JsonOption = False,
    events: Annotated[
        bool, typer.Option("--events", help="Print each event as a line of JSON while it runs, for programs.")
    ] = False,
) -> None:
    """Run a pipeline: everything that is not done yet.

    Running again is free: finished scenes are not done again, changed ones are, and a run that was killed goes on
    where it stopped. Press Ctrl-C once to stop after the blocks that are being worked on (while the examples are
    prepared: after the step that is being done), twice to stop at once.
    """
    from hdm_pipeline.execution.interrupts import terminations
    from hdm_pipeline.options import RunOptions

    overrides = [*(set_ or [])]
    overrides += [f"execution.executor={json.dumps(executor)}"] if executor is not None else []
    overrides += [f"execution.address={json.dumps(address)}"] if address is not None else []
    where = output if not output or "://" in output else str(Path(output).absolute())
    overrides += [f"output.directory={json.dumps(where)}"] if where is not None else []
    overrides += ["execution.strict=true"] if strict else []
    options = RunOptions(limit, _seconds(time_budget), retry_quarantined, wait, rebuild_ledger, mosaic)
    loaded = _pipeline(pipeline, overrides)
    show = _run_events if events else _run_json if as_json else _run_text
    with terminations():
        summary = show(loaded, options)
    raise typer.Exit(summary.exit_code)


def _run_json(pipeline: Any, options: Any) -> Any:
    summary = pipeline.run(options=options)
    typer.echo(summary.report.read_text(encoding="utf-8"), nl=False)
    return summary


def _run_events(pipeline: Any, options: Any) -> Any:
    """One JSON object a line, as in the log; the last one is the summary."""
    from hdm_pipeline.reporting.log import event_record

    def tell(record: dict[str, object]) -> None:
        print(json.dumps(record, default=str), flush=True)  # a program reads it while the run goes on

    summary = pipeline.run(on_event=lambda event: tell(event_record(event)), options=options)
    counts = {"done": len(summary.done), "done_before": summary.done_before, "left": summary.left}
    counts |= {"quarantined": len(summary.quarantined), "not_sent": sum(len(p.not_sent) for p in summary.sends)}
    tell({"event": "summary", **counts, "report": f"{pipeline.workspace.shown}/{summary.report.name}"})
    return summary


def _run_text(pipeline: Any, options: Any) -> Any:
    from rich.console import Console

    from hdm_pipeline.cli.progress import ProgressBar
    from hdm_pipeline.reporting.sends import not_sent_lines, sent_lines
    from hdm_pipeline.reporting.warnings_text import warnings_text

    with ProgressBar(Console(stderr=True)) as bar:
        summary = pipeline.run(on_event=bar.event, options=options)
    typer.echo(
        f"{counted(len(summary.done), 'scene')} done in this run, {summary.done_before} done by earlier runs, "
        f"{len(summary.quarantined)} quarantined, {summary.left} still to do"
    )
    if summary.left:
        typer.echo("stopped before all was done; run again to go on")
    for scene, error in sorted(summary.quarantined.items()):
        if scene not in bar.told:  # by an earlier run
            typer.echo(f"quarantined {scene}: {error.get('what', '')}\n  remedy: {error.get('remedy', '')}", err=True)
    for line in summary.remarks:
        typer.echo(line, err=True)
    if told := warnings_text(summary.warnings):
        typer.echo(told, err=True)
    for line in sent_lines(summary.sends):
        typer.echo(line)
    for line in (line for peer in summary.sends for line in not_sent_lines(peer.to, peer.not_sent)):
        typer.echo(line, err=True)
    _tell_result(summary.report, pipeline.workspace.shown if pipeline.workspace.bucket else "")
    return summary


def _tell_result(file: Path, address: str) -> None:
    """The scenes with the most of the classes, and what to open next; cut to the terminal, but whole in a file."""
    from hdm_pipeline.reporting.run_json import read_head, read_scenes
    from hdm_pipeline.reporting.scene_table import Foremost, next_lines, table_lines

    head, found = read_head(file), Foremost.of(read_scenes(file))
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    for line in [*table_lines(found, file.parent, width), *next_lines(head, found, file.parent, address)]:
        typer.echo(line)


@app.command(epilog=EXIT_CODES)
def plan(
    pipeline: PipelineArgument,
    set_: SetOption = None,
    check_support: Annotated[
        bool,
        typer.Option(
            "--check-support",
            help="Also score each support example by the others (loads the network), and draw what they find: into "
            "NAME_examples.png in this folder, and on terminals that show pictures.",
        ),
    ] = False,
    picture: Annotated[
        Path | None, typer.Option(help="File for the picture of --check-support, which this asks for.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Say what a run would do: scenes, tiles, blocks, bytes, time, memory, what is done.

    Writes nothing, but with --check-support one picture: the examples, their labels, and what the others find of them.
    Of patients it is written only where --picture says so.
    """
    from hdm_pipeline.cli.example_picture import ExampleSheet

    loaded = _pipeline(pipeline, set_ or [])
    planned = loaded.plan()
    quality, sheet = None, ExampleSheet(loaded.config.name, picture, private=planned.private)
    if check_support or picture is not None:
        quality = loaded.check_support(sheet.pictures)
    written = sheet.write()
    if as_json:
        found = planned.as_dict() | {"support": quality}
        typer.echo(json.dumps(found | ({"picture": str(written)} if written else {}), indent=1))
        return
    from hdm_pipeline.reporting.plan_text import plan_text

    typer.echo(plan_text(planned, quality))
    for line in sheet.lines(written):
        typer.echo(line)


@app.command(epilog=EXIT_CODES)
def validate(
    pipeline: PipelineArgument,
    set_: SetOption = None,
    data: Annotated[bool, typer.Option("--data", help="Also open the examples and a sample of the scenes.")] = False,
) -> None:
    """Check a pipeline file: every error at once, each with file, line and remedy. Loads no network."""
    for warning in _pipeline(pipeline, set_ or []).validate(data=data):
        typer.echo(f"warning: {warning}")
    looked_at = "" if data else " as a file; --data also opens the examples and a sample of the scenes"
    typer.echo(f"{pipeline}: valid{looked_at}")


@app.command()
def schema() -> None:
    """Print the JSON schema of pipeline files, for editors."""
    from hdm_pipeline.config.schema import PipelineConfig

    typer.echo(json.dumps(PipelineConfig.model_json_schema(), indent=1))


@app.command()
def samples(folder: Annotated[Path, typer.Argument(help="Folder to make: scenes/, support/ and truth/.")]) -> None:
    """Make a small realistic archive of SAR scenes with floods, with support chips and the truth; deterministic."""
    from hdm_pipeline.extras import require

    require("geo", "the sample archive")
    from hdm_pipeline.samples.archive import make_samples

    made = make_samples(folder)
    typer.echo(
        f"{counted(len(made.scenes), 'scene')}, {counted(len(made.support), 'support chip')} and the truth in {folder}"
    )
    typer.echo(f"labels of the chips as masks, and as polygons in {made.labels}")


@app.command()
def status(
    output: Annotated[str, typer.Argument(help="Pipeline file, or output directory of a run (also s3://...).")],
    set_: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say what an output directory holds: done, running, quarantined; also while a run goes on."""
    from hdm_pipeline.reporting.status import output_status, status_text

    found = output_status(output, set_ or [])
    typer.echo(json.dumps(found, indent=1) if as_json else status_text(found))


@app.command()
def report(
    output: Annotated[str, typer.Argument(help="Output directory of a run (also s3://...), or its pipeline file.")],
    set_: SetOption = None,
) -> None:
    """Write report.html anew from what lies in an output directory, also while a run goes on; prints its path."""
    from hdm_pipeline.output.layout import Workspace
    from hdm_pipeline.output.meant import output_directory
    from hdm_pipeline.output.mirror import for_reading, put_pages
    from hdm_pipeline.reporting.html.page import write_report

    page = write_report(found := for_reading(Workspace.of(output_directory(output, set_ or []))))
    put_pages(found)
    typer.echo(str(page) if found.bucket is None else found.bucket.at(page.name))


@app.command()
def plugins(as_json: JsonOption = False) -> None:
    """List the readers, writers, senders, receivers, models and commands that are registered."""
    from hdm_pipeline.plugin.registry import COMMANDS, MODELS, READERS, RECEIVERS, SENDERS, WRITERS, available, lack

    kinds = (READERS, WRITERS, SENDERS, RECEIVERS, MODELS, COMMANDS)
    groups = {group: {n: p.value for n, p in available(group).items()} for group in kinds}
    if as_json:
        typer.echo(json.dumps(groups, indent=1))
        return
    for group, points in groups.items():
        typer.echo(group)
        for name, value in points.items():
            missing = lack(group, name) if group in (READERS, WRITERS) else ""
            typer.echo(f"  {name:16} {value}" + (f"  (not usable: {missing})" if missing else ""))


def _tell_version(asked: bool) -> None:
    if asked:
        typer.echo(__version__)
        raise typer.Exit()


@app.callback()
def _top(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", is_eager=True, callback=_tell_version)
    ] = False,
) -> None:
    pass


def _pipeline(path: Path, overrides: list[str]) -> Any:
    from hdm_pipeline.pipeline import Pipeline

    return Pipeline.from_yaml(path, overrides)


def _seconds(text: str | None) -> float | None:
    """``90s``, ``30m``, ``6h`` or plain seconds."""
    if text is None:
        return None
    units = {"s": 1, "m": 60, "h": 3600}
    number, unit = (text[:-1], units[text[-1]]) if text[-1:] in units else (text, 1)
    try:
        return float(number) * unit
    except ValueError as error:
        raise ConfigError(f"not a duration: {text!r}", where="--time-budget", remedy="write 90s, 30m or 6h") from error


app.command()(init)
app.command()(train)
app.command()(compare)
app.command()(doctor)
app.command(epilog=LISTEN_EXIT_CODES)(listen)
app.add_typer(evaluate_app)  # `evaluate` and `adapt`, at the top level
app.add_typer(weights_app, name="weights")


_INTERRUPTED = 130
"""How typer ends a command that was interrupted; ours is another code (docs/nightly.md)."""


def _leave(code: int) -> NoReturn:
    """End the process, also where a preparation still computes: the interpreter cannot end beneath its thread."""
    if any(thread.name == PREPARING_THREAD for thread in threading.enumerate()):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)  # all that is to be written was written before
    sys.exit(code)


def main() -> NoReturn:
    """Entry point: typed errors become messages and exit codes; anything else is a bug and keeps its traceback."""
    wait_asleep()
    with patient_streams() as output:
        code = _command()
        if lost := unread(output):
            remedy = "free space where it goes; what a run did is in its run.json, and `status` tells it"
            missed = _failed(OutputError(f"not all could be printed: {lost}", where="standard output", remedy=remedy))
            code = code or missed
    _leave(code)


def _command() -> int:
    """Do what the command line asks; the exit code."""
    try:
        app(standalone_mode=True)
    except KeyboardInterrupt:
        return _interrupted()
    except SystemExit as end:
        if end.code == _INTERRUPTED:
            return _interrupted()
        if not isinstance(end.code, int | None):
            raise
        return end.code or 0
    except Exception as error:
        told = typed(error)
        if told is None:
            raise
        return _failed(told)
    return 0


def _failed(error: HdmError) -> int:
    typer.echo(f"error: {error}", err=True)
    return error.exit_code


def _interrupted() -> int:
    typer.echo("interrupted; run again to go on from the last finished block", err=True)
    return 1
