"""The log of a training run: one CSV row a step and, if asked for, TensorBoard events."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from typing import Any

from hdm_pipeline.errors import TrainingError
from hdm_pipeline.extras import install
from hdm_pipeline.training.config import TrainConfig

LOG = "log.csv"


class TrainingLog:
    """A context manager that appends to `config.output / LOG`.

    Rows after the checkpoint that a run resumes from are dropped: their steps are done again.

    Args:
        config: the run.
        step: steps done so far.
        write: whether this replica writes at all.
    """

    def __init__(self, config: TrainConfig, step: int, *, write: bool) -> None:
        self._path = config.output / LOG
        self._events = config.output / "events" if config.tensorboard else None
        self._step = step
        self._write = write
        self._board: Any = None

    def __enter__(self) -> TrainingLog:
        if not self._write:
            return self
        kept: list[list[str]] = []
        if self._path.exists() and self._step:
            with self._path.open(newline="", encoding="utf-8") as file:
                rows = list(csv.reader(file))
            kept = rows[:1] + [row for row in rows[1:] if row and row[0].isdigit() and int(row[0]) <= self._step]
        self._file = self._path.open("w", newline="", encoding="utf-8")
        self._rows = csv.writer(self._file)
        self._rows.writerows(kept)
        self._header = bool(kept)
        if self._events is not None:
            self._board = _event_writer(str(self._events), self._step)
        return self

    def __exit__(self, *_: object) -> None:
        if self._write:
            self._file.close()
        if self._board is not None:
            self._board.close()

    def write(self, row: Mapping[str, float], validation: float | None, seconds: float) -> None:
        """Append one step; numbers with all their digits, so that two curves can be compared bit for bit.

        Args:
            row: `step` and what was measured in it, always under the same names.
            validation: mean IoU, where this step validated.
            seconds: since the start of this process.
        """
        if not self._write:
            return
        if not self._header:
            self._rows.writerow([*row, "validation_iou", "seconds"])
            self._header = True
        score = "" if validation is None else repr(validation)
        self._rows.writerow([*(repr(value) for value in row.values()), score, f"{seconds:.2f}"])
        self._file.flush()
        if self._board is not None:
            step = int(row["step"])
            for name, value in row.items():
                if name != "step":
                    self._board.add_scalar(name, value, step)
            if validation is not None:
                self._board.add_scalar("validation_iou", validation, step)


def _event_writer(folder: str, step: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise TrainingError(
            "TensorBoard is not installed",
            where="tensorboard: true",
            remedy=f"{install('tensorboard')}, or leave it off: the CSV log has the same numbers",
        ) from error
    writer: Any = SummaryWriter(folder, purge_step=step + 1)
    return writer
