"""The process that runs the pipeline on deliveries, one after another: `python -m hdm_pipeline.listening.worker`.

It is apart from the listener so that nothing that happens in a run (a crash, memory running out) stops files from being
received. It takes one JSON object a line on its standard input, `{"uris": [...], "retry": false}`, and answers with one
a line; a sign of life comes in between. When its input ends, the listener is gone: a run then stops after the blocks
that are being worked on.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import Any, TextIO

from hdm_pipeline.errors import ArchiveError, EmptyArchiveError, HdmError, counted
from hdm_pipeline.options import RunOptions, RunSummary
from hdm_pipeline.pipeline import Pipeline
from hdm_pipeline.reporting.events import Event

_BEAT = 1.0
"""Least seconds between two signs of life."""


def main(arguments: list[str]) -> int:
    """Work until the input ends.

    Args:
        arguments: pipeline file, and overrides `key=value`.
    """
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what a library prints must not come between the answers
    pipeline = Pipeline.from_yaml(Path(arguments[0]), arguments[1:])
    tasks: queue.SimpleQueue[str | None] = queue.SimpleQueue()
    busy = threading.Event()
    threading.Thread(target=_read_tasks, args=(tasks, busy), daemon=True).start()
    while (line := tasks.get()) is not None:
        busy.set()
        asked = json.loads(line)
        answer = run_delivery(pipeline, asked["uris"], answers, retry=asked["retry"])
        busy.clear()
        _say(answers, answer)
    return 0


def run_delivery(pipeline: Pipeline, uris: list[str], answers: TextIO, *, retry: bool = False) -> dict[str, Any]:
    """Run the pipeline on a delivery; with `retry`, also on its scenes that are quarantined.

    Returns:
        `outcome` (done, refused, quarantined, empty, failed, trouble, bug or stopped), number of `scenes` published,
        and `error` with type and remedy. Of other texts nothing is told: they may name a patient.
    """
    source = pipeline.config.input.model_copy(update={"uri": uris})
    pipeline.config = pipeline.config.model_copy(update={"input": source})
    last = 0.0

    def beat(_event: Event) -> None:
        nonlocal last
        if time.monotonic() - last >= _BEAT:
            last = time.monotonic()
            _say(answers, {})

    try:
        summary = pipeline.run(on_event=beat, options=RunOptions(delivery=True, retry_quarantined=retry))
    except EmptyArchiveError:
        return {"outcome": "empty"}
    except HdmError as error:
        told = {"type": type(error).__name__, "remedy": error.remedy}
        return {"outcome": "failed" if isinstance(error, ArchiveError) else "trouble", "error": told}
    except Exception as error:  # noqa: BLE001  # a bug: of this delivery, as far as anybody knows
        sys.stderr.writelines(traceback.format_tb(error.__traceback__))  # where, but not what: it may be a patient's
        return {"outcome": "bug", "error": {"type": type(error).__name__, "remedy": "the worker's output says where"}}
    return _ending(summary)


def _ending(summary: RunSummary) -> dict[str, Any]:
    """What a run that came to its end means for the delivery."""
    scenes = len(summary.done) + summary.done_before
    if summary.left:
        return {"outcome": "stopped", "scenes": scenes}
    if any(peer.waiting or peer.not_sent.keys() - peer.refused for peer in summary.sends):
        # Its files stay in the inbox, and it is run again until all is sent: what was sent is not sent twice.
        told = {"type": "PeerError", "remedy": "products are not sent yet: `status` says to whom and why"}
        return {"outcome": "trouble", "scenes": scenes, "error": told}
    refused = {scene for peer in summary.sends for scene in peer.refused}
    kinds = sorted({str(error.get("type", "")) for error in summary.quarantined.values()})
    remedies = [f"{_are(len(summary.quarantined))} quarantined"] if summary.quarantined else []
    if refused:
        kinds.append("PeerRefusedError")
        remedies.append(f"a peer refuses products of {counted(len(refused), 'scene')}")
    if not kinds:
        return {"outcome": "done", "scenes": scenes}
    told = {"type": ", ".join(kinds), "remedy": f"{'; '.join(remedies)}: see `status`"}
    return {"outcome": "quarantined" if summary.quarantined else "refused", "scenes": scenes, "error": told}


def _are(scenes: int) -> str:
    return f"{counted(scenes, 'scene')} {'is' if scenes == 1 else 'are'}"


def _read_tasks(tasks: queue.SimpleQueue[str | None], busy: threading.Event) -> None:
    for line in sys.stdin:
        tasks.put(line)
    tasks.put(None)
    if busy.is_set():
        os.kill(os.getpid(), signal.SIGTERM)  # a run takes it as a wish to stop between two blocks


def _say(answers: TextIO, answer: dict[str, Any]) -> None:
    try:
        print(json.dumps(answer), file=answers, flush=True)
    except BrokenPipeError:  # the listener is gone
        os._exit(1)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    sys.exit(main(sys.argv[1:]))
