"""Subjects that load libraries of C code are looked at in processes of their own: one that crashes is a finding."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from hdm_pipeline.diagnosis.cluster import started_ray_findings
from hdm_pipeline.diagnosis.finding import Finding, problem
from hdm_pipeline.diagnosis.formats import dicom_findings, raster_findings
from hdm_pipeline.diagnosis.needs import pipeline_findings
from hdm_pipeline.diagnosis.networks import network_findings, openvino_findings

SUBJECTS: Mapping[str, Callable[..., Iterator[Finding]]] = {
    "torch": network_findings,
    "rasters": raster_findings,
    "dicom": dicom_findings,
    "openvino": openvino_findings,
    "ray": started_ray_findings,
    "pipeline file": lambda path: pipeline_findings(Path(path)),
}
"""What a process can look at, by name."""

TIME_LIMIT = 120.0
"""Seconds after which a process counts as hung."""


class Look:
    """A process that looks at one subject, started at once.

    Args:
        subject: a name of `SUBJECTS`.
        words: arguments of its function.
    """

    def __init__(self, subject: str, *words: str) -> None:
        self._subject = subject
        command = [sys.executable, "-m", "hdm_pipeline.diagnosis", subject, *words]
        self._process: subprocess.Popen[str] | None = None
        with suppress(OSError):  # too many processes, or no memory for one more
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
            )

    def findings(self, limit: float = TIME_LIMIT) -> Iterator[Finding]:
        """What it found until now or its end; that it crashed or hung is the last finding.

        Args:
            limit: seconds that it may take.
        """
        if self._process is None:
            yield problem(self._subject, "no process can be started", "raise ulimit -u, or free memory")
            return
        try:
            told, _ = self._process.communicate(timeout=limit)
        except subprocess.TimeoutExpired:
            self._process.kill()
            told, _ = self._process.communicate()
            ended = f"does not answer within {limit:g} s"
        else:
            code = self._process.returncode
            ended = "" if code == 0 else f"crashed ({f'signal {-code}' if code < 0 else f'exit code {code}'})"
        for line in told.splitlines():
            if line.startswith('{"subject"'):
                yield Finding(**json.loads(line))
        if ended:
            yield problem(self._subject, ended, "reinstall its library; if it stays, report it with this list")


def tell(words: list[str]) -> None:
    """What a process does: look at the subject that `words` begins with, and print each finding at once."""
    for finding in SUBJECTS[words[0]](*words[1:]):
        print(finding.as_line(), flush=True)
