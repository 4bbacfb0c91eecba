"""`listen`: take deliveries in as they come, and run the pipeline on each."""

from __future__ import annotations

import json
import signal
import threading
import time
from pathlib import Path
from typing import Annotated, Any

import typer

EXIT_CODES = (
    "Exit codes: 0 ended by SIGTERM or Ctrl-C (what is not finished is done after the next start), 1 failed, "
    "2 bad configuration or usage."
)


def listen(
    pipeline: Annotated[Path, typer.Argument(help="Pipeline file with a section `listen` (docs/pacs.md).")],
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="Replace a value: --set listen.quiet=60. May be given often.")
    ] = None,
    status: Annotated[
        bool, typer.Option("--status", help="Say what the inbox holds and what became of deliveries; starts nothing.")
    ] = False,
    again: Annotated[
        list[str] | None,
        typer.Option(
            "--again", help="Work on a delivery as it is, even if files of it are missing. May be given often."
        ),
    ] = None,
    drop: Annotated[
        list[str] | None,
        typer.Option("--drop", help="Remove a delivery from the inbox, done or not. May be given often."),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON for programs instead of text for people: one object an event.")
    ] = False,
) -> None:
    """Receive studies by DICOM (C-STORE), or watch a folder; segment each delivery once it is complete.

    What was acknowledged is never lost: it lies on disk, and is worked on after the next start if need be.
    """
    from hdm_pipeline.listening.listener import event_text
    from hdm_pipeline.listening.listener import listen as serve
    from hdm_pipeline.listening.status import listener_status, listener_text
    from hdm_pipeline.listening.wishes import wish_for
    from hdm_pipeline.pipeline import Pipeline

    overrides = set_ or []
    loaded = Pipeline.from_yaml(pipeline, overrides)
    if status:
        found = listener_status(loaded)
        typer.echo(json.dumps(found, indent=1) if as_json else listener_text(found))
        return
    if again or drop:
        for wish, names in (("again", again or []), ("drop", drop or [])):
            wish_for(loaded, wish, names)
        when = "now" if listener_status(loaded)["running"] else "when it is started"
        typer.echo(f"the listener does it {when}; `listen --status` says what became of it")
        return
    for warning in loaded.validate():
        typer.echo(f"warning: {warning}", err=True)
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda _number, _frame: stop.set())

    def tell(kind: str, **facts: Any) -> None:
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        record = {"time": now, "event": kind, **{name: value for name, value in facts.items() if value}}
        try:
            print(json.dumps(record) if as_json else f"{now} {event_text(kind, facts)}", flush=True)
        except BrokenPipeError:
            raise
        except OSError:  # a log on a full disk is no reason to take nothing in any more
            pass

    serve(loaded, overrides, tell, stop)
