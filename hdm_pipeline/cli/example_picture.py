"""The picture of `plan --check-support`: into a file, and onto terminals that show pictures."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from hdm_pipeline.output.files import write_bytes

if TYPE_CHECKING:
    from hdm_pipeline.pictures.color import Picture
    from hdm_pipeline.pictures.examples import ExamplePicture

_STRANGE = re.compile(r"[^A-Za-z0-9._-]+")


class ExampleSheet:
    """What is drawn of the examples.

    Args:
        name: of the pipeline.
        file: that the user named; None for one in the present folder.
        private: the examples may be of patients: without a `file` nothing is written.
    """

    def __init__(self, name: str, file: Path | None, *, private: bool) -> None:
        self.pictures: list[ExamplePicture] = []
        self._file = file
        if file is None and not private:
            self._file = Path(f"{_STRANGE.sub('_', name).lstrip('.') or 'pipeline'}_examples.png")

    @cached_property
    def _drawn(self) -> Picture:
        from hdm_pipeline.pictures.examples import draw_examples

        return draw_examples(self.pictures)

    def write(self) -> Path | None:
        """Write the file; None where there is nothing to write, or nowhere.

        Raises:
            OutputError: it cannot be written.
        """
        if not self.pictures or self._file is None:
            return None
        from hdm_pipeline.pictures.color import png

        write_bytes(self._file, png(self._drawn), setting="--picture")
        return self._file

    def lines(self, written: Path | None) -> Iterator[str]:
        """What to print: the picture where standard output is a terminal that shows it, and where the file lies."""
        if not self.pictures:
            return
        from hdm_pipeline.pictures.terminal import drawn, graphics_of

        if sys.stdout.isatty() and (graphics := graphics_of(os.environ)) is not None:
            yield drawn(self._drawn, graphics)
        yield (
            f"picture of the examples: {written}"
            if written
            else "the examples may show patients: their picture is written where --picture FILE says"
        )
