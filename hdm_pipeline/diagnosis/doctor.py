"""All subjects after one another; large libraries are looked at meanwhile, in processes of their own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from hdm_pipeline.diagnosis.cluster import ray_findings
from hdm_pipeline.diagnosis.disk import folder_findings, shared_memory_finding, temporary_findings
from hdm_pipeline.diagnosis.extra import extra_findings
from hdm_pipeline.diagnosis.finding import Finding
from hdm_pipeline.diagnosis.machine import machine_findings, python_findings
from hdm_pipeline.diagnosis.processes import Look

_LIBRARIES = ("rasters", "dicom", "openvino")


def diagnose(pipeline: Path | None = None, folders: Sequence[Path] = (), *, start: bool = False) -> Iterator[Finding]:
    """Look at everything; never fails because something is missing.

    Args:
        pipeline: also look at what this pipeline file needs.
        folders: also try these folders.
        start: start a Ray and end it.
    """
    looks = [Look("torch"), *(Look(name) for name in _LIBRARIES)]
    asked = None if pipeline is None else Look("pipeline file", str(pipeline))
    yield from python_findings()
    yield from extra_findings()
    yield from machine_findings()
    yield shared_memory_finding()
    yield from temporary_findings()
    if pipeline is None and not folders:
        yield from folder_findings("this folder", Path())
    for folder in folders:
        yield from folder_findings(str(folder), folder)
    for look in looks:
        yield from look.findings()
    yield from Look("ray").findings() if start else ray_findings()
    if asked is not None:
        yield from asked.findings()
