"""JSON-lines log of a run: one object per event or log record, with scene and block ids."""

from __future__ import annotations

import json
import logging
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from hdm_pipeline.output.files import output_errors
from hdm_pipeline.reporting.events import Event, StepDone, WorkerDied

_EXTRAS = ("scene", "block", "step")


def event_record(event: Event) -> dict[str, object]:
    """An event as one JSON-able object: its kind as ``event``, what it is about, and its facts."""
    record: dict[str, object] = {"event": event.kind}
    if event.scene:
        record["scene"] = event.scene
    if isinstance(event, StepDone | WorkerDied):
        record["step"] = event.step
        if event.block >= 0:
            record["block"] = event.block
    return record | event.facts()


class JsonLines:
    """Writes events, and the records of the `hdm_pipeline` loggers, to one file; a context manager."""

    def __init__(self, path: Path) -> None:
        with output_errors(path):
            self._file = path.open("a", encoding="utf-8")
        self._handler = _Handler(self)

    def __enter__(self) -> JsonLines:
        logger = logging.getLogger("hdm_pipeline")
        logger.addHandler(self._handler)
        logger.setLevel(min(logger.level or logging.INFO, logging.INFO))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        logging.getLogger("hdm_pipeline").removeHandler(self._handler)
        # A line that found the disk full is tried again on closing; what ended the run first counts.
        with suppress(OSError) if error is not None else output_errors(Path(self._file.name)):
            self._file.close()

    def event(self, event: Event) -> None:
        """Log an event."""
        self.write(event_record(event))

    def write(self, record: dict[str, object]) -> None:
        """Append one line."""
        line = json.dumps({"time": round(time.time(), 3), **record}, default=str)
        with output_errors(Path(self._file.name)):
            self._file.write(line + "\n")
            self._file.flush()


class _Handler(logging.Handler):
    def __init__(self, lines: JsonLines) -> None:
        super().__init__(logging.INFO)
        self._lines = lines
        self._format = logging.Formatter()

    def emit(self, record: logging.LogRecord) -> None:
        entry: dict[str, object] = {"level": record.levelname, "message": record.getMessage()}
        entry |= {name: getattr(record, name) for name in _EXTRAS if hasattr(record, name)}
        if record.exc_info:
            entry["traceback"] = self._format.formatException(record.exc_info)
        self._lines.write(entry)
