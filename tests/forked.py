"""Processes that tests kill: forked from one that has loaded the libraries, which takes longer than what they do."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from typing import Any

_LIBRARIES = ["torch", "rasterio", "hdm_geotiff.reader", "hdm_geotiff.products.writer", "hdm_pipeline.run"]
_LIBRARIES += ["hdm_pipeline.execution.inline", "hdm_pipeline.model.segmenter", "hdm_pipeline.support.prepare"]
_LIBRARIES += ["hdm_pipeline.training.trainer"]


def start(function: Callable[..., Any], *arguments: Any) -> BaseProcess:
    """Call a function of a module in a fresh process; nothing of this one but the arguments is there."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_LIBRARIES)  # what is not found there is loaded by the process itself
    process = context.Process(target=function, args=arguments)
    process.start()
    return process
