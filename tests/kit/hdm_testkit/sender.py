"""A sender to a folder: a peer that can be filled up, taken away and looked into."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from hdm_pipeline.contracts import SendAnswer
from hdm_pipeline.errors import ConfigError


class FolderSender:
    """Copies products to the folder of ``folder:///path``.

    A folder that is not there cannot be reached. A file ``locked`` in it lets nobody in. A file ``refuses`` names
    products that it does not take, by their file's stem. Each file that comes in is a line in ``log``. The option
    ``seconds`` says how long a file takes.
    """

    name: ClassVar[str] = "folder"
    takes: ClassVar[tuple[str, ...]] = ("image/tiff",)

    def __init__(self, address: str, options: Mapping[str, Any] | None = None) -> None:
        self._folder = Path(address.removeprefix("folder://"))
        given = dict(options or {})
        self._seconds = float(given.pop("seconds", 0))
        if given:
            raise ConfigError(
                f"unknown option {next(iter(given))!r}", where="output.send.options", remedy="leave it out"
            )

    def check(self) -> Sequence[str]:
        """Nothing is needed."""
        return []

    def fits(self, path: Path) -> bool:
        """Only rasters."""
        return path.suffix == ".tif"

    def send(self, files: Sequence[Path]) -> Sequence[SendAnswer]:
        """Copy."""
        return [self._send(file) for file in files]

    def _send(self, file: Path) -> SendAnswer:
        if not self._folder.is_dir():
            return SendAnswer("unavailable", "the folder is not there", "make it", again=True)
        if (self._folder / "locked").exists():
            return SendAnswer("unavailable", "the folder is locked", "unlock it")
        refuses = self._folder / "refuses"
        if refuses.is_file() and file.stem in refuses.read_text().split():
            return SendAnswer("refused", f"takes no {file.stem}", "ask its owner")
        with (self._folder / "log").open("a") as log:
            log.write(f"{file.parent.name}/{file.name}\n")
        time.sleep(self._seconds)
        target = self._folder / f"{file.parent.name}-{file.name}"
        there = target.is_file() and target.read_bytes() == file.read_bytes()
        shutil.copyfile(file, target)
        return SendAnswer("stored", "was there already" if there else "stored")
